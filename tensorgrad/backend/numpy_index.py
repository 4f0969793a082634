"""Indexing of NumPy arrays: gathers, their adjoints, and assignment.

Every function takes `out=`: None, or an array of the result's shape and dtype to write into.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tensorgrad import shapes
from tensorgrad.backend.indexing import moved_block, natural_place, outside
from tensorgrad.backend.numpy_kernels import written

Array = np.ndarray[Any, Any]


BASIC = frozenset((int, slice, type(None), type(...)))
"""What a key is made of that names a view."""

WIDE = 256
"""Elements of a row from which adding row by row costs less than sorting them."""

# -- basic -------------------------------------------------------------------------------------


def index(x: Array, *, key: tuple[Any, ...], out: Array | None = None) -> Any:
    try:
        return written(x[key], out)
    except IndexError as error:
        raise outside("getitem", x, error) from None


def unindex(
    ct: Array, *, key: tuple[Any, ...], shape: shapes.Shape, out: Array | None = None
) -> Any:
    found = _zeros(shape, ct.dtype, out)
    found[key] = ct
    return found


def _zeros(shape: shapes.Shape, dtype: Any, out: Array | None) -> Array:
    if out is None:
        return np.zeros(shape, dtype)
    out.fill(0)
    return out


def assign(x: Array, value: Array, *, key: Any) -> Array:
    """x[key] = value; returns the part of x that was written, or x where that is no view."""
    try:
        x[key] = value
    except IndexError as error:
        raise outside("setitem", x, error) from None
    keys = key if type(key) is tuple else (key,)
    for k in keys:
        if type(k) not in BASIC:
            return x
    return x[keys if Ellipsis in keys else (*keys, ...)]


# -- gather and its adjoint --------------------------------------------------------------------


def key_of(index: Array, axes: shapes.Shape) -> tuple[Any, ...]:
    """Index arrays (the first axis of `index` numbers them) at their axes, slices elsewhere."""
    key: list[Any] = [slice(None)] * (axes[-1] + 1)
    for axis, one in zip(axes, index):
        key[axis] = one
    return tuple(key)


def gather(x: Array, index: Array, *, axes: shapes.Shape, at: int, out: Array | None = None) -> Any:
    try:
        found = x.take(index[0], axes[0]) if len(axes) == 1 else x[key_of(index, axes)]
    except IndexError as error:
        raise outside("take", x, error, zip(axes, index)) from None
    natural = natural_place(axes)
    if at != natural and index.ndim > 1:
        found = found.transpose(moved_block(found.ndim, index.ndim - 1, natural, at))
    return written(found, out)


def scatter_add(
    ct: Array,
    index: Array,
    *,
    axes: shapes.Shape,
    at: int,
    shape: shapes.Shape,
    out: Array | None = None,
) -> Any:
    """Zeros of `shape` to which ct is added where `gather` read; repeated indices accumulate."""
    width = index.ndim - 1
    kept = [k for k in range(len(shape)) if k not in axes]
    rows = positions(index, tuple(shape[k] for k in axes)).reshape(-1)
    updates = ct.transpose(moved_block(ct.ndim, width, at, 0)).reshape(
        rows.size, shapes.size(tuple(shape[k] for k in kept))
    )
    order = [*axes, *kept]
    straight = order == sorted(order)
    total = None if out is None or not straight or not out.flags.c_contiguous else out
    if total is None:
        total = np.empty([shape[k] for k in order], ct.dtype)
    count = shapes.size(tuple(shape[k] for k in axes))
    _accumulate(rows, updates, total.reshape(count, updates.shape[1]))
    if total is out:
        return out
    return written(total if straight else total.transpose(np.argsort(order)), out)


def positions(index: Array, sizes: shapes.Shape) -> Array:
    """Row-major positions from one index per axis; negative ones count from the end."""
    found: Any = 0
    for one, size in zip(index, sizes):
        found = found * size + np.where(one < 0, one + size, one)
    return np.asarray(found)


def _accumulate(rows: Array, updates: Array, total: Array) -> None:
    """total ← Σ of the updates of each of its rows, in the order in which they come.

    The first update of each row is moved there in one pass for all; what comes later is added row
    by row where rows are long, else summed in groups by `np.add.reduceat`, which takes a fifth of
    the time of `np.add.at`. On single elements that is the quicker one.
    """
    if updates.shape[1] <= 1 or not updates.size:
        total.fill(0)
        if updates.size:
            np.add.at(total.reshape(-1), rows, updates.reshape(-1))
        return
    # Two bytes are sorted by their digits, in a fraction of the time.
    few = len(total) <= 2**16
    order = np.argsort(rows.astype(np.uint16) if few else rows, kind="stable")
    if updates.size >= MANY and updates.dtype.char in "fdFD":
        _product(rows, order, updates, total)
        return
    ordered = rows[order]
    first = np.empty(ordered.size, bool)
    first[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    reached, source = ordered[first], np.zeros(len(total), np.intp)
    missing = np.ones(len(total), bool)
    missing[reached] = False
    if first.all() or updates.shape[1] >= WIDE:
        source[reached] = order[first]
    else:
        updates = np.add.reduceat(updates[order], np.flatnonzero(first), 0)
        source[reached] = np.arange(len(updates))
        first.fill(True)
    updates.take(source, 0, total, "clip")  # in range; the mode that writes without a copy
    total[missing] = 0
    for row, k in zip(ordered[~first].tolist(), order[~first].tolist()):
        np.add(total[row], updates[k], total[row])


MANY = 2**16
"""Elements from which on updates are added up by SciPy's sparse product: a tenth of the time."""


