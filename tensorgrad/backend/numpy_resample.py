"""Resampling and sliding blocks of NumPy arrays, named as the primitives are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from tensorgrad import dtypes
from tensorgrad.backend.numpy_kernels import written
from tensorgrad.backend.resampling import Resampling, table

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]


@lru_cache(512)
def _scales(
    plan: Resampling, adjoint: bool, dtype: Any, behind: int
) -> tuple[tuple[Array, Array | None], ...]:
    """Of each tap its elements, and its weights for so many axes behind; None where all are 1."""
    index, weight = table(plan, adjoint)
    shape = (weight.shape[1], *(1,) * behind)
    scale = [None if (w == 1).all() else w.astype(dtype).reshape(shape) for w in weight]
    return tuple(zip(index, scale))


def resample(
    x: Array, *, plan: Resampling, axis: int, adjoint: bool, out: Array | None = None
) -> Any:
    """Σ_t weight[t] x[index[t]] along an axis."""
    real = dtypes.compute(x.dtype)
    taps = _scales(plan, adjoint, real, x.ndim - axis - 1)
    (index, scale), *rest = taps
    if not rest and scale is None:
        return written(x.take(index, axis, mode="clip"), out)
    wide = x.astype(real, copy=False)
    found = wide.take(index, axis, mode="clip")
    if scale is not None:
        found *= scale
    part = np.empty_like(found)
    for index, scale in rest:
        wide.take(index, axis, part, "clip")
        if scale is not None:
            part *= scale
        found += part
    return written(found.astype(x.dtype, copy=False), out)


def pieces(
    kernel: Shape, stride: Shape, dilation: Shape, places: Shape
) -> Iterator[tuple[Any, Any]]:
    """Keys of each tap's elements: among the blocks, and in a padded image."""
    for tap in itertools.product(*map(range, kernel)):
        each = zip(tap, stride, dilation, places)
        image = [slice(t * d, t * d + (n - 1) * s + 1, s) for t, s, d, n in each]
        yield (..., *tap, slice(None), slice(None)), (..., *image)


def im2col(
    x: Array, *, kernel: Shape, stride: Shape, dilation: Shape, places: Shape,
    shape: Shape, out: Array | None = None,
) -> Any:  # fmt: skip
    """Blocks of images (*lead, H, W): (*lead, kh, kw, rows, columns)."""
    found = np.empty((*x.shape[:-2], *kernel, *places), x.dtype) if out is None else out
    for block, image in pieces(kernel, stride, dilation, places):
        found[block] = x[image]
    return found


def col2im(
    x: Array, *, kernel: Shape, stride: Shape, dilation: Shape, places: Shape,
    shape: Shape, out: Array | None = None,
) -> Any:  # fmt: skip
    """The adjoint: the sum of the blocks, each at its place in an image of `shape`."""
    half = dtypes.is_half(x.dtype)
    found = np.zeros((*x.shape[:-4], *shape), np.float32 if half else x.dtype)
    for block, image in pieces(kernel, stride, dilation, places):
        found[image] += x[block]
    return written(found.astype(x.dtype, copy=False), out)
