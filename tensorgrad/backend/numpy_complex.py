"""The parts of complex NumPy arrays, named as the primitive is."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def real(x: Array, out: Array | None = None) -> Any:
    return x.real if out is None else np.positive(x.real, out=out)


def imag(x: Array, out: Array | None = None) -> Any:
    return x.imag if out is None else np.positive(x.imag, out=out)


def of_parts(re: Array, im: Array, out: Array | None = None) -> Any:
    found = np.empty(re.shape, np.result_type(re, np.complex64)) if out is None else out
    found.real, found.imag = re, im
    return found


def modulus(z: Array, out: Array | None = None) -> Any:
    return np.absolute(z, out=out)


def phase(z: Array, out: Array | None = None) -> Any:
    return np.arctan2(z.imag, z.real, out=out)


def conj(x: Array, out: Array | None = None) -> Any:
    return np.conjugate(x, out=out)
