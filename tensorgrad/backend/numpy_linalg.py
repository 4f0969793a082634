"""Linear algebra on NumPy's arrays, named as the primitive is.

LAPACK stores matrices by columns. Ours, stored by rows, are their transposes to it, so what is
kept are the factors of A^T: A x = b is then the transposed system, and nothing is copied twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad.backend.numpy_decompositions import many
from tensorgrad.backend.numpy_kernels import written

Array = np.ndarray[Any, Any]
FACTORED = 32  # the order from which on LAPACK is called matrix by matrix: below, calls cost more


def lapack(names: str, dtype: Any) -> Any:
    """LAPACK's routines of these names for a dtype."""
    from scipy.linalg import get_lapack_funcs  # late: for import time

    return get_lapack_funcs(names.split(), dtype=dtype)


def flaw(op: str, what: str, fix: str) -> Exception:
    """The error for a matrix that an operation cannot take."""
    return np.linalg.LinAlgError(f"{op}: got {what}; try {fix}")


def _singular(op: str) -> Exception:
    return flaw(op, "a singular matrix, expected one of full rank", "tg.linalg.pinv or lstsq")


# -- systems and inverses ----------------------------------------------------------------------


def lu_packed(a: Array, out: Any = None) -> Any:
    """Transposed, what getrf makes of each transposed matrix, and its pivots."""
    (getrf,) = lapack("getrf", a.dtype)
    packed = np.array(a, order="C")
    pivots = np.empty(a.shape[:-1], np.int32)
    for place in np.ndindex(a.shape[:-2]):
        # The view is overwritten: it is what LAPACK takes as it lies.
        _, pivots[place], info = getrf(packed[place].T, overwrite_a=1)
        if info > 0:
            raise _singular("solve")
    return many((packed, pivots), out)


def solve_factored(
    a: Array, b: Array, lu: Array, pivots: Array, *, adjoint: bool, out: Array | None = None
) -> Any:
    (getrs,) = lapack("getrs", lu.dtype)
    turned = adjoint and b.dtype.kind == "c"  # A^H x = b: A^T conj(x) = conj(b)
    columns = np.array(b.swapaxes(-1, -2), order="C")
    if turned:
        np.conjugate(columns, columns)
    for place in np.ndindex(b.shape[:-2]):
        getrs(lu[place].T, pivots[place], columns[place].T, int(not adjoint), overwrite_b=1)
    if turned:
        np.conjugate(columns, columns)
    return written(columns.swapaxes(-1, -2), out)


def solve(a: Array, b: Array, *, adjoint: bool, out: Array | None = None) -> Any:
    try:
        found = np.linalg.solve(a.conj().swapaxes(-1, -2) if adjoint else a, b)
    except np.linalg.LinAlgError:
        raise _singular("solve") from None
    return written(found, out)


def inv(a: Array, *, strict: bool, out: Array | None = None) -> Any:
    try:
        found = np.linalg.inv(a)
    except np.linalg.LinAlgError:
        if strict:
            raise _singular("inv") from None
        found = _each(np.linalg.inv, a)
    return written(found, out)


def _each(function: Callable[[Array], Array], a: Array) -> Array:
    """A function of each matrix, NaNs for one that it refuses."""
    found = np.full(a.shape, np.nan, a.dtype)
    for place in np.ndindex(a.shape[:-2]):
        try:
            found[place] = function(a[place])
        except np.linalg.LinAlgError:
            continue
    return found
