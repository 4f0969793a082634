"""Pieces, diagonals, windows and borders of CuPy arrays: views, and the sums that undo them.

Every function takes `out=`: None, or an array of the result's shape and dtype to write into.
"""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad.backend.borders import Widths, borders, inside, on_diagonal, slid
from tensorgrad.backend.cuda.kernels import bits, cast, written
from tensorgrad.backend.several import several

Array = Any


_all_written = several(written)


def split(x: Array, *, axis: int, ends: shapes.Shape, nout: int, out: Any = None) -> Any:
    lead, start = (slice(None),) * axis, 0
    parts = []
    for end in ends:
        parts.append(x[(*lead, slice(start, end))])
        start = end
    return _all_written(tuple(parts), out)


def unstack(x: Array, *, axis: int, nout: int, out: Any = None) -> Any:
    lead = (slice(None),) * axis
    return _all_written(tuple([x[(*lead, k)] for k in range(nout)]), out)


def diagonal(x: Array, *, offset: int, out: Array | None = None) -> Any:
    return written(x.diagonal(offset, -2, -1), out)


def undiagonal(ct: Array, *, offset: int, shape: shapes.Shape, out: Array | None = None) -> Any:
    """Zeros of `shape` with ct on a diagonal of the last two axes."""
    *lead, rows, columns = shape
    found = cupy.zeros((*lead, rows * columns), ct.dtype)
    bits(found)[..., on_diagonal(rows, columns, offset)] = bits(ct)
    return written(found.reshape(shape), out)


def windows(x: Array, *, axis: int, size: int, out: Array | None = None) -> Any:
    """A view by strides: CuPy's own functions forget whose memory it is (its `base`)."""
    count = x.shape[axis] - size + 1
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :], size)
    found = x.view()
    found._set_shape_and_strides(shape, (*x.strides, x.strides[axis]), True, True)
    return written(found, out)


def unwindows(ct: Array, *, axis: int, out: Array | None = None) -> Any:
    """Σ of the windows' cotangents where they lie, along whichever of the two axes is shorter."""
    count, size = ct.shape[axis], ct.shape[-1]
    shape = (*ct.shape[:axis], count + size - 1, *ct.shape[axis + 1 : -1])
    wide = _wide(ct)
    found = cupy.zeros(shape, wide.dtype)
    lead = (slice(None),) * axis
    if size > count:
        wide = wide.swapaxes(axis, -1)
        size, count = count, size
    for k in range(size):
        found[(*lead, slice(k, k + count))] += wide[..., k]
    return written(cast(found, ct.dtype) if found.dtype != ct.dtype else found, out)


def _wide(x: Array) -> Array:
    """The 16-bit floats as float32, in which they are added."""
    return cast(x, np.float32) if dtypes.is_half(x.dtype) else x


def extend(x: Array, *, widths: Widths, mode: str, out: Array | None = None) -> Any:
    """x with borders of its own elements; axis after axis, each with the borders before it."""
    shape = tuple([low + size + high for size, (low, high) in zip(x.shape, widths)])
    found = cupy.empty(shape, x.dtype) if out is None else out
    target = bits(found)
    target[inside(x.shape, widths, 0)] = bits(x)
    for k, (size, pair) in enumerate(zip(x.shape, widths)):
        part = target[inside(x.shape, widths, k + 1)]
        lead = (slice(None),) * k
        for to, source in borders(size, *pair, mode):
            part[(*lead, to)] = part[(*lead, source)]
    return found


def fold(ct: Array, *, widths: Widths, mode: str, out: Array | None = None) -> Any:
    """What `extend` took from an array is added to where it came from."""
    wide = _wide(ct)
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
            wide[(*lead, source)] += found.sum(axis=k, keepdims=True) if one else found
    return written(cast(wide, ct.dtype) if wide.dtype != ct.dtype else wide, out)
