"""An entry to BLAS: a product of two matrices for the price of a function call.

`numpy.matmul` spends as long on its arguments as a small product takes. The entry reads the
arrays' headers, hands every layout that BLAS knows to its `gemm`, adds a bias to the rows, and
sets the library's number of threads to one around its own call.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgrad.codegen.compiler import compiler
from tensorgrad.codegen.kernels import KERNELS
from tensorgrad.codegen.products_text import text
from tensorgrad.codegen.ufunc import _ALIVE, _table, layout_known

_FASTCALL = 0x80
_NEW_FROM_DESCR = 94  # of NumPy's table of array functions
LARGE = 2**20
"""Multiplications and additions from which on the interpreter's lock is released."""


@dataclass(frozen=True)
class Blas:
    """Addresses in a BLAS library; `bits` is the width of its integers, 0 its lack of a setter."""

    sgemm: int
    dgemm: int
    bits: int
    get_threads: int = 0
    set_threads: int = 0


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
    table = Table(blas, slow, most)
    _ALIVE.append(table)
    return table.callable(compiler().address(text(blas.bits, LARGE)))


class Table:
    """What the entry reads: it must outlive the callable."""

    def __init__(self, blas: Blas, slow: Callable[..., Any], most: int) -> None:
        single, double = np.dtype(np.float32), np.dtype(np.float64)
        api = ctypes.pythonapi
        functions = [
            api.PyObject_Vectorcall, api.PyEval_SaveThread, api.PyEval_RestoreThread, api.Py_IncRef,
        ]  # fmt: skip
        words = [id(np.ndarray), id(single), id(double), id(slow), id(None)]
        words += [_table("_ARRAY_API")[_NEW_FROM_DESCR]]
        words += [int(ctypes.cast(f, ctypes.c_void_p).value or 0) for f in functions]
        words += [blas.sgemm, blas.dgemm, blas.get_threads, blas.set_threads, most]
        self._table = struct.pack(f"={len(words)}q", *words)
        self._kept = (single, double, slow)
        self._method: Any = None

    def callable(self, code: int) -> Callable[..., Any]:
        """The entry as a built-in function; `code` is where its text was compiled to."""
        self._method = _Method(b"matmul", code, _FASTCALL, None)
        kinds: Any = (ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
        make = ctypes.PYFUNCTYPE(ctypes.py_object, *kinds)(("PyCFunction_NewEx", ctypes.pythonapi))
        made: Callable[..., Any] = make(ctypes.addressof(self._method), self._table, None)
        return made


class _Method(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    ]
