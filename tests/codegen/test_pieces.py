"""Formulas beyond one kernel: run in parts, block by block, on arrays of every layout."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import mul
from threading import Thread
from typing import Any

import numpy as np
import pytest

from tensorgrad.codegen import supports
from tensorgrad.codegen.approx import has_body
from tensorgrad.codegen.llvm import MOST_WORK
from tensorgrad.codegen.pieces import BLOCK, parts, pieces
from tensorgrad.expr import Formula, call, input, where
from tensorgrad.expr.evaluate import plan

BARE = [n for n in ("sin", "cos", "tan", "asinh", "cbrt") if not has_body(n, True)]


def waves(x: Any, y: Any) -> Any:
    first, second = BARE[0], BARE[1]
    return call("exp", -x * x) * call(first, x * y) + call(second, y) * x, x < y


def loop(x: Any, rate: Any) -> Any:
    for _ in range(MOST_WORK // 3):
        x = rate * x * (1 - x)
    return x


def formulas() -> list[tuple[Formula, Any]]:
    """(formula, dtype) that no single kernel runs."""
    pair = [input("x"), input("y")]
    wave, long = Formula.trace("waves", waves, pair), Formula.trace("loop", loop, pair)
    wide = Formula.trace("wide", lambda *x: reduce(mul, x), [input(f"x{k}") for k in range(33)])
    first = wave.vjp((0, 1), (0,)).formula
    every = wide.vjp(tuple(range(33)), (0,)).formula
    assert first is not None
    assert every is not None
    return [
        (wave, np.float64),
        (first, np.float64),
        (long, np.float32),
        (long, np.float64),
        (wide, np.float64),
        (every, np.float32),
    ]


CASES = formulas()


def given(formula: Formula, shapes: list[tuple[int, ...]], dtype: Any, rng: Any) -> list[Any]:
    """Arrays of these shapes, repeated as long as there are inputs; (0, 1) suits every formula."""
    return [
        rng.uniform(0.1, 0.9, shapes[k % len(shapes)]).astype(dtype)
        for k in range(len(formula.inputs))
    ]


def check(formula: Formula, dtype: Any, arrays: list[Any], out: Any = None) -> Any:
    run = pieces(formula, dtype)
    assert run is not None
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    with np.errstate(all="ignore"):
        want = plan(formula, dtype)(arrays)
    found = run(*arrays) if out is None else run(*arrays, out=out)
    outs = found if type(found) is tuple else (found,)
    assert len(outs) == len(want)
    for o, w in zip(outs, want, strict=True):
        assert type(o) is np.ndarray
        assert (o.shape, o.dtype) == (shape, w.dtype)
        # Leaves differ by some ulp, and terms of the size of 1 cancel.
        np.testing.assert_allclose(
            o, w, rtol=32 * np.finfo(dtype).eps, atol=32 * np.finfo(dtype).eps
        )
    return found


@pytest.mark.parametrize(("formula", "dtype"), CASES, ids=[f.name for f, _ in CASES])
def test_every_layout(formula: Formula, dtype: Any, rng: np.random.Generator) -> None:
    assert not supports(formula, dtype)
    n = 2 * BLOCK + 37
    for shapes in ([(n,)], [(n,), ()], [()], [(0,)], [(1, 1)], [(5, 7), (7,)], [(30, 1), (1, 150)]):
        check(formula, dtype, given(formula, shapes, dtype, rng))
    wide = given(formula, [(40, 130)], dtype, rng)
    check(formula, dtype, [a.T for a in wide])
    check(formula, dtype, [a[::2, ::-1] for a in wide])
    check(formula, dtype, [a if k % 2 else a.copy(order="F") for k, a in enumerate(wide)])
    check(formula, dtype, [np.broadcast_to(a[:1], (40, 130)) for a in wide])


def test_results_go_where_they_are_wanted(rng: np.random.Generator) -> None:
    formula, dtype = CASES[0]
    x, y = given(formula, [(3, 2 * BLOCK)], dtype, rng)
    want = check(formula, dtype, [x, y])
    for make in (np.empty, lambda s, d: np.empty((6, 2 * BLOCK), d)[::2]):
        outs = (make(x.shape, float), make(x.shape, bool))
        assert check(formula, dtype, [x, y], out=outs)[0] is outs[0]
    run = pieces(formula, dtype)
    assert run is not None
    # Written over an input, and over a part of one: as if the inputs had been copied before.
    twin = x.copy()
    run(twin, y, out=(twin, np.empty(x.shape, bool)))
    np.testing.assert_array_equal(twin, want[0])
    long = np.concatenate([x.ravel(), np.zeros(5)])
    head = long[: x.size].reshape(x.shape)
    run(head, y, out=(long[5:].reshape(x.shape), np.empty(x.shape, bool)))
    np.testing.assert_array_equal(long[5:].reshape(x.shape), want[0])
    with pytest.raises(ValueError, match="broadcast"):
        run(x, y, out=(np.empty(3), np.empty(x.shape, bool)))


def test_outputs_that_are_inputs_or_alike(rng: np.random.Generator) -> None:
    x, y = input("x"), input("y")
    wave = call(BARE[0], x * y) * y
    formula = Formula("f", (x, y), (y, wave, wave, where(x < y, wave, 0), x < y))
    arrays = given(formula, [(BLOCK + 3,)], np.float64, rng)
    found = check(formula, np.float64, arrays)
    assert not any(
        np.may_share_memory(a, b) for a in found for b in (*arrays, *found) if a is not b
    )


def test_constants_of_lone_leaves(rng: np.random.Generator) -> None:
    leaf = next(n for n in ("atan2", "logaddexp2", "nextafter") if not has_body(n, True))
    x = input("x")
    formula = Formula.trace("f", lambda x: call(leaf, 0.5, x * x) + call(BARE[0], 0.25), (x,))
    check(formula, np.float64, given(formula, [(100,)], np.float64, rng))


def test_no_warnings_and_no_flags(rng: np.random.Generator) -> None:
    x = input("x")
    formula = Formula.trace("f", lambda x: call(BARE[0], 1 / x) + call("log", x), (x,))
    run = pieces(formula, np.float64)
    assert run is not None
    with np.errstate(all="raise"):
        assert np.isnan(run(np.array([0.0, -1.0, 2.0]))).tolist() == [True, True, False]


def test_threads_run_one_formula_at_once(rng: np.random.Generator) -> None:
    formula, dtype = CASES[1]
    run: Callable[..., Any] | None = pieces(formula, dtype)
    assert run is not None
    sets = [given(formula, [(20 * BLOCK,)], dtype, rng) for _ in range(4)]
    want = [run(*arrays) for arrays in sets]
    got: list[Any] = [None] * 4

    def work(k: int) -> None:
        got[k] = run(*sets[k])

    threads = [Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for g, w in zip(got, want):
        for a, b in zip(g, w, strict=True):
            np.testing.assert_array_equal(a, b)


def test_what_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    x, n = input("x"), input("n", "i")

    def made(fn: Any, *inputs: Any) -> Formula:
        return Formula.trace("f", fn, inputs)

    assert parts(made(lambda x: x * x + 1, x), np.float64) is None  # one kernel
    assert parts(made(lambda x: call(BARE[0], x), x), np.float64) is None  # NumPy alone
    assert parts(CASES[0][0], np.complex128) is None
    whole = made(lambda x, n: where(n < 3, call(BARE[0], x), x * x), x, n)
    assert pieces(whole, np.float64) is None  # integers beside what NumPy computes

    long = CASES[2][0]
    assert parts(long, np.float32) is not None
    monkeypatch.setattr("tensorgrad.codegen.pieces.LARGEST", MOST_WORK)
    assert parts(long, np.float32) is None


def test_outputs_after_the_inputs_and_where_it_is_worth_it(rng: np.random.Generator) -> None:
    (formula, dtype), (long, single) = CASES[0], CASES[2]
    run, straight = pieces(formula, dtype), pieces(long, single)
    assert run is not None
    assert straight is not None
    x, y = given(formula, [(3, 50)], dtype, rng)
    outs = (np.empty(x.shape), np.empty(x.shape, bool))
    found = run(x, y, *outs)
    assert found[0] is outs[0]
    np.testing.assert_array_equal(outs[0], run(x, y)[0])
    assert straight.least == 0 < run.least  # type: ignore[attr-defined]


def test_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TG_KERNELS", "0")
    assert pieces(*CASES[0]) is None
