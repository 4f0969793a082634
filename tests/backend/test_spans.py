"""Sums and largest elements of spans: generated loops and NumPy's ways against plain slices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tensorgrad.backend import numpy_spans
from tensorgrad.backend.spans import places, shared_out, table, transposed
from tensorgrad.codegen import spans as generated
from tensorgrad.codegen.compiler import compiler
from tensorgrad.codegen.conv_text import Vectors


@pytest.fixture(params=["loops", "numpy"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "numpy":
        monkeypatch.setattr(numpy_spans, "loops", lambda dtype: None)
    return str(request.param)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_sums(way: str, dtype: str, rng: np.random.Generator) -> None:
    for shape, axis, spans in (
        ((3, 7, 5), 1, shared_out(7, 3)), ((4, 28), 1, shared_out(28, 5)),
        ((6,), 0, shared_out(6, 4)), ((2, 5, 33), 1, shared_out(5, 2)),
        ((2, 9, 2, 17), 1, transposed(shared_out(20, 9), 20)), ((0, 4), 1, shared_out(4, 3)),
        ((3, 4), 1, ((0, 0), (0, 3), (3, 3), (3, 4))),
    ):  # fmt: skip
        x = rng.integers(-4, 5, shape).astype(dtype)
        found = numpy_spans.span_sum(x, spans=spans, axis=axis)
        want = np.stack([np.moveaxis(x, axis, 0)[a:b].sum(0) for a, b in spans], axis)
        assert found.dtype == x.dtype
        np.testing.assert_array_equal(found, want)
        turned = numpy_spans.span_sum(x[::-1], spans=spans, axis=axis, out=np.empty_like(found))
        if axis:
            np.testing.assert_array_equal(turned, want[::-1])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_largest(way: str, dtype: str, rng: np.random.Generator) -> None:
    for lead, size, wanted in (
        ((2, 3), (7, 9), (3, 4)), ((2,), (40, 37), (3, 2)), ((1,), (6, 70), (2, 7)),
        ((3,), (33,), (1,)), ((2,), (4, 5, 6), (2, 3, 4)), ((0,), (4,), (2,)),
        ((2,), (5, 5), (1, 1)),
    ):  # fmt: skip
        spans = tuple(map(shared_out, size, wanted))
        for kind in ("ties", "nan", "-inf"):
            x = rng.integers(-3, 4, (*lead, *size)).astype(dtype)
            if kind != "ties":
                x[rng.random(x.shape) < 0.8] = float(kind)
            found = numpy_spans.span_argmax(x, size=size, spans=spans)
            flat = x.reshape(*lead, int(np.prod(size)))
            for q in np.ndindex(*wanted):
                inside = np.ix_(*[np.arange(*one[k]) for one, k in zip(spans, q)])
                numbers = np.ravel_multi_index(inside, size).reshape(-1)
                want = numbers[flat[..., numbers].argmax(-1)]
                np.testing.assert_array_equal(found[(..., *q)], want)


def test_spans_as_numbers() -> None:
    assert shared_out(5, 3) == ((0, 2), (1, 4), (3, 5))
    assert transposed(shared_out(5, 3), 5) == ((0, 1), (0, 2), (1, 2), (1, 3), (2, 3))
    assert transposed(((1, 2),), 3) == ((0, 0), (0, 1), (1, 1))
    index, own = table(((0, 1), (0, 3)))
    assert index.tolist() == [[0, 0, 0], [0, 1, 2]]
    assert own.tolist() == [[True, False, False], [True, True, True]]
    assert places((2, 3), (((0, 2),), ((1, 3),))).tolist() == [[1, 2, 4, 5]]


def test_vectors_of_every_processor() -> None:
    for v in (Vectors(4, 4, False), Vectors(8, 4, True), Vectors(2, 8, True)):
        made: list[Any] = [generated.sums(v), generated.argmax(v)]
        assert all(map(compiler().address, made))
