"""Fused losses on CuPy arrays; a fused kernel returns (output, values kept for backward ...)."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from tensorgrad import dtypes
from tensorgrad.backend.cuda import launch
from tensorgrad.backend.cuda.create import counted, host_value, mean_of
from tensorgrad.backend.cuda.faults import Fault, faults
from tensorgrad.backend.cuda.kernels import cast, written

Array = Any

WARP_COLUMNS, WARP, BLOCK = 1024, 128, 512
"""Columns up to which a warp takes a row; threads of a block of warps, and of one for a row."""


class _Rows:
    """Logits as rows of `columns`, labels as 64-bit integers."""

    def __init__(self, x: Array, label: Array, axis: int) -> None:
        self.turned = axis != x.ndim - 1
        self.lead = tuple([n for k, n in enumerate(x.shape) if k != axis])
        moved = x.transpose([*[k for k in range(x.ndim) if k != axis], axis]) if self.turned else x
        self.columns = x.shape[axis]
        flat = moved.reshape(-1 if x.size else 0, self.columns)
        side_by_side = flat.strides[1] == flat.itemsize and flat.strides[0] > 0
        self.x = flat if side_by_side else launch.contiguous(flat)
        self.label = launch.contiguous(label.astype(np.int64, copy=False)).reshape(-1)
        self.count = len(self.x)
        self.suffix = launch.SUFFIX[x.dtype.name]
        self.ld = np.int64(self.x.strides[0] // x.itemsize if self.count > 1 else self.columns)


def _readable(x: Array) -> Array:
    """Logits of a dtype that has kernels."""
    return x if x.dtype.name in launch.SUFFIX else cast(x, dtypes.inexact(x.dtype))


def softmax_xent(
    x: Array, label: Array, ignore: Array, *, axis: int, out: Array | None = None
) -> Any:
    """Mean over rows of log Σ exp(x) - x[label], rows of label `ignore` left out; NaN for none.

    The kernels of `kernels/softmax_xent.cu`; backward reads the rows once more.
    """
    rows, skip = _Rows(_readable(x), label, axis), host_value(ignore)
    wide = dtypes.compute(rows.x.dtype)
    loss, total, shift = (cupy.empty(rows.count, wide) for _ in range(3))
    if rows.count:
        _forward(rows, skip, loss, total, shift)
    count = counted(rows.label, skip, wide)
    value = mean_of(loss, count, rows.x.dtype)
    return written(value, out), count, total.reshape(rows.lead), shift.reshape(rows.lead)


def _forward(rows: _Rows, skip: int, loss: Array, total: Array, shift: Array) -> None:
    columns, short = rows.columns, rows.columns <= WARP_COLUMNS
    name, block = ("softmax_xent_warp", WARP) if short else ("softmax_xent", BLOCK)
    grid = -(-rows.count // (WARP // 32)) if short else rows.count
    fault = Fault("cross_entropy", "label", columns, "labels from 0, or more columns", 0)
    launch.kernel("softmax_xent", f"{name}_{rows.suffix}")(
        (grid,), (block,), launch.address(rows.x), launch.address(rows.label),
        launch.address(loss), 0, launch.address(total), launch.address(shift), 0,
        faults().word(fault), np.int64(rows.count), np.int32(columns), rows.ld, np.int64(0),
        np.int64(skip), loss.dtype.type(0), np.int32(0),
    )  # fmt: skip


def softmax_xent_pull(ct: Array, saved: tuple[Any, ...], axis: int) -> Any:
    """Its cotangent of x; `saved` are the three inputs and what the kernel kept."""
    x, label, ignore, _, total, shift = saved
    rows, skip = _Rows(_readable(x), label, axis), host_value(ignore)
    wide = dtypes.compute(rows.x.dtype)
    found = cupy.empty((rows.count, rows.columns), rows.x.dtype)
    if found.size:
        scale = cupy.empty((), wide)
        counted(rows.label, skip, wide, cast(ct, wide) if ct.dtype != wide else ct, scale)
        launch.kernel("softmax_xent", f"softmax_xent_pull_{rows.suffix}")(
            (rows.count,), (BLOCK,), launch.address(rows.x), launch.address(rows.label),
            launch.address(total), launch.address(shift), launch.address(scale),
            launch.address(found), np.int32(rows.columns), rows.ld, np.int64(rows.columns),
            np.int64(skip), wide.type(0),
        )  # fmt: skip
    found = found.reshape((*rows.lead, rows.columns))
    if rows.turned:
        order = list(range(len(rows.lead)))
        order.insert(axis, len(rows.lead))
        found = found.transpose(order)
    return found
