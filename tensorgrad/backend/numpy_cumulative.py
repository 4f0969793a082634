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


def cumprod(x: Array, *, axis: int, out: Array | None = None) -> Any:
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
    from tensorgrad.codegen.recurrence import recurrence as generated  # late: for import time

    computed = dtypes.compute(np.result_type(a.dtype, b.dtype))
    run = generated(computed)
    given = [np.ascontiguousarray(x, computed) for x in (a, b)]
    if run is None or not b.ndim:
        found = scanned(np, *given, reverse)
    else:
        found = np.empty(b.shape, computed)
        run(*given, found, reverse)
    return written(found.astype(b.dtype, copy=False), out)


def scanned(xp: Any, a: Array, b: Array, reverse: bool) -> Array:
    """The recurrence by whole-array operations: pairs are joined, and the pairs solved likewise.

    (a, b) followed by (c, d) is (c a, c b + d): O(n) work in O(log n) steps.
    """
    backwards = (..., slice(None, None, -1))
    if reverse:
        return scanned(xp, xp.roll(a[backwards], 1, -1), b[backwards], False)[backwards]
    n = b.shape[-1]
    if n < 2:
        return b.copy()
    half = n - n % 2
    even, odd = (..., slice(0, half, 2)), (..., slice(1, None, 2))
    found = xp.empty(b.shape, b.dtype)
    factors = a[odd] * a[even]
    factors[..., 0] = 0
    found[odd] = scanned(xp, factors, a[odd] * b[even] + b[odd], False)
    found[..., 0] = b[..., 0]
    later = (..., slice(2, None, 2))
    found[later] = a[later] * found[odd][..., : found[later].shape[-1]] + b[later]
    return found
