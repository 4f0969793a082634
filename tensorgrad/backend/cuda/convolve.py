"""Convolution and polynomials of CuPy arrays, named as the primitives are."""

from __future__ import annotations

from typing import Any

import cupy

from tensorgrad import dtypes
from tensorgrad.backend.cuda.calculus import wide
from tensorgrad.backend.cuda.kernels import written

Array = Any


@wide
def convolve(a: Array, v: Array, *, full: bool, out: Array | None = None) -> Any:
    return written(cupy.convolve(a, v, "full" if full else "valid"), out)


@wide
def polyval(p: Array, x: Array, out: Array | None = None) -> Any:
    """Horner's scheme."""
    if out is None:
        out = cupy.empty(x.shape, dtypes.result_type(p.dtype, x.dtype))
    out.fill(0)
    for k in range(p.shape[0]):
        if k:
            cupy.multiply(out, x, out)
        cupy.add(out, p[k], out)
    return out


@wide
def moments(x: Array, w: Array, *, n: int, out: Array | None = None) -> Any:
    """Σ w x**(n - 1 - k) for k < n."""
    if out is None:
        out = cupy.empty((n,), dtypes.result_type(x.dtype, w.dtype))
    term = w.astype(out.dtype)
    for k in range(n - 1, -1, -1):
        cupy.copyto(out[k], term.sum())
        if k:
            cupy.multiply(term, x, term)
    return out


def zeros_of(p: Array, at: Array, out: Array | None = None) -> Any:
    return written(at, out)


def vander(x: Array, *, n: int, out: Array | None = None) -> Any:
    return written(cupy.vander(x, n), out)
