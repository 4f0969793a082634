"""Softmax and log-softmax, as staged formulas over rows."""

from __future__ import annotations

from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes, shapes
from tensorgrad.core.formula import Reduce
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import known, operation
from tensorgrad.core.tensor import Tensor
from tensorgrad.expr import ELEMENT, call, rmax, rsum, stop


def shifted(x: Any) -> Any:
    """x less the largest of its row, so that exp cannot overflow."""
    return x - stop(rmax(x))


def _softmax(x: Any) -> Any:
    e = call("exp", shifted(x))
    total = rsum(e)
    return e / total, total


def _log_softmax(x: Any) -> Any:
    # The row's sum and maximum are outputs so that backward reads them instead of reducing again.
    m = stop(rmax(x))
    s = x - m
    total = rsum(call("exp", s))
    return s - call("log", total), total, m


_X = {"x": ("f", ELEMENT)}
softmax_p = known(
    Reduce.trace(
        "softmax", _softmax, _X, 2, lambda x: {call("exp", shifted(x)): lambda y, total: y * total}
    )
)
log_softmax_p = known(Reduce.trace("log_softmax", _log_softmax, _X, 3))


def _along(primitive: Reduce, x: Any, axis: shapes.Axis) -> Tensor:
    x = operand(x, (), primitive.name)
    columns = shapes.axes(axis, x.ndim, primitive.name)
    if not x.size:
        return x.astype(dtypes.inexact(x.dtype))  # type: ignore[no-any-return]
    return primitive.bind(x, axis=columns, shape=x.shape)[0]  # type: ignore[no-any-return]


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
    """exp(x) / Σ exp(x) over one axis or several (None: all): positive, and sums to 1.

    The largest element is subtracted first, so nothing overflows. Shape of x.

    >>> softmax([0.0, 0.0])
    tensor([0.5, 0.5])
    """
    return _along(softmax_p, x, axis)


@operation(
    oracle=lambda x, axis=-1: np.log(_reference(x, axis)),
    samples=_samples,
    methods="log_softmax",
)
def log_softmax(x: Any, axis: shapes.Axis = -1) -> Tensor:
    """x - log Σ exp(x) over one axis or several (None: all): the logarithm of softmax.

    Accurate where softmax itself rounds to 0 or 1. Shape of x.

    >>> log_softmax([0.0, 1000.0])
    tensor([-1000.,     0.])
    """
    return _along(log_softmax_p, x, axis)
