"""Every generated leaf against a wider computation, on its whole range and at its corners."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tensorgrad.codegen import kernel, supports
from tensorgrad.codegen.approx import BODIES
from tensorgrad.expr import LEAVES, Formula, call, input
from tensorgrad.expr.evaluate import plan

DTYPES = [np.float32, np.float64]
EXACT = set(BODIES) - {
    "exp", "expm1", "log", "log1p", "tanh", "sigmoid", "softplus", "log_sigmoid"
}  # fmt: skip
WIDER = np.finfo(np.longdouble).nmant > np.finfo(np.float64).nmant


def leaf_formula(name: str) -> Formula:
    inputs = [input(f"x{k}") for k in range(LEAVES[name].arity)]
    return Formula.trace(name, lambda *x: call(name, *x), inputs)


def spread(rng: np.random.Generator, dtype: Any, n: int = 20000) -> Any:
    """Numbers of every exponent, and of the ranges where the leaves bend and saturate."""
    info = np.finfo(dtype)
    bits = np.uint32 if dtype is np.float32 else np.uint64
    limit = float(np.log(info.max)) * 1.2
    parts = [rng.integers(0, np.iinfo(bits).max, n, bits, endpoint=True).view(dtype)]
    parts += [rng.uniform(-r, r, n).astype(dtype) for r in (limit, 20, 1)]
    parts += [(1 + rng.uniform(-0.5, 0.5, n)).astype(dtype), info.tiny * parts[3]]
    corners = [0, 0.5, 1, 1.5, 2.5, np.inf, np.nan, info.tiny, info.max, info.smallest_subnormal]
    parts.append(np.array([s * c for c in corners for s in (1, -1)], dtype))
    return np.concatenate(parts)


def true_value(name: str, x: Any) -> Any:
    e = np.exp(-np.abs(x))
    if name == "sigmoid":
        return np.where(x < 0, e, 1) / (1 + e)
    if name == "softplus":
        return np.maximum(x, 0) + np.log1p(e)
    if name == "log_sigmoid":
        return np.minimum(x, 0) - np.log1p(e)
    return getattr(np, name)(x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(set(BODIES) - EXACT))
def test_transcendental(name: str, dtype: Any, rng: np.random.Generator) -> None:
    run = kernel(leaf_formula(name), dtype)
    assert run is not None
    x = spread(rng, dtype)
    got = run(x)
    with np.errstate(all="ignore"):
        wide = true_value(name, x.astype(np.float64 if dtype is np.float32 else np.longdouble))
        want = wide.astype(dtype)
    assert np.array_equal(np.isnan(got), np.isnan(want))
    huge = np.isinf(want)
    assert np.array_equal(got[huge], want[huge])
    zero = x == 0
    assert np.array_equal(np.signbit(got[zero]), np.signbit(want[zero]))
    fine = np.isfinite(want)
    # The spacing above the largest number is none.
    near = np.minimum(np.abs(want[fine]), np.finfo(dtype).max / 2)
    ulp = np.abs(got[fine].astype(wide.dtype) - wide[fine]) / np.spacing(near)
    worst = int(np.argmax(ulp))
    bound = 2.5 if dtype is np.float32 or WIDER else 4.0
    assert ulp[worst] <= bound, (name, x[fine][worst], float(ulp[worst]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(EXACT))
def test_exact(name: str, dtype: Any, rng: np.random.Generator) -> None:
    formula = leaf_formula(name)
    run = kernel(formula, dtype)
    assert run is not None
    xs = [rng.permutation(spread(rng, dtype)) for _ in formula.inputs]
    if len(xs) > 1:
        corners = spread(rng, dtype, 0)
        grid = np.meshgrid(*[corners] * len(xs))
        xs = [np.concatenate([x, g.ravel()]) for x, g in zip(xs, grid)]
    with np.errstate(all="ignore"):
        want = plan(formula, dtype)(xs)[0]
    got = run(*xs)
    assert got.dtype == want.dtype
    assert np.array_equal(got, want, equal_nan=got.dtype.kind == "f")


def test_relu_of_nan_and_zero() -> None:
    run = kernel(leaf_formula("relu"), np.float32)
    assert run is not None
    got = run(np.array([np.nan, -0.0, 0.0, -1, np.inf, -np.inf], np.float32))
    assert np.isnan(got[0])
    assert got[1:].tolist() == [0, 0, 0, np.inf, 0]


def deep(x: Any) -> Any:
    for _ in range(150):
        x = call("tanh", 2 * x)
    return x


def test_what_is_refused() -> None:
    x, label, many = input("x"), input("i", "i"), [input(f"x{k}") for k in range(40)]
    formula = leaf_formula("exp")
    assert supports(formula, np.float32)
    for dtype in (np.float16, np.int32, np.complex64, np.bool_, ">f4"):
        assert not supports(formula, dtype)
        assert kernel(formula, dtype) is None
    refused = [
        Formula.trace("erf", lambda x: call("erf", x), [x]),
        Formula.trace("whole", lambda x, i: x * i, [x, label]),
        Formula.trace("number", lambda x: (x, 1), [x]),
        Formula.trace("huge", lambda x: x * 10**400, [x]),
        Formula.trace("many", lambda *x: sum(x[1:], x[0]), many),
        Formula.trace("long", deep, [x]),
    ]
    for formula in refused:
        assert not supports(formula, np.float64), formula.name
        assert kernel(formula, np.float64) is None
