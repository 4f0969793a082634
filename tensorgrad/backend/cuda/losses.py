"""Fused losses on CuPy arrays; a fused kernel returns (output, values kept for backward ...)."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from tensorgrad import _config, dtypes
from tensorgrad.backend.cuda import device, launch
from tensorgrad.backend.cuda.create import counted, known, mean_of
from tensorgrad.backend.cuda.faults import Fault, NoProbability, faults
from tensorgrad.backend.cuda.index import report
from tensorgrad.backend.cuda.kernels import cast, written

Array = Any

WARP_COLUMNS, WARP, BLOCK, WIDE = 1024, 128, 512, 1024
"""Columns up to which a warp takes a row; threads of a block of warps, and of one for a row."""

LONG = 96 * 1024
"""Bytes of a row from which one block has a multiprocessor to itself: it gets more threads.

Not in float64, whose registers would not suffice.
"""

FEW, SHORT = 128, 256
"""Rows, and columns, up to which one block does everything in one launch."""

STATIC = 1024
"""Bytes of shared memory that the kernel itself has, at most."""


def need_probabilities(x: Array, wrong: Array, *, op: str, what: str, fix: str) -> None:
    """Report the first element that is wrong."""
    if wrong.size:
        report(NoProbability(op, what, None, fix, kind=ValueError), wrong)


class _Rows:
    """Logits as rows of `columns`, labels as 64-bit integers."""

    def __init__(self, x: Array, label: Array, ignore: Array, axis: int) -> None:
        self.axis, self.turned = axis, axis != x.ndim - 1
        self.lead = tuple([n for k, n in enumerate(x.shape) if k != axis])
        if self.turned:
            x = launch.contiguous(x.transpose([*[k for k in range(x.ndim) if k != axis], axis]))
        self.columns = x.shape[-1]
        flat = x.reshape(-1 if x.size else 0, self.columns)
        side_by_side = flat.strides[1] == flat.itemsize and flat.strides[0] > 0
        self.x = flat if side_by_side else launch.contiguous(flat)
        self.label = launch.contiguous(label.astype(np.int64, copy=False)).reshape(-1)
        self.ignore = ignore.astype(np.int64, copy=False)
        self.count = len(self.x)
        self.wide = dtypes.compute(self.x.dtype)
        self.suffix = launch.SUFFIX[x.dtype.name]
        self.ld = np.int64(self.x.strides[0] // x.itemsize if self.count > 1 else self.columns)

    def gradient(self) -> Array:
        """A new array for the gradient of the logits, the classes on its last axis."""
        return cupy.empty((*self.lead, self.columns), self.x.dtype)

    def back(self, gradient: Array) -> Array:
        """The gradient with the axes of the logits."""
        if not self.turned:
            return gradient
        order = list(range(len(self.lead)))
        order.insert(self.axis, len(self.lead))
        return gradient.transpose(order)

    def kept(self) -> int:
        """Columns of a row that wait in shared memory between its two passes."""
        room = device.properties(self.x.data.device_id).shared_on_request - STATIC
        per = 16 // int(self.x.itemsize)
        return min(-(-int(self.columns) // per), room // 16) * per


def _readable(x: Array) -> Array:
    """Logits of a dtype that has kernels."""
    return x if x.dtype.name in launch.SUFFIX else cast(x, dtypes.inexact(x.dtype))


def softmax_xent(
    x: Array, label: Array, ignore: Array, *, axis: int, out: Array | None = None
) -> Any:
    """Mean over rows of log Σ exp(x) - x[label], rows of label `ignore` left out; NaN for none.

    The kernels of `kernels/softmax_xent.cu`. While something is recorded, the same pass over the
    rows leaves the gradient of the logits for a cotangent of 1, which backward then has for
    nothing. It takes the memory that backward would ask for next; the logits themselves stay for
    derivatives of higher order, and for any other cotangent.
    """
    rows = _Rows(_readable(x), label, ignore, axis)
    loss, total, shift = (cupy.empty(rows.count, rows.wide) for _ in range(3))
    gradient = [rows.gradient()] if _config.is_recording() else []
    outs = (loss, gradient[0] if gradient else None, total, shift)
    if rows.count <= FEW and rows.columns <= SHORT:
        value, count = _all_at_once(rows, outs)
        return written(value, out), count, total, shift, gradient
    scale = cupy.empty((), rows.wide) if gradient else None
    count = counted(rows.label, rows.ignore, rows.wide, None, scale)
    if rows.count:
        _forward(rows, outs, scale)
    return written(mean_of(loss, count, rows.x.dtype), out), count, total, shift, gradient


Outs = tuple[Array, Array | None, Array, Array]
"""Of every row its loss, the gradient (or None), Σ exp(x - max) and max."""


def _word(rows: _Rows) -> int:
    fix = "labels from 0, or more columns"
    return faults().word(Fault("cross_entropy", "label", rows.columns, fix))


def _all_at_once(rows: _Rows, outs: Outs) -> tuple[Array, Array]:
    """The mean loss and the count of a few short rows, in one launch that fills `outs` too."""
    value, count = cupy.empty((), rows.x.dtype), cupy.empty((), rows.wide)
    launch.kernel("softmax_xent", f"softmax_xent_small_{rows.suffix}")(
        (1,), (BLOCK,), launch.address(rows.x), launch.address(rows.label),
        *map(launch.address, outs), launch.address(count), launch.address(value), _word(rows),
        np.int64(rows.count), np.int32(rows.columns), rows.ld, np.int64(rows.columns),
        launch.address(rows.ignore), rows.wide.type(0),
    )  # fmt: skip
    return value, count


def _forward(rows: _Rows, outs: Outs, scale: Array | None) -> None:
    """Fill `outs` for a cotangent of the row's loss of `scale`."""
    columns, kept = rows.columns, 0
    if columns <= WARP_COLUMNS:
        name, block, grid = "softmax_xent_warp", WARP, -(-rows.count // (WARP // 32))
    else:
        long = columns * rows.x.itemsize > LONG and rows.suffix != "f64"
        name, block = ("softmax_xent_wide", WIDE) if long else ("softmax_xent", BLOCK)
        grid, kept = rows.count, 0 if scale is None else rows.kept()
    launch.kernel("softmax_xent", f"{name}_{rows.suffix}")(
        (grid,), (block,), launch.address(rows.x), launch.address(rows.label),
        *map(launch.address, outs), launch.address(scale), _word(rows),
        np.int64(rows.count), np.int32(columns), rows.ld, np.int64(columns),
        launch.address(rows.ignore), rows.wide.type(0), np.int32(kept),
        shared=kept * rows.x.itemsize,
    )  # fmt: skip


def softmax_xent_pull(ct: Array, saved: tuple[Any, ...], axis: int) -> Any:
    """Its cotangent of x; `saved` are the three inputs and what the kernel kept.

    The kept gradient is given away once, whole: a second backward over a retained graph computes
    it again, to the same bits, as any cotangent but 1 does.
    """
    x, label, ignore, _, total, shift, kept = saved
    rows = _Rows(_readable(x), label, ignore, axis)
    gradient = kept.pop() if kept else None
    if gradient is not None and known(ct) == 1:
        return rows.back(gradient)
    found = rows.gradient() if gradient is None else gradient
    if found.size:
        scale = cupy.empty((), rows.wide)
        seed = cast(ct, rows.wide) if ct.dtype != rows.wide else ct
        counted(rows.label, rows.ignore, rows.wide, seed, scale)
        launch.kernel("softmax_xent", f"softmax_xent_pull_{rows.suffix}")(
            (rows.count,), (BLOCK,), launch.address(rows.x), launch.address(rows.label),
            launch.address(total), launch.address(shift), launch.address(scale),
            launch.address(found), np.int32(rows.columns), rows.ld, np.int64(rows.columns),
            launch.address(rows.ignore), rows.wide.type(0),
        )  # fmt: skip
    return rows.back(found)
