"""Softmax and log-softmax, as staged formulas over rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes, shapes
from tensorgrad.core.formula import Reduce
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import known, operation
from tensorgrad.core.tensor import Tensor
from tensorgrad.expr import ELEMENT, Formula, call, rmax, rsum, stop
from tensorgrad.expr import input as variable


def staged(
    name: str, formula: Callable[..., Any], inputs: dict[str, tuple[str, int]], nout: int = 1
) -> Reduce:
    """A reduce primitive with any number of outputs; `inputs` give each one's kind and indices."""
    variables = [variable(n, kind, index) for n, (kind, index) in inputs.items()]
    return Reduce(name, lambda: Formula.trace(name, formula, variables), len(variables), nout=nout)


def shifted(x: Any) -> Any:
    """x less the largest of its row, so that exp cannot overflow."""
    return x - stop(rmax(x))


def _softmax(x: Any) -> Any:
    e = call("exp", shifted(x))
    return e / rsum(e)


def _log_softmax(x: Any) -> Any:
    s = shifted(x)
    return s - call("log", rsum(call("exp", s)))


softmax_p = known(staged("softmax", _softmax, {"x": ("f", ELEMENT)}))
log_softmax_p = known(staged("log_softmax", _log_softmax, {"x": ("f", ELEMENT)}))


def _along(primitive: Reduce, x: Any, axis: shapes.Axis) -> Tensor:
    x = operand(x, (), primitive.name)
    columns = shapes.axes(axis, x.ndim, primitive.name)
    if not x.size:
        return x.astype(dtypes.inexact(x.dtype))  # type: ignore[no-any-return]
    return primitive.bind(x, axis=columns, shape=x.shape)  # type: ignore[no-any-return]


def _samples(r: Any) -> Any:
    for x, axis in (
        (r.normal(5), -1), (r.normal(3, 4), -1), (r.normal(3, 4), 0), (r.normal(2, 3, 4), 1),
        (r.normal(2, 3, 4), (0, -1)), (r.normal(2, 3), None), (r.normal(), None),
        (r.normal(0, 3), -1), (r.normal(3, 0), -1), (r.normal(4, 3).T, -1),
        (r.normal(6, 4)[::2, ::-1], 0), (np.broadcast_to(r.normal(3, 1), (3, 4)), -1),
        (r.normal(3, 1), -1), (300 * r.normal(2, 1) + r.normal(2, 3), -1),
    ):  # fmt: skip
        yield (x,), {"axis": axis}
    yield (r.normal(2, 3),), {}


def _reference(x: Any, axis: Any = -1) -> Any:
    e = np.exp(x - np.max(x, axis=axis, keepdims=True, initial=-np.inf))
    return e / e.sum(axis=axis, keepdims=True)


@operation(oracle=_reference, samples=_samples, methods="softmax")
def softmax(x: Any, axis: shapes.Axis = -1) -> Tensor:
    """exp(x) / Σ exp(x) over one axis or several (None: all): positive, and sums to 1."""
    return _along(softmax_p, x, axis)


@operation(
    oracle=lambda x, axis=-1: np.log(_reference(x, axis)),
    samples=_samples,
    methods="log_softmax",
)
def log_softmax(x: Any, axis: shapes.Axis = -1) -> Tensor:
    """x - log Σ exp(x) over one axis or several (None: all): the logarithm of softmax, exactly."""
    return _along(log_softmax_p, x, axis)
