"""Differences, places and whole numbers of CuPy arrays, named as the primitives are."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import cupy
import numpy as np

from tensorgrad import dtypes
from tensorgrad.backend.cuda.kernels import cast, written
from tensorgrad.backend.numpy_calculus import ENDS, on

Array = Any


def wide(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel that computes the 16-bit floats in float32."""

    @wraps(kernel)
    def run(*arrays: Array, out: Array | None = None, **params: Any) -> Any:
        halves = [dtypes.is_half(a.dtype) for a in arrays]
        if not any(halves):
            return kernel(*arrays, out=out, **params)
        dtype = dtypes.result_type(*(a.dtype for a in arrays))
        found = kernel(*[cast(a, np.float32) if h else a for a, h in zip(arrays, halves)], **params)
        return written(cast(found, dtype) if found.dtype != dtype else found, out)

    return run


# -- numbers -----------------------------------------------------------------------------------


def exponent(x: Array, out: Array | None = None) -> Any:
    return written(cupy.frexp(cast(x, np.float32) if dtypes.is_half(x.dtype) else x)[1], out)


def spacing(x: Array, out: Array | None = None) -> Any:
    away = cupy.where(x == 0, cupy.inf, cupy.copysign(cupy.inf, x)).astype(x.dtype)
    return written(cupy.nextafter(x, away) - x, out)


def ldexp(x: Array, e: Array, out: Array | None = None) -> Any:
    found = cupy.ldexp(cast(x, np.float32) if dtypes.is_half(x.dtype) else x, e)
    return written(found if found.dtype == x.dtype else cast(found, x.dtype), out)


def gcd(x: Array, y: Array, out: Array | None = None) -> Any:
    return cupy.gcd(x, y, out=out)


def lcm(x: Array, y: Array, out: Array | None = None) -> Any:
    return cupy.lcm(x, y, out=out)


def bitwise_count(x: Array, out: Array | None = None) -> Any:
    return cupy.bitwise_count(x, out=out)


# -- neighbours --------------------------------------------------------------------------------


@wide
def neighbours(x: Array, *, axis: int, sign: int, out: Array | None = None) -> Any:
    later, earlier = x[on(axis, 1, None)], x[on(axis, None, -1)]
    return cupy.add(later, earlier, out=out) if sign > 0 else cupy.subtract(later, earlier, out=out)


@wide
def spread(x: Array, *, axis: int, sign: int, out: Array | None = None) -> Any:
    size = x.shape[axis]
    if out is None:
        out = cupy.empty((*x.shape[:axis], size + 1, *x.shape[axis + 1 :]), x.dtype)
    inner, first = out[on(axis, 1, size)], out[on(axis, 0, 1)]
    if not size:
        out.fill(0)
        return out
    later, earlier = x[on(axis, 1, None)], x[on(axis, None, -1)]
    if sign > 0:
        cupy.add(earlier, later, inner)
        cupy.copyto(first, x[on(axis, 0, 1)])
    else:
        cupy.subtract(earlier, later, inner)
        cupy.negative(x[on(axis, 0, 1)], first)
    cupy.copyto(out[on(axis, size, None)], x[on(axis, -1, None)])
    return out


@wide
def slopes(x: Array, *, axis: int, edge: int, out: Array | None = None) -> Any:
    if out is None:
        out = cupy.empty(x.shape, x.dtype)
    size, inner = x.shape[axis], out[on(axis, 1, -1)]
    cupy.subtract(x[on(axis, 2, None)], x[on(axis, None, -2)], inner)
    inner *= x.dtype.type(0.5)
    for at, step in ((0, 1), (size - 1, -1)):
        near = [x[on(axis, at + step * k, at + step * k + 1)] for k in range(edge + 1)]
        total = sum(x.dtype.type(step * weight) * part for weight, part in zip(ENDS[edge], near))
        cupy.copyto(out[on(axis, at, at + 1)], total)
    return out


@wide
def unslopes(x: Array, *, axis: int, edge: int, out: Array | None = None) -> Any:
    if out is None:
        out = cupy.empty(x.shape, x.dtype)
    size, inner = x.shape[axis], x[on(axis, 1, -1)]
    out[on(axis, None, 2)] = 0
    cupy.copyto(out[on(axis, 2, None)], inner)
    out[on(axis, None, -2)] -= inner
    out *= x.dtype.type(0.5)
    for k, weight in enumerate(ENDS[edge]):
        near, far = on(axis, k, k + 1), on(axis, size - 1 - k, size - k)
        out[near] += x.dtype.type(weight) * x[on(axis, 0, 1)]
        out[far] -= x.dtype.type(weight) * x[on(axis, size - 1, size)]
    return out


@wide
def cross(a: Array, b: Array, out: Array | None = None) -> Any:
    return written(cupy.cross(a, b), out)
