"""Differences, places and whole numbers of NumPy arrays, named as the primitives are."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from tensorgrad.backend.neighbours import Neighbours
from tensorgrad.backend.numpy_formula import ElementwiseKernel
from tensorgrad.backend.numpy_kernels import written
from tensorgrad.expr import Formula
from tensorgrad.expr import input as variable

Array = np.ndarray[Any, Any]


# -- numbers -----------------------------------------------------------------------------------


def exponent(x: Array, out: Array | None = None) -> Any:
    return written(np.frexp(x)[1], out)


def spacing(x: Array, out: Array | None = None) -> Any:
    return np.spacing(x, out=out)


def ldexp(x: Array, e: Array, out: Array | None = None) -> Any:
    found = np.ldexp(x, e)
    return written(found.astype(x.dtype, copy=False), out)


def gcd(x: Array, y: Array, out: Array | None = None) -> Any:
    return np.gcd(x, y, out=out)


def lcm(x: Array, y: Array, out: Array | None = None) -> Any:
    return np.lcm(x, y, out=out)


def bitwise_count(x: Array, out: Array | None = None) -> Any:
    return np.bitwise_count(x, out=out)


# -- neighbours --------------------------------------------------------------------------------


_LINES = Neighbours(np)
neighbours, spread = _LINES.neighbours, _LINES.spread
slopes, unslopes = _LINES.slopes, _LINES.unslopes


def cross(a: Array, b: Array, out: Array | None = None) -> Any:
    """One pass over the components, where a loop for the dtype is generated."""
    dtype = np.result_type(a.dtype, b.dtype)
    if dtype.kind != "f" or dtype.itemsize < 4:
        return written(np.cross(a, b), out)
    if out is None:
        out = np.empty(np.broadcast_shapes(a.shape, b.shape), dtype)
    parts = [x[..., k] for x in (a, b) for k in range(3)]
    _crossed()(*parts, out=tuple([out[..., k] for k in range(3)]))
    return out


@cache
def _crossed() -> ElementwiseKernel:
    names = [variable(name) for name in "abcdef"]
    formula = Formula.trace(
        "cross", lambda a, b, c, d, e, f: (b * f - c * e, c * d - a * f, a * e - b * d), names
    )
    return ElementwiseKernel(formula, 0)
