"""Kernels on every layout: strides, broadcasting, tails, misaligned memory, outputs in place."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from tensorgrad.backend import numpy_formula, threads
from tensorgrad.codegen import kernel
from tensorgrad.codegen import kernels as room
from tensorgrad.codegen.ufunc import arrays_only, layout_known
from tensorgrad.expr import Formula, call, input, where

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


@pytest.mark.parametrize("n", [3, 32, 511, 513, 5000])
def test_rows_and_scalars(n: int, rng: np.random.Generator) -> None:
    """Operands of the last axes, or of one element, beside a larger one."""
    x = rng.standard_normal((3, 4, n)).astype(np.float32)
    for y in (x[0, 0], x[0], x[:1], x[:1, :1], x[0, :1], x[0, 0, :1], x[:1, 0, :1], x[:, :1]):
        for z in (y, y.copy(), np.broadcast_to(y, x.shape)):
            check(np.float32, x, z)
            check(np.float32, z, x)
    three = Formula.trace("three", lambda a, b, c: a * b + c, [input(v) for v in "abc"])
    run = kernel(three, np.float32)
    assert run is not None
    for b in (x[0, 0], x[0], x[0, 0, :1], x[:, :1, :1].copy(), x[None]):
        for c in (x[1, 1], x[1], x[2, 2, :1].reshape(1, 1, 1, 1), x):
            got = run(x, b, c)
            assert got.shape == np.broadcast_shapes(x.shape, b.shape, c.shape)
            assert np.array_equal(got, x * b + c)
            assert np.array_equal(run(c, b, x), c * b + x)
            out = np.empty_like(got)
            assert run(x, b, c, out) is out
            assert np.array_equal(out, got)


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


@pytest.mark.parametrize("n", [0, 1, 31, 513, 9000])
def test_outputs_by_position(n: int, rng: np.random.Generator) -> None:
    run = run_in(np.float64)
    x, y = rng.standard_normal((2, n))
    want = pair(x, y)
    outs = np.empty(n), np.empty(n)
    got = run(x, y, *outs)
    assert type(got) is tuple
    for g, o, w in zip(got, outs, want, strict=True):
        assert g is o
        assert np.array_equal(o, w)
    for first, second in [(0, 1), (1, 0)]:
        given = [x.copy(), y.copy()]
        got = run(*given, given[first], given[second])
        assert got[0] is given[first]
        assert got[1] is given[second]
        assert np.array_equal(got[0], want[0])
        assert np.array_equal(got[1], want[1])
    strided = np.empty((2, 2 * n))[:, ::2]
    run(x, y, *strided)
    assert np.array_equal(strided[0], want[0])
    assert np.array_equal(strided[1], want[1])


def test_given_outputs_that_overlap(rng: np.random.Generator) -> None:
    run = run_in(np.float64)
    for n, shift in [(100, 1), (600, 50), (30000, 8200)]:
        memory = rng.standard_normal(2 * n)
        for x, y, first, second in [
            (slice(0, n), slice(shift, n + shift), slice(shift + 1, n + shift + 1), None),
            (slice(0, n), slice(n, 2 * n), None, slice(n - shift, 2 * n - shift)),
            (slice(0, n), slice(0, n), slice(shift, n + shift), None),
            (slice(5, 6), slice(0, n), slice(0, n), None),
            (slice(0, n), slice(n, n + 1), None, slice(n, 2 * n)),
        ]:
            own = memory.copy()
            want = pair(own[x].copy(), own[y].copy())
            outs = [np.empty(n) if s is None else own[s] for s in (first, second)]
            got = run(own[x], own[y], *outs)
            for g, o, w in zip(got, outs, want, strict=True):
                assert g is o
                assert np.array_equal(o, w)
    words = np.zeros(64, np.float32)
    less = kernel(Formula.trace("less", lambda x: x < 1, [input("x")]), np.float32)
    assert less is not None
    words[::2] = 3
    want = words < 1
    assert np.array_equal(less(words, words.view(bool)[:64]), want)


def test_given_outputs_that_do_not_fit(rng: np.random.Generator) -> None:
    run = run_in(np.float32)
    x, y, out = rng.standard_normal((3, 40)).astype(np.float32)
    fixed = np.empty(40, np.float32)
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        run(x, y, out, fixed)
    with pytest.raises(ValueError, match="broadcast"):
        run(x, y, out, out[:3])
    with pytest.raises(TypeError):
        run(x, y, out, np.empty(40, np.int32))
    with pytest.raises(TypeError):
        run(x, y, out)
    wide = np.empty(40)
    assert run(x, y, out, wide)[1] is wide
    assert np.array_equal(wide, x - 2 * y)
    larger = np.empty((2, 40), np.float32)
    assert run(x, y, larger, np.empty_like(larger))[0] is larger
    assert np.array_equal(larger[1], x * y - x)


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


def mixed(x: Any, c: Any, i: Any) -> Any:
    return where(c, x, 2), ~c, i + 1, x < 0


MIXED = Formula.trace("mixed", mixed, [input("x"), input("c", "b"), input("i", "i")])


@pytest.mark.parametrize("n", [300, 20000])
def test_nothing_leaks(n: int, rng: np.random.Generator) -> None:
    import gc
    import sys
    import tracemalloc

    run = kernel(MIXED, np.float32)
    assert run is not None
    x = rng.standard_normal(n).astype(np.float32)
    given = (x, x > 0, np.arange(n))
    outs = tuple(o.copy() for o in run(*given))
    if layout_known():
        assert type(run).__name__ == "builtin_function_or_method"
    objects = [*given, *outs, *(np.dtype(d) for d in "f?l")]

    def calls(count: int) -> int:
        tracemalloc.start()
        start = tracemalloc.get_traced_memory()[0]
        for _ in range(count):
            run(*given)
            run(*given, *outs)
            run(*(a[::2] for a in given))
            with suppress(TypeError):
                run(*given, *outs[:3])
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - start
        tracemalloc.stop()
        return int(grown)

    calls(2)
    before = [sys.getrefcount(o) for o in objects]
    assert calls(200) < 4000
    assert [sys.getrefcount(o) for o in objects] == before


def test_two_threads_in_one_kernel(rng: np.random.Generator) -> None:
    """The lock is released meanwhile; results and arguments stay alive and apart."""
    import threading

    run = kernel(MIXED, np.float32)
    assert run is not None
    n = 300_000
    arrays = [rng.standard_normal(n).astype(np.float32) for _ in range(2)]
    wrong: list[int] = []

    def work(k: int) -> None:
        for _ in range(30):
            found = run(arrays[k].copy(), arrays[k] > 0, np.arange(n))
            right = np.array_equal(found[0], np.where(arrays[k] > 0, arrays[k], 2))
            if not right or found[2][-1] != n:
                wrong.append(k)

    both = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for t in both:
        t.start()
    for t in both:
        t.join()
    assert not wrong


def smooth(x: Any, y: Any) -> Any:
    return call("tanh", x * y) + call("exp", -x * x), x < y


def test_large_arrays_are_split(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    parts: list[tuple[int, int]] = []

    def split(total: int, grain: int, job: Any) -> None:
        for start in reversed(range(0, total, 5 * grain)):
            parts.append((start, min(start + 5 * grain, total)))
            job(*parts[-1])

    monkeypatch.setattr(threads, "split", split)
    formula = Formula.trace("smooth", smooth, [input("x"), input("y")])
    for dtype in (np.float32, np.float64, np.float16):
        whole = kernel(formula, dtype)
        assert whole is not None
        run = numpy_formula.ElementwiseKernel(formula, 0)
        x, y = rng.standard_normal((2, 5, 91007)).astype(dtype)
        for a, b in [(x, y), (x, y[0, 0, None]), (np.asarray(x[0, 0]), y)]:
            parts.clear()
            got = run(a, b)
            assert parts
            for g, w in zip(got, whole(a, b), strict=True):
                assert g.dtype == w.dtype
                assert np.array_equal(g, w)
        parts.clear()
        for a, b in [(x.T, y.T), (x, y[0]), (x, y[:, :1]), (x[:, :2000], y[:, :2000])]:
            assert np.array_equal(run(a, b)[0], whole(a, b)[0])
        assert not parts


def test_split_outputs(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    """Given outputs may be the inputs themselves; those that overlap otherwise are not split."""
    parts: list[int] = []

    def split(total: int, grain: int, job: Any) -> None:
        for start in reversed(range(0, total, grain)):
            parts.append(start)
            job(start, min(start + grain, total))

    monkeypatch.setattr(threads, "split", split)
    formula = Formula.trace("first", lambda x, y: smooth(x, y)[0], [input("x"), input("y")])
    run, n = numpy_formula.ElementwiseKernel(formula, 0), 400_000
    memory = rng.standard_normal(2 * n).astype(np.float32)
    one = memory[5:6].copy()
    for x, y, out, divided in [
        (slice(0, n), slice(n, 2 * n), slice(0, n), True),
        (slice(0, n), slice(n, 2 * n), slice(n, 2 * n), True),
        (slice(0, n), slice(n, 2 * n), slice(9, n + 9), False),
        (slice(0, n), slice(n, n + 1), slice(n, 2 * n), False),
    ]:
        own = memory.copy()
        want = run(own[x].copy(), own[y].copy())
        parts.clear()
        target = own[out]
        assert run(own[x], own[y], out=target) is target
        assert bool(parts) is divided
        assert np.array_equal(target, want)
    fresh = np.empty(n, np.float32)
    assert run(memory[:n], one, out=(fresh,)) is fresh
    assert np.array_equal(fresh, run(memory[:n], one))


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
