"""Discrete Fourier transforms of NumPy arrays, named as the primitive is.

`fold` weighs the half spectrum of a real array, where an inner coefficient stands for two: 2
doubles them, 0.5 halves them. The first stands for itself, and so does the last of an even length.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.backend.numpy_kernels import written

Array = np.ndarray[Any, Any]


def _numeric(x: Array) -> Array:
    """bfloat16, which NumPy's transforms do not know, as float32."""
    return x.astype(np.float32) if x.dtype.name == "bfloat16" else x


def inner(length: int, axis: int) -> tuple[slice, ...]:
    """The coefficients that stand for two in the half spectrum of `length` real points."""
    return (*(slice(None),) * axis, slice(1, (length + 1) // 2))


def transform(
    x: Array, *, axes: tuple[int, ...], norm: Any, inverse: bool, out: Array | None = None
) -> Any:
    function = np.fft.ifftn if inverse else np.fft.fftn
    return written(function(_numeric(x), axes=axes, norm=norm), out)


def real_transform(x: Array, *, axis: int, norm: Any, fold: float, out: Array | None = None) -> Any:
    found = np.fft.rfft(_numeric(x), axis=axis, norm=norm)
    if fold != 1:
        found[inner(x.shape[axis], axis)] *= fold
    return written(found, out)


def real_inverse(
    x: Array, *, axis: int, length: int, norm: Any, fold: float, out: Array | None = None
) -> Any:
    if fold != 1:
        x = x.copy()
        x[inner(length, axis)] *= fold
    return written(np.fft.irfft(_numeric(x), length, axis, norm), out)
