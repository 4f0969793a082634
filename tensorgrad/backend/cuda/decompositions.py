"""Decompositions of CuPy's matrices by cuSOLVER and cuBLAS, named as the primitive is.

They cannot be part of a captured step: CuPy refuses these libraries there, by name.
"""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from tensorgrad.backend.cuda.kernels import written
from tensorgrad.backend.several import several

Array = Any

many = several(written)


def eigh(a: Array, *, upper: bool, degenerate: str, out: Any = None) -> Any:
    return many(cupy.linalg.eigh(a, "U" if upper else "L"), out)


def eigvalsh(a: Array, *, upper: bool, out: Array | None = None) -> Any:
    return written(cupy.linalg.eigvalsh(a, "U" if upper else "L"), out)


def svd(a: Array, *, full: bool, degenerate: str, out: Any = None) -> Any:
    return many(cupy.linalg.svd(a, full_matrices=full), out)


def svdvals(a: Array, out: Array | None = None) -> Any:
    return written(cupy.linalg.svd(a, compute_uv=False), out)


def qr(a: Array, *, complete: bool, out: Any = None) -> Any:
    return many(cupy.linalg.qr(a, "complete" if complete else "reduced"), out)


def pinv(a: Array, *, rcond: float, hermitian: bool, out: Array | None = None) -> Any:
    """V diag(1 / s) Uᴴ, 1 / s being 0 below the cut."""
    u, s, vh = cupy.linalg.svd(a, full_matrices=False)
    if not s.size:
        return written(cupy.zeros((*a.shape[:-2], a.shape[-1], a.shape[-2]), a.dtype), out)
    kept = s > rcond * s.max(axis=-1, keepdims=True)
    factors = cupy.where(kept, 1 / cupy.where(kept, s, 1), 0).astype(a.dtype)
    scaled = vh.conj().swapaxes(-1, -2) * factors[..., None, :]
    return written(cupy.matmul(scaled, u.conj().swapaxes(-1, -2)), out)


def triangular(
    a: Array, b: Array, *, code: str, lower: bool, unit: bool, out: Array | None = None
) -> Any:
    """x of op(a) x = b by cuBLAS's trsm, matrix by matrix."""
    from cupyx.scipy.linalg import solve_triangular  # late: it loads cuBLAS

    found = cupy.empty(b.shape, b.dtype) if out is None else out
    trans = {"N": 0, "T": 1, "C": 2}[code]
    for place in np.ndindex(b.shape[:-2] if b.size else (0,)):
        found[place] = solve_triangular(a[place], b[place], trans, lower, unit)
    return found
