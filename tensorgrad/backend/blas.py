"""The one door to products of matrices: MKL where its wheel is installed, products of our own
where they are the fastest known (x86 with AVX-512), else NumPy's BLAS.

A library's own threads spin while they wait: beside one busy process a small product then takes
fifty times as long. So the library is held to one thread around our own calls, and a large product
is split over the pool of `threads` instead.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad.backend import memory, threads

Array = np.ndarray[Any, Any]

SPLIT = 12_000_000  # multiplications from which on a product is split over threads
THREADED = 2**18  # multiplications of one product from which on OpenBLAS starts threads of its own
PIECE = 2**22  # multiplications of a piece at least: smaller ones are other kernels, other bits

_OPENING = threading.RLock()

_NAMES = (
    ("scipy_cblas_{}gemm64_", "scipy_openblas_{}_num_threads64_", 64),
    ("cblas_{}gemm64_", "openblas_{}_num_threads64_", 64),
    ("scipy_cblas_{}gemm", "scipy_openblas_{}_num_threads", 32),
    ("cblas_{}gemm", "openblas_{}_num_threads", 32),
)
"""What OpenBLAS may call its products and its threads, with the width of its integers."""


def plain(x: Array, y: Array, out: Array | None = None, bias: Array | None = None) -> Any:
    """x @ y (+ bias, a vector) by NumPy's function: every shape and dtype; a bias must fit."""
    found = np.matmul(x, y) if out is None else np.matmul(x, y, out=out)
    if bias is None:
        return found
    if bias.shape != found.shape[-1:]:
        raise ValueError(f"matmul: got a bias of shape {bias.shape}, expected {found.shape[-1:]}")
    if bias.dtype == found.dtype:
        return np.add(found, bias, found)
    return np.add(found, bias) if out is None else np.add(found, bias, out, casting="same_kind")


