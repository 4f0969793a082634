"""`cupyx.scipy.sparse`: a matrix by rows, or by columns, that multiplies arrays of CuPy alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

from . import streams
from .array import ndarray, operand, produce

KINDS = "?fdFD"


class spmatrix:  # noqa: N801
    """SciPy's matrix, of the dtypes that CuPy has for sparse ones."""

    ndim = 2

    def __init__(self, matrix: Any, dtype: Any = None, copy: bool = False) -> None:
        found = matrix._matrix if isinstance(matrix, spmatrix) else matrix
        if not scipy.sparse.issparse(found):
            raise ValueError("Unsupported initializer format")
        found = found if dtype is None else found.astype(dtype)
        if found.dtype.char not in KINDS:
            raise ValueError("Only bool, float32, float64, complex64 and complex128 are supported")
        self._matrix = getattr(found, f"to{self.format}")(copy=copy)
        self.shape, self.dtype = found.shape, found.dtype

    format = "csr"

    @property
    def T(self) -> Any:  # noqa: N802
        turned = self._matrix.T
        return (csc_matrix if turned.format == "csc" else csr_matrix)(turned)

    def conj(self, copy: bool = True) -> Any:
        return type(self)(self._matrix.conj(copy=copy))

    def astype(self, dtype: Any) -> Any:
        return type(self)(self._matrix.astype(dtype))

    def tocsr(self, copy: bool = False) -> Any:
        return csr_matrix(self._matrix, copy=copy)

    def get(self, stream: Any = None) -> Any:
        return self._matrix.copy()

    def toarray(self, order: Any = None, out: Any = None) -> Any:
        streams.no_library("cuSPARSE")
        return produce(lambda: np.asarray(self._matrix.toarray()))

    def __matmul__(self, other: Any) -> Any:
        if not isinstance(other, ndarray):
            return NotImplemented
        if other.ndim not in (1, 2):
            raise ValueError("could not interpret dimensions")
        if other.shape[0] != self.shape[1]:
            raise ValueError("dimension mismatch")
        streams.no_library("cuSPARSE")
        dense = operand(other)
        return produce(lambda: np.asarray(self._matrix @ dense))


class csr_matrix(spmatrix):  # noqa: N801
    """By rows."""


class csc_matrix(spmatrix):  # noqa: N801
    """By columns."""

    format = "csc"


def members() -> dict[str, Any]:
    """The names of the module."""
    kinds = (spmatrix, csr_matrix, csc_matrix)
    for kind in kinds:
        kind.__module__ = "cupyx.scipy.sparse"
    return {kind.__name__: kind for kind in kinds}
