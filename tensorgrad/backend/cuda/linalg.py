"""Linear algebra on CuPy's arrays by cuSOLVER and cuBLAS, named as the primitive is.

Nothing here waits for the device: a singular matrix gives infinities or NaNs. None of it can be
part of a captured step: CuPy refuses these libraries there, by name.
"""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from tensorgrad._errors import DeviceError
from tensorgrad.backend import pivots as pivots_
from tensorgrad.backend.cuda.decompositions import many
from tensorgrad.backend.cuda.kernels import written
from tensorgrad.backend.exponential import exponential

Array = Any

# -- systems and inverses ----------------------------------------------------------------------


def solve(a: Array, b: Array, *, adjoint: bool, out: Array | None = None) -> Any:
    a = a.conj().swapaxes(-1, -2) if adjoint else a
    return written(cupy.linalg.solve(a, b) if b.size else b, out)


def _host(name: str) -> Any:
    """What is bound for arrays of the host alone: on a GPU the batched routines keep no factors."""

    def kernel(*arrays: Array, out: Array | None = None, **options: Any) -> Any:
        raise DeviceError(
            f"{name}: got a tensor on a GPU, expected one on the CPU, where factors are kept; "
            "try tg.linalg.solve, inv or det"
        )

    return kernel


lu_packed = _host("lu_packed")
solve_factored = _host("solve_factored")
inv_factored = _host("inv_factored")
det_factored = _host("det_factored")
slogdet_factored = _host("slogdet_factored")


def inv(a: Array, *, strict: bool, out: Array | None = None) -> Any:
    return written(cupy.linalg.inv(a) if a.size else a, out)


# -- determinants ------------------------------------------------------------------------------


def det(a: Array, out: Array | None = None) -> Any:
    return written(cupy.linalg.det(a), out)


def slogdet(a: Array, out: Any = None) -> Any:
    """CuPy's, with a sign of 0 where the determinant is 0, as NumPy has it."""
    sign, log = cupy.linalg.slogdet(a)
    return many((cupy.where(log == -np.inf, 0, sign).astype(a.dtype, copy=False), log), out)


# -- decompositions ----------------------------------------------------------------------------


def cholesky(a: Array, out: Array | None = None) -> Any:
    return written(cupy.linalg.cholesky(a) if a.size else a, out)


def lu_factor(a: Array, out: Any = None) -> Any:
    """What getrf makes of each matrix, matrix by matrix, and its pivots."""
    from cupyx.scipy.linalg import lu_factor as function  # late: it loads cuSOLVER

    packed = cupy.empty(a.shape, a.dtype)
    pivots = cupy.empty((*a.shape[:-2], min(a.shape[-2:])), cupy.int32)
    for place in np.ndindex(a.shape[:-2]):
        if a.size:
            packed[place], pivots[place] = function(a[place], check_finite=False)
    return many((packed, pivots), out)


def pivot_order(pivots: Array, *, rows: int, out: Any = None) -> Any:
    """The order of the rows after all exchanges, and its inverse."""
    return many(pivots_.pivot_order(cupy, pivots, rows), out)


def eig(a: Array, *, degenerate: str, out: Any = None) -> Any:
    w, v = cupy.linalg.eig(a)
    kind = np.result_type(a.dtype, np.complex64)
    return many((w.astype(kind, copy=False), v.astype(kind, copy=False)), out)


def eigvals(a: Array, out: Array | None = None) -> Any:
    kind = np.result_type(a.dtype, np.complex64)
    return written(cupy.linalg.eigvals(a).astype(kind, copy=False), out)


# -- functions of matrices ---------------------------------------------------------------------


def expm(a: Array, out: Array | None = None) -> Any:
    return written(exponential(cupy, a, None)[0] if a.size else a, out)


def expm_frechet(a: Array, e: Array, out: Array | None = None) -> Any:
    return written(exponential(cupy, a, e)[1] if a.size else a, out)


def _refused(name: str) -> Any:
    """A function that needs what CuPy lacks."""

    def kernel(*arrays: Array, out: Array | None = None) -> Any:
        raise DeviceError(
            f"{name}: got a tensor on a GPU, expected one on the CPU, as CuPy has no Schur "
            "decomposition; try x.to('cpu')"
        )

    return kernel


solve_sylvester = _refused("solve_sylvester")
sqrtm = _refused("sqrtm")
logm = _refused("logm")
