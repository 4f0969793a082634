"""Running operations of NumPy arrays along an axis, named as the primitives are.

Every function takes `out=`: None, or an array of the result's shape and dtype to write into.
The 16-bit floats are computed in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad import dtypes
from tensorgrad.backend.numpy_kernels import written

Array = np.ndarray[Any, Any]


def _accumulated(ufunc: Any, x: Array, axis: int, dtype: Any, out: Array | None) -> Any:
    if not dtypes.is_half(x.dtype):
        return ufunc.accumulate(x, axis, dtype, out)
    return written(ufunc.accumulate(x.astype(np.float32), axis).astype(x.dtype), out)


def _generated(name: str, dtype: Any) -> Any:
    from tensorgrad.codegen.recurrence import running  # late: for import time

    return running(name, dtype)


LARGE = 4096
"""Elements from which generated code is faster, its call included."""


def swift(name: str, x: Array, axis: int, reverse: bool) -> Array | None:
    """The running sum or product along a last axis, by generated code; None where it is slower."""
    if x.size < LARGE or axis != x.ndim - 1:
        return None
    run = _generated(name, x.dtype)
    if run is None:
        return None
    found = np.empty(x.shape, x.dtype)
    x = np.ascontiguousarray(x)
    run(x, x, found, reverse)
    return found


def cumsum(x: Array, *, axis: int, out: Array | None = None) -> Any:
    found = swift("sum", x, axis, False)
    if found is not None:
        return written(found, out)
    if not dtypes.is_half(x.dtype):
        return np.cumsum(x, axis, None, out)
    return written(np.cumsum(x, axis, np.float32).astype(x.dtype), out)


def cumprod(x: Array, *, axis: int, out: Array | None = None) -> Any:
    found = swift("product", x, axis, False)
    if found is not None:
        return written(found, out)
    if not dtypes.is_half(x.dtype):
        return np.cumprod(x, axis, None, out)
    return written(np.cumprod(x, axis, np.float32).astype(x.dtype), out)


def cummax(x: Array, *, axis: int, out: Array | None = None) -> Any:
    return _accumulated(np.maximum, x, axis, None, out)


def cummin(x: Array, *, axis: int, out: Array | None = None) -> Any:
    return _accumulated(np.minimum, x, axis, None, out)


def logcumsumexp(x: Array, *, axis: int, out: Array | None = None) -> Any:
    return _accumulated(np.logaddexp, x, axis, None, out)


# -- the linear recurrence ---------------------------------------------------------------------


def recurrence(a: Array, b: Array, *, reverse: bool, out: Array | None = None) -> Any:
    """s_j = a_j s_(j-1) + b_j along the last axis; in reverse u_j = b_j + a_(j+1) u_(j+1)."""
    result = np.result_type(a.dtype, b.dtype)
    computed = dtypes.compute(result)
    run = _generated("recurrence", computed)
    a, b = (np.ascontiguousarray(x, computed) for x in (a, b))
    if run is None or not b.ndim:
        found = scanned(np, a, b, reverse)
    else:
        found = np.empty(b.shape, computed)
        run(a, b, found, reverse)
    return written(found.astype(result, copy=False), out)


def scanned(xp: Any, a: Any, b: Any, reverse: bool) -> Any:
    """The recurrence by whole-array operations: pairs are joined, and the pairs solved likewise.

    (a, b) followed by (c, d) is (c a, c b + d): O(n) work in O(log n) steps.
    """
    backwards = (..., slice(None, None, -1))
    if reverse:
        return scanned(xp, xp.roll(a[backwards], 1, -1), b[backwards], False)[backwards]
    if not b.size:
        return b.copy()
    a = a.copy()
    a[..., 0] = 0  # it is read by nobody, and may be anything
    return _pairs(xp, a, b)


def _pairs(xp: Any, a: Any, b: Any) -> Any:
    """s_j = a_j s_(j-1) + b_j with a_0 = 0."""
    n = b.shape[-1]
    if n < 2:
        return b.copy()
    half = n - n % 2
    even, odd = (..., slice(0, half, 2)), (..., slice(1, None, 2))
    found = xp.empty(b.shape, b.dtype)
    found[odd] = _pairs(xp, a[odd] * a[even], a[odd] * b[even] + b[odd])
    found[..., 0] = b[..., 0]
    later = (..., slice(2, None, 2))
    found[later] = a[later] * found[odd][..., : found[later].shape[-1]] + b[later]
    return found
