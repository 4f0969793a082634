"""Indexing of NumPy arrays: gathers, their adjoints, and assignment.

Every function takes `out=`: None, or an array of the result's shape and dtype to write into.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad import shapes
from tensorgrad.backend.indexing import moved_block, natural_place, outside
from tensorgrad.backend.numpy_kernels import written

Array = np.ndarray[Any, Any]


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
    basic = all(isinstance(k, int | slice) and not isinstance(k, bool) for k in keys)
    return x[(*keys, ...)] if basic else x


# -- gather and its adjoint --------------------------------------------------------------------


def _key(index: Array, axes: shapes.Shape) -> tuple[Any, ...]:
    """Index arrays (the first axis of `index` numbers them) at their axes, slices elsewhere."""
    key: list[Any] = [slice(None)] * (axes[-1] + 1)
    for axis, one in zip(axes, index):
        key[axis] = one
    return tuple(key)


def gather(x: Array, index: Array, *, axes: shapes.Shape, at: int, out: Array | None = None) -> Any:
    try:
        found = x.take(index[0], axes[0]) if len(axes) == 1 else x[_key(index, axes)]
    except IndexError as error:
        raise outside("take", x, error) from None
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
    rows = _positions(index, tuple(shape[k] for k in axes)).reshape(-1)
    updates = ct.transpose(moved_block(ct.ndim, width, at, 0)).reshape(
        rows.size, shapes.size(tuple(shape[k] for k in kept))
    )
    count = shapes.size(tuple(shape[k] for k in axes))
    total = _accumulated(rows, updates, count)
    order = [*axes, *kept]
    total = total.reshape([shape[k] for k in order])
    return written(total.transpose(np.argsort(order)) if order != sorted(order) else total, out)


def _positions(index: Array, sizes: shapes.Shape) -> Array:
    """Row-major positions from one index per axis; negative ones count from the end."""
    found: Any = 0
    for one, size in zip(index, sizes):
        found = found * size + np.where(one < 0, one + size, one)
    return np.asarray(found)


def _accumulated(rows: Array, updates: Array, count: int) -> Array:
    """Σ of the updates of each of `count` rows, in the order in which they come.

    Rows of several elements are sorted and summed by `np.add.reduceat`, which takes a fifth of the
    time of `np.add.at`; on single elements that is faster, on long rows one after the other.
    """
    total = np.zeros((count, updates.shape[1]), updates.dtype)
    if not updates.size:
        return total
    if updates.shape[1] == 1:
        np.add.at(total.reshape(-1), rows, updates.reshape(-1))
        return total
    if updates.shape[1] >= WIDE:
        for row, update in zip(rows.tolist(), updates):
            total[row] += update
        return total
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    first = np.empty(ordered.size, bool)
    first[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    if first.all():
        total[rows] = updates
        return total
    starts = np.flatnonzero(first)
    total[ordered[starts]] = np.add.reduceat(updates[order], starts, 0)
    return total


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


def take_along_axis(x: Array, index: Array, *, axis: int, out: Array | None = None) -> Any:
    try:
        if not x.flags.c_contiguous or not index.size or not x.size:
            return written(np.take_along_axis(x, index, axis), out)
        low, high, size = index.min(), index.max(), x.shape[axis]
        if low < -size or high >= size:
            raise IndexError(f"index {low if low < -size else high} is out of bounds")
        return written(x.reshape(-1).take(_along(index, axis, x.shape)), out)
    except IndexError as error:
        raise outside("take_along_axis", x, error) from None


def add_along_axis(
    ct: Array, index: Array, *, axis: int, shape: shapes.Shape, out: Array | None = None
) -> Any:
    """Zeros of `shape` to which ct is added where `take_along_axis` read."""
    rows = np.broadcast_to(_along(index, axis, shape), ct.shape).reshape(-1)
    total = _accumulated(rows, ct.reshape(-1, 1), shapes.size(shape))
    return written(total.reshape(shape), out)


def put_along_axis(
    x: Array, index: Array, values: Array, *, axis: int, out: Array | None = None
) -> Any:
    found = x.copy() if out is None else written(x, out)
    try:
        np.put_along_axis(found, index, values, axis)
    except IndexError as error:
        raise outside("put_along_axis", x, error) from None
    return found


def last_along_axis(
    index: Array, *, axis: int, shape: shapes.Shape, out: Array | None = None
) -> Any:
    """True where `put_along_axis` leaves the value of this index: the last of equal ones."""
    numbers = np.arange(index.size).reshape(index.shape)
    found = np.zeros(shape, numbers.dtype)
    np.put_along_axis(found, index, numbers, axis)
    return written(np.take_along_axis(found, index, axis) == numbers, out)
