"""Reductions of NumPy arrays over axes, named as the primitives are.

Every function takes `out=`: None, or an array of the result's shape and dtype to write into.
The 16-bit floats are summed and multiplied in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad import shapes
from tensorgrad.backend import formulas
from tensorgrad.backend.numpy_kernels import total, written
from tensorgrad.backend.numpy_staged import ReduceKernel

Array = np.ndarray[Any, Any]
Axes = shapes.Shape
WIDE = frozenset((np.dtype(np.float32), np.dtype(np.float64)))

_maximum: Any = np.maximum
_minimum: Any = np.minimum
_fmax: Any = np.fmax
_fmin: Any = np.fmin
_or: Any = np.logical_or
_and: Any = np.logical_and


SUM, MAX, MIN, NANMAX, NANMIN = (
    ReduceKernel(formula, order=1)  # warnings are the caller's
    for formula in (
        formulas.SUM,
        formulas.MAX,
        formulas.MIN,
        formulas.NANMAX,
        formulas.NANMIN,
    )
)


def staged(x: Array, axis: Axes) -> bool:
    """Whether a reduction runs as a staged formula: its order is then part of its definition."""
    return x.dtype in WIDE and x.size > 0 and len(axis) > 0 and x.flags.c_contiguous


def _reduced(kernel: Any, x: Array, axis: Any, keepdims: bool, out: Array | None) -> Any:
    axis = axis if isinstance(axis, tuple) else (axis,)
    found = kernel(x, axis=axis, shape=x.shape)
    if keepdims:
        found = found.reshape(shapes.reduced(x.shape, axis, True))
    return written(found, out)


def sum(x: Array, *, axis: Axes, keepdims: bool, out: Array | None = None) -> Any:
    if staged(x, axis):
        return _reduced(SUM, x, axis, keepdims, out)
    return total(np.add, x, axis, None, keepdims, out)


def prod(x: Array, *, axis: Axes, keepdims: bool, out: Array | None = None) -> Any:
    return total(np.multiply, x, axis, None, keepdims, out)


def max(x: Array, *, axis: Axes, keepdims: bool, out: Array | None = None) -> Any:
    if staged(x, axis):
        return _reduced(MAX, x, axis, keepdims, out)
    return _maximum.reduce(x, axis, None, out, keepdims)


def min(x: Array, *, axis: Axes, keepdims: bool, out: Array | None = None) -> Any:
    if staged(x, axis):
        return _reduced(MIN, x, axis, keepdims, out)
    return _minimum.reduce(x, axis, None, out, keepdims)


def nanmax(x: Array, *, axis: Axes, keepdims: bool, out: Array | None = None) -> Any:
    if staged(x, axis):
        return _reduced(NANMAX, x, axis, keepdims, out)
    return _fmax.reduce(x, axis, None, out, keepdims)


def nanmin(x: Array, *, axis: Axes, keepdims: bool, out: Array | None = None) -> Any:
    if staged(x, axis):
        return _reduced(NANMIN, x, axis, keepdims, out)
    return _fmin.reduce(x, axis, None, out, keepdims)


def any(x: Array, *, axis: Axes, keepdims: bool, out: Array | None = None) -> Any:
    return _or.reduce(x, axis, np.bool_, out, keepdims)


def all(x: Array, *, axis: Axes, keepdims: bool, out: Array | None = None) -> Any:
    return _and.reduce(x, axis, np.bool_, out, keepdims)


def count_nonzero(x: Array, *, axis: Axes, keepdims: bool, out: Array | None = None) -> Any:
    return written(np.count_nonzero(x, axis, keepdims=keepdims), out)


def argmax(x: Array, *, axis: int | None, keepdims: bool, out: Array | None = None) -> Any:
    if _strided(x, axis):
        return written(_reduced(_LARGEST, x, axis, keepdims, None).astype(np.int64), out)
    return np.argmax(x, axis, out, keepdims=keepdims)


def argmin(x: Array, *, axis: int | None, keepdims: bool, out: Array | None = None) -> Any:
    if _strided(x, axis):
        return written(_reduced(_SMALLEST, x, axis, keepdims, None).astype(np.int64), out)
    return np.argmin(x, axis, out, keepdims=keepdims)


def _known(x: Array) -> Array:
    """bfloat16, whose NaNs NumPy does not look for, as float32."""
    return x.astype(np.float32) if x.dtype.kind == "V" else x


def nanargmax(x: Array, *, axis: int | None, keepdims: bool, out: Array | None = None) -> Any:
    return np.nanargmax(_known(x), axis, out, keepdims=keepdims)


def nanargmin(x: Array, *, axis: int | None, keepdims: bool, out: Array | None = None) -> Any:
    return np.nanargmin(_known(x), axis, out, keepdims=keepdims)


def _strided(x: Array, axis: int | None) -> bool:
    """Whether NumPy would turn the array first, which takes it ten times as long as we do.

    A place is counted in the elements' own type: exact up to 2^24 in float32.
    """
    return (
        axis is not None
        and axis < x.ndim - 1
        and 8 <= x.shape[axis] <= 2**24
        and staged(x, (axis,))
    )


_LARGEST = ReduceKernel(formulas.ARGMAX, order=1)
_SMALLEST = ReduceKernel(formulas.ARGMIN, order=1)


_SHARES = ReduceKernel(formulas.TIE_SHARES, order=1)
_SHARED = ReduceKernel(formulas.EXTREME_VJP, order=1)


def tie_shares(x: Array, extreme: Array, *, axis: Axes, out: Array | None = None) -> Any:
    """Of every element its share in the largest (smallest) one: 1/count where it is that one.

    Where that one is NaN, the NaNs share it.
    """
    kept = shapes.reduced(x.shape, axis, False)
    return written(_SHARES(x, extreme.reshape(kept), axis=axis, shape=x.shape), out)


def shared(ct: Array, x: Array, extreme: Array, axis: Axes) -> Any:
    """A cotangent of the largest (smallest) element, shared by those that are it."""
    kept = shapes.reduced(x.shape, axis, False)
    return _SHARED(x, extreme.reshape(kept), ct.reshape(kept), axis=axis, shape=x.shape)
