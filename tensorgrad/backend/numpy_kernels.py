"""Base primitives that arrange and cast NumPy arrays, one plain function each, named alike.

Every function takes `out=`: None, or an array of the result's shape and dtype to write into.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad.backend import base, memory
from tensorgrad.backend.borders import Widths, borders, inside, on_diagonal, slid
from tensorgrad.backend.several import several

Array = np.ndarray[Any, Any]


def written(value: Any, out: Array | None) -> Any:
    """A result, copied into `out` where that was given."""
    if out is None:
        return value
    np.copyto(out, value, casting="same_kind")
    return out


# -- views -------------------------------------------------------------------------------------


def reshape(x: Array, *, shape: shapes.Shape, out: Array | None = None) -> Any:
    return written(x.reshape(shape), out)


def transpose(x: Array, *, axes: shapes.Shape, out: Array | None = None) -> Any:
    return written(x.transpose(axes), out)


def broadcast_to(x: Array, *, shape: shapes.Shape, out: Array | None = None) -> Any:
    return written(x if x.shape == shape else np.broadcast_to(x, shape), out)


def flip(x: Array, *, axis: shapes.Shape, out: Array | None = None) -> Any:
    backwards = slice(None, None, -1)
    key = tuple([backwards if k in axis else slice(None) for k in range(x.ndim)])
    return written(x[key], out)


# -- copies ------------------------------------------------------------------------------------


def astype(x: Array, *, dtype: Any, out: Array | None = None) -> Any:
    if out is None:
        return x.astype(dtype)
    np.copyto(out, x, casting="unsafe")  # what a cast is, as in x.astype
    return out


def transfer(x: Array, *, source: str, target: str) -> Any:
    """A copy on another device."""
    return base.on(target).asarray(x)


def nonzero(x: Array) -> Any:
    """The indices of what is not zero, an array per axis."""
    return x.nonzero()


def scale(x: Array, factor: float) -> None:
    """x ← factor x."""
    x *= np.asarray(factor, x.dtype)


def copy(x: Array, *, out: Array | None = None) -> Any:
    return x.copy() if out is None else written(x, out)


def total(
    ufunc: Any, x: Array, axis: shapes.Shape, dtype: Any, keepdims: bool, out: Array | None
) -> Any:
    """A ufunc reduced over axes; the 16-bit floats are added and multiplied in float32."""
    if x.dtype.itemsize != 2 or not dtypes.is_half(x.dtype):  # a dtype's name costs a microsecond
        return ufunc.reduce(x, axis, dtype, out, keepdims)
    return written(ufunc.reduce(x, axis, np.float32, None, keepdims).astype(x.dtype), out)


NARROW = 8
"""Elements of a row up to which NumPy's sum of each costs more than a sum of their columns."""


def _narrow(x: Array) -> Array:
    """The sums of short rows, column after column, kept as an axis of length 1."""
    total: Any = x[..., 0].astype(np.float32 if dtypes.is_half(x.dtype) else x.dtype)
    for k in range(1, x.shape[-1]):
        total += x[..., k]
    return total.astype(x.dtype, copy=False)[..., None]  # type: ignore[no-any-return]


def sum_to(x: Array, *, shape: shapes.Shape, out: Array | None = None) -> Any:
    """Sums where `shape` has length 1 and x has not; repeats where it is the other way round."""
    if x.ndim < len(shape):
        x = x.reshape((1,) * (len(shape) - x.ndim) + x.shape)
    lead = x.ndim - len(shape)
    axes = shapes.broadcast_axes(shape, x.shape)
    if axes == (x.ndim - 1,) and 1 < x.shape[-1] <= NARROW and x.size >= memory.ELEMENTS:
        x = _narrow(x)
    elif axes:
        x = np.asarray(total(np.add, x, axes, x.dtype, True, None))
    x = x.reshape(x.shape[lead:])
    return written(x if x.shape == shape else np.broadcast_to(x, shape), out)


def roll(x: Array, *, shift: shapes.Shape, axis: shapes.Shape, out: Array | None = None) -> Any:
    return written(np.roll(x, shift, axis), out)


def pad(
    x: Array,
    *,
    widths: tuple[tuple[int, int], ...],
    values: tuple[tuple[Any, Any], ...],
    out: Array | None = None,
) -> Any:
    numbers = {value for pair in values for value in pair}
    if len(numbers) > 1:
        return written(np.pad(x, widths, constant_values=values), out)
    shape = tuple([low + size + high for size, (low, high) in zip(x.shape, widths)])
    found = np.empty(shape, x.dtype) if out is None else out
    found.fill(numbers.pop() if numbers else 0)
    found[tuple([slice(low, low + size) for size, (low, _) in zip(x.shape, widths)])] = x
    return found


