"""Optimizer steps and the norm of the gradients, on the CPU: the bits of the formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_tools import DTYPES, array, i32, i64, launch, module

from tensorgrad.optim import adam as adam_rules
from tensorgrad.optim import sgd as sgd_rules

RULES = {
    "sgd": (sgd_rules.sgd, 0, [0.1, 0.01]),
    "momentum": (sgd_rules.momentum, 1, [0.1, 0.9, 0.7, 0.01]),
    "nag": (sgd_rules.nag, 1, [0.1, 0.9, 0.01]),
    "adam": (adam_rules.adam, 2, [0.1, 0.1, 0.99, 0.01, 1e-8, 0.02]),
    "adamw": (adam_rules.adamw, 2, [0.1, 0.1, 0.99, 0.01, 1e-8, 0.98]),
}
KINDS = {"f32": "f32", "f64": "f64", "f32_f16": "f16", "f32_bf16": "bf16"}


def state(rng: np.random.Generator, n: int, dtype: Any, moments: int) -> list[Any]:
    """p, and m and v or None."""
    shift = int(rng.integers(2))
    p = array(n, dtype, shift, rng.standard_normal(n))
    m = array(n, dtype, shift, rng.standard_normal(n)) if moments else None
    v = array(n, dtype, shift, rng.random(n)) if moments > 1 else None
    return [p, m, v]


def expected(rule: Any, moments: int, held: list[Any], g: Any, scalars: Any) -> list[Any]:
    """The formula on NumPy arrays: p, m, v."""
    before = [a for a in held[1:] if a is not None]
    found = rule(held[0], g, *before, *[np.asarray(s) for s in scalars])
    found = found if isinstance(found, tuple) else (found,)
    return [np.asarray(a) for a in found] + [None] * (2 - moments)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("n", [1, 6, 1030, 4099])
def test_step(rng: np.random.Generator, name: str, kind: str, n: int) -> None:
    rule, moments, numbers = RULES[name]
    dtype = np.dtype(np.float64 if kind == "f64" else np.float32)
    scalars = np.array(numbers, dtype)
    held = state(rng, n, dtype, moments)
    grad = array(n, DTYPES[KINDS[kind]], int(rng.integers(2)), rng.standard_normal(n))
    copy = array(n, grad.dtype) if rng.integers(2) else None
    factor = np.array([0.37]) if rng.integers(2) else None
    wide = grad.astype(dtype)
    wide = wide * dtype.type(0.37) if factor is not None else wide
    want = expected(rule, moments, held, wide, scalars)
    skip = np.zeros(1, i32) if rng.integers(2) else None
    p, m, v = held
    args = (p, grad, copy, m, v, scalars, factor, skip, i64(n))
    launch("optim", f"{name}_{kind}", (int(rng.integers(1, 4)),), 256, *args)
    for got, exact in zip(held, want, strict=True):
        assert (got is None) == (exact is None)
        assert got is None or np.array_equal(got, exact)
    assert copy is None or np.array_equal(copy, p.astype(copy.dtype))


def test_a_skipped_step_writes_nothing(rng: np.random.Generator) -> None:
    p, m, v = state(rng, 100, np.float32, 2)
    before = [a.copy() for a in (p, m, v)]
    grad, scalars = np.full(100, np.inf, np.float32), np.ones(6, np.float32)
    args = (p, grad, None, m, v, scalars, None, np.ones(1, i32), i64(100))
    launch("optim", "adam_f32", (1,), 256, *args)
    assert all(np.array_equal(a, b) for a, b in zip((p, m, v), before))


def clip(partial: Any, most: float, inverse: float | None) -> tuple[float, float, int]:
    norm, factor, skip = array(1, float), array(1, float), array(1, i32)
    given = None if inverse is None else np.array([inverse])
    args = (partial, i64(partial.size), np.float64(most), given, norm, factor, skip)
    launch("optim", "clip_factor", (1,), 256, *args)
    return float(norm[0]), float(factor[0]), int(skip[0])


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("n", [1, 37, 5000, 20001])
def test_norm_of_gradients(rng: np.random.Generator, name: str, n: int) -> None:
    huge = {"f32": 1e30, "f64": 1e140, "f16": 1e4, "bf16": 1e30}[name]
    grad = array(n, DTYPES[name], int(rng.integers(2)), rng.standard_normal(n) * huge)
    blocks = int(rng.integers(1, 5))
    partial = array(blocks, float)
    launch("optim", f"square_sum_{name}", (blocks,), 512, grad, partial, i64(n))
    exact = float(np.linalg.norm(grad.astype(np.float64)))
    norm, factor, skip = clip(partial, np.inf, None)
    assert abs(norm - exact) <= 1e-13 * exact
    assert factor == 1
    assert skip == 0
    norm, factor, skip = clip(partial, 0.25, 0.5)
    assert factor == 0.5 * (0.25 / (norm + 1e-6))
    assert norm == 0.5 * clip(partial, 1, None)[0]
    grad[n // 2] = rng.choice([np.nan, np.inf])
    launch("optim", f"square_sum_{name}", (blocks,), 512, grad, partial, i64(n))
    assert clip(partial, 1.0, None)[2] == 1


def test_the_norm_vanishes_for_tiny_double_gradients_only(rng: np.random.Generator) -> None:
    grad, partial = np.full(8, 1e-40, np.float32), array(1, float)
    launch("optim", "square_sum_f32", (1,), 512, grad, partial, i64(8))
    assert abs(clip(partial, 1, None)[0] / np.linalg.norm(grad.astype(float)) - 1) < 1e-12


def test_step_beyond_2_to_the_31_elements(rng: np.random.Generator) -> None:
    first, n = 2**32, 2**32 + 9
    p = array(9, np.float32, fill=rng.standard_normal(9))
    grad = array(9, np.float32, fill=rng.standard_normal(9))
    want = p - np.float32(0.5) * grad
    far = [int(a.ctypes.data) - first * 4 for a in (p, grad)]
    args = (*far, None, None, None, np.array([0.5, 0], np.float32), None, None, i64(n))
    kernel = module("optim").get_function("sgd_f32")
    kernel((first // 1024 + 1,), (256,), args, blocks=[first // 1024])
    assert np.array_equal(p, want)
