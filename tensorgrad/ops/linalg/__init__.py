"""Linear algebra: the operations of `tg.linalg`."""

from tensorgrad.core.registry import also

also("linalg", matmul="matmul", matrix_transpose="matrix_transpose", norm="norm", outer="outer")
also("linalg", tensordot="tensordot", vecdot="vecdot")
