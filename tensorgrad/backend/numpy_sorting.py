"""Orders of NumPy arrays along an axis, named as the primitives are.

Every function takes `out=`: None, or an array of the result's shape and dtype to write into.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.backend.numpy_kernels import written

Array = np.ndarray[Any, Any]

SMALL = 512
"""Elements along an axis below which the stable sort is the fast one."""


def plain(x: Array) -> Array:
    """bfloat16 as float32, which NumPy can sort."""
    return x.astype(np.float32) if x.dtype.kind == "V" or x.dtype.name == "bfloat16" else x


def sort(x: Array, *, axis: int, out: Array | None = None) -> Any:
    return written(np.sort(plain(x), axis).astype(x.dtype, copy=False), out)


def argsort(x: Array, *, axis: int, out: Array | None = None) -> Any:
    """The stable order; of distinct numbers there is but one, which NumPy's other sort finds.

    That one is generated for the processor and takes a quarter of the time.
    """
    x = plain(x)
    if x.shape[axis] < SMALL or x.dtype.kind != "f" or x.dtype.itemsize < 4:
        return written(np.argsort(x, axis, kind="stable"), out)
    last = np.ascontiguousarray(x.swapaxes(axis, -1))
    order = np.argsort(last, -1)
    ordered = np.take_along_axis(last, order, -1)
    same = ordered[..., 1:] == ordered[..., :-1]
    if same.any() or np.isnan(ordered[..., -2]).any():
        order = np.argsort(last, -1, kind="stable")
    return written(order.swapaxes(axis, -1), out)


def argpartition(x: Array, *, kth: tuple[int, ...], axis: int, out: Array | None = None) -> Any:
    x = plain(x)
    if not x.shape[axis] or not kth:
        return written(np.argsort(x, axis, kind="stable"), out)
    return written(np.argpartition(x, kth, axis), out)


def largest(x: Array, *, k: int, out: Array | None = None) -> Any:
    """The places of the k largest along the last axis, descending; of equal ones the first."""
    x, n = plain(x), x.shape[-1]
    if not x.size or not k:
        return written(np.empty((*x.shape[:-1], k), np.int64), out)
    if n < SMALL or 4 * k > n or x.dtype.kind != "f":
        return written(_descending(x)[..., :k], out)
    least = np.partition(x, n - k, -1)[..., n - k, None]
    if np.isnan(least).any():
        return written(_descending(x)[..., :k], out)
    above, equal = ~(x <= least), x == least  # a NaN is above
    room = k - np.count_nonzero(above, -1, keepdims=True)
    if (np.count_nonzero(equal, -1, keepdims=True) > room).any():
        equal &= np.cumsum(equal, -1) <= room
    places = np.flatnonzero(above | equal).reshape(*x.shape[:-1], k) % n
    order = _descending(np.take_along_axis(x, places, -1))
    return written(np.take_along_axis(places, order, -1), out)


def _descending(x: Array) -> Array:
    backwards = (..., slice(None, None, -1))
    found: Array = x.shape[-1] - 1 - np.argsort(x[backwards], -1, kind="stable")[backwards]
    return found


def permute(x: Array, order: Array, *, axis: int, out: Array | None = None) -> Any:
    return written(np.take_along_axis(x, order, axis), out)


def unpermute(x: Array, order: Array, *, axis: int, out: Array | None = None) -> Any:
    found = np.empty_like(x, order="C") if out is None else out
    np.put_along_axis(found, order, x, axis)
    return found


def unique_places(x: Array, axis: int | None, equal_nan: bool) -> tuple[Array, Array, Array]:
    """Of the distinct elements (slices): where the first stands, which each is, how often."""
    found = np.unique(plain(x), True, True, True, axis, equal_nan=equal_nan)
    return found[1], found[2], found[3]


# -- order statistics --------------------------------------------------------------------------


def ranked(x: Array, *, ranks: tuple[int, ...], out: Array | None = None) -> Any:
    """The elements of the ranks, ascending, along the last axis."""
    given = plain(x)
    found = np.partition(given, sorted(set(ranks)), -1)[..., list(ranks)]
    return written(found.astype(x.dtype, copy=False), out)


def ranked_places(
    x: Array, found: Array, *, ranks: tuple[int, ...], out: Array | None = None
) -> Any:
    """Where the elements of the ranks stand: of equal ones the first is the lowest."""
    x, found = plain(x), plain(found)
    if len(ranks) > 4 or x.dtype.kind not in "fiu" or np.isnan(found).any():
        return written(np.argsort(x, -1, kind="stable")[..., list(ranks)], out)
    places = np.empty(found.shape, np.int64)
    for k, rank in enumerate(ranks):
        value = found[..., k, None]
        equal = x == value
        many = np.count_nonzero(equal, -1)
        if (many > 1).any():
            below = np.count_nonzero(x < value, -1, keepdims=True)
            equal = np.cumsum(equal, -1) > rank - below
        places[..., k] = np.argmax(equal, -1)
    return written(places, out)
