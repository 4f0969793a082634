"""The LU decomposition with pivoting, and systems that are solved with it.

With B = P^T A = L U and F = L^-1 dB U^-1: dL = L tril(F, -1), dU = triu(F) U. The pivots are
piecewise constant. A wide B = L (U1, U2) has U2 = L^-1 B2, a tall one L2 = B2 U^-1.
"""

from __future__ import annotations

from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes
from tensorgrad._errors import need
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import operation, primitive
from tensorgrad.ops.along import take_along_axis
from tensorgrad.ops.complex import conj
from tensorgrad.ops.create import arange, eye
from tensorgrad.ops.diagonal import tril_p, triu_p
from tensorgrad.ops.join import concatenate
from tensorgrad.ops.linalg.matrices import adjoint, matrices
from tensorgrad.ops.linalg.triangular import CODES, systems, triangular_p
from tensorgrad.ops.products import matmul
from tensorgrad.ops.shape import astype, broadcast_to, several

# -- the primitives ----------------------------------------------------------------------------


def _by_l(packed: Any, x: Any, code: str = "N") -> Any:
    """L^-1 x, or L^-H x."""
    return triangular_p.bind(packed, x, code=code, lower=True, unit=True)


def _by_u(x: Any, packed: Any, code: str = "N") -> Any:
    """x U^-1, or x U^-H."""
    back = "N" if code == "C" else "C"
    return adjoint(triangular_p.bind(packed, adjoint(x), code=back, lower=False, unit=False))


def _low(packed: Any) -> Any:
    """L, of as many columns as there are pivots."""
    m, n = packed.shape[-2:]
    k = min(m, n)
    unit = eye(m, k, dtype=dtypes.real(packed.dtype), device=packed.device)
    return tril_p.bind(packed[..., :k], k=-1) + unit


def _up(packed: Any) -> Any:
    """U, of as many rows as there are pivots."""
    return triu_p.bind(packed[..., : min(packed.shape[-2:]), :], k=0)


def _taken(x: Any, rows: Any) -> Any:
    return take_along_axis(x, broadcast_to(rows[..., None], x.shape), -2)


def _vjp(ct: Any, out: Any, a: Any) -> Any:
    packed, (m, n) = out[0], a.shape[-2:]
    k = min(m, n)
    low, up, first = _low(packed), _up(packed), packed[..., :k, :k]
    to_l, to_u = tril_p.bind(ct[0][..., :k, :k], k=-1), triu_p.bind(ct[0][..., :k, :k], k=0)
    beyond: Any = None
    if n > k:
        beyond = _by_l(first, ct[0][..., k:], "C")
        to_l = to_l - matmul(beyond, adjoint(up[..., k:]))
    elif m > k:
        beyond = _by_u(ct[0][..., k:, :], first, "C")
        to_u = to_u - matmul(adjoint(low[..., k:, :]), beyond)
    inner = tril_p.bind(matmul(adjoint(low[..., :k, :]), to_l), k=-1)
    inner = inner + triu_p.bind(matmul(to_u, adjoint(up[..., :k])), k=0)
    found = _by_u(_by_l(first, inner, "C"), first, "C")
    if beyond is not None:
        found = concatenate([found, beyond], -1 if n > k else -2)
    return _taken(found, _rows(out[1], m)[1])


def _jvp(t: Any, out: Any, a: Any) -> Any:
    packed, (m, n) = out[0], a.shape[-2:]
    k = min(m, n)
    low, up, first = _low(packed), _up(packed), packed[..., :k, :k]
    moved = _taken(t, _rows(out[1], m)[0])
    inner = _by_u(_by_l(first, moved[..., :k, :k]), first)
    d_low = matmul(low[..., :k, :], tril_p.bind(inner, k=-1))
    d_up = matmul(triu_p.bind(inner, k=0), up[..., :k])
    found = d_low + d_up
    if n > k:
        right = _by_l(first, moved[..., k:] - matmul(d_low, up[..., k:]))
        found = concatenate([found, right], -1)
    elif m > k:
        below = _by_u(moved[..., k:, :] - matmul(low[..., k:, :], d_up), first)
        found = concatenate([found, below], -2)
    return found, None


