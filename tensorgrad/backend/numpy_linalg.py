"""Linear algebra on NumPy's arrays, named as the primitive is.

LAPACK stores matrices by columns. Ours, stored by rows, are their transposes to it, so what is
kept are the factors of A^T: A x = b is then the transposed system, and nothing is copied twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad.backend import pivots as pivots_
from tensorgrad.backend.exponential import exponential
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


def lu_packed(a: Array, *, strict: bool, out: Any = None) -> Any:
    """Transposed, what getrf makes of each transposed matrix, and its pivots."""
    (getrf,) = lapack("getrf", a.dtype)
    packed = np.array(a, order="C")
    pivots = np.empty(a.shape[:-1], np.int32)
    for place in np.ndindex(a.shape[:-2]):
        # The view is overwritten: it is what LAPACK takes as it lies.
        _, pivots[place], info = getrf(packed[place].T, overwrite_a=1)
        if info > 0 and strict:
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


def inv_factored(a: Array, lu: Array, pivots: Array, out: Array | None = None) -> Any:
    """The transposes of the transposed matrices' inverses, by getri."""
    getri, size = lapack("getri getri_lwork", lu.dtype)
    found = np.array(lu, order="C")
    work = int(size(lu.shape[-1])[0].real)
    for place in np.ndindex(lu.shape[:-2]):
        _, info = getri(found[place].T, pivots[place], work, overwrite_lu=1)
        if info > 0:
            raise _singular("inv")
    return written(found, out)


def inv(a: Array, *, strict: bool, out: Array | None = None) -> Any:
    if a.shape[-1] >= FACTORED and strict:
        lu, pivots = lu_packed(a, strict=False)
        return inv_factored(a, lu, pivots, out)
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


# -- determinants ------------------------------------------------------------------------------


def det(a: Array, out: Array | None = None) -> Any:
    return written(np.linalg.det(a), out)


def slogdet(a: Array, out: Any = None) -> Any:
    return many(np.linalg.slogdet(a), out)


def _from_factors(lu: Array, pivots: Array) -> tuple[Array, Array]:
    """The sign and the logarithm of the modulus of a product of pivots and exchanges."""
    values = np.diagonal(lu, 0, -2, -1)
    size = abs(values)
    swaps = (pivots != np.arange(pivots.shape[-1])).sum(axis=-1) % 2
    with np.errstate(divide="ignore"):
        log = np.log(size).sum(axis=-1)
    sign = np.prod(np.where(size == 0, 0, values / np.where(size == 0, 1, size)), axis=-1)
    return np.asarray((1 - 2 * swaps) * sign).astype(lu.dtype), log


def det_factored(a: Array, lu: Array, pivots: Array, out: Array | None = None) -> Any:
    sign, log = _from_factors(lu, pivots)
    return written(sign * np.exp(log), out)


def slogdet_factored(a: Array, lu: Array, pivots: Array, out: Any = None) -> Any:
    return many(_from_factors(lu, pivots), out)


# -- decompositions ----------------------------------------------------------------------------


def cholesky(a: Array, out: Array | None = None) -> Any:
    try:
        return written(np.linalg.cholesky(a), out)
    except np.linalg.LinAlgError:
        raise flaw(
            "cholesky", "a matrix that is not positive definite, expected one that is", "eigh"
        ) from None


def lu_factor(a: Array, out: Any = None) -> Any:
    """What getrf makes of each matrix, and its pivots."""
    (getrf,) = lapack("getrf", a.dtype)
    packed = np.empty(a.shape, a.dtype)
    pivots = np.empty((*a.shape[:-2], min(a.shape[-2:])), np.int32)
    for place in np.ndindex(a.shape[:-2]):
        if a.size:
            packed[place], pivots[place], _ = getrf(a[place])
    return many((packed, pivots), out)


def pivot_order(pivots: Array, *, rows: int, out: Any = None) -> Any:
    """The order of the rows after all exchanges, and its inverse."""
    return many(pivots_.pivot_order(np, pivots, rows), out)


def eig(a: Array, *, degenerate: str, out: Any = None) -> Any:
    """Complex for every matrix: what NumPy gives depends on the values."""
    w, v = np.linalg.eig(a)
    kind = np.result_type(a.dtype, np.complex64)
    return many((w.astype(kind, copy=False), v.astype(kind, copy=False)), out)


def eigvals(a: Array, out: Array | None = None) -> Any:
    kind = np.result_type(a.dtype, np.complex64)
    return written(np.linalg.eigvals(a).astype(kind, copy=False), out)


# -- functions of matrices ---------------------------------------------------------------------


def expm(a: Array, out: Array | None = None) -> Any:
    return written(exponential(np, a, None)[0] if a.size else a, out)


def expm_frechet(a: Array, e: Array, out: Array | None = None) -> Any:
    return written(exponential(np, a, e)[1] if a.size else a, out)


def solve_sylvester(a: Array, b: Array, q: Array, out: Array | None = None) -> Any:
    from scipy.linalg import solve_sylvester as function  # late: for import time

    found = np.empty(q.shape, q.dtype) if out is None else out
    for place in np.ndindex(q.shape[:-2]):
        if q[place].size:
            found[place] = function(a[place], b[place], q[place])
    return found


def _real(op: str, a: Array, out: Array | None) -> Any:
    """SciPy's function of each matrix; what is not real for a real one is refused."""
    import scipy.linalg  # late: for import time

    found = np.empty(a.shape, a.dtype) if out is None else out
    wide = a.astype(np.result_type(a, np.float64), copy=False)  # SciPy's error estimates want it
    for place in np.ndindex(a.shape[:-2]):
        if not a[place].size:
            continue
        one = getattr(scipy.linalg, op)(wide[place])
        if a.dtype.kind != "c" and np.iscomplexobj(one):
            if np.any(one.imag):
                raise ValueError(
                    f"{op}: got a real matrix whose {op} is complex, expected a complex dtype; "
                    f"try {op}(a.astype('complex128'))"
                )
            one = one.real
        found[place] = one
    return found


def sqrtm(a: Array, out: Array | None = None) -> Any:
    return _real("sqrtm", a, out)


def logm(a: Array, out: Array | None = None) -> Any:
    return _real("logm", a, out)
