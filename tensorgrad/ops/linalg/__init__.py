"""Linear algebra: the operations of `tg.linalg`."""

from tensorgrad.core.registry import also
from tensorgrad.ops.linalg import eigen, least_squares, qr, svd, triangular

also("linalg", matmul="matmul", matrix_transpose="matrix_transpose", norm="norm", outer="outer")
also("linalg", tensordot="tensordot", vecdot="vecdot")

__all__ = ["eigen", "least_squares", "qr", "svd", "triangular"]