def concat(
    *arrays: Array, axis: int, ends: shapes.Shape | None = None, out: Array | None = None
) -> Any:
    return np.concatenate(arrays, axis, out)


def stack(*arrays: Array, axis: int, out: Array | None = None) -> Any:
    return np.stack(arrays, axis, out)


def tril(x: Array, *, k: int, out: Array | None = None) -> Any:
    return written(np.tril(x, k), out)


def triu(x: Array, *, k: int, out: Array | None = None) -> Any:
    return written(np.triu(x, k), out)


# -- several views, and views of diagonals and windows -------------------------------------------


_all_written = several(written)


def split(x: Array, *, axis: int, ends: shapes.Shape, nout: int, out: Any = None) -> Any:
    lead, start = (slice(None),) * axis, 0
    parts: list[Array] = []
    for end in ends:
        parts.append(x[(*lead, slice(start, end))])
        start = end
    return _all_written(tuple(parts), out)


def unstack(x: Array, *, axis: int, nout: int, out: Any = None) -> Any:
    return _all_written(tuple(np.moveaxis(x, axis, 0)), out)


def diagonal(x: Array, *, offset: int, out: Array | None = None) -> Any:
    return written(x.diagonal(offset, -2, -1), out)


def undiagonal(ct: Array, *, offset: int, shape: shapes.Shape, out: Array | None = None) -> Any:
    """Zeros of `shape` with ct on a diagonal of the last two axes."""
    if out is not None:
        return written(undiagonal(ct, offset=offset, shape=shape), out)
    *lead, rows, columns = shape
    found = np.zeros((*lead, rows * columns), ct.dtype)
    found[..., on_diagonal(rows, columns, offset)] = ct
    return found.reshape(shape)


def windows(x: Array, *, axis: int, size: int, out: Array | None = None) -> Any:
    return written(np.lib.stride_tricks.sliding_window_view(x, size, axis), out)


BLOCK = 2**16
"""Elements of windows that are added in one go."""


def unwindows(ct: Array, *, axis: int, out: Array | None = None) -> Any:
    """Σ of the windows' cotangents where they lie, along whichever of the two axes is shorter."""
    count, size = ct.shape[axis], ct.shape[-1]
    shape = (*ct.shape[:axis], count + size - 1, *ct.shape[axis + 1 : -1])
    wide = np.float32 if dtypes.is_half(ct.dtype) else ct.dtype
    found: Array = np.zeros(shape, wide)
    lead = (slice(None),) * axis
    if size > count:
        ct = ct.swapaxes(axis, -1)
        size, count = count, size
    length = max(1, BLOCK // max(1, size * shapes.size(shape) // max(1, shape[axis])))
    for start in range(0, count, length):  # a block stays in the cache while its columns are added
        stop = min(start + length, count)
        part = ct[(*lead, slice(start, stop))]
        for k in range(size):
            found[(*lead, slice(start + k, stop + k))] += part[..., k]
    return written(found if wide == ct.dtype else found.astype(ct.dtype), out)


def extend(x: Array, *, widths: Widths, mode: str, out: Array | None = None) -> Any:
    """x with borders of its own elements; axis after axis, each with the borders before it."""
    shape = tuple([low + size + high for size, (low, high) in zip(x.shape, widths)])
    found = np.empty(shape, x.dtype) if out is None else out
    found[inside(x.shape, widths, 0)] = x
    for k, (size, pair) in enumerate(zip(x.shape, widths)):
        part = found[inside(x.shape, widths, k + 1)]
        lead = (slice(None),) * k
        for target, source in borders(size, *pair, mode):
            part[(*lead, target)] = part[(*lead, source)]
    return found


def fold(ct: Array, *, widths: Widths, mode: str, out: Array | None = None) -> Any:
    """What `extend` took from an array is added to where it came from."""
    wide = ct.astype(np.float32) if dtypes.is_half(ct.dtype) else ct
    shape = tuple([size - low - high for size, (low, high) in zip(ct.shape, widths)])
    own = wide is not ct
    for k in reversed(range(len(shape))):
        low, high = widths[k]
        if not low and not high:
            continue
        lead, before = (slice(None),) * k, wide
        wide = wide[(*lead, slice(low, low + shape[k]))]
        wide, own = wide if own else wide.copy(), True
        for target, source in borders(shape[k], low, high, mode):
            found, source = before[(*lead, target)], slid(source, low)
            one = source.stop is not None and source.stop - source.start == 1
            wide[(*lead, source)] += found.sum(k, keepdims=True) if one else found
    return written(wide.astype(ct.dtype) if wide.dtype != ct.dtype else wide, out)
