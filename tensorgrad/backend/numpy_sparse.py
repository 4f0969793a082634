"""Sparse matrices times NumPy arrays, and sparse systems, named as the primitives are."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad import dtypes
from tensorgrad._errors import DeviceError
from tensorgrad.backend.numpy_kernels import written

Array = np.ndarray[Any, Any]


def sparse_matmul(x: Array, *, matrix: Any, out: Array | None = None) -> Any:
    if type(matrix).__module__.startswith("cupyx"):
        raise DeviceError(
            "sparse_matmul: got a matrix on cuda and x on cpu, expected both on one device; "
            "try matrix.get(), or x.to('cuda')"
        )
    dtype = dtypes.result_type(dtypes.dtype(matrix.dtype), x.dtype)
    if dtypes.is_half(x.dtype):
        x = x.astype(np.float32)
    return written(np.asarray(matrix @ x).astype(dtype, copy=False), out)


def spsolve(b: Array, *, factors: Any, way: str, out: Array | None = None) -> Any:
    found = factors.solved(np.ascontiguousarray(b), way)
    return written(found, out)
