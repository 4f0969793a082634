"""Images read at any positions by generated loops, on NumPy arrays; see `sampling`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgrad import dtypes
from tensorgrad.backend import memory, threads
from tensorgrad.backend.numpy_kernels import written
from tensorgrad.backend.sampling import Sampling, constants, moving, reading
from tensorgrad.codegen.sampling import lanes, sampler

Array = np.ndarray[Any, Any]

WORK = 2**15
"""Elements read from which on a thread is worth waking."""


TOGETHER = 2**16
"""Bytes of an image up to which both cotangents are found in one go: larger ones pass by twice."""


def _loop(how: Sampling, what: str, dtype: Any) -> Callable[[Any], None] | None:
    slope = moving(how) if how.mode != "nearest" else None
    return sampler(reading(how), slope, how.rank, how.taps, what, dtypes.compute(dtype))


def generated(how: Sampling, dtype: Any, pixels: int) -> bool:
    """Whether there are loops for a way to read images of so many pixels."""
    return pixels < 2**31 and _loop(how, "read", dtype) is not None


def _flat(x: Array, wide: Any) -> Array:
    return np.ascontiguousarray(x, wide)


def _run(
    how: Sampling, what: str, x: Array, grid: Array, ct: Array, y: Array, dx: Array, dgrid: Array
) -> None:
    """The loop over all images; an array that it does not use may be any."""
    run: Any = _loop(how, what, x.dtype)
    size, places = x.shape[2:], math.prod(grid.shape[1:-1])
    values = np.array(constants(size, how.corners), x.dtype)
    rest = (x.shape[1], places, -(-places // lanes(x.dtype)), math.prod(size) * x.itemsize)
    sizes = (*size, *(1,) * (3 - len(size)))

    def images(start: int, stop: int) -> None:
        each = [a[start:stop].ctypes.data for a in (x, grid, ct, y, dx, dgrid)]
        run((*each, values.ctypes.data, stop - start, *rest, *sizes))

    if len(x) and x.shape[1] and places:
        threads.split(len(x), -(-WORK // (x.shape[1] * places)), images)


def grid_sample(x: Array, grid: Array, *, how: Sampling, out: Array | None = None) -> Any:
    """Images (N, C, ...) at positions (N, ..., rank)."""
    wide = dtypes.compute(x.dtype)
    found = memory.empty((*x.shape[:2], *grid.shape[1:-1]), wide)
    given, places = _flat(x, wide), _flat(grid, wide)
    _run(how, "read", given, places, found, found, found, found)
    if wide == x.dtype and out is None:
        return (found,)
    return (written(found.astype(x.dtype, copy=False), out),)


def grid_sample_pull(
    ct: Array, wanted: Sequence[int], saved: Sequence[Array], how: Sampling
) -> list[tuple[int, Array]]:
    """The cotangents of images and positions; those of a nearest element's position are 0."""
    wide, dtype = dtypes.compute(ct.dtype), ct.dtype
    x, grid = (_flat(a, wide) for a in saved)
    asked = [k for k in wanted if k == 0 or how.mode != "nearest"]
    if not asked:
        return []
    dx = np.zeros(x.shape, wide) if 0 in asked else x
    dgrid = memory.empty(grid.shape, wide) if 1 in asked else grid
    if 1 in asked and not x.shape[1]:
        dgrid.fill(0)
    names = ["grid" if k else "x" for k in asked]
    for what in ["both"] if len(asked) == 2 and x[:1].nbytes <= TOGETHER else names:
        _run(how, what, x, grid, _flat(ct, wide), x, dx, dgrid)
    return [(k, (dx, dgrid)[k].astype(dtype, copy=False)) for k in asked]
