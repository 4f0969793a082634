"""Systems of equations with a constant sparse matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np  # samples and oracles, and the error of a singular matrix

from tensorgrad import dtypes
from tensorgrad._errors import DeviceError, DTypeError, ShapeError, need
from tensorgrad.core.primitive import Primitive, operand
from tensorgrad.core.registry import operation, primitive
from tensorgrad.ops.axes import moveaxis
from tensorgrad.ops.complex import conj
from tensorgrad.ops.shape import astype, reshape
from tensorgrad.ops.sparse import is_sparse


class Factors:
    """SuperLU's factors of a sparse matrix, in one dtype; made once and kept by the tape."""

    def __init__(self, matrix: Any, dtype: Any) -> None:
        from scipy.sparse.linalg import splu  # late: for import time

        try:
            self._factors = splu(matrix.tocsc().astype(dtype))
        except RuntimeError as error:
            raise np.linalg.LinAlgError(
                f"spsolve: got a matrix that is singular ({error}), expected one that is not; "
                "try adding a small multiple of the identity"
            ) from None
        self.dtype = dtype

    def solved(self, b: Any, way: str) -> Any:
        """x of op(A) x = b, op(A) being A ("N"), its transpose ("T") or its adjoint ("H")."""
        if not b.size:
            return b.copy()
        if b.dtype.kind == "c" and self.dtype.kind != "c":
            real, imag = (np.ascontiguousarray(part) for part in (b.real, b.imag))
            return self._factors.solve(real, way) + 1j * self._factors.solve(imag, way)
        return self._factors.solve(b, way)


def _back(ct: Any, out: Any, b: Any, *, factors: Factors, way: str) -> Any:
    if way == "T":
        return conj(spsolve_p.bind(conj(ct), factors=factors, way="N"))
    return spsolve_p.bind(ct, factors=factors, way="H" if way == "N" else "N")


def _batch(inputs: Sequence[Any], batched: Sequence[bool], **how: Any) -> Any:
    b = moveaxis(inputs[0], 0, -1)
    return moveaxis(reshape(spsolve_p.bind(reshape(b, (b.shape[0], -1)), **how), b.shape), -1, 0)


spsolve_p: Primitive = primitive(
    "spsolve",
    nin=1,
    spec=lambda b, *, factors, way: b,
    vjp=(_back,),
    linear=(0,),
    batch=_batch,
)
"""x of op(A) x = b for b (n,) or (n, k) of the factors' dtype, or complex where they are real."""


def _samples(r: Any) -> Any:
    import scipy.sparse  # late: for import time

    def matrix(n: int, way: str, imaginary: bool = False) -> Any:
        dense = r.integers(-2, 3, n, n) * r.bools(n, n) + 9 * np.eye(n)
        values = dense + 1j * r.bools(n, n) if imaginary else dense.astype(np.int8)
        return getattr(scipy.sparse, way)(values)

    for n, b, way in ((3, (3,), "csc_array"), (4, (4, 2), "csr_array"), (3, (3, 1), "coo_array"),
                      (4, (4,), "csr_matrix"), (4, (4, 3), "csc_matrix"), (1, (1,), "csr_array"),
                      (3, (3, 0), "csr_array")):  # fmt: skip
        yield (matrix(n, way), r.normal(*b)), {}
    yield (matrix(3, "csc_array"), r.normal(4, 6)[::2, ::2].T), {}
    yield (matrix(3, "csc_array", True), r.normal(3) + 1j * r.normal(3)), {}
    yield (matrix(3, "csc_array"), r.normal(3, 2) + 1j * r.normal(3, 2)), {}
    yield (matrix(3, "csr_array", True), r.normal(3, 2)), {}


def _oracle(matrix: Any, b: Any) -> Any:
    if b.dtype == np.float16:
        raise TypeError("SuperLU has no 16-bit floats")
    return np.linalg.solve(matrix.toarray(), b)


@operation(oracle=_oracle, samples=_samples, namespace="linalg")
def spsolve(matrix: Any, b: Any) -> Any:
    """x of matrix x = b for a constant sparse matrix (n, n) of SciPy and b (n,) or (n, k).

    The matrix is factorised once, by SuperLU on the host; a gradient uses the factors again. Raises
    `LinAlgError` for a singular matrix, `DeviceError` on a GPU.
    """
    need(is_sparse(matrix) and matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1], "spsolve",
         matrix=type(matrix).__name__, want="a square sparse matrix",
         fix="scipy.sparse.csc_array(a)", error=TypeError)  # fmt: skip
    b = operand(b, (), "spsolve")
    if b.device != "cpu" or type(matrix).__module__.startswith("cupyx"):
        raise DeviceError(
            f"spsolve: got {type(matrix).__name__} and b on {b.device}, expected both on cpu, "
            "where SuperLU factorises; try matrix.get() and b.to('cpu')"
        )
    need(b.ndim in (1, 2) and b.shape[0] == matrix.shape[0], "spsolve", matrix=matrix.shape, b=b,
         want="b (n,) or (n, k) with as many rows", fix="b.T", error=ShapeError)  # fmt: skip
    dtype = dtypes.result_type(dtypes.dtype(matrix.dtype), b.dtype)
    need(not dtypes.is_half(dtype), "spsolve", b=b, want="32 bits at least",
         fix="b.astype('float32')", error=DTypeError)  # fmt: skip
    dtype = dtype if dtypes.is_inexact(dtype) else dtypes.float64
    factors = Factors(matrix, dtype if matrix.dtype.kind == "c" else dtypes.real(dtype))
    return spsolve_p.bind(astype(b, dtype, copy=False), factors=factors, way="N")
