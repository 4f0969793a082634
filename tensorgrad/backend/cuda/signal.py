"""Convolutions and filters of CuPy arrays, named as the primitives are."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from tensorgrad.backend.cuda.calculus import wide
from tensorgrad.backend.cuda.kernels import cast, written
from tensorgrad.backend.numpy_signal import convolved, tapped

Array = Any


def _alike(*arrays: Array) -> list[Array]:
    """Arrays in their common dtype."""
    dtype = np.result_type(*[a.dtype for a in arrays])
    return [a if a.dtype == dtype else cast(a, dtype) for a in arrays]


@wide
def convolve_nd(a: Array, v: Array, *, full: tuple[bool, ...], out: Array | None = None) -> Any:
    """A multiply-add for each place of the shorter, or a sum for each place of the result."""
    a, v = _alike(a, v)
    if a.ndim == len(full) == 1:
        return written(cupy.convolve(a, v, "full" if full[0] else "valid"), out)
    return written(convolved(cupy, a, v, full), out)


@wide
def taps(h: Array, x: Array, *, reverse: bool, out: Array | None = None) -> Any:
    """A multiply-add for each tap."""
    h, x = _alike(h, x)
    if reverse:
        return written(tapped(cupy, h, x[..., ::-1])[..., ::-1], out)
    return written(tapped(cupy, h, x), out)


@wide
def lagged(x: Array, w: Array, *, count: int, lead: int, out: Array | None = None) -> Any:
    """A product and a sum for each lag."""
    x, w = _alike(x, w)
    found = cupy.zeros((*x.shape[:lead], count), x.dtype) if out is None else out
    axes, n = tuple(range(lead, x.ndim)), x.shape[-1]
    for i in range(count):
        pair = x[..., : max(n - i, 0)] * w[..., i:]
        cupy.copyto(found[..., i], pair.sum(axis=axes))
    return found


@wide
def feedback(a: Array, u: Array, *, reverse: bool, out: Array | None = None) -> Any:
    """CuPy's parallel recurrence, filter by filter."""
    from cupyx.scipy.signal import lfilter  # late: it compiles its kernels

    a, u = _alike(a, u)
    found = cupy.empty(u.shape, u.dtype) if out is None else out
    turned = u[..., ::-1] if reverse else u
    one = cupy.ones(1, a.dtype)
    for k in np.ndindex(a.shape[:-1] if u.size else (0,)):
        y = lfilter(one, a[k], cupy.ascontiguousarray(turned[k]))
        found[k] = y[..., ::-1] if reverse else y
    return found
