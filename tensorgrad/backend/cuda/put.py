"""Copies of CuPy arrays with some elements replaced: by view operations, or by integer arrays.

Every kernel takes `out=`: None, or an array of the result's shape and dtype to write into.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cupy
import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad.backend import regions
from tensorgrad.backend.cuda import launch
from tensorgrad.backend.cuda.assign import FEW, assign, last_of
from tensorgrad.backend.cuda.index import _positions, add_at, scatter_add
from tensorgrad.backend.cuda.index import gather as _gather
from tensorgrad.backend.cuda.kernels import bits, written
from tensorgrad.backend.cuda.sort import argsort
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
    assign(x, value, key=_key(index, axes))


def _key(index: Array, axes: shapes.Shape) -> tuple[Any, ...]:
    """Index arrays (the first axis of `index` numbers them) at their axes, slices elsewhere."""
    key: list[Any] = [slice(None)] * (axes[-1] + 1)
    for axis, one in zip(axes, index):
        key[axis] = one
    return tuple(key)


def last_place(index: Array, *, sizes: shapes.Shape, out: Array | None = None) -> Array:
    """True for the last index of every element that is named."""
    places = launch.contiguous(_positions(index, sizes, False))
    flat, count = places.reshape(-1), shapes.size(sizes)
    if flat.size * FEW > count:
        last = last_of("setitem", flat, count, sizes[0] if len(sizes) == 1 else None)
        numbers = cupy.arange(1, flat.size + 1).astype(np.uint64)
        found = cupy.equal(last[flat], numbers)
    else:
        ordered, order = argsort(flat, count)
        ends = cupy.ones(flat.size, np.bool_)
        cupy.not_equal(ordered[1:], ordered[:-1], out=ends[:-1])
        found = cupy.empty_like(ends)
        found[order] = ends
    return written(found.reshape(places.shape), out)


def gather_pull(
    ct: Array, wanted: Sequence[int], into: Any, saved: Any, node: Any
) -> list[tuple[int, Array]]:
    """Zeros with the cotangent added where it was read; a few rows are added to the cotangent of x
    that came before, where nobody else has that."""
    index, axes, at = saved[1], node.params["axes"], node.params["at"]
    held, shape = into.part(0), node.parents[0].shape
    few = held is not None and ct.size * FEW <= held.size and held.flags.c_contiguous
    if few and axes[-1] < len(axes) and held.dtype == ct.dtype:
        add_at(held, ct, index, axes=axes, at=at)
        return [(0, held)]
    found = scatter_add(ct, index, axes=axes, at=at, shape=shape)
    return [(0, found if held is not None else into.keep(0, found))]


def scatter_pull(
    ct: Array, wanted: Sequence[int], into: Any, saved: Any, node: Any
) -> list[tuple[int, Array]]:
    """The elements for the values that are there in the end, zeros in their place for x."""
    index, axes, at = saved[1], node.params["axes"], node.params["at"]
    found = []
    if 2 in wanted:
        taken = _gather(ct, index, axes=axes, at=at)
        last = last_place(index, sizes=tuple([ct.shape[k] for k in axes]))
        last = last.reshape(*last.shape, *(1,) * (taken.ndim - at - last.ndim))
        raw = bits(taken)
        found.append((2, cupy.where(last, raw, raw.dtype.type(0)).view(ct.dtype)))
    if 0 in wanted:
        rest = ct if into.spare(ct) else _copy(ct, None)
        # One value for all: which of equal indices comes last is nothing to it.
        bits(rest)[_key(index, axes)] = 0
        found.append((0, into.keep(0, rest)))
    return found
