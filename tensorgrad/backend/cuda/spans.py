"""Sums and maxima over spans of CuPy arrays, named as the primitives are; see `spans`."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import cupy
import numpy as np

from tensorgrad import dtypes
from tensorgrad.backend import spans as shared
from tensorgrad.backend.cuda import reduce
from tensorgrad.backend.cuda.kernels import cast, moved, written

Array = Any


@lru_cache(512)
def _table(spans: shared.Spans, device: int) -> tuple[Array, Array]:
    index, own = shared.table(spans)
    return cupy.asarray(index), cupy.asarray(own)


@lru_cache(64)
def _places(size: tuple[int, ...], spans: tuple[shared.Spans, ...], device: int) -> Array:
    return cupy.asarray(shared.places(size, spans))


def _device() -> int:
    return int(cupy.cuda.runtime.getDevice())


def span_sum(x: Array, *, spans: shared.Spans, axis: int, out: Array | None = None) -> Any:
    """Σ of each span of an axis."""
    shape = (*x.shape[:axis], len(spans), *x.shape[axis + 1 :])
    if not x.size:  # CuPy picks nothing out of nothing
        return written(cupy.zeros(shape, x.dtype), out)
    half = dtypes.is_half(x.dtype)
    wide = cast(x, np.float32) if half else x
    index, own = _table(spans, _device())
    seen = cupy.take(wide, index, axis)
    seen = cupy.where(own.reshape((*own.shape, *(1,) * (x.ndim - axis - 1))), seen, 0)
    found = cupy.sum(seen, axis + 1, dtype=wide.dtype)
    return written(cast(found, x.dtype) if half else found, out)


def span_argmax(
    x: Array, *, size: tuple[int, ...], spans: tuple[shared.Spans, ...], out: Array | None = None
) -> Any:
    """The number in its image of the first largest element of each window."""
    lead, shape = x.shape[: x.ndim - len(size)], tuple([len(one) for one in spans])
    if not x.size:
        return written(cupy.zeros((*lead, *shape), np.int64), out)
    index = _places(size, spans, _device())
    seen = moved(cupy.take, x.reshape((*lead, math.prod(size))), index, len(lead))
    best = reduce.argmax(seen, axis=seen.ndim - 1, keepdims=False)
    found = index[cupy.arange(len(index)), best]
    return written(found.reshape((*lead, *shape)), out)
