"""Constant sparse matrices of SciPy (or, on a GPU, of CuPy) times dense tensors.

`A @ x` and `x @ A` mean it, A in any format, an array or a matrix of `scipy.sparse`; elementwise it
is `sparse_multiply(A, x)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np  # samples only

from tensorgrad import dtypes
from tensorgrad._errors import ShapeError, need
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import operation, primitive
from tensorgrad.core.tensor import Tensor, make
from tensorgrad.ops.axes import moveaxis, swapaxes
from tensorgrad.ops.elementwise import where
from tensorgrad.ops.operators import OPERATORS
from tensorgrad.ops.products import matmul
from tensorgrad.ops.shape import reshape

HOMES = ("scipy.sparse", "cupyx.scipy.sparse")


def is_sparse(x: Any) -> bool:
    """Whether x is a sparse array or matrix of SciPy's or CuPy's."""
    return type(x).__module__.startswith(HOMES) and hasattr(x, "tocsr")


def adjoint(matrix: Any) -> Any:
    """The conjugate transpose of a sparse matrix; nothing is copied of a real one."""
    return matrix.T.conj(copy=False)


def _spec(x: Spec, *, matrix: Any) -> Spec:
    count = matrix.shape[1]
    need(x.ndim and x.shape[0] == count, "sparse_matmul", matrix=tuple(matrix.shape), x=x,
         want=f"x with {count} rows", fix="matrix.T, or x.mT", error=ShapeError)  # fmt: skip
    return Spec(
        (matrix.shape[0], *x.shape[1:]), dtypes.result_type(dtypes.dtype(matrix.dtype), x.dtype)
    )


def _batch(inputs: Sequence[Any], batched: Sequence[bool], *, matrix: Any) -> Any:
    x = moveaxis(inputs[0], 0, -1)
    out = sparse_matmul_p.bind(reshape(x, (x.shape[0], -1)), matrix=matrix)
    return moveaxis(reshape(out, (out.shape[0], *x.shape[1:])), -1, 0)


sparse_matmul_p: Primitive = primitive(
    "sparse_matmul",
    nin=1,
    spec=_spec,
    vjp=(lambda ct, out, x, *, matrix: sparse_matmul_p.bind(ct, matrix=adjoint(matrix)),),
    linear=(0,),
    batch=_batch,
)
"""The constant sparse matrix times x, (n,) or (n, k)."""


def _matrix(r: Any, shape: tuple[int, int], way: str, imaginary: bool = False) -> Any:
    import scipy.sparse  # late: for import time

    dense = r.integers(-4, 5, *shape) * r.bools(*shape)
    values = dense + 1j * (dense % 3) if imaginary else dense.astype(np.int8)
    return getattr(scipy.sparse, way)(values)


def _samples(r: Any) -> Any:
    for shape, x, way in (
        ((4, 3), (3,), "csr_array"), ((4, 3), (3, 2), "csr_array"), ((3, 3), (3, 1), "csc_array"),
        ((2, 5), (5, 2), "coo_array"), ((2, 5), (5,), "csr_matrix"), ((4, 3), (3, 2), "csc_matrix"),
        ((1, 3), (3, 4), "coo_matrix"), ((4, 3), (2, 3, 2), "csr_array"), ((4, 3), (0, 3, 2),
        "csr_array"), ((3, 4), (4, 0), "csr_array"), ((2, 2), (3, 1, 2, 2), "bsr_array"),
    ):  # fmt: skip
        yield (_matrix(r, shape, way), r.normal(*x)), {}
    yield (_matrix(r, (3, 4), "csr_array"), r.normal(6, 4)[::2, ::-1].T), {}
    yield (_matrix(r, (3, 4), "csr_array", True), r.normal(4, 2) + 1j * r.normal(4, 2)), {}
    yield (_matrix(r, (3, 4), "coo_array", True), r.normal(4)), {}


def _oracle(matrix: Any, x: Any) -> Any:
    return np.matmul(matrix.toarray(), x)


@operation(oracle=_oracle, samples=_samples)
def sparse_matmul(matrix: Any, x: Any) -> Any:
    """Σ_j matrix[i, j] x[..., j, k] with a constant sparse matrix (m, n), x (n,) or (..., n, k).

    The matrix is one of `scipy.sparse`, or of `cupyx.scipy.sparse` for an x on a GPU; `matrix @ x`
    is the same. Raises `ShapeError` for shapes that do not fit, `DeviceError` for a matrix on
    another device.

    >>> import scipy.sparse
    >>> sparse_matmul(scipy.sparse.csr_array([[0.0, 2.0], [0.0, 0.0]]), [3.0, 4.0])
    tensor([8., 0.])
    """
    need(is_sparse(matrix) and matrix.ndim == 2, "sparse_matmul", matrix=type(matrix).__name__,
         want="a sparse matrix of two axes", fix="scipy.sparse.csr_array(a)",
         error=TypeError)  # fmt: skip
    x = operand(x, (), "sparse_matmul")
    if x.ndim <= 2:
        return sparse_matmul_p.bind(x, matrix=matrix)
    _spec(Spec(x.shape[-2:], x.dtype), matrix=matrix)
    moved = moveaxis(x, -2, 0)
    out = sparse_matmul_p.bind(reshape(moved, (moved.shape[0], -1)), matrix=matrix)
    return moveaxis(reshape(out, (out.shape[0], *moved.shape[1:])), 0, -2)


def _products(r: Any) -> Any:
    for shape, x, way in (
        ((4, 3), (4, 3), "csr_array"), ((3, 3), (3,), "csc_array"), ((2, 5), (2, 1), "coo_array"),
        ((2, 5), (), "csr_matrix"), ((4, 3), (2, 4, 3), "csc_matrix"), ((2, 2), (2,), "bsr_array"),
        ((3, 2), (0, 3, 2), "csr_array"), ((1, 3), (4, 3), "coo_matrix"),
    ):  # fmt: skip
        yield (_matrix(r, shape, way), r.normal(*x)), {}
    yield (_matrix(r, (3, 4), "csr_array"), r.normal(6, 8)[::2, ::-2]), {}
    yield (_matrix(r, (3, 4), "csr_array", True), r.normal(3, 4) + 1j * r.normal(3, 4)), {}


@operation(oracle=lambda matrix, x: np.multiply(matrix.toarray(), x), samples=_products)
def sparse_multiply(matrix: Any, x: Any) -> Any:
    """matrix[i, j] x[..., i, j], dense, with a constant sparse matrix; x broadcasts.

    0 where the matrix has nothing, whatever x is there. Raises `DeviceError` for a matrix on
    another device.

    >>> import scipy.sparse
    >>> sparse_multiply(scipy.sparse.csr_array([[0.0, 2.0]]), [[float("nan"), 4.0]])
    tensor([[0., 8.]])
    """
    need(is_sparse(matrix) and matrix.ndim == 2, "sparse_multiply", matrix=type(matrix).__name__,
         want="a sparse matrix of two axes", fix="scipy.sparse.csr_array(a)",
         error=TypeError)  # fmt: skip
    x = operand(x, (), "sparse_multiply")
    there = make(matrix.toarray())
    return where(there != 0, x, 0) * there


def _at(x: Any, y: Any) -> Any:
    """x @ y, one of which may be sparse."""
    if isinstance(x, Tensor):
        if isinstance(y, Tensor) or not is_sparse(y):
            return matmul(x, y)
        if x.ndim < 2:
            return sparse_matmul(y.T, x)
        return swapaxes(sparse_matmul(y.T, swapaxes(x, -1, -2)), -1, -2)
    return sparse_matmul(x, y) if is_sparse(x) else matmul(x, y)


OPERATORS["__matmul__"] = _at
