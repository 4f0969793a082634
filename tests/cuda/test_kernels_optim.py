"""The norm of the gradients and the factor that limits it, on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_tools import DTYPES, array, i64, launch, module


def clip(partial: Any, most: float, inverse: float | None, stored: bool) -> tuple[float, ...]:
    """norm, factor, skip; the limit by value or in device memory."""
    found = array(4, float)
    scale = None if inverse is None else np.array([inverse])
    limit = np.array([float(most)]) if stored else None
    args = (partial, i64(len(partial)), np.float64(0 if stored else most), limit, scale, found)
    launch("optim", "clip_factor", (1,), 256, *args)
    narrow = found[3:].view(np.float32)
    assert np.array_equal(narrow, found[1:3].astype(np.float32), equal_nan=True)
    return tuple(found[:3].tolist())


def squared(grad: Any, name: str, blocks: int) -> Any:
    partial = array((blocks, 3), float)
    launch("optim", f"square_sum_{name}", (blocks,), 512, grad, partial, i64(grad.size))
    return partial


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("n", [1, 37, 5000, 20001])
def test_norm_of_gradients(rng: np.random.Generator, name: str, n: int) -> None:
    huge = {"f32": 1e30, "f64": 1e140, "f16": 1e4, "bf16": 1e30}[name]
    grad = array(n, DTYPES[name], int(rng.integers(2)), rng.standard_normal(n) * huge)
    stored = bool(rng.integers(2))
    partial = squared(grad, name, int(rng.integers(1, 5)))
    exact = float(np.linalg.norm(grad.astype(np.float64)))
    norm, factor, skip = clip(partial, np.inf, None, stored)
    assert abs(norm - exact) <= 1e-13 * exact
    assert (factor, skip) == (1, 0)
    norm, factor, skip = clip(partial, 0.25, 0.5, stored)
    assert factor == 0.5 * (0.25 / (norm + 1e-6))
    assert norm == 0.5 * clip(partial, 1, None, stored)[0]
    grad[n // 2] = rng.choice([np.nan, np.inf])
    assert clip(squared(grad, name, 2), 1.0, None, stored)[2] == 1


@pytest.mark.parametrize("sizes", [(1e-320,), (1e-200,), (1e300,), (1e-300, 1.0), (1e-145, 1e-144),
                                   (1.0, 1e300), (1e-320, 1e144, 1e145)])  # fmt: skip
def test_no_finite_norm_overflows_or_vanishes(rng: np.random.Generator, sizes: Any) -> None:
    grad = array(1000, float, fill=rng.standard_normal(1000) * rng.choice(sizes, 1000))
    largest = float(np.abs(grad).max())
    exact = float(np.linalg.norm(grad / largest)) * largest
    norm, _, skip = clip(squared(grad, "f64", 3), 1.0, None, False)
    assert abs(norm - exact) <= max(1e-13 * exact, 5e-324)
    assert skip == 0


def test_what_is_no_number_wins(rng: np.random.Generator) -> None:
    for kind in ("f32", "f64"):
        grad = array(3000, DTYPES[kind], fill=rng.standard_normal(3000))
        grad[7] = np.inf
        norm, factor, skip = clip(squared(grad, kind, 2), 1.0, None, False)
        assert (norm, factor, skip) == (np.inf, 0, 1)
        grad[2999] = np.nan
        norm, factor, skip = clip(squared(grad, kind, 2), 1.0, None, False)
        assert np.isnan([norm, factor]).all()
        assert skip == 1
    norm, factor, skip = clip(array((0, 3), float), 1.0, None, False)
    assert (norm, factor, skip) == (0, 1, 0)


def test_norm_beyond_2_to_the_31_elements(rng: np.random.Generator) -> None:
    first, n = 2**32, 2**32 + 9
    grad, partial = array(9, np.float32, fill=rng.standard_normal(9)), array(3, float)
    far = int(grad.ctypes.data) - first * 4
    index = first // 4 // 512
    kernel = module("optim").get_function("square_sum_f32")
    args = (far, int(partial.ctypes.data) - 24 * index, i64(n))
    kernel((index + 1,), (512,), args, blocks=[index])
    assert abs(partial[0] - (grad.astype(float) ** 2).sum()) < 1e-12
