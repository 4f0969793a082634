"""Resampling and sliding blocks of NumPy arrays, named as the primitives are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from tensorgrad import dtypes
from tensorgrad.backend.numpy_kernels import written
from tensorgrad.backend.resampling import Resampling, table

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]


def resample(
    x: Array, *, plan: Resampling, axis: int, adjoint: bool, out: Array | None = None
) -> Any:
    """Σ_t weight[t] x[index[t]] along an axis."""
    index, weight = table(plan, adjoint)
    plain = (weight == 1).all(1)
    if len(index) == 1 and plain[0]:
        return written(x.take(index[0], axis, mode="clip"), out)
    wide = x.astype(np.float32) if dtypes.is_half(x.dtype) else x
    scale = weight.astype(wide.dtype).reshape(*weight.shape, *(1,) * (x.ndim - axis - 1))
    found = wide.take(index[0], axis, mode="clip")
    if not plain[0]:
        found *= scale[0]
    part = np.empty_like(found)
    for k in range(1, len(index)):
        wide.take(index[k], axis, part, "clip")
        if not plain[k]:
            part *= scale[k]
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
