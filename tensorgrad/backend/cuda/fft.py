"""Discrete Fourier transforms of CuPy arrays, by cuFFT, named as the primitive is.

`fold` as in `numpy_fft`.
"""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from tensorgrad.backend.cuda.kernels import brain, cast, written
from tensorgrad.backend.numpy_fft import inner

Array = Any


def _numeric(x: Array) -> Array:
    """The 16-bit floats as float32: cuFFT takes them in lengths that are powers of 2 alone."""
    return cast(x, np.float32) if brain(x) or x.dtype == np.float16 else x


def transform(
    x: Array, *, axes: tuple[int, ...], norm: str, inverse: bool, out: Array | None = None
) -> Any:
    if not axes or not x.size:
        x = _numeric(x)
        return written(x.astype(np.result_type(x.dtype, np.complex64)), out)
    function = cupy.fft.ifftn if inverse else cupy.fft.fftn
    return written(function(_numeric(x), axes=axes, norm=norm), out)


def real_transform(x: Array, *, axis: int, norm: str, fold: float, out: Array | None = None) -> Any:
    found = cupy.fft.rfft(_numeric(x), axis=axis, norm=norm)
    if fold != 1:
        found[inner(x.shape[axis], axis)] *= fold
    return written(found, out)


def real_inverse(
    x: Array, *, axis: int, length: int, norm: str, fold: float, out: Array | None = None
) -> Any:
    if fold != 1:
        x = x.copy()
        x[inner(length, axis)] *= fold
    return written(cupy.fft.irfft(_numeric(x), length, axis, norm), out)