class Door:
    """How products are computed, found out at the first one.

    multiply(x, y, out=None, bias=None), positional: x @ y (+ bias, a vector), written to `out` if
    given. `library` is whose product it is.
    """

    def __init__(self) -> None:
        self.multiply: Callable[..., Any] = self._first
        self._whole: Callable[..., Any] = plain
        self.library = "NumPy"

    def _first(self, *arguments: Any) -> Any:
        with _OPENING:  # the others wait: all products of a process are of one library
            if self.multiply == self._first:
                self.open()
        return self.multiply(*arguments)

    def open(self) -> None:
        """Find a library that passes the test; without one NumPy's function it is."""
        from tensorgrad.codegen.products import entry  # late: for import time

        for name, find in (("MKL", _mkl), ("tensorgrad", _own), ("OpenBLAS", _openblas)):
            blas = find()
            if blas is None:
                continue
            whole, door = entry(blas, plain), entry(blas, self.large, SPLIT)
            if whole and door and _agrees(whole) and _agrees(door):
                self._whole, self.multiply, self.library = whole, memory.recycling(door), name
                return
        self.multiply = plain

    def large(self, x: Array, y: Array, out: Array | None = None, bias: Array | None = None) -> Any:
        """A product that one entry did not take: split over threads, or NumPy's."""
        whole = self._whole
        if bias is None and min(x.ndim, y.ndim) > 1 and max(x.ndim, y.ndim) > 2:
            return self._stack(x, y, out)
        if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[0] or threads.get_num_threads() == 1:
            return whole(x, y, out, bias)
        rows, columns = x.shape[0], y.shape[1]
        work = rows * columns * x.shape[1]
        if work <= SPLIT:
            return whole(x, y, out, bias)
        if out is None:
            out = np.empty((rows, columns), np.result_type(x, y))
        target = out
        if rows >= columns:
            threads.split(
                rows, _grain(rows, work), lambda a, b: whole(x[a:b], y, target[a:b], bias)
            )
        else:
            threads.split(
                columns,
                _grain(columns, work),
                lambda a, b: whole(
                    x, y[:, a:b], target[:, a:b], None if bias is None else bias[a:b]
                ),
            )
        return out

    def _stack(self, x: Array, y: Array, out: Array | None) -> Any:
        """Products along leading axes: one after another where NumPy's would start threads."""
        whole = self._whole
        work = x.shape[-2] * x.shape[-1] * y.shape[-1]
        if work < THREADED or x.shape[-1] != y.shape[-2] or whole is plain:
            return whole(x, y, out)
        lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        shape = (*lead, x.shape[-2], y.shape[-1])
        target: Any = np.empty(shape, np.result_type(x, y)) if out is None else out
        if target.shape != shape:
            return plain(x, y, out)  # NumPy says what is wrong
        places = list(itertools.product(*map(range, lead)))
        x, y = (np.broadcast_to(a, (*lead, *a.shape[-2:])) for a in (x, y))

        def job(start: int, stop: int) -> None:
            for at in places[start:stop]:
                whole(x[at], y[at], target[at])

        threads.split(len(places), max(1, PIECE // work), job)
        return target


def _grain(length: int, work: int) -> int:
    """Rows (columns) of one piece: two pieces a thread, a multiple of what BLAS takes at once."""
    wanted = max(length / (2 * threads.get_num_threads()), length * PIECE / work, 64)
    return -(-int(wanted) // 16) * 16


def _openblas() -> Any:
    """The OpenBLAS that NumPy itself has loaded."""
    from importlib import import_module

    path = import_module("numpy._core._multiarray_umath").__file__
    return None if path is None else _library(ctypes.CDLL(path))


def _own() -> Any:
    """Generated products, and NumPy's OpenBLAS where they are slower."""
    from tensorgrad.codegen.products import generated  # late: for import time

    blas = None if os.environ.get("TG_BLAS") == "numpy" else _openblas()
    return None if blas is None else generated(blas)


def _library(library: Any) -> Any:
    from tensorgrad.codegen.products import Blas  # late: for import time

    for product, setting, bits in _NAMES:
        single, double = (_address(library, product.format(k)) for k in "sd")
        if single and double:
            known = [_address(library, setting.format(k)) for k in ("get", "set")]
            return Blas(single, double, bits, *(known if all(known) else (0, 0)))
    return None


def _address(library: Any, name: str) -> int:
    function = getattr(library, name, None)
    return int(ctypes.cast(function, ctypes.c_void_p).value or 0) if function else 0


def _mkl() -> Any:
    """MKL from the wheel of that name, which puts its libraries beside the interpreter's."""
    if os.environ.get("TG_BLAS", "mkl") != "mkl":
        return None
    lib = os.path.join(sys.prefix, "lib")
    names = os.listdir(lib) if os.path.isdir(lib) else []
    for path in sorted(os.path.join(lib, n) for n in names if n.startswith("libmkl_rt.so")):
        try:
            library = ctypes.CDLL(path)
            library.MKL_Set_Threading_Layer(1)  # sequential: the pool is ours
        except (OSError, AttributeError):
            continue
        return _library(library)
    return None


def _agrees(multiply: Callable[..., Any]) -> bool:
    """Whether an entry multiplies as NumPy does, in both precisions and all layouts."""
    for dtype in (np.float32, np.float64):
        a = np.arange(12, dtype=dtype).reshape(3, 4)
        b = np.arange(20, dtype=dtype).reshape(4, 5)
        bias = np.arange(5, dtype=dtype)
        want = np.matmul(a, b)
        for x in (a, np.asfortranarray(a)):
            for y in (b, np.asfortranarray(b)):
                outs = (None, np.empty((3, 5), dtype), np.empty((5, 3), dtype).T)
                if not all(np.array_equal(multiply(x, y, out), want) for out in outs):
                    return False
                if not np.array_equal(multiply(x, y, None, bias), want + bias):
                    return False
    return True


DOOR = Door()
