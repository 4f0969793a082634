"""The NumPy interpreter on elements: types, constants, shapes, memory."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from expr_tools import run

from tensorgrad.expr import Formula, call, cast, const, element_index, input, where
from tensorgrad.expr.evaluate import plan

x, y = input("x"), input("y")
i = input("i", "i")
FLOATS = [np.float32, np.float64]
INTEGERS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]


def trace(fn: Any, *inputs: Any) -> Formula:
    return Formula.trace("f", fn, inputs)


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_compute_type_is_kept(dtype: Any, rng: np.random.Generator) -> None:
    f = trace(
        lambda x, i: where(x > 0, x * 0.1 + i, call("tanh", x) - where(x < -1, 1, 0) * x), x, i
    )
    a, k = rng.standard_normal(50).astype(dtype), rng.integers(0, 9, 50)
    (got,) = run(f, [a, k], dtype=dtype)
    assert got.dtype == dtype
    c = dtype(0.1)
    want = np.where(a > 0, a * c + k.astype(dtype), np.tanh(a) - np.where(a < -1, a, dtype(0)))
    assert np.array_equal(got, want)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_are_exact(dtype: Any, rng: np.random.Generator) -> None:
    info = np.iinfo(dtype)
    a, b = rng.integers(info.min, info.max, (2, 40), dtype, endpoint=True)
    f = trace(lambda x, y: where(x > y, x, 0) * 3 + call("maximum", x, y) - (x // 7) % 5, x, y)
    (got,) = run(f, [a, b], dtype=dtype)
    assert got.dtype == dtype
    with np.errstate(all="ignore"):
        want = (
            np.where(a > b, a, dtype(0)) * dtype(3) + np.maximum(a, b) - (a // dtype(7)) % dtype(5)
        )
    assert np.array_equal(got, want)


def test_bools() -> None:
    a, b = np.array([True, True, False]), np.array([True, False, False])
    f = trace(lambda x, y: where(x > y, x, 0), x, y)
    (got,) = run(f, [a, b], dtype=bool)
    assert got.dtype == bool
    assert got.tolist() == [False, True, False]
    p, q = input("p", "b"), input("q", "b")
    got = run(trace(lambda p, q: (p & q, p | q, p ^ q, ~p), p, q), [a, b])
    assert [g.tolist() for g in got] == [
        [True, False, False],
        [True, True, False],
        [False, True, False],
        [False, False, True],
    ]


def test_bits() -> None:
    j = input("j", "i")
    f = trace(lambda i, j: ((i & 12) | (j ^ 5), (i << 2) >> 1, ~i), i, j)
    a, b = np.array([13, 255], np.uint32), np.array([1, 2], np.uint32)
    got = run(f, [a, b])
    assert [g.dtype for g in got] == [np.uint32] * 3
    assert got[0].tolist() == [(13 & 12) | (1 ^ 5), (255 & 12) | (2 ^ 5)]
    assert got[1].tolist() == [26, 510]
    assert got[2].tolist() == [2**32 - 14, 2**32 - 256]


@pytest.mark.parametrize(
    ("fn", "dtype", "text"),
    [
        (
            lambda x: x * 0.5,
            np.int32,
            "f: got the constant 0.5 with int32 arrays, expected a value",
        ),
        (lambda x: x + 300, np.int8, "f: got the constant 300 with int8 arrays"),
        (lambda x: x - 2, bool, "f: got the constant 2 with bool arrays"),
        (lambda x: x / 2, np.int64, "f: got int64 arrays for divide, expected a floating type"),
        (lambda x: call("exp", x), np.int64, "f: got int64 arrays for exp, expected a floating"),
        (lambda x: call("abs", x), complex, "f: got complex128 arrays for abs, expected a real"),
        (lambda x: where(x < 0, x, 0), complex, "f: got complex128 arrays for lt, expected a real"),
    ],
)
def test_formulas_that_a_type_lacks(fn: Any, dtype: Any, text: str) -> None:
    with pytest.raises(TypeError) as error:
        plan(trace(fn, x), dtype)
    assert text in str(error.value)


def test_casts() -> None:
    a = np.array([-1.5, 0.0, 2.7])
    got = run(trace(lambda x: (cast(x, "i"), cast(x, "b"), cast(x > 0, "f") * x), x), [a])
    assert [g.dtype.kind for g in got] == ["i", "b", "f"]
    assert [g.tolist() for g in got] == [[-1, 0, 2], [True, False, True], [-0.0, 0.0, 2.7]]


def test_shapes_broadcast() -> None:
    a, b = np.ones((3, 1)), np.arange(4.0)
    one, other, third = run(trace(lambda x, y: (x * y, x + 1, 2.0), x, y), [a, b])
    assert one.shape == other.shape == third.shape == (3, 4)
    other[0, 0] = 7
    assert other.sum() == 7 + 11 * 2
    assert run(trace(lambda x: 1.5, x), [np.zeros((2, 0))])[0].shape == (2, 0)


def test_scalars_come_back_as_arrays() -> None:
    got = run(trace(lambda x, y: (x * y, x, x < y), x, y), [np.array(2.0), np.array(3.0)])
    assert all(type(g) is np.ndarray and g.shape == () for g in got)


def test_outputs_are_new_arrays() -> None:
    a = np.ones(3)
    one, two, three = run(trace(lambda x: (x, x * 2, x * 2), x), [a])
    one[0] = two[0] = 9
    assert a[0] == 1
    assert three.tolist() == [2, 2, 2]


def test_the_element_index() -> None:
    f = trace(lambda x, y: x + y * element_index(), x, y)
    got = run(f, [np.zeros((2, 1)), np.ones(3)])[0]
    assert got.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_constants_keep_the_sign_of_zero() -> None:
    (got,) = run(trace(lambda x: x * const(-0.0), x), [np.ones(1)])
    assert np.signbit(got[0])


def test_arrays_are_freed_when_they_are_not_read_any_more() -> None:
    """A long chain holds few arrays at a time."""
    e = x
    for k in range(60):
        e = call("sin", e * y) + float(k)
    f = Formula.trace("f", lambda x, y: e, (x, y))
    run_f = plan(f, float)
    n = 1_000_000
    a, b = np.ones(n), np.ones(n)
    import tracemalloc

    tracemalloc.start()
    try:
        run_f((a, b))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3.5 * a.nbytes


def test_long_formulas_run_without_recursion() -> None:
    e = x
    for _ in range(5 * sys.getrecursionlimit()):
        e = e + 1.0
    assert run(trace(lambda x: e, x), [np.zeros(2)])[0][0] == 5 * sys.getrecursionlimit()


def test_inputs_may_be_read_after_their_register_is_reused(rng: np.random.Generator) -> None:
    a, b = rng.standard_normal((2, 5))
    f = trace(lambda x, y: ((x + y) * (x - y), y * y + x, -x), x, y)
    got = run(f, [a, b])
    for g, w in zip(got, [(a + b) * (a - b), b * b + a, -a], strict=True):
        assert np.array_equal(g, w)
