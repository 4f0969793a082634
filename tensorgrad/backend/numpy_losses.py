"""Fused losses on NumPy arrays; a fused kernel returns (output, values kept for backward ...)."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from tensorgrad.backend.numpy_kernels import written
from tensorgrad.backend.numpy_staged import ReduceKernel
from tensorgrad.expr import (
    ELEMENT,
    ROW,
    SCALAR,
    Formula,
    at,
    call,
    equal,
    iota,
    isum,
    rmax,
    rsum,
    where,
)
from tensorgrad.expr import input as variable

Array = np.ndarray[Any, Any]


def _forward(x: Any, label: Any, ignore: Any) -> Any:
    """The sum over rows of log Σ exp(x) - x[label], how many rows count, and per row Σ and max."""
    m = rmax(x)
    s = x - m
    total = rsum(call("exp", s))
    skip = equal(label, ignore)
    loss = call("log", total) - at(s, where(skip, 0, label))
    return isum(where(skip, 0, loss)), isum(where(skip, 0.0, 1.0)), total, m


def _backward(x: Any, label: Any, ignore: Any, total: Any, m: Any, scale: Any) -> Any:
    """(softmax(x) - one_hot(label)) scale, zero in the rows that were left out."""
    share = call("exp", x - m) / total
    own = where(equal(iota(), label), share - 1, share)
    return where(equal(label, ignore), 0, own * scale)


@cache
def _kernels() -> tuple[ReduceKernel, ReduceKernel]:
    rows = [variable("x", "f", ELEMENT), variable("label", "i", ROW)]
    rows += [variable("ignore", "i", SCALAR)]
    kept = [variable("total", "f", ROW), variable("m", "f", ROW), variable("scale", "f", SCALAR)]
    return (
        ReduceKernel(Formula.trace("cross_entropy", _forward, rows)),
        ReduceKernel(Formula.trace("cross_entropy_vjp", _backward, [*rows, *kept])),
    )


def softmax_xent(
    x: Array, label: Array, ignore: Array, *, axis: int, out: Array | None = None
) -> Any:
    """Mean over rows of log Σ exp(x) - x[label], rows of label `ignore` left out; NaN for none."""
    wide = _wide(x)
    loss, count, total, m = _kernels()[0](wide, label, ignore, axis=(axis,), shape=x.shape)
    value = loss / count if count else np.asarray(np.nan, loss.dtype)
    if wide is not x:
        value = value.astype(x.dtype)
    return written(np.asarray(value), out), count, total, m


def softmax_xent_pull(ct: Array, saved: tuple[Any, ...], axis: int) -> Any:
    """Its cotangent of x; `saved` are the three inputs and what the kernel kept."""
    x, label, ignore, count, total, m = saved
    scale = np.asarray(_wide(ct) / count)
    return _kernels()[1](_wide(x), label, ignore, total, m, scale, axis=(axis,), shape=x.shape)


def need_probabilities(x: Array, wrong: Array, *, op: str, what: str, fix: str) -> None:
    """Raise for the first element that is wrong."""
    if wrong.any():
        place = tuple([int(k) for k in np.unravel_index(wrong.argmax(), x.shape)])
        raise ValueError(
            f"{op}: got {what} {x[place]} at {place}, expected probabilities, 0 to 1; try {fix}"
        )


def _wide(x: Array) -> Array:
    """The 16-bit floats in float32, in which they are computed."""
    return x.astype(np.float32) if x.itemsize == 2 else x