packed_p: Primitive = primitive(
    "lu_factor",
    nin=1,
    nout=2,
    spec=lambda a: (a, Spec((*a.shape[:-2], min(a.shape[-2:])), dtypes.dtype("int32"))),
    vjp=(_vjp,),
    jvp=(_jvp,),
    reads=((1, 2),),
    batch=lambda inputs, batched: packed_p.bind(*inputs),
)
"""L below the diagonal and U, in one matrix, and the row that each was exchanged with in turn."""

order_p: Primitive = primitive(
    "pivot_order",
    nin=1,
    nout=2,
    spec=lambda pivots, *, rows: (Spec((*pivots.shape[:-1], rows), dtypes.dtype("int64")),) * 2,
    batch=lambda inputs, batched, *, rows: order_p.bind(*inputs, rows=rows),
)


def _rows(pivots: Any, count: int) -> Any:
    """(q, p): A[q] = L U and A = (L U)[p]."""
    return order_p.bind(pivots, rows=count)


# -- the operations ----------------------------------------------------------------------------


def _pivoted(r: Any, *shape: int) -> Any:
    """Matrices whose pivots are well apart."""
    x = r.normal(*shape) * 0.1 + np.eye(shape[-2], shape[-1]) * 2
    return np.asarray(x[..., r.rng.permutation(shape[-2]), :])


def _samples(r: Any) -> Any:
    for shape in ((3, 3), (4, 2), (2, 4), (1, 1), (2, 3, 2), (0, 2, 2), (1, 2, 2, 3)):
        yield (_pivoted(r, *shape),), {}
    yield (_pivoted(r, 2, 3).T,), {"permute_l": True}
    yield (_pivoted(r, 6, 3, 3)[::2],), {"p_indices": True}
    yield (np.broadcast_to(_pivoted(r, 3, 2), (2, 3, 2)),), {}
    yield (_pivoted(r, 3, 3) + 0.1j * r.normal(3, 3),), {}


def _wide(a: Any) -> None:
    """Refuse what SciPy would take for wider floats."""
    if a.dtype == np.float16:
        raise TypeError("LAPACK has no 16-bit floats")


def _lu_oracle(a: Any, **options: Any) -> Any:
    from scipy.linalg import lu as scipys

    _wide(a)
    if not a.size:  # SciPy makes other shapes of these
        return (np.empty(a.shape),) * 3
    found = scipys(a, **options)
    return (found[0].astype(np.int64), *found[1:]) if options.get("p_indices") else found


@operation(oracle=_lu_oracle, samples=_samples, namespace="linalg")
def lu(a: Any, permute_l: bool = False, p_indices: bool = False) -> Any:
    """(P, L, U): A = P L U, L lower triangular with ones on its diagonal, U upper; (..., m, n).

    With `permute_l` (P L, U); with `p_indices` P is p, A = (L U)[p]. P is constant.
    """
    packed, pivots = packed_p.bind(matrices("lu", a))
    _, p = _rows(pivots, packed.shape[-2])
    low, up = _low(packed), _up(packed)
    if permute_l:
        return _taken(low, p), up
    if p_indices:
        return p, low, up
    full = p[..., None] == arange(packed.shape[-2], device=packed.device)
    return astype(full, dtypes.real(packed.dtype)), low, up


def _factors(r: Any) -> Any:
    for shape in ((3, 3), (1, 1), (4, 2), (2, 4), (2, 3, 3), (0, 2, 2)):
        yield (_pivoted(r, *shape),), {}
    yield (_pivoted(r, 3, 3).T,), {}
    yield (_pivoted(r, 6, 3, 3)[::2],), {}
    yield (_pivoted(r, 3, 3) + 0.1j * r.normal(3, 3),), {}


