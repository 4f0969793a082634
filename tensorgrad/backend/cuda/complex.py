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


def conj(x: Array, out: Array | None = None) -> Any:
    return written(cupy.conjugate(x), out)
