"""Kernels on every layout: strides, broadcasting, tails, misaligned memory, outputs in place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tensorgrad.codegen import kernel
from tensorgrad.codegen import kernels as room
from tensorgrad.codegen.ufunc import arrays_only, layout_known
from tensorgrad.expr import Formula, input

DTYPES = [np.float32, np.float64]


def pair(x: Any, y: Any) -> Any:
    return x * y - x, x - 2 * y


FORMULA = Formula.trace("pair", pair, [input("x"), input("y")])


def run_in(dtype: Any) -> Any:
    run = kernel(FORMULA, dtype)
    assert run is not None
    return run


def check(dtype: Any, x: Any, y: Any) -> None:
    got, want = run_in(dtype)(x, y), pair(x, y)
    for g, w in zip(got, want, strict=True):
        assert type(g) is np.ndarray
        assert g.dtype == dtype
        assert g.shape == np.shape(w)
        assert np.array_equal(g, w)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sizes_and_tails(dtype: Any, rng: np.random.Generator) -> None:
    for n in [*range(71), 511, 512, 513, 1024, 8191, 8192, 8193, 20011]:
        x, y = rng.standard_normal((2, n)).astype(dtype)
        check(dtype, x, y)


@pytest.mark.parametrize("dtype", DTYPES)
def test_layouts(dtype: Any, rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((2, 40, 50)).astype(dtype)
    row, column, zero = y[:1], y[:, :1], np.asarray(y[0, 0])
    layouts = [
        (x, y), (x[::2], y[::2]), (x[:, ::-3], y[:, ::3][:, :17]), (x.T, y.T), (x.T, y.T.copy()),
        (x, row), (column, x), (column, row), (x, zero), (zero, x), (zero, zero), (x, y[:1, :1]),
        (x[:0], y[:0]), (x[:, :0], column), (x[3], y[4]), (x[None], y),
        (np.broadcast_to(row, (40, 50)), y), (x.reshape(2, 20, 50), y[:20]), (zero, y[:1, :1]),
        (x[0].reshape(1, 50), y[0].reshape(50, 1)),
    ]  # fmt: skip
    for a, b in layouts:
        check(dtype, a, b)
    check(dtype, x[0, 0], y[0, 0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_misaligned(dtype: Any, rng: np.random.Generator) -> None:
    size = np.dtype(dtype).itemsize
    raw = np.zeros(100 * size + 1, np.uint8)
    x = raw[1:].view(dtype)
    x[:] = rng.standard_normal(100)
    y = rng.standard_normal(101).astype(dtype)[1:]
    check(dtype, x, y)
    packed = np.zeros(30, np.dtype([("flag", "?"), ("value", dtype)]))
    packed["value"] = rng.standard_normal(30)
    check(dtype, packed["value"], y[:30])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [0, 1, 31, 70, 9000])
def test_outputs_in_place(n: int, dtype: Any, rng: np.random.Generator) -> None:
    run = run_in(dtype)
    for step in (1, 3, -1):
        x, y = (rng.standard_normal(n * 3).astype(dtype)[::step][:n] for _ in range(2))
        want = pair(x, y)
        got = run(x, y, out=(x, y))
        assert got[0] is x
        assert got[1] is y
        assert np.array_equal(x, want[0])
        assert np.array_equal(y, want[1])


def test_overlapping_out(rng: np.random.Generator) -> None:
    x = rng.standard_normal(700)
    want = pair(x[:600], x[50:650])
    other = np.empty(600)
    run_in(np.float64)(x[:600], x[50:650], out=(x[7:607], other))
    assert np.array_equal(x[7:607], want[0])
    assert np.array_equal(other, want[1])


def test_single_output_takes_an_array_or_a_tuple(rng: np.random.Generator) -> None:
    run = kernel(Formula.trace("half", lambda x: 0.5 * x, [input("x")]), np.float32)
    assert run is not None
    x = rng.standard_normal((3, 40)).astype(np.float32)
    out = np.empty_like(x)
    assert run(x, out=out) is out
    assert run(x, out=(out,)) is out
    assert np.array_equal(out, 0.5 * x)
    assert np.array_equal(run(x, out=None), out)
    with pytest.raises(ValueError, match="broadcast"):
        run(x, out=np.empty(3, np.float32))


def test_wrong_calls_raise(rng: np.random.Generator) -> None:
    run, x = run_in(np.float32), np.ones(5, np.float32)
    for arrays in ((), (x,), (x, x, x, x, x)):
        with pytest.raises((TypeError, ValueError)):
            run(*arrays)
    with pytest.raises(ValueError, match="broadcast"):
        run(x, x[:3])
    with pytest.raises(TypeError):
        run(x, np.ones(5))
    with pytest.raises(TypeError):
        run(x, x, wrong=1)


def test_entry_and_ufunc_agree_and_nothing_leaks(rng: np.random.Generator) -> None:
    import sys
    import tracemalloc

    run = run_in(np.float32)
    x, y = rng.standard_normal((2, 300)).astype(np.float32)
    if layout_known():
        assert type(run).__name__ == "builtin_function_or_method"
    before = sys.getrefcount(x), sys.getrefcount(np.dtype(np.float32))
    run(x, y)
    tracemalloc.start()
    start = tracemalloc.get_traced_memory()[0]
    for _ in range(300):
        run(x, y)
    grown = tracemalloc.get_traced_memory()[0] - start
    tracemalloc.stop()
    assert grown < 4000
    assert (sys.getrefcount(x), sys.getrefcount(np.dtype(np.float32))) == before


def test_without_the_entry(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    monkeypatch.setattr(room, "KERNELS", room.Kernels())
    monkeypatch.setattr(room._ENTRIES, "trusted", False)
    run = room.kernel(FORMULA, np.float64)
    assert run is not None
    assert run.__module__ == arrays_only.__module__
    x = rng.standard_normal(30)
    for a in (x, x[0], np.asarray(x[0])):
        got = run(a, a)
        assert type(got[0]) is np.ndarray
        assert np.array_equal(got[1], a - 2 * a)