def _factor_oracle(a: Any) -> Any:
    from scipy.linalg import lu_factor as scipys

    _wide(a)
    packed = np.empty(a.shape, a.dtype)
    pivots = np.empty((*a.shape[:-2], min(a.shape[-2:])), np.int32)
    for k in np.ndindex(a.shape[:-2]):
        packed[k], pivots[k] = scipys(a[k])
    return packed, pivots


@operation(oracle=_factor_oracle, samples=_factors, namespace="linalg")
def lu_factor(a: Any) -> Any:
    """(lu, piv), for `lu_solve`: L below the diagonal and U in one; row i changed with piv[i]."""
    return packed_p.bind(matrices("lu_factor", a))


def _solve_samples(r: Any) -> Any:
    def factored(*shape: int, turn: float = 0.0) -> Any:
        a = r.normal(*shape) * 0.3 + 2 * np.eye(shape[-1])
        a = a + turn * r.normal(*shape) if turn else a
        return a, r.integers(0, shape[-1], *shape[:-1]).astype(np.int32)

    for a, b, trans in (
        ((3, 3), (3,), 0), ((3, 3), (3, 2), 1), ((2, 3, 3), (3, 2), 0), ((3, 3), (2, 3, 1), 2),
        ((2, 1, 2, 2), (3, 2, 2), 1), ((1, 1), (1,), 0), ((0, 2, 2), (0, 2, 1), 0),
    ):  # fmt: skip
        yield (factored(*a), r.normal(*b)), {"trans": trans}
    yield (factored(3, 3), r.normal(2, 3).T), {}
    a, pivots = factored(3, 3)
    for trans in (0, 1, 2):
        yield ((a + 0.3j * r.normal(3, 3), pivots), r.normal(3, 2)), {"trans": trans}


def _solve_oracle(lu_and_piv: Any, b: Any, trans: Any = 0) -> Any:
    packed, pivots = lu_and_piv
    _wide(packed)
    n = packed.shape[-1]
    a = np.matmul(np.tril(packed, -1) + np.eye(n), np.triu(packed))
    for k in np.ndindex(a.shape[:-2]):
        for i in reversed(range(n)):
            a[k][[i, pivots[k][i]]] = a[k][[pivots[k][i], i]]
    turned = a.swapaxes(-1, -2)
    return np.linalg.solve({0: a, 1: turned, 2: turned.conj()}[trans], b)


@operation(oracle=_solve_oracle, samples=_solve_samples, namespace="linalg")
def lu_solve(lu_and_piv: Any, b: Any, trans: Any = 0) -> Any:
    """x of op(A) x = b with (lu, piv) from `lu_factor(A)`, for (n,) or (..., n, k).

    `trans`: op(A) is A (0), its transpose (1) or its adjoint (2). A singular A gives infinities.
    """
    need(trans in CODES, "lu_solve", trans=trans, want="0, 1, 2", fix="trans=0", error=ValueError)
    pair = several("lu_solve", lu_and_piv, "lu_factor(a), b")
    need(len(pair) == 2, "lu_solve", lu_and_piv=len(pair), want="the pair that lu_factor gives",
         fix="lu_solve(lu_factor(a), b)", error=ValueError)  # fmt: skip
    packed, pivots = pair
    packed, b, vector = systems("lu_solve", packed, b)
    pivots = operand(pivots, (packed,), "lu_solve")
    need(pivots.shape[-1:] == packed.shape[-1:], "lu_solve", lu=packed, piv=pivots,
         want="a pivot for each row", fix="lu_solve(lu_factor(a), b)")  # fmt: skip
    pivots = broadcast_to(pivots, packed.shape[:-1])
    rows, back = _rows(pivots, packed.shape[-1])
    code = CODES[trans]
    if code == "N":
        x = _by_l(packed, _taken(b, rows))
        x = triangular_p.bind(packed, x, code="N", lower=False, unit=False)
    else:
        b = conj(b) if code == "T" else b
        x = triangular_p.bind(packed, b, code="C", lower=False, unit=False)
        x = _taken(_by_l(packed, x, "C"), back)
        x = conj(x) if code == "T" else x
    return x[..., 0] if vector else x
