"""Copies of CuPy arrays with some elements replaced: by view operations, or by integer arrays.

Every kernel takes `out=`: None, or an array of the result's shape and dtype to write into.
"""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad.backend import regions
from tensorgrad.backend.cuda import launch
from tensorgrad.backend.cuda.index import _last, _positions, assign
from tensorgrad.backend.cuda.kernels import bits
from tensorgrad.backend.indexing import moved_block, natural_place

Array = Any


def _copy(x: Array, out: Array | None) -> Array:
    found = cupy.empty(x.shape, x.dtype) if out is None else out
    bits(found)[...] = bits(x)
    return found


def _numbers(shape: tuple[int, ...]) -> Array:
    return cupy.arange(shapes.size(shape)).reshape(shape)


_MAKER = regions.Maker(_copy, _numbers, assign)
put = regions.put(_MAKER)
put_pull = regions.put_pull(_MAKER, lambda dtype: cupy.zeros((), dtypes.real(dtype)))


def scatter(
    x: Array,
    index: Array,
    value: Array,
    *,
    axes: shapes.Shape,
    at: int,
    out: Array | None = None,
) -> Array:
    """x with the values where `gather` would read, the last one where an element is named twice."""
    found = _copy(x, out)
    scatter_into(found, index, value, axes=axes, at=at)
    return found


def scatter_into(x: Array, index: Array, value: Array, *, axes: shapes.Shape, at: int) -> None:
    """The same, written into x."""
    natural = natural_place(axes)
    if value.ndim and at != natural and index.ndim > 1:
        value = value.transpose(moved_block(value.ndim, index.ndim - 1, at, natural))
    key: list[Any] = [slice(None)] * (axes[-1] + 1)
    for axis, one in zip(axes, index):
        key[axis] = one
    assign(x, value, key=tuple(key))


def last_place(index: Array, *, sizes: shapes.Shape, out: Array | None = None) -> Array:
    """True for the last index of every element that is named."""
    rows = _positions(index, sizes, False)
    flat = launch.contiguous(rows.reshape(-1))
    last = _last("setitem", flat, shapes.size(sizes), sizes[0] if len(sizes) == 1 else None)
    numbers = cupy.arange(1, flat.size + 1).astype(np.uint64)
    return cupy.equal(last[flat], numbers).reshape(rows.shape)
