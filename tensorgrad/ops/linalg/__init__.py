"""Linear algebra: the operations of `tg.linalg`."""

from tensorgrad.core.registry import also
from tensorgrad.ops.linalg import (
    cholesky,
    determinant,
    eig,
    eigen,
    functions,
    least_squares,
    lu,
    norms,
    products,
    qr,
    solve,
    sparse,
    svd,
    triangular,
)

also("linalg", matmul="matmul", matrix_transpose="matrix_transpose", norm="norm")
also("linalg", tensordot="tensordot", vecdot="vecdot")

__all__ = [
    "cholesky",
    "determinant",
    "eig",
    "eigen",
    "functions",
    "least_squares",
    "lu",
    "norms",
    "products",
    "qr",
    "solve",
    "sparse",
    "svd",
    "triangular",
]
