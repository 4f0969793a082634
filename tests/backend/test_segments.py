"""Staged formulas over rows that lie in segments: no array is turned, NumPy's numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tensorgrad import dtypes
from tensorgrad.backend import numpy_staged, segments, threads
from tensorgrad.backend.numpy_staged import Layout, ReduceKernel, inner_axes
from tensorgrad.expr import ELEMENT, ROW, Formula, call, ncols, rmax, rsum
from tensorgrad.expr import input as variable


@pytest.fixture(autouse=True)
def _never_turned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small arrays, which are turned, in segments too."""
    monkeypatch.setattr(numpy_staged, "TURN", 0)


VIEWS: list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = [
    # shape, reduced axes, those of a segment
    ((4, 3, 5), (0, 2), (2,)),
    ((2, 3, 4, 5), (0, 2, 3), (2, 3)),
    ((2, 3, 4, 5), (0, 3), (3,)),
    ((2, 3, 4, 2, 6), (0, 1, 3, 4), (3, 4)),
    ((1, 4, 1, 3, 1, 5), (0, 1, 2, 5), (5,)),
    ((40, 3, 300), (0, 2), (2,)),
    ((2, 3000, 3), (0, 2), (2,)),
]
OTHERS = [
    ((4, 5), (0,)),
    ((4, 5), (1,)),
    ((2, 3, 4), (1,)),
    ((1, 3, 4), (0, 2)),
    ((2, 3, 1), (0, 2)),
    ((2, 3, 4, 5), (1, 3)),
]


def softmax_of(x: Any, w: Any) -> Any:
    m = rmax(x)
    e = call("exp", x - m)
    total = rsum(e)
    return e / total * w, m, call("log", total) + m, total / ncols()


def formula() -> Formula:
    return Formula.trace(
        "segmented_softmax", softmax_of, [variable("x", "f", ELEMENT), variable("w", "f", ROW)]
    )


def expected(x: Any, w: Any, axis: tuple[int, ...]) -> list[Any]:
    m = x.max(axis, keepdims=True)
    e = np.exp(x - m)
    total = e.sum(axis, keepdims=True)
    rows = [m, np.log(total) + m, total / (x.size / m.size)]
    return [e / total * w.reshape(m.shape), *(r.reshape(w.shape) for r in rows)]


def kernel(formula: Formula, result: Any) -> ReduceKernel:
    return ReduceKernel(formula, result=result)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize(("shape", "axis", "inner"), VIEWS)
def test_a_formula_over_segments(
    shape: Any, axis: Any, inner: Any, dtype: str, rng: np.random.Generator
) -> None:
    given = dtypes.dtype(dtype)
    x = rng.standard_normal(shape).astype(given)
    w = rng.standard_normal([n for k, n in enumerate(shape) if k not in axis]).astype(given)
    layout = Layout(formula(), axis, shape, (given, given))
    assert inner_axes(axis, shape) == inner
    assert segments.segmented(layout, kernel, np.asarray) is not None
    want = expected(x.astype("f8"), w.astype("f8"), axis)
    tolerance = {"float32": 2e-6, "float64": 1e-14, "float16": 2e-3, "bfloat16": 1e-2}[dtype]
    for values in (x, np.asfortranarray(x)):
        found = ReduceKernel(formula())(values, w, axis=axis, shape=shape)
        assert found[0].flags.c_contiguous
        for f, t in zip(found, want, strict=True):
            assert (f.dtype, f.shape) == (given, t.shape)
            np.testing.assert_allclose(f.astype("f8"), t, rtol=2 * tolerance, atol=tolerance)


@pytest.mark.parametrize(("shape", "axis"), OTHERS)
def test_other_views_have_no_segments(shape: Any, axis: Any) -> None:
    assert inner_axes(axis, shape) == ()


def test_threads_change_no_bit(rng: np.random.Generator) -> None:
    x, w = rng.standard_normal((32, 8, 4000)).astype("f4"), np.ones(8, "f4")
    before, found = threads.get_num_threads(), []
    for count in (1, 2, 3):
        threads.set_num_threads(count)
        found.append(ReduceKernel(formula())(x, w, axis=(0, 2), shape=x.shape))
    threads.set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(found[0], other):
            np.testing.assert_array_equal(a, b)


def test_results_in_arrays_that_are_given(rng: np.random.Generator) -> None:
    x, w = rng.standard_normal((3, 4, 5)), rng.standard_normal(4)
    out = (np.empty((3, 4, 5)), np.empty(4), np.empty(4), np.empty(4))
    found = ReduceKernel(formula())(x, w, axis=(0, 2), shape=x.shape, out=out)
    for o, f, t in zip(out, found, expected(x, w, (0, 2)), strict=True):
        assert o is f
        np.testing.assert_allclose(o, t, rtol=1e-13, atol=1e-14)  # a sum may cancel
