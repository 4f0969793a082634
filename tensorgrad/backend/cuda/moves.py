"""Copies of CuPy arrays that turn them: transposed matrices, and stacks of them, tile by tile.

A copy that reads along one axis and writes along another would touch whole lines of memory for
single elements; `kernels/transpose.cu` reads and writes along rows. All other copies are CuPy's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import cupy
import numpy as np

from tensorgrad.backend.cuda.module import load, source
from tensorgrad.codegen.cuda import OPTIONS

Array = Any

TILE, BLOCK, MOST = 32, 256, 65535
LEAST = 16
"""Rows and columns from which tiles are full enough."""

SIZES = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class Turn:
    """out[b, j, i] = x[b, i, j], as `kernels/transpose.cu` takes it: sizes and steps in elements.

    x (batch, rows, columns) has the strides (batch_x, row_x, 1), out (batch, columns, rows) the
    strides (batch_out, row_out, 1).
    """

    batch: int
    rows: int
    columns: int
    row_x: int
    row_out: int
    batch_x: int
    batch_out: int


@lru_cache(maxsize=4096)
def turn(shape: tuple[int, ...], strides: tuple[int, ...], size: int) -> Turn | None:
    """How an array of these strides in bytes is copied in C order by one transpose, if it can be.

    Axes that lie together are one; two or three must be left, of which not the last one has its
    elements side by side.
    """
    if size not in SIZES or any(n == 0 or step <= 0 or step % size for n, step in
                                zip(shape, strides) if n != 1):  # fmt: skip
        return None
    axes: list[tuple[int, int]] = []
    for n, step in zip(shape, strides):
        if n == 1:
            continue
        if axes and axes[-1][1] == n * step // size:
            axes[-1] = axes[-1][0] * n, step // size
        else:
            axes.append((n, step // size))
    side = [k for k, (_, step) in enumerate(axes[:-1]) if step == 1]
    if not 2 <= len(axes) <= 3 or len(side) != 1 or min(axes[-1][0], axes[side[0]][0]) < LEAST:
        return None
    packed = [1] * len(axes)
    for k in range(len(axes) - 2, -1, -1):
        packed[k] = packed[k + 1] * axes[k + 1][0]
    (rows, row_x), columns = axes[-1], axes[side[0]][0]
    rest = [k for k in range(len(axes) - 1) if k != side[0]]
    batch, batch_x, batch_out = (*axes[rest[0]], packed[rest[0]]) if rest else (1, 0, 0)
    return Turn(batch, rows, columns, row_x, packed[side[0]], batch_x, batch_out)


@lru_cache(maxsize=4096)
def _seen_as(shape: tuple[int, ...], strides: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether an array of these strides is a view of another shape; NumPy says so."""
    memory: Any = np.empty(1, np.uint8)
    try:
        np.lib.stride_tricks.as_strided(memory, shape, strides).reshape(wanted, copy=False)
    except ValueError:
        return False
    return True


def reshaped(x: Array, shape: tuple[int, ...]) -> Array:
    """x in another shape: a view where it can be one, else a copy."""
    turned = not x.flags.c_contiguous and turn(x.shape, x.strides, x.itemsize) is not None
    if turned and not _seen_as(x.shape, x.strides, shape):
        x = copied(x)
    return x.reshape(shape)


@cache
def _kernel(size: int) -> Any:
    name = f"transpose_{size}"
    return load(source("transpose"), (name,), OPTIONS)[name]


def contiguous(x: Array) -> Array:
    """x itself where it lies in C order, else a copy that does; never of another shape."""
    return x if x.flags.c_contiguous else copied(x)


def copied(x: Array) -> Array:
    """A copy in C order, of any dtype."""
    t = None if x.flags.c_contiguous else turn(x.shape, x.strides, x.itemsize)
    if t is None:
        # CuPy's functions know little of bfloat16: its bits are moved.
        plain = x if x.dtype.kind in "biufc" else x.view(np.uint16)
        found = plain.copy()
        return found if plain is x else found.view(x.dtype)
    out = cupy.empty(x.shape, x.dtype)
    grid = (-(-t.columns // TILE), min(-(-t.rows // TILE), MOST), min(t.batch, MOST))
    numbers = (t.batch, t.rows, t.columns, t.row_x, t.row_out, t.batch_x, t.batch_out)
    _kernel(x.itemsize)(grid, (BLOCK,), int(x.data.ptr), int(out.data.ptr), *map(np.int64, numbers))
    return out
