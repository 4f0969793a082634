"""The parts of complex CuPy arrays, named as the primitive is."""

from __future__ import annotations

from typing import Any

import cupy

from tensorgrad.backend.cuda.kernels import written

Array = Any


def real(x: Array, out: Array | None = None) -> Any:
    return written(x.real, out)


def imag(x: Array, out: Array | None = None) -> Any:
    return written(x.imag, out)


def of_parts(re: Array, im: Array, out: Array | None = None) -> Any:
    found = cupy.empty(re.shape, cupy.result_type(re.dtype, "c8")) if out is None else out
    found.real[...], found.imag[...] = re, im
    return found


def modulus(z: Array, out: Array | None = None) -> Any:
    return written(cupy.absolute(z), out)


def phase(z: Array, out: Array | None = None) -> Any:
    return written(cupy.arctan2(z.imag, z.real), out)


def conj(x: Array, out: Array | None = None) -> Any:
    return written(cupy.conjugate(x), out)
