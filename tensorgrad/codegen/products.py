"""An entry to BLAS: a product of two matrices for the price of a function call.

`numpy.matmul` spends as long on its arguments as a small product takes. The entry reads the
arrays' headers, hands every layout that BLAS knows to its `gemm`, adds a bias to the rows, and
sets the library's number of threads to one around its own call.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tensorgrad.codegen.compiler import compiler
from tensorgrad.codegen.conv_text import Vectors
from tensorgrad.codegen.gemm_text import text as gemm
from tensorgrad.codegen.kernels import KERNELS
from tensorgrad.codegen.native import address, builtin, numpy_table
from tensorgrad.codegen.products_text import text
from tensorgrad.codegen.ufunc import layout_known

_NEW_FROM_DESCR = 94  # of NumPy's table of array functions
LARGE = 2**20
"""Multiplications and additions from which on the interpreter's lock is released."""


@dataclass(frozen=True)
class Blas:
    """Addresses in a BLAS library; `bits` is the width of its integers, 0 its lack of a setter.

    `sother` and `dother` take what the first two are slow at (see `products_text`); 0 for the same.
    """

    sgemm: int
    dgemm: int
    bits: int
    get_threads: int = 0
    set_threads: int = 0
    sother: int = 0
    dother: int = 0


def generated(blas: Blas) -> Blas | None:
    """The same with products of our own where those are quicker; None where that is not known.

    It is measured with AVX-512 alone.
    """
    return KERNELS.find(("products", blas), lambda: _generated(blas))  # type: ignore[no-any-return]


def _generated(blas: Blas) -> Blas | None:
    from tensorgrad.codegen.conv import WIDE, registers

    if blas.bits != 64 or registers() is not WIDE:
        return None
    find, size = compiler().address, WIDE.bytes
    single, double = (find(gemm(Vectors(size // n, n, WIDE.fused))) for n in (4, 8))
    return replace(blas, sgemm=single, dgemm=double, sother=blas.sgemm, dother=blas.dgemm)


def entry(blas: Blas, slow: Callable[..., Any], most: int = 2**62) -> Callable[..., Any] | None:
    """f(a, b, out=None, bias=None) -> a @ b (+ bias), positional; None where it cannot work.

    Matrices of one of float32 and float64 whose rows or columns are contiguous are multiplied by
    BLAS, `out` alike, which may not overlap them; `bias` is a vector. `slow` takes every other
    call, and those of more than `most` multiplications.
    """
    return KERNELS.find((blas, slow, most), lambda: _build(blas, slow, most))  # type: ignore[no-any-return]


def _build(blas: Blas, slow: Callable[..., Any], most: int) -> Callable[..., Any] | None:
    if not layout_known():
        return None
    api, single, double = ctypes.pythonapi, np.dtype(np.float32), np.dtype(np.float64)
    functions = (
        api.PyObject_Vectorcall, api.PyEval_SaveThread, api.PyEval_RestoreThread, api.Py_IncRef,
    )  # fmt: skip
    words = [id(np.ndarray), id(single), id(double), id(slow), id(None)]
    words += [numpy_table("_ARRAY_API")[_NEW_FROM_DESCR], *map(address, functions)]
    words += [blas.sgemm, blas.dgemm, blas.sother or blas.sgemm, blas.dother or blas.dgemm]
    words += [blas.get_threads, blas.set_threads, most]
    code = compiler().address(text(blas.bits, LARGE))
    return builtin("matmul", code, words, (single, double, slow))
