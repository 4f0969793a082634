"""Large arrays of functions that are slow in NumPy: the values, warnings and dtypes are its own."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.backend import memory
from tensorgrad.backend.numpy_leaves import QUICKER, LargeLeaf
from tensorgrad.expr import Formula, call, input

SIZE = memory.ELEMENTS


def arguments(name: str, dtype: Any, rng: np.random.Generator, size: int = SIZE) -> list[Any]:
    ufunc = getattr(np, name)
    return [rng.uniform(-5, 5, size).astype(dtype) for _ in range(ufunc.nin)]


def single(name: str, arity: int) -> Formula:
    inputs = [input(f"x{k}") for k in range(arity)]
    return Formula.trace(name, lambda *x: call(name, *x), inputs)


@pytest.mark.parametrize("name", sorted(QUICKER))
def test_values_and_warnings(name: str, rng: np.random.Generator) -> None:
    ufunc = getattr(np, name)
    for dtype in (np.float32, np.float64):
        xs = arguments(name, dtype, rng)
        found = ufunc(*map(tg.tensor, xs))
        assert found.dtype == dtype
        slack = 8 * np.finfo(dtype).eps
        np.testing.assert_allclose(found.numpy(), ufunc(*xs), rtol=slack, atol=slack)
        for odd in (np.nan, np.inf, 0.0, np.finfo(dtype).max):
            for k in range(len(xs)):
                ys = [x.copy() for x in xs]
                ys[k][5] = odd
                assert told(ufunc, *map(tg.tensor, ys)) == told(ufunc, *ys)


def told(function: Any, *arguments: Any) -> list[str]:
    """The warnings of a call."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        function(*arguments)
    return sorted({str(w.message) for w in found})


def test_a_generated_loop_runs(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    """Where it may: arrays of one dtype of the table, no demand to hear of lost digits."""
    seen: list[int] = []
    own = LargeLeaf(np.hypot, single("hypot", 2))
    kernel = own._kernel
    monkeypatch.setattr(own, "_kernel", lambda *a, out: (seen.append(1), kernel(*a, out=out))[1])
    a, b = arguments("hypot", np.float64, rng)
    out = np.empty_like(a)
    assert own(a, b, out=out) is out
    assert own(a, a, out=a) is a
    assert own(a.reshape(2, -1), b[:1]).shape == (2, SIZE // 2)
    assert len(seen) == 3
    own(a, b.astype(np.float32))
    own(a.astype(np.float16), b.astype(np.float16))
    with np.errstate(under="warn"):
        own(a, b)
    assert len(seen) == 3


def test_written_over_the_argument(rng: np.random.Generator) -> None:
    (x,) = arguments("sin", np.float64, rng)
    x[3] = np.inf
    own = LargeLeaf(np.sin, single("sin", 1))
    with pytest.warns(RuntimeWarning, match="invalid value encountered in sin"):
        assert own(x, out=x) is x
    assert np.isnan(x[3])
    with np.errstate(invalid="raise"), pytest.raises(FloatingPointError, match="in sin"):
        own(np.where(np.isnan(x), np.inf, x))


def test_calls_of_any_size(rng: np.random.Generator) -> None:
    own = LargeLeaf(np.sin, single("sin", 1))
    for size in (1, SIZE):
        (x,) = arguments("sin", np.float64, rng, size)
        np.testing.assert_allclose(own.any_size(x), np.sin(x), rtol=1e-15, atol=1e-16)
