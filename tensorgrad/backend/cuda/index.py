"""Indexing of CuPy arrays: gathers, their adjoints, and assignment.

CuPy itself takes an index out of range modulo the size; here such an index is a fault, reported as
`faults` says, and nothing is read or written at it. Sums into rows have a fixed order: positions
are sorted first. Nothing waits for the device, except for a mask, which decides a shape. Every
function takes `out=`: None, or an array of the result's shape and dtype to write into.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cupy
import cupyx
import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad.backend.cuda import launch
from tensorgrad.backend.cuda.faults import Fault, faults
from tensorgrad.backend.cuda.kernels import bits, written
from tensorgrad.backend.cuda.sort import argsort
from tensorgrad.backend.indexing import moved_block, natural_place, outside

Array = Any

BLOCK, WINDOW, MOST_BLOCKS = 256, 64, 2**30
OUTSIDE = -(2**62)
"""A position that no table has."""


# -- basic -------------------------------------------------------------------------------------


def index(x: Array, *, key: tuple[Any, ...], out: Array | None = None) -> Any:
    try:
        return written(x[key], out)
    except IndexError as error:
        raise outside("getitem", x, error) from None


def unindex(
    ct: Array, *, key: tuple[Any, ...], shape: shapes.Shape, out: Array | None = None
) -> Any:
    found = cupy.zeros(shape, ct.dtype) if out is None else out
    if out is not None:
        bits(out).fill(0)
    bits(found)[key] = bits(ct)
    return found


def check(fault: Fault, numbers: Array) -> None:
    """Report whole numbers outside 0 .. count - 1, without waiting: a gather from a table."""
    if numbers.size:
        whole = numbers.astype(np.int64, copy=False)
        report(fault, (whole < 0) | (whole >= fault.count))


def report(fault: Fault, wrong: Array) -> None:
    """Report where a condition holds, without waiting."""
    places = launch.contiguous(cupy.where(wrong, OUTSIDE, 0)).reshape(-1)
    _gathered(cupy.empty((1, 1), np.uint8), places, faults().word(fault))


def with_whole_powers(power: Callable[..., Any]) -> Callable[..., Any]:
    """x ** y that reports negative exponents of whole numbers, which NumPy refuses."""
    fault = Fault("power", "exponent", 2**63, "x.astype(float) ** y", kind=ValueError)

    def run(x: Array, y: Array, out: Array | None = None) -> Any:
        if y.dtype.kind == "i" and x.dtype.kind in "iub" and y.size:
            report(fault, y < 0)
        return power(x, y, out=out)

    return run


# -- rows of a table ---------------------------------------------------------------------------


def _shape_of(shape: shapes.Shape, axes: shapes.Shape) -> tuple[int, int, int] | None:
    """(outer, count, inner) where the indexed axes are next to each other, else None."""
    if axes != tuple(range(axes[0], axes[-1] + 1)):
        return None
    indexed = shape[axes[0] : axes[-1] + 1]
    outer, inner = shapes.size(shape[: axes[0]]), shapes.size(shape[axes[-1] + 1 :])
    return outer, shapes.size(indexed), inner


def _positions(index: Array, sizes: shapes.Shape, checked: bool) -> Array:
    """Row-major positions from one index per axis; negative ones count from the end.

    An index out of range makes a position `OUTSIDE`; one axis alone is `checked` by the kernel.
    """
    if len(sizes) == 1 and checked:
        return index[0]
    found: Any = 0
    bad: Any = None
    for one, size in zip(index, sizes):
        wrong = (one < -size) | (one >= size)
        bad = wrong if bad is None else bad | wrong
        found = found * size + cupy.where(one < 0, one + size, one)
    return cupy.where(bad, OUTSIDE, found)


def _spread(positions: Array, outer: int, count: int) -> Array:
    """Positions in each of `outer` tables of `count` rows that lie one after the other."""
    flat = positions.reshape(-1)
    if outer == 1:
        return launch.contiguous(flat)
    starts = cupy.arange(outer, dtype=np.int64)[:, None] * count
    return cupy.where(flat == OUTSIDE, flat, flat + starts).reshape(-1)


def lanes_of(columns: int, vector: int) -> int:
    """Threads that share a row: a power of two, at most 32."""
    lanes = 1
    while lanes < 32 and lanes * vector < columns:
        lanes *= 2
    return lanes


def grid_of(items: int, lanes: int, columns: int, vector: int) -> tuple[int, int]:
    groups = -(-columns // (lanes * vector))
    return (launch.blocks(items * lanes, BLOCK, MOST_BLOCKS), min(max(groups, 1), 64))


def _fault(op: str, size: int | None) -> Fault:
    return Fault(op, "an index", size, "indices of the axis", signed=True)


def word_of(op: str, size: int | None) -> int:
    return faults().word(_fault(op, size))


def rows(op: str, table: Array, positions: Array, limit: int) -> Array:
    """table[positions] for a contiguous (count, columns) table; `limit` is for the error's text."""
    return _gathered(table, positions, word_of(op, limit))