def _product(rows: Array, order: Array, updates: Array, total: Array) -> None:
    """The same sums in the same order, as the product with a sparse matrix of ones."""
    from scipy.sparse._sparsetools import csr_matvecs  # late: for import time

    ends = np.zeros(len(total) + 1, np.intp)
    np.cumsum(np.bincount(rows, minlength=len(total)), out=ends[1:])
    ones = np.ones(len(rows), updates.dtype)
    total.fill(0)
    width, given = updates.shape[1], np.ascontiguousarray(updates).reshape(-1)
    csr_matvecs(len(total), len(rows), width, ends, order, ones, given, total.reshape(-1))


# -- one index per element ---------------------------------------------------------------------


def _along(index: Array, axis: int, shape: shapes.Shape) -> Array:
    """Row-major positions in an array of `shape` of what an index along `axis` names."""
    positions: Any = 0
    back = index.size > 0 and index.min() < 0
    for k, size in enumerate(shape):
        if k == axis:
            one = np.where(index < 0, index + size, index) if back else index
        else:
            one = np.arange(size).reshape([-1 if j == k else 1 for j in range(len(shape))])
        positions = positions * size + one
    return np.asarray(positions)


PART = 2**15
"""Elements whose places are worked out at once, so that they stay in the cache."""


def _parts(index: Array, axis: int, shape: shapes.Shape) -> Iterator[tuple[slice, Array]]:
    """(a part of the flat index, the places of its elements in a flat array of `shape`).

    What a part holds is valid until the next.
    """
    size = shape[-1] if shape else 1
    same = axis == len(shape) - 1 and index.shape[:-1] == shape[:-1] and index.dtype == np.intp
    if not same or not index.flags.c_contiguous or index.size <= PART or index.min() < 0:
        yield slice(None), _along(index, axis, shape).reshape(-1)
        return
    width = index.shape[-1]
    flat, lines = index.reshape(-1, width), max(1, PART // width)
    starts = np.arange(len(flat)).reshape(-1, 1) * size
    places = np.empty((lines, width), np.intp)
    for start in range(0, len(flat), lines):
        part = places[: min(lines, len(flat) - start)]
        np.add(flat[start : start + lines], starts[start : start + lines], part)
        yield slice(start * width, start * width + part.size), part.reshape(-1)


def take_along_axis(x: Array, index: Array, *, axis: int, out: Array | None = None) -> Any:
    try:
        shape = (*x.shape[:axis], index.shape[axis], *x.shape[axis + 1 :])
        if not x.flags.c_contiguous or not index.size or not x.size or index.shape != shape:
            return written(np.take_along_axis(x, index, axis), out)
        low, high, size = index.min(), index.max(), x.shape[axis]
        if low < -size or high >= size:
            raise IndexError("index out of bounds")
    except IndexError as error:
        raise outside("take_along_axis", x, error, [(axis, index)]) from None
    found = out
    if found is None or not found.flags.c_contiguous or np.may_share_memory(x, found):
        found = np.empty(shape, x.dtype)
    lines = found.reshape(-1)
    for part, places in _parts(index, axis, x.shape):
        x.reshape(-1).take(places, None, lines[part], "clip")
    return out if found is out else written(found, out)


def add_along_axis(
    ct: Array, index: Array, *, axis: int, shape: shapes.Shape, out: Array | None = None
) -> Any:
    """Zeros of `shape` to which ct is added where `take_along_axis` read."""
    total = np.zeros(shape, ct.dtype)
    lines = total.reshape(-1)
    if index.shape != ct.shape:
        places = np.broadcast_to(_along(index, axis, shape), ct.shape).reshape(-1)
        np.add.at(lines, places, ct.reshape(-1))
        return written(total, out)
    flat = ct.reshape(-1)
    for part, places in _parts(index, axis, shape):
        np.add.at(lines, places, flat[part])
    return written(total, out)


def put_along_axis(
    x: Array, index: Array, values: Array, *, axis: int, out: Array | None = None
) -> Any:
    found = x.copy() if out is None else written(x, out)
    try:
        np.put_along_axis(found, index, values, axis)
    except IndexError as error:
        raise outside("put_along_axis", x, error, [(axis, index)]) from None
    return found


def last_along_axis(
    index: Array, *, axis: int, shape: shapes.Shape, out: Array | None = None
) -> Any:
    """True where `put_along_axis` leaves the value of this index: the last of equal ones."""
    numbers = np.arange(index.size).reshape(index.shape)
    found = np.zeros(shape, numbers.dtype)
    np.put_along_axis(found, index, numbers, axis)
    return written(np.take_along_axis(found, index, axis) == numbers, out)
