"""Running operations of CuPy arrays along an axis, named as the primitives are.

Products and extremes of real numbers run as `kernels/cumulative.cu`; the linear recurrence and
the logarithm of sums are scans by whole-array operations. Every function takes `out=`.
"""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from tensorgrad import dtypes
from tensorgrad._errors import DTypeError
from tensorgrad.backend.cuda.kernels import cast, written
from tensorgrad.backend.cuda.reduce import _running
from tensorgrad.backend.numpy_cumulative import scanned

Array = Any


def _whole(x: Array) -> Array:
    """Integers and bools in the 64 bits of their products."""
    if x.dtype.kind not in "biu":
        return x
    return x.astype(np.uint64 if x.dtype.kind == "u" else np.int64)


def cumprod(x: Array, *, axis: int, out: Array | None = None) -> Any:
    if x.dtype.kind == "c":
        return written(cupy.cumprod(x, axis), out)
    return written(_running("cumprod", _whole(x), axis, False), out)


def _extreme(name: str, x: Array, axis: int, out: Array | None) -> Any:
    if x.dtype.kind == "c" or x.dtype == np.uint64:
        raise DTypeError(
            f"{name}: got dtype {x.dtype} on a GPU, expected floats, bools or integers of int64's "
            "range; try x.to('cpu')"
        )
    wide = x if dtypes.is_float(x.dtype) else x.astype(np.int64)
    return written(cast(_running(name, wide, axis, False), x.dtype), out)


def cummax(x: Array, *, axis: int, out: Array | None = None) -> Any:
    return _extreme("cummax", x, axis, out)


def cummin(x: Array, *, axis: int, out: Array | None = None) -> Any:
    return _extreme("cummin", x, axis, out)


def logcumsumexp(x: Array, *, axis: int, out: Array | None = None) -> Any:
    """By doubling: after step k every element is that of the 2^k last ones."""
    half = dtypes.is_half(x.dtype)
    found = (cast(x, np.float32) if half else x.copy()).swapaxes(axis, -1)
    step = 1
    while step < found.shape[-1]:
        found[..., step:] = cupy.logaddexp(found[..., step:], found[..., :-step])
        step *= 2
    found = found.swapaxes(axis, -1)
    return written(cast(found, x.dtype) if half else found, out)


def recurrence(a: Array, b: Array, *, reverse: bool, out: Array | None = None) -> Any:
    half = dtypes.is_half(b.dtype)
    if half:
        found = scanned(cupy, cast(a, np.float32), cast(b, np.float32), reverse)
        return written(cast(found, b.dtype), out)
    return written(scanned(cupy, a, b, reverse), out)
