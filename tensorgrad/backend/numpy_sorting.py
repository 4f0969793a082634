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


SEVERAL = 6
"""Ranks from which a whole sort takes no longer than a partition by all of them."""


def plain(x: Array) -> Array:
    """bfloat16 as float32, which NumPy can sort."""
    return x.astype(np.float32) if x.dtype.kind == "V" or x.dtype.name == "bfloat16" else x


def sort(x: Array, *, axis: int, out: Array | None = None) -> Any:
    return written(np.sort(plain(x), axis).astype(x.dtype, copy=False), out)


def sorted_places(x: Array, *, axis: int, out: Array | None = None) -> Any:
    """The stable order; of distinct numbers there is but one, which NumPy's other sort finds.

    That one is generated for the processor and takes a quarter of the time.
    """
    x = plain(x)
    if x.shape[axis] < SMALL or x.dtype.kind != "f" or x.dtype.itemsize < 4:
        return written(np.argsort(x, axis, kind="stable"), out)
    last = np.ascontiguousarray(x.swapaxes(axis, -1))
    order = np.argsort(last, -1)
    ordered = np.take_along_axis(last, order, -1)
    if (ordered[..., 1:] == ordered[..., :-1]).any():
        order = np.argsort(last, -1, kind="stable")
    elif np.isnan(ordered[..., -1]).any():
        order[np.isnan(ordered)] = np.nonzero(np.isnan(last))[-1]
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
    if n < SMALL or 16 * k > n or x.dtype.kind != "f":
        return written(_descending(x)[..., :k], out)
    rows = x.reshape(-1, n)
    few = np.flatnonzero(~(rows < _bound(rows, k)))  # a NaN is no less
    if few.size > rows.size // 8:  # ties, most likely
        return written(_descending(x)[..., :k], out)
    values, row = rows.reshape(-1)[few], few // n
    order = np.lexsort((-values, ~np.isnan(values), row))
    first = np.searchsorted(row, np.arange(len(rows)))  # each row's candidates lie together
    places = few[order[first[:, None] + np.arange(k)]] % n
    return written(places.reshape(*x.shape[:-1], k), out)


def _bound(rows: Array, k: int) -> Array:
    """Of every row a number that k elements at least reach: the k-th largest of block maxima."""
    blocks = 4 * k
    width = rows.shape[1] // blocks
    top = rows[:, : blocks * width].reshape(len(rows), blocks, width).max(-1)
    found: Array = np.partition(top, blocks - k, -1)[:, blocks - k, None]
    return found


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


def searchsorted(a: Array, v: Array, *, right: bool, out: Array | None = None) -> Any:
    return written(np.searchsorted(plain(a), plain(v), "right" if right else "left"), out)


# -- order statistics --------------------------------------------------------------------------


def ranked(x: Array, *, ranks: tuple[int, ...], out: Array | None = None) -> Any:
    """The elements of the ranks, ascending, along the last axis; NaN where a row has one."""
    given = plain(x)
    floats = given.dtype.kind == "f"
    wanted = [*ranks, x.shape[-1] - 1] if floats else ranks  # NaNs are sorted to the end
    many = len(set(wanted)) > SEVERAL
    ordered = np.sort(given) if many else np.partition(given, sorted(set(wanted)), -1)
    found = ordered[..., list(ranks)]
    if floats:
        found[np.isnan(ordered[..., -1])] = np.nan
    return written(found.astype(x.dtype, copy=False), out)


def ranked_places(
    x: Array, found: Array, *, ranks: tuple[int, ...], out: Array | None = None
) -> Any:
    """Where the elements of the ranks stand: of equal ones the first is the lowest."""
    if len(ranks) > SEVERAL or np.isnan(found).any():
        return written(sorted_places(x, axis=-1)[..., list(ranks)], out)
    return written(_places(plain(x), plain(found), np.asarray(ranks)), out)


def picked(x: Array, ranks: Array, *, out: Array | None = None) -> Any:
    """The elements of the ranks along the last axis, in every row its own; NaNs are last."""
    found = np.take_along_axis(np.sort(plain(x), -1), ranks, -1)
    return written(found.astype(x.dtype, copy=False), out)


def picked_places(x: Array, ranks: Array, found: Array, *, out: Array | None = None) -> Any:
    """Where these stand: of equal ones the first is the lowest."""
    if ranks.shape[-1] > SEVERAL or np.isnan(found).any():
        return written(np.take_along_axis(sorted_places(x, axis=-1), ranks, -1), out)
    return written(_places(plain(x), plain(found), ranks), out)


def _places(x: Array, found: Array, ranks: Array) -> Array:
    """The places of the elements `found` of these ranks, by a few comparisons of whole arrays."""
    places = np.empty(found.shape, np.int64)
    for k in range(ranks.shape[-1]):
        value = found[..., k, None]
        equal = x == value
        many = np.count_nonzero(equal, -1)
        if (many > 1).any():
            below = np.count_nonzero(x < value, -1, keepdims=True)
            equal &= np.cumsum(equal, -1) > ranks[..., k, None] - below
        places[..., k] = np.argmax(equal, -1)
    return places
