"""Gated products of CuPy arrays; see `backend/gated.py`."""

from __future__ import annotations

from functools import cache
from typing import Any

import cupy

from tensorgrad.backend import gated
from tensorgrad.backend.cuda.formula import ElementwiseKernel
from tensorgrad.backend.cuda.kernels import written

Array = Any


@cache
def _kernels() -> tuple[ElementwiseKernel, ElementwiseKernel]:
    forward, backward = gated.formulas()
    return ElementwiseKernel(forward), ElementwiseKernel(backward)


def glu(x: Array, *, axis: int, out: Array | None = None) -> Any:
    """a sigmoid(b) of the halves a and b of an axis."""
    return (written(_kernels()[0](*gated.halves(x, axis)), out),)


def glu_pull(ct: Array, x: Array, axis: int) -> Array:
    """The cotangent of x."""
    return gated.filled(_kernels()[1], ct, x, cupy.empty(x.shape, x.dtype), axis)
