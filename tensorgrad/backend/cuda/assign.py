"""Writes into CuPy arrays, where the last one wins of those that name an element twice.

What is written is the elements that a key names, whatever the size of the array: rows where the
last axes are taken whole, each by the threads of a group. An index out of range is a fault, as
`faults` says, and nothing is written at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cupy
import numpy as np

from tensorgrad import shapes
from tensorgrad._errors import DeviceError
from tensorgrad.backend.cuda import launch
from tensorgrad.backend.cuda.index import BLOCK, OUTSIDE, along, grid_of, lanes_of, rows, word_of
from tensorgrad.backend.cuda.kernels import bits, written
from tensorgrad.backend.cuda.sort import argsort
from tensorgrad.backend.indexing import outside

Array = Any

FEW = 8
"""So many times fewer elements are worth a sort rather than a pass over a whole array."""


def assign(x: Array, value: Array, *, key: Any) -> Array:
    """x[key] = value; returns the part of x that was written, or x where that is no view.

    Of equal indices the last one wins, as in NumPy.
    """
    launch.writable(x)
    keys = key if type(key) is tuple else (key,)
    keys = tuple([int(k) if isinstance(k, np.integer) else k for k in keys])
    if any(type(k) is np.ndarray for k in keys):
        raise DeviceError(
            "setitem: got a NumPy array as index of a tensor on a GPU, expected one on its device; "
            f"try index.to({f'cuda:{x.data.device_id}'!r})"
        )
    value = value if value.dtype == x.dtype else value.astype(x.dtype)
    if all(isinstance(k, int | slice | None | type(...)) and not isinstance(k, bool) for k in keys):
        try:
            part = x[(*keys, ...) if Ellipsis not in keys else keys]
        except IndexError as error:
            raise outside("setitem", x, error) from None
        bits(part)[...] = bits(value)
        return part
    if all(getattr(k, "dtype", None) in (None, np.dtype(bool)) for k in keys):
        bits(x)[key] = bits(value)  # a mask names no element twice
        return x
    named = _named(x, keys)
    given = launch.contiguous(cupy.broadcast_to(bits(value), named.shape))
    flat = launch.contiguous(bits(x))
    _put("setitem", flat, named.places, given, named.columns, named.limit)
    if not x.flags.c_contiguous:
        bits(x)[...] = flat
    return x


# -- what a key names ----------------------------------------------------------------------------


class _Part(NamedTuple):
    """A part of a key: into an axis of so many elements an index, or a span of it."""

    size: int
    index: Any
    span: range | None

    @property
    def whole(self) -> bool:
        return self.span == range(self.size)


def _parts(x: Array, keys: Sequence[Any]) -> list[_Part]:
    """A part for each axis, and for each new one; a mask is the indices of where it is True."""
    used = sum(k.ndim if _is_mask(k) else k is not None and k is not Ellipsis for k in keys)
    rest = [slice(None)] * (x.ndim - used)
    if all(k is not Ellipsis for k in keys):
        keys = (*keys, Ellipsis)
    found: list[_Part] = []
    axis = 0
    for k in keys:
        if k is None:
            found.append(_Part(1, None, range(1)))
            continue
        for one in rest if k is Ellipsis else k.nonzero() if _is_mask(k) else (k,):
            found.append(_part(x, axis, one))
            axis += 1
    return found


def _part(x: Array, axis: int, k: Any) -> _Part:
    size = x.shape[axis]
    if isinstance(k, slice):
        return _Part(size, None, range(*k.indices(size)))
    if isinstance(k, int) and not -size <= k < size:
        text = f"index {k} is out of bounds for axis {axis} with size {size}"
        raise outside("setitem", x, IndexError(text))
    return _Part(size, k % size if isinstance(k, int) else k.astype(np.int64, copy=False), None)


def _is_mask(k: Any) -> bool:
    return getattr(k, "dtype", None) == np.bool_


class _Named(NamedTuple):
    """What a key names: rows of so many columns, by their numbers, as an array of a shape.

    limit: the size of the axis where one alone has an index array, for the error's text.
    """

    places: Array
    columns: int
    shape: shapes.Shape
    limit: int | None


def _named(x: Array, keys: Sequence[Any]) -> _Named:
    """The rows of x[keys]; a negative number counts from the end, `OUTSIDE` is none's."""
    parts = _parts(x, keys)
    end = len(parts)
    while parts[end - 1].whole:
        end -= 1
    tail, parts = tuple([p.size for p in parts[end:]]), parts[:end]
    arrays = [p for p in parts if hasattr(p.index, "dtype")]
    met = _met([p.index.shape for p in arrays])
    taken = [k for k, p in enumerate(parts) if p.span is None]
    at = taken[0] if taken[-1] - taken[0] == len(taken) - 1 else 0
    spans = [len(p.span) for p in parts if p.span is not None]
    shape = (*spans[:at], *met, *spans[at:])
    places = parts[0].index if end == 1 else _numbers(parts, len(met), at, len(shape))
    limit = arrays[0].size if len(arrays) == 1 else None
    return _Named(places, shapes.size(tail), (*shape, *tail), limit)


