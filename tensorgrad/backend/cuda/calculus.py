"""Differences, places and whole numbers of CuPy arrays, named as the primitives are."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import cupy
import numpy as np

from tensorgrad import dtypes
from tensorgrad.backend.cuda.kernels import cast, written
from tensorgrad.backend.neighbours import Neighbours

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
    """To the next number away from 0; of float16, as NumPy has it, to the next above."""
    away = cupy.where(x == 0, cupy.inf, cupy.copysign(cupy.inf, x)).astype(x.dtype)
    away = cupy.full_like(x, cupy.inf) if x.dtype == np.float16 else away
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


_LINES = Neighbours(cupy)
neighbours, spread = wide(_LINES.neighbours), wide(_LINES.spread)
slopes, unslopes = wide(_LINES.slopes), wide(_LINES.unslopes)


@wide
def cross(a: Array, b: Array, out: Array | None = None) -> Any:
    return written(cupy.cross(a, b), out)
