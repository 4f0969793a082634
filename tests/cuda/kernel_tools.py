"""Launching the project's kernels on the CPU, and comparing what they give."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
from host import KERNELS, Module, build

SCHEDULES = ("ascending", "descending", "random")
DTYPES = {
    "f32": np.dtype(np.float32),
    "f64": np.dtype(np.float64),
    "f16": np.dtype(np.float16),
    "bf16": np.dtype(ml_dtypes.bfloat16),
}
COMPUTE = {name: np.float64 if name == "f64" else np.float32 for name in DTYPES}
i32, i64, u64 = np.int32, np.int64, np.uint64
_GUARD = 64  # bytes of poison before and after an array


@cache
def module(file: str) -> Module:
    """The kernels of one file."""
    return build((KERNELS / f"{file}.cu").read_text())


def array(shape: Any, dtype: Any, shift: int = 0, fill: Any = None) -> Any:
    """An array whose first element is `shift` elements past a multiple of 64 bytes, guarded.

    Without `fill` its bytes are 0xff: NaN, or -1.
    """
    dtype = np.dtype(dtype)
    count = int(np.prod(shape))
    memory = np.full(count * dtype.itemsize + 4 * _GUARD, 0xFF, np.uint8)
    start = -memory.ctypes.data % _GUARD + _GUARD + shift * dtype.itemsize
    found = memory[start : start + count * dtype.itemsize].view(dtype).reshape(shape)
    if fill is not None:
        found[...] = fill
    return found


def launch(
    file: str,
    name: str,
    grid: Sequence[int],
    block: int,
    *args: Any,
    shared: int = 0,
    schedules: Sequence[str] = SCHEDULES,
) -> None:
    """Run a kernel under each schedule, from the same state; all must leave the same bits."""
    kernel = module(file).get_function(name)
    kernel.max_dynamic_shared_size_bytes = max(shared, 48 * 1024)
    arrays = [a for a in args if isinstance(a, np.ndarray)]
    before = [a.copy() for a in arrays]
    found: list[bytes] = []
    for k, schedule in enumerate(schedules):
        for a, value in zip(arrays, before if k else []):
            a[...] = value
        kernel(grid, (block,), args, shared, schedule=schedule)
        result = [a.tobytes() for a in arrays]
        assert not found or result == found, f"{name}: {schedule} differs from {schedules[0]}"
        found = result
    for a in arrays:
        _check_guards(a)


def _check_guards(a: Any) -> None:
    memory = a.base
    if memory is None or memory.dtype != np.uint8 or not a.flags.c_contiguous:
        return
    start = a.ctypes.data - memory.ctypes.data
    assert (memory[:start] == 0xFF).all()
    assert (memory[start + a.nbytes :] == 0xFF).all()


def near(got: Any, want: Any, name: str, ulps: float, scale: Any = None) -> None:
    """|got - want| <= ulps eps(compute) scale, and half an ulp of a 16-bit result more.

    `scale` is |want| by default. NaN and inf must be where `want` has them.
    """
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert np.array_equal(np.isnan(got), np.isnan(want))
    known = np.isfinite(want)
    assert np.array_equal(got[~known], want[~known], equal_nan=True)
    scale = np.broadcast_to(np.abs(want) if scale is None else scale, want.shape)[known]
    got, want = got[known], want[known]
    allowed = ulps * np.finfo(COMPUTE[name]).eps * scale
    if name in ("f16", "bf16"):
        info = ml_dtypes.finfo(DTYPES[name])
        allowed = allowed + 0.5 * float(info.eps) * (np.abs(want) + allowed)
        allowed = allowed + float(info.smallest_subnormal)
    worst = np.max(np.abs(got - want) - allowed, initial=-np.inf)
    assert worst <= 0, f"{name}: {np.max(np.abs(got - want))} off, {worst} too much"


def size(dtype: str) -> int:
    return DTYPES[dtype].itemsize


def kept_bytes(columns: int, dtype: str) -> int:
    """Shared memory for a row, in whole groups of 16 bytes."""
    return -(-columns * size(dtype) // 16) * 16
