"""Gated products of NumPy arrays; see `backend/gated.py`."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from tensorgrad.backend import gated, memory
from tensorgrad.backend.numpy_formula import ElementwiseKernel
from tensorgrad.backend.numpy_kernels import written

Array = np.ndarray[Any, Any]


@cache
def _kernels() -> tuple[ElementwiseKernel, ElementwiseKernel]:
    forward, backward = gated.formulas()
    return ElementwiseKernel(forward, 0), ElementwiseKernel(backward, 1)


def glu(x: Array, *, axis: int, out: Array | None = None) -> Any:
    """a sigmoid(b) of the halves a and b of an axis."""
    return (written(_kernels()[0](*gated.halves(x, axis)), out),)


def glu_pull(ct: Array, x: Array, axis: int) -> Array:
    """The cotangent of x."""
    found = memory.empty(x.shape, x.dtype)
    return gated.filled(_kernels()[1], ct, x, found, axis)  # type: ignore[no-any-return]
