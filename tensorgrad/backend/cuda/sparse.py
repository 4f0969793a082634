"""Sparse matrices times CuPy arrays by cuSPARSE, named as the primitive is."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from tensorgrad import dtypes
from tensorgrad._errors import DeviceError
from tensorgrad.backend.cuda.kernels import cast, written

Array = Any


def sparse_matmul(x: Array, *, matrix: Any, out: Array | None = None) -> Any:
    """CuPy's product; cuSPARSE has no whole numbers and no 16-bit floats."""
    if not type(matrix).__module__.startswith("cupyx"):
        raise DeviceError(
            "sparse_matmul: got a matrix on cpu and x on cuda, expected both on one device; "
            "try cupyx.scipy.sparse.csr_matrix(matrix)"
        )
    dtype = dtypes.result_type(dtypes.dtype(matrix.dtype), x.dtype)
    inner = np.dtype(np.float32) if dtypes.is_half(dtype) else dtype
    inner = inner if inner.kind in "fc" else np.dtype(np.float64)
    if matrix.dtype != inner:
        matrix = matrix.astype(inner)
    found = matrix.tocsr() @ (x if x.dtype == inner else cast(x, inner))
    return written(cast(found, dtype) if found.dtype != dtype else found, out)


def spsolve(b: Array, *, factors: Any, way: str, out: Array | None = None) -> Any:
    raise DeviceError(
        f"spsolve: got b of shape {cupy.shape(b)} on cuda, expected it on cpu, where the sparse "
        "factors are; try b.to('cpu')"
    )