def _gathered(table: Array, positions: Array, word: int) -> Array:
    size = table.itemsize
    columns = table.shape[1] * (2 if size == 16 else 1)
    size = min(size, 8)
    found = cupy.empty((positions.size, table.shape[1]), table.dtype)
    if not found.size:
        return found
    vector = 16 // size
    lanes = lanes_of(columns, vector)
    run = launch.kernel("index", f"gather_rows_{size}")
    run(
        grid_of(positions.size, lanes, columns, vector),
        (BLOCK,),
        launch.address(table),
        launch.address(positions),
        launch.address(found),
        word,
        np.int64(positions.size),
        np.int64(table.shape[0]),
        np.int32(columns),
        np.int64(columns),
        np.int64(columns),
        np.int32(lanes),
    )
    return found


def add_rows(op: str, updates: Array, positions: Array, total: Array, limit: int) -> Array:
    """total (count, columns), to which contiguous rows are added in the order of their numbers.

    Negative positions count from the end. Sums of whole numbers come in a new array.
    """
    count = len(total)
    if not updates.size:
        return total
    real = dtypes.real(updates.dtype)
    if real.name not in launch.SUFFIX:
        return _add_whole(op, total, updates, positions)
    ordered, order = argsort(positions, count)
    wide = dtypes.compute(real)
    columns = updates.shape[1] * (updates.itemsize // real.itemsize)
    windows = -(-positions.size // WINDOW)
    head, tail = (cupy.empty((windows, columns), wide) for _ in range(2))
    lanes = lanes_of(columns, 16 // real.itemsize)
    grid = grid_of(windows, lanes, columns, 16 // real.itemsize)
    suffix = launch.SUFFIX[real.name]
    sizes = (np.int64(positions.size), np.int64(count), np.int32(columns))
    ends = (launch.address(head), launch.address(tail))
    launch.kernel("index", f"index_add_{suffix}")(
        grid, (BLOCK,), launch.address(updates), launch.address(ordered), launch.address(order),
        launch.address(total), *ends, word_of(op, limit), *sizes, np.int64(columns),
        np.int64(columns), np.int32(lanes),
    )  # fmt: skip
    launch.kernel("index", f"index_add_fold_{suffix}")(
        grid, (BLOCK,), launch.address(ordered), *ends, launch.address(total), *sizes,
        np.int64(columns), np.int32(lanes),
    )  # fmt: skip
    return total


def _add_whole(op: str, total: Array, updates: Array, positions: Array) -> Array:
    """Whole numbers, whose sum has no order; CuPy adds unsigned words of 64 bits."""
    count, columns = total.shape
    places = cupy.where(positions < 0, positions + count, positions)
    check(_fault(op, count), places)
    places = cupy.where((places < 0) | (places >= count), count, places)
    wide = cupy.zeros((count + 1, columns), np.uint64)
    wide[:count] = total.astype(np.int64).view(np.uint64)
    cupyx.scatter_add(wide, places, updates.astype(np.int64).view(np.uint64))
    return wide[:count].view(np.int64).astype(total.dtype)


# -- gather and its adjoint --------------------------------------------------------------------


def gather(x: Array, index: Array, *, axes: shapes.Shape, at: int, out: Array | None = None) -> Any:
    source, natural = x, natural_place(axes)
    parts = _shape_of(x.shape, axes)
    if parts is None:
        kept = [k for k in range(x.ndim) if k not in axes]
        source = x.transpose([*axes, *kept])
        natural, axes = 0, tuple(range(len(axes)))
        parts = _shape_of(source.shape, axes)
    outer, count, inner = parts  # type: ignore[misc]
    sizes = tuple([source.shape[k] for k in axes])
    _check_empty("take", x, index, sizes)
    positions = _spread(_positions(index, sizes, outer == 1), outer, count)
    table = launch.contiguous(source).reshape(outer * count, inner)
    shape = (*source.shape[: axes[0]], *index.shape[1:], *source.shape[axes[-1] + 1 :])
    found = rows("take", table, positions, sizes[0]).reshape(shape)
    if at != natural and index.ndim > 1:
        found = found.transpose(moved_block(found.ndim, index.ndim - 1, natural, at))
    return written(found, out)


def _check_empty(op: str, x: Array, index: Array, sizes: shapes.Shape) -> None:
    if index.size and not shapes.size(sizes):
        raise outside(op, x, IndexError("the axis is empty"))


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
    kept = [k for k in range(len(shape)) if k not in axes]
    order = [*axes, *kept]
    sizes = [shape[k] for k in order]
    total = add_at(cupy.zeros(sizes, ct.dtype), ct, index, axes=axes, at=at)
    turned = order != sorted(order)
    return written(total.transpose(np.argsort(order).tolist()) if turned else total, out)


def add_at(total: Array, ct: Array, index: Array, *, axes: shapes.Shape, at: int) -> Array:
    """total, in C order and with the indexed axes first, with ct added where `gather` read."""
    sizes = total.shape[: len(axes)]
    places = launch.contiguous(_positions(index, sizes, True)).reshape(-1)
    count, columns = shapes.size(sizes), shapes.size(total.shape[len(axes) :])
    updates = ct.transpose(moved_block(ct.ndim, index.ndim - 1, at, 0))
    updates = launch.contiguous(updates.reshape(places.size, columns))
    found = add_rows("take", updates, places, total.reshape(count, columns), sizes[0])
    return found.reshape(total.shape)


# -- one index per element ---------------------------------------------------------------------


def along(index: Array, axis: int, shape: shapes.Shape) -> Array:
    """Row-major positions in an array of `shape` of what an index along `axis` names."""
    positions: Any = 0
    for k, size in enumerate(shape):
        if k == axis:
            one = cupy.where(index < 0, index + size, index)
        else:
            one = cupy.arange(size).reshape([-1 if j == k else 1 for j in range(len(shape))])
        positions = positions * size + one
    size = shape[axis]
    return cupy.where((index < -size) | (index >= size), OUTSIDE, positions)


def take_along_axis(x: Array, index: Array, *, axis: int, out: Array | None = None) -> Any:
    rest = [n for k, n in enumerate(x.shape) if k != axis]
    met = shapes.broadcast(
        tuple(rest),
        tuple([n for k, n in enumerate(index.shape) if k != axis]),
        op="take_along_axis",
    )
    wide = (*met[:axis], x.shape[axis], *met[axis:])
    table = launch.contiguous(cupy.broadcast_to(x, wide))
    _check_empty("take_along_axis", x, index, x.shape[axis : axis + 1])
    places = along(index, axis, wide)
    found = rows("take_along_axis", table.reshape(-1, 1), places.reshape(-1), x.shape[axis])
    return written(found.reshape(places.shape), out)


def add_along_axis(
    ct: Array, index: Array, *, axis: int, shape: shapes.Shape, out: Array | None = None
) -> Any:
    """Zeros of `shape` to which ct is added where `take_along_axis` read."""
    places = cupy.broadcast_to(along(index, axis, shape), ct.shape).reshape(-1)
    updates = launch.contiguous(ct).reshape(-1, 1)
    total = cupy.zeros((shapes.size(shape), 1), ct.dtype)
    total = add_rows("take_along_axis", updates, places, total, shape[axis])
    return written(total.reshape(shape), out)
