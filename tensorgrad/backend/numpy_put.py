"""Copies of NumPy arrays with some elements replaced: by view operations, or by integer arrays.

Every kernel takes `out=`: None, or an array of the result's shape and dtype to write into.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad.backend import memory, regions
from tensorgrad.backend.indexing import moved_block, natural_place, outside
from tensorgrad.backend.numpy_index import assign, key_of, positions, scatter_add
from tensorgrad.backend.numpy_index import gather as _gather

Array = np.ndarray[Any, Any]
FEW = 8
"""So many times fewer elements are added one by one rather than as a whole array."""


def _copy(x: Array, out: Array | None) -> Array:
    found = memory.empty(x.shape, x.dtype) if out is None else out
    np.copyto(found, x)
    return found


_MAKER = regions.Maker(_copy, lambda shape: np.arange(shapes.size(shape)).reshape(shape), assign)
put = regions.put(_MAKER)
put_pull = regions.put_pull(_MAKER, lambda dtype: np.zeros((), dtypes.real(dtype)))


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


def scatter_into(x: Array, index: Array, value: Any, *, axes: shapes.Shape, at: int) -> None:
    """The same, written into x."""
    try:
        x[key_of(index, axes)] = _moved(value, index, axes, at)
    except IndexError as error:
        raise outside("setitem", x, error) from None


def _moved(value: Array, index: Array, axes: shapes.Shape, at: int) -> Array:
    """A value with the axes of the index where NumPy has them."""
    natural = natural_place(axes)
    if not value.ndim or at == natural or index.ndim == 1:
        return value
    return value.transpose(moved_block(value.ndim, index.ndim - 1, at, natural))


def last_place(index: Array, *, sizes: shapes.Shape, out: Array | None = None) -> Array:
    """True for the last index of every element that is named."""
    rows = positions(index, sizes)
    numbers = np.arange(rows.size).reshape(rows.shape)
    newest = np.empty(shapes.size(sizes), numbers.dtype)
    newest[rows] = numbers
    return np.equal(newest[rows], numbers, out=out)


def gather_pull(
    ct: Array, wanted: Sequence[int], into: Any, saved: Any, node: Any
) -> list[tuple[int, Array]]:
    """Zeros with the cotangent added where it was read; a few elements are added to the cotangent
    of x that came before, where nobody else has that."""
    index, axes, at = saved[1], node.params["axes"], node.params["at"]
    held, shape = into.part(0), node.parents[0].shape
    if held is None or ct.size * FEW > held.size:
        found = scatter_add(ct, index, axes=axes, at=at, shape=shape)
        return [(0, found if held is not None else into.keep(0, found))]
    np.add.at(held, key_of(index, axes), _moved(ct, index, axes, at))
    return [(0, held)]


def scatter_pull(
    ct: Array, wanted: Sequence[int], into: Any, saved: Any, node: Any
) -> list[tuple[int, Array]]:
    """The elements for the values that are there in the end, zeros in their place for x."""
    index, axes, at = saved[1], node.params["axes"], node.params["at"]
    found = []
    if 2 in wanted:
        taken = _gather(ct, index, axes=axes, at=at)
        last = last_place(index, sizes=tuple([ct.shape[k] for k in axes]))
        if not last.all():
            behind = taken.ndim - at - last.ndim
            taken = np.where(last.reshape(*last.shape, *(1,) * behind), taken, taken.dtype.type(0))
        found.append((2, taken))
    if 0 in wanted:
        rest = ct if into.spare(ct) else _copy(ct, None)
        scatter_into(rest, index, np.zeros((), rest.dtype), axes=axes, at=at)
        found.append((0, into.keep(0, rest)))
    return found
