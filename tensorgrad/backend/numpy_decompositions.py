"""Decompositions of NumPy's matrices, named as the primitive is."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.backend.numpy_kernels import written
from tensorgrad.backend.several import several

Array = np.ndarray[Any, Any]

many = several(written)


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


SMALL = 32
"""The order below which a stack is solved by one call: LAPACK's calls cost more than the work."""


def triangular(
    a: Array, b: Array, *, code: str, lower: bool, unit: bool, out: Array | None = None
) -> Any:
    """x of op(a) x = b; infinities where op(a) is singular."""
    if a.shape[-1] < SMALL and a.ndim > 2:
        part = np.tril(a, -1 if unit else 0) if lower else np.triu(a, 1 if unit else 0)
        part = part + np.eye(a.shape[-1], dtype=a.dtype) if unit else part
        part = part if code == "N" else part.swapaxes(-1, -2)
        try:
            return written(np.linalg.solve(part.conj() if code == "C" else part, b), out)
        except np.linalg.LinAlgError:  # each for itself, since only some may be singular
            pass
    return written(_by_lapack(a, b, code, lower, unit), out)


def _by_lapack(a: Array, b: Array, code: str, lower: bool, unit: bool) -> Array:
    """LAPACK's trtrs, matrix by matrix: the transposes are what it takes without a copy."""
    from scipy.linalg import get_lapack_funcs  # late: for import time

    (trtrs,) = get_lapack_funcs(("trtrs",), dtype=a.dtype)
    found = np.array(b.swapaxes(-1, -2), order="C")
    for place in np.ndindex(a.shape[:-2]):
        one, right = a[place], found[place]
        # By columns A is what it is; by rows, LAPACK sees its transpose.
        by_rows = not one.flags.f_contiguous
        turned = code == "C" and by_rows and b.dtype.kind == "c"  # A^H x = b: A^T conj(x) = conj(b)
        if turned:
            np.conjugate(right, right)
        transposed = {"N": 1, "T": 0, "C": 0} if by_rows else {"N": 0, "T": 1, "C": 2}
        matrix = one.T if by_rows else one
        _, singular = trtrs(
            matrix, right.T, int(lower != by_rows), transposed[code], int(unit), overwrite_b=1
        )
        if singular:
            right[...] = np.inf
        elif turned:
            np.conjugate(right, right)
    return found.swapaxes(-1, -2)
