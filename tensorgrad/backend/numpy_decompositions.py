"""Decompositions of NumPy's matrices, named as the primitive is."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.backend.numpy_kernels import written

Array = np.ndarray[Any, Any]


def many(found: Any, out: Any) -> tuple[Array, ...]:
    """Several results, copied into `out` where that was given."""
    return tuple(found) if out is None else tuple([written(f, o) for f, o in zip(found, out)])


def eigh(a: Array, *, upper: bool, degenerate: str, out: Any = None) -> Any:
    return many(np.linalg.eigh(a, "U" if upper else "L"), out)


def eigvalsh(a: Array, *, upper: bool, out: Array | None = None) -> Any:
    return written(np.linalg.eigvalsh(a, "U" if upper else "L"), out)


def svd(a: Array, *, full: bool, degenerate: str, out: Any = None) -> Any:
    return many(np.linalg.svd(a, full_matrices=full), out)


def svdvals(a: Array, out: Array | None = None) -> Any:
    return written(np.linalg.svd(a, compute_uv=False), out)


def qr(a: Array, *, complete: bool, out: Any = None) -> Any:
    return many(np.linalg.qr(a, "complete" if complete else "reduced"), out)


def pinv(a: Array, *, rcond: float, hermitian: bool, out: Array | None = None) -> Any:
    return written(np.linalg.pinv(a, rcond, hermitian), out)


def triangular(
    a: Array, b: Array, *, code: str, lower: bool, unit: bool, out: Array | None = None
) -> Any:
    """x of op(a) x = b by LAPACK's trtrs, matrix by matrix; infinities where op(a) is singular."""
    from scipy.linalg import get_lapack_funcs  # late: for import time

    found = np.empty(b.shape, b.dtype) if out is None else out
    (trtrs,) = get_lapack_funcs(("trtrs",), dtype=a.dtype)
    transposed = {"N": 0, "T": 1, "C": 2}[code]
    for place in np.ndindex(a.shape[:-2]):
        x, singular = trtrs(a[place], b[place], int(lower), transposed, int(unit))
        found[place] = np.inf if singular else x
    return found
