"""Convolution and polynomials of NumPy arrays, named as the primitives are."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.backend.numpy_kernels import written

Array = np.ndarray[Any, Any]
BLOCK = 16384
"""Elements of a block that stays in the first caches for all coefficients."""


def convolve(a: Array, v: Array, *, full: bool, out: Array | None = None) -> Any:
    return written(np.convolve(a, v, "full" if full else "valid"), out)


def polyval(p: Array, x: Array, out: Array | None = None) -> Any:
    """Horner's scheme, block by block."""
    if out is None:
        out = np.empty(x.shape, np.result_type(p.dtype, x.dtype))
    if not out.flags.c_contiguous:
        return written(polyval(p, x), out)
    flat, values = out.reshape(-1), x.reshape(-1)
    for start in range(0, flat.size, BLOCK):
        y, at = flat[start : start + BLOCK], values[start : start + BLOCK]
        y.fill(p[0] if p.size else 0)
        for coefficient in p[1:]:
            np.multiply(y, at, y)
            np.add(y, coefficient, y)
    return out


def moments(x: Array, w: Array, *, n: int, out: Array | None = None) -> Any:
    """Σ w x**(n - 1 - k) for k < n: what the coefficients of a polynomial are multiplied with."""
    if out is None:
        out = np.empty((n,), np.result_type(x.dtype, w.dtype))
    total = np.zeros((n,), np.float32 if out.dtype.itemsize == 2 else out.dtype)
    at, weights = np.ascontiguousarray(x).reshape(-1), np.ascontiguousarray(w).reshape(-1)
    for start in range(0, at.size, BLOCK):
        point = at[start : start + BLOCK]
        term = weights[start : start + BLOCK].astype(total.dtype)
        for k in range(n - 1, -1, -1):
            total[k] += term.sum()
            if k:
                np.multiply(term, point, term)
    return written(total.astype(out.dtype, copy=False), out)


def zeros_of(p: Array, at: Array, out: Array | None = None) -> Any:
    return written(at, out)


def vander(x: Array, *, n: int, out: Array | None = None) -> Any:
    return written(np.vander(x, n), out)