def _met(given: Sequence[shapes.Shape]) -> shapes.Shape:
    try:
        return np.broadcast_shapes(*given)
    except ValueError:
        raise IndexError(
            f"setitem: got index arrays of {', '.join(map(str, given))}, expected shapes that "
            "broadcast; try np.ix_ for every pair of them"
        ) from None


def _numbers(parts: Sequence[_Part], width: int, at: int, ndim: int) -> Array:
    """Row-major numbers of what parts name, of `ndim` axes, those of the indices from `at` on."""
    found: Any = 0
    bad: Any = None
    step, axis = 1, ndim - width
    for size, k, span in reversed(parts):
        if span is not None:
            axis -= 1
            behind = ndim - 1 - (axis if axis < at else axis + width)
            k = cupy.arange(span.start, span.stop, span.step, dtype=np.int64)
        else:
            behind = ndim - at - width
        if not isinstance(k, int):
            k = k.reshape(*k.shape, *(1,) * behind)
            if span is None:
                wrong = (k < -size) | (k >= size)
                bad = wrong if bad is None else bad | wrong
                k = cupy.where(k < 0, k + size, k)
        found, step = found + k * step, step * size
    return cupy.where(bad, OUTSIDE, found)


# -- writing -------------------------------------------------------------------------------------


def _put(
    op: str, flat: Array, places: Array, values: Array, columns: int, limit: int | None
) -> None:
    """Rows of values to the places of contiguous rows, the last of equal places winning.

    `limit` is for the error's text.
    """
    n, word = places.size, min(flat.itemsize, 8)
    if not values.size:
        return
    places, count = launch.contiguous(places), flat.size // columns
    words = columns * (flat.itemsize // word)
    lanes = lanes_of(words, 16 // word)
    sizes = (np.int64(n), np.int64(count), np.int32(words), np.int32(lanes))
    ends = (launch.address(values), launch.address(flat))
    grid = grid_of(n, lanes, words, 16 // word)
    if n * FEW > count:
        last = last_of(op, places, count, limit)
        names = (launch.address(places), launch.address(last))
        launch.kernel("index", f"put_{word}")(grid, (BLOCK,), *names, *ends, *sizes)
    else:
        ordered, order = argsort(places, count)
        names = (launch.address(ordered), launch.address(order))
        kernel = launch.kernel("index", f"put_sorted_{word}")
        kernel(grid, (BLOCK,), *names, *ends, word_of(op, limit), *sizes)


def last_of(op: str, places: Array, size: int, limit: int | None) -> Array:
    """For every position one more than the number of the last place that names it, 0 for none."""
    last = cupy.zeros(size, np.uint64)
    launch.kernel("index", "put_last")(
        (launch.blocks(places.size, BLOCK),), (BLOCK,), launch.address(places),
        launch.address(last), word_of(op, limit), np.int64(places.size), np.int64(size),
    )  # fmt: skip
    return last


# -- one index per element -----------------------------------------------------------------------


def put_along_axis(
    x: Array, index: Array, values: Array, *, axis: int, out: Array | None = None
) -> Any:
    found = bits(x).copy(order="C")
    places = along(index, axis, x.shape)
    given = launch.contiguous(cupy.broadcast_to(bits(values), places.shape))
    _put("put_along_axis", found, places, given, 1, x.shape[axis])
    return written(found.view(x.dtype), out)


def last_along_axis(
    index: Array, *, axis: int, shape: shapes.Shape, out: Array | None = None
) -> Any:
    """True where `put_along_axis` leaves the value of this index: the last of equal ones."""
    places = launch.contiguous(along(index, axis, shape)).reshape(-1)
    if not places.size:
        return written(cupy.zeros(index.shape, np.bool_), out)
    last = last_of("put_along_axis", places, shapes.size(shape), shape[axis])
    won = rows("put_along_axis", last[:, None], places, shape[axis])[:, 0]
    numbers = cupy.arange(1, places.size + 1, dtype=np.uint64)
    return written((won == numbers).reshape(index.shape), out)
