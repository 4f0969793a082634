"""Differences, places and whole numbers of NumPy arrays, named as the primitives are."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from tensorgrad.backend.numpy_formula import ElementwiseKernel
from tensorgrad.backend.numpy_kernels import written
from tensorgrad.expr import Formula
from tensorgrad.expr import input as variable

Array = np.ndarray[Any, Any]


def on(axis: int, start: int | None, stop: int | None) -> tuple[slice, ...]:
    """The key of a stretch of one axis."""
    return (*(slice(None),) * axis, slice(start, stop))


# -- numbers -----------------------------------------------------------------------------------


def exponent(x: Array, out: Array | None = None) -> Any:
    return written(np.frexp(x)[1], out)


def spacing(x: Array, out: Array | None = None) -> Any:
    return np.spacing(x, out=out)


def ldexp(x: Array, e: Array, out: Array | None = None) -> Any:
    found = np.ldexp(x, e)
    return written(found.astype(x.dtype, copy=False), out)


def gcd(x: Array, y: Array, out: Array | None = None) -> Any:
    return np.gcd(x, y, out=out)


def lcm(x: Array, y: Array, out: Array | None = None) -> Any:
    return np.lcm(x, y, out=out)


def bitwise_count(x: Array, out: Array | None = None) -> Any:
    return np.bitwise_count(x, out=out)


# -- neighbours --------------------------------------------------------------------------------


def neighbours(x: Array, *, axis: int, sign: int, out: Array | None = None) -> Any:
    later, earlier = x[on(axis, 1, None)], x[on(axis, None, -1)]
    return np.add(later, earlier, out) if sign > 0 else np.subtract(later, earlier, out)


def spread(x: Array, *, axis: int, sign: int, out: Array | None = None) -> Any:
    size = x.shape[axis]
    if out is None:
        out = np.empty((*x.shape[:axis], size + 1, *x.shape[axis + 1 :]), x.dtype)
    inner, first = out[on(axis, 1, size)], out[on(axis, 0, 1)]
    if not size:
        out.fill(0)
        return out
    later, earlier = x[on(axis, 1, None)], x[on(axis, None, -1)]
    if sign > 0:
        np.add(earlier, later, inner)
        np.copyto(first, x[on(axis, 0, 1)])
    else:
        np.subtract(earlier, later, inner)
        np.negative(x[on(axis, 0, 1)], first)
    np.copyto(out[on(axis, size, None)], x[on(axis, -1, None)])
    return out


ENDS = {1: (-1.0, 1.0), 2: (-1.5, 2.0, -0.5)}
"""The slope at the first of two points, or of three, by their values."""


def slopes(x: Array, *, axis: int, edge: int, out: Array | None = None) -> Any:
    if out is None:
        out = np.empty(x.shape, x.dtype)
    size, inner = x.shape[axis], out[on(axis, 1, -1)]
    np.subtract(x[on(axis, 2, None)], x[on(axis, None, -2)], inner)
    inner *= x.dtype.type(0.5)
    for at, step in ((0, 1), (size - 1, -1)):
        near = [x[on(axis, at + step * k, at + step * k + 1)] for k in range(edge + 1)]
        total = sum(x.dtype.type(step * weight) * part for weight, part in zip(ENDS[edge], near))
        np.copyto(out[on(axis, at, at + 1)], total)
    return out


def unslopes(x: Array, *, axis: int, edge: int, out: Array | None = None) -> Any:
    if out is None:
        out = np.empty(x.shape, x.dtype)
    size, inner = x.shape[axis], x[on(axis, 1, -1)]
    out[on(axis, None, 2)] = 0
    np.copyto(out[on(axis, 2, None)], inner)
    out[on(axis, None, -2)] -= inner
    out *= x.dtype.type(0.5)
    for k, weight in enumerate(ENDS[edge]):
        near, far = on(axis, k, k + 1), on(axis, size - 1 - k, size - k)
        out[near] += x.dtype.type(weight) * x[on(axis, 0, 1)]
        out[far] -= x.dtype.type(weight) * x[on(axis, size - 1, size)]
    return out


def cross(a: Array, b: Array, out: Array | None = None) -> Any:
    """One pass over the components, where a loop for the dtype is generated."""
    dtype = np.result_type(a.dtype, b.dtype)
    if dtype.kind != "f" or dtype.itemsize < 4:
        return written(np.cross(a, b), out)
    if out is None:
        out = np.empty(np.broadcast_shapes(a.shape, b.shape), dtype)
    parts = [x[..., k] for x in (a, b) for k in range(3)]
    _crossed()(*parts, out=tuple([out[..., k] for k in range(3)]))
    return out


@cache
def _crossed() -> ElementwiseKernel:
    names = [variable(name) for name in "abcdef"]
    formula = Formula.trace(
        "cross", lambda a, b, c, d, e, f: (b * f - c * e, c * d - a * f, a * e - b * d), names
    )
    return ElementwiseKernel(formula, 0)
