"""Resampling and sliding blocks of CuPy arrays, named as the primitives are."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cupy
import numpy as np

from tensorgrad import dtypes
from tensorgrad.backend.cuda.kernels import bits, cast, moved, written
from tensorgrad.backend.numpy_resample import Shape, pieces
from tensorgrad.backend.resampling import Resampling, table

Array = Any


@lru_cache(512)
def _table(plan: Resampling, adjoint: bool, dtype: str, device: int) -> tuple[Array, Array, bool]:
    """A table on a device, and whether it only moves elements; kept, so that a replay finds it."""
    index, weight = table(plan, adjoint)
    plain = index.shape[0] == 1 and bool((weight == 1).all())
    return cupy.asarray(index), cupy.asarray(weight.astype(dtype)), plain


def resample(
    x: Array, *, plan: Resampling, axis: int, adjoint: bool, out: Array | None = None
) -> Any:
    """Σ_t weight[t] x[index[t]] along an axis."""
    if not x.size:  # CuPy picks nothing out of nothing
        size = plan.source if adjoint else plan.target
        return written(cupy.empty((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype), out)
    half = dtypes.is_half(x.dtype)
    real = "float32" if half else x.dtype.name
    index, weight, plain = _table(plan, adjoint, real, int(cupy.cuda.runtime.getDevice()))
    if plain:
        return written(moved(cupy.take, x, index[0], axis), out)
    wide = cast(x, np.float32) if half else x
    scale = weight.reshape((*weight.shape, *(1,) * (x.ndim - axis - 1)))
    found = cupy.take(wide, index[0], axis) * scale[0]
    for k in range(1, index.shape[0]):
        found = found + cupy.take(wide, index[k], axis) * scale[k]
    return written(cast(found, x.dtype) if half else found, out)


def im2col(
    x: Array, *, kernel: Shape, stride: Shape, dilation: Shape, places: Shape,
    shape: Shape, out: Array | None = None,
) -> Any:  # fmt: skip
    """Blocks of images (*lead, H, W): (*lead, kh, kw, rows, columns)."""
    found = cupy.empty((*x.shape[:-2], *kernel, *places), x.dtype) if out is None else out
    target, source = bits(found), bits(x)
    for block, image in pieces(kernel, stride, dilation, places):
        target[block] = source[image]
    return found


def col2im(
    x: Array, *, kernel: Shape, stride: Shape, dilation: Shape, places: Shape,
    shape: Shape, out: Array | None = None,
) -> Any:  # fmt: skip
    """The adjoint: the sum of the blocks, each at its place in an image of `shape`."""
    half = dtypes.is_half(x.dtype)
    wide = cast(x, np.float32) if half else x
    found = cupy.zeros((*x.shape[:-4], *shape), wide.dtype)
    for block, image in pieces(kernel, stride, dilation, places):
        found[image] += wide[block]
    return written(cast(found, x.dtype) if half else found, out)
