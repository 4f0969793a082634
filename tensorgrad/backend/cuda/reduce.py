"""Reductions of CuPy arrays over axes, named as the primitives are.

Floating sums, maxima and minima are staged formulas; whole and complex numbers go through CuPy's
functions. Every function takes `out=`: None, or an array of the result's shape and dtype.
"""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad.backend import formulas
from tensorgrad.backend.cuda import launch
from tensorgrad.backend.cuda.kernels import cast, total, written
from tensorgrad.backend.cuda.staged import ReduceKernel

Array = Any
Axes = shapes.Shape

SUM, MAX, MIN = (ReduceKernel(formula) for formula in (formulas.SUM, formulas.MAX, formulas.MIN))


def staged(x: Array, axis: Axes) -> bool:
    """Whether a reduction runs as a staged formula: its order is then fixed by the shape."""
    return bool(dtypes.is_float(x.dtype) and x.size > 0 and len(axis) > 0)


def _reduced(kernel: Any, x: Array, axis: Axes, keepdims: bool, out: Array | None) -> Any:
    found = kernel(x, axis=axis, shape=x.shape)
    return written(found.reshape(shapes.reduced(x.shape, axis, keepdims)), out)


def sum(x: Array, *, axis: Axes, keepdims: bool, out: Array | None = None) -> Any:
    if staged(x, axis):
        return _reduced(SUM, x, axis, keepdims, out)
    return total(cupy.sum, x, axis, None, keepdims, out)


def prod(x: Array, *, axis: Axes, keepdims: bool, out: Array | None = None) -> Any:
    return total(cupy.prod, x, axis, None, keepdims, out)


def max(x: Array, *, axis: Axes, keepdims: bool, out: Array | None = None) -> Any:
    if staged(x, axis):
        return _reduced(MAX, x, axis, keepdims, out)
    return written(_extreme(cupy.max, x, axis, keepdims), out)


def min(x: Array, *, axis: Axes, keepdims: bool, out: Array | None = None) -> Any:
    if staged(x, axis):
        return _reduced(MIN, x, axis, keepdims, out)
    return written(_extreme(cupy.min, x, axis, keepdims), out)


def _extreme(function: Any, x: Array, axis: Axes, keepdims: bool) -> Array:
    if not dtypes.is_half(x.dtype):
        return function(x, axis=axis, keepdims=keepdims)
    return cast(function(cast(x, np.float32), axis=axis, keepdims=keepdims), x.dtype)


def any(x: Array, *, axis: Axes, keepdims: bool, out: Array | None = None) -> Any:
    return written(cupy.any(_plain(x), axis=axis, keepdims=keepdims), out)


def all(x: Array, *, axis: Axes, keepdims: bool, out: Array | None = None) -> Any:
    return written(cupy.all(_plain(x), axis=axis, keepdims=keepdims), out)


def count_nonzero(x: Array, *, axis: Axes, keepdims: bool, out: Array | None = None) -> Any:
    there = _plain(x) != 0
    return written(cupy.sum(there, axis=axis, dtype=np.int64, keepdims=keepdims), out)


def _plain(x: Array) -> Array:
    """The 16-bit floats in float32, for what CuPy compares and counts."""
    return cast(x, np.float32) if dtypes.is_half(x.dtype) else x


def nonzero(x: Array) -> Any:
    """The indices of what is not zero, an array per axis; this waits for the device."""
    return _plain(x).nonzero()


def argmax(x: Array, *, axis: int | None, keepdims: bool, out: Array | None = None) -> Any:
    return written(cupy.argmax(_plain(x), axis=axis, keepdims=keepdims), out)


def argmin(x: Array, *, axis: int | None, keepdims: bool, out: Array | None = None) -> Any:
    return written(cupy.argmin(_plain(x), axis=axis, keepdims=keepdims), out)


# -- running sums ------------------------------------------------------------------------------

BLOCK = 256

FEW, COLUMNS = 64, 4096
"""Elements of an axis from which fewer columns than these are turned into rows."""


def cumsum(x: Array, *, axis: int, out: Array | None = None) -> Any:
    if x.dtype.kind == "c":
        return written(cupy.cumsum(x, axis), out)
    if x.dtype.kind in "biu":
        x = x.astype(np.uint64 if x.dtype.kind == "u" else np.int64)
    back = _flipped(x, axis)
    reverse = not x.flags.c_contiguous and back.flags.c_contiguous  # as in its derivative
    found = _running("cumsum", back if reverse else x, axis, reverse)
    return written(_flipped(found, axis) if reverse else found, out)


def _flipped(x: Array, axis: int) -> Array:
    return x[tuple([slice(None, None, -1 if k == axis else 1) for k in range(x.ndim)])]


def _running(name: str, x: Array, axis: int, reverse: bool) -> Array:
    """A running operation along an axis, in reverse from its end: see `kernels/cumulative.cu`."""
    outer, n = shapes.size(x.shape[:axis]), x.shape[axis]
    inner = shapes.size(x.shape[axis + 1 :])
    if inner > 1 and n >= FEW and outer * inner < COLUMNS:
        # Too few columns for a thread each: they become rows, which have a block each.
        last = x.ndim - 1
        order = [*[k for k in range(x.ndim) if k != axis], axis]
        found = _running(name, x.transpose(order), last, reverse)
        return found.transpose([*range(axis), last, *range(axis, last)])
    found = cupy.empty(x.shape, x.dtype)
    if not x.size:
        return found
    suffix = launch.SUFFIX.get(x.dtype.name, "i64")
    x = launch.contiguous(x)
    places, way = (launch.address(x), launch.address(found)), np.int32(reverse)
    if inner == 1:
        run = launch.kernel("cumulative", f"{name}_rows_{suffix}")
        run((outer,), (BLOCK,), *places, np.int64(n), np.int64(n), np.int64(n), way)
    else:
        run = launch.kernel("cumulative", f"{name}_columns_{suffix}")
        sizes = (np.int64(outer), np.int64(n), np.int64(inner))
        run((launch.blocks(outer * inner, BLOCK),), (BLOCK,), *places, *sizes, way)
    return found


# -- ties --------------------------------------------------------------------------------------


_SHARES = ReduceKernel(formulas.TIE_SHARES)
_SHARED = ReduceKernel(formulas.EXTREME_VJP)


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


def sum_to(x: Array, *, shape: shapes.Shape, out: Array | None = None) -> Any:
    """Sums where `shape` has length 1 and x has not; repeats where it is the other way round."""
    if x.ndim < len(shape):
        x = x.reshape((1,) * (len(shape) - x.ndim) + x.shape)
    lead = x.ndim - len(shape)
    axes = shapes.broadcast_axes(shape, x.shape)
    if axes:
        kept, x = x.dtype, sum(x, axis=axes, keepdims=True)
        x = x if x.dtype == kept else x.astype(kept)
    x = x.reshape(x.shape[lead:])
    return written(x if x.shape == shape else cupy.broadcast_to(x, shape), out)
