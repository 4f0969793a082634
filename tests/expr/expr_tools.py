"""Running formulas and their derivatives on arrays, and comparing them with differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgrad.expr import COLUMN, ROW, Derivative, Expr, Formula
from tensorgrad.expr.evaluate import plan


def run(formula: Formula, arrays: Sequence[Any], shape: Any = None, dtype: Any = float) -> Any:
    """The outputs of a formula, without floating-point warnings."""
    with np.errstate(all="ignore"):
        return plan(formula, dtype)(arrays, shape)


def value(fn: Callable[..., Any], *args: float, dtype: Any = float) -> Any:
    """The value at one point of a function from expressions to one expression."""
    from tensorgrad.expr import input

    inputs = [input(f"x{k}") for k in range(len(args))]
    formula = Formula.trace("f", fn, inputs)
    return run(formula, [np.asarray(a, dtype) for a in args], dtype=dtype)[0][()]


def results(
    d: Derivative, ins: Sequence[Any], outs: Sequence[Any], cts: dict[int, Any], shape: Any = None
) -> list[Any]:
    """The results of a derivative: arrays, or None for zero."""
    known: dict[str, Any] = {"in": ins, "out": outs, "ct": cts}
    kernel: Any = ()
    if d.formula is not None:
        kernel = run(d.formula, [known[s][k] for s, k in d.sources], shape)
    return [
        None if r is None else kernel[r[1]] if r[0] == "kernel" else cts[r[1]] for r in d.results
    ]


def view(index: int, shape: Any) -> tuple[int, int]:
    """The 2-D shape of an array with that index set."""
    return (shape[0] if index & ROW else 1, shape[1] if index & COLUMN else 1)


def sample(e: Expr, shape: Any, rng: np.random.Generator) -> Any:
    """A random array for an input or output of a reduce formula; labels for integers."""
    if e.kind == "i":
        return rng.integers(0, shape[1], view(e.index, shape))
    return rng.standard_normal(view(e.index, shape))


def real(nodes: Sequence[Expr]) -> tuple[int, ...]:
    return tuple(k for k, e in enumerate(nodes) if e.kind == "f")


def slope(f: Callable[[float], float], h: float = 1e-3) -> float:
    """f'(0) by the five-point stencil; the error is of order h⁴."""
    return (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h)


def check_vjp(formula: Formula, ins: Sequence[Any], rng: np.random.Generator, shape: Any) -> Any:
    """The VJP at `ins` against a difference in a random direction, and against the JVP."""
    outs = run(formula, ins, shape)
    wanted, given = real(formula.inputs), real(formula.outputs)
    cts = {k: rng.standard_normal(outs[k].shape) for k in given}
    grads = results(formula.vjp(wanted, given), ins, outs, cts, shape)
    ways = {k: rng.standard_normal(ins[k].shape) for k in wanted}
    got = sum(float((g * ways[k]).sum()) for k, g in zip(wanted, grads) if g is not None)
    for k, g in zip(wanted, grads):
        assert g is None or g.shape == ins[k].shape

    def moved(t: float) -> float:
        at = [a + t * ways[k] if k in ways else a for k, a in enumerate(ins)]
        return sum(float((o * cts[k]).sum()) for k, o in enumerate(run(formula, at, shape)))

    want = slope(moved)
    size = 1 + sum(float(np.abs(g * ways[k]).sum()) for k, g in zip(wanted, grads) if g is not None)
    assert abs(got - want) < 1e-8 * size, (formula.name, got, want)

    tangents = results(formula.jvp(wanted), ins, outs, ways, shape)
    forward = sum(float((t * cts[k]).sum()) for k, t in enumerate(tangents) if t is not None)
    assert abs(got - forward) < 1e-11 * size, (formula.name, got, forward)
    return formula.vjp(wanted, given)
