"""Reduce formulas to test, their derivatives, and arrays for them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.backend.numpy_staged import Layout
from tensorgrad.core.formula import Reduce
from tensorgrad.core.primitive import PRIMITIVES
from tensorgrad.expr import COLUMN, ELEMENT, ROW, Expr, Formula
from tensorgrad.ops.norm import _layer_norm, _rms_norm


def formulas() -> dict[str, Formula]:
    """Every reduce formula of the operations, by name."""
    found = {name: p.formula for name, p in PRIMITIVES.items() if isinstance(p, Reduce)}
    found["layer_norm"] = _layer_norm(1e-5, ("weight", "bias")).formula
    found["layer_norm_plain"] = _layer_norm(1e-5, ()).formula
    found["rms_norm"] = _rms_norm(1e-5, ("weight",)).formula
    return found


def real(nodes: tuple[Expr, ...]) -> tuple[int, ...]:
    return tuple(k for k, e in enumerate(nodes) if e.kind == "f")


def family(formula: Formula) -> list[Formula]:
    """A formula, its VJP for the first output, its JVP, and the VJP of that VJP."""
    first = formula.vjp(real(formula.inputs), (0,)).formula
    found = [formula, first, formula.jvp(real(formula.inputs)).formula]
    if first is not None:
        found.append(first.vjp(real(first.inputs), real(first.outputs)).formula)
    return [f for f in found if f is not None]


def sample(e: Expr, shape: Any, axis: tuple[int, ...], dtype: Any, rng: Any) -> Any:
    """An array for an input; values that a formula saved are positive."""
    kept = tuple(n for k, n in enumerate(shape) if k not in axis)
    columns = tuple(shape[k] for k in axis)
    size = {ELEMENT: shape, ROW: kept, COLUMN: columns}.get(e.index, ())
    if e.kind == "i":
        return np.array(2) if not e.index else rng.integers(0, np.prod(columns), size)
    if str(e.value).startswith("y") or e.value in ("p", "count"):
        return np.asarray(rng.uniform(0.5, 1.5, size)).astype(dtype)
    return np.asarray(0.5 * rng.standard_normal(size) + 0.7).astype(dtype)


def layout(formula: Formula, shape: Any, axis: tuple[int, ...], arrays: Any) -> Layout:
    return Layout(formula, axis, tuple(shape), tuple(a.dtype for a in arrays))
