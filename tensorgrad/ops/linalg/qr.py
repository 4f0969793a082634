"""The QR decomposition.

With dQ = Q Ω + (what leaves Q's space) and M = Q^H dA R^-1: Ω is antihermitian with M's strict
lower triangle and the imaginary part of its diagonal, since R's stays real and R's rest is upper
(Walter, Lehmann, "Algorithmic differentiation of linear algebra functions with application in
optimum experimental design", 2010). Where A is wide, A = Q (R1, R2): the rules are those of its
square part, and R2 = Q^H A2. The columns that mode "complete" adds are determined up to a
rotation, and what a gradient asks of that is dropped.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np  # oracles only

from tensorgrad._errors import need
from tensorgrad.core.primitive import Primitive, Spec
from tensorgrad.core.registry import operation, primitive
from tensorgrad.ops.create import zeros
from tensorgrad.ops.diagonal import tril_p
from tensorgrad.ops.join import concatenate
from tensorgrad.ops.linalg.matrices import adjoint, matrices, one
from tensorgrad.ops.linalg.triangular import triangular_p
from tensorgrad.ops.products import matmul


class QRResult(NamedTuple):
    """Q and R."""

    Q: Any
    R: Any


def _spec(a: Spec, *, complete: bool) -> tuple[Spec, Spec]:
    *lead, m, n = a.shape
    k = m if complete else min(m, n)
    return Spec((*lead, m, k), a.dtype), Spec((*lead, k, n), a.dtype)


def _by_r(x: Any, r: Any) -> Any:
    """x R^-H."""
    return adjoint(triangular_p.bind(r, adjoint(x), code="N", lower=False, unit=False))


def _turn(x: Any) -> Any:
    """The antihermitian matrix with x's strict lower triangle and its diagonal's imaginary part."""
    strict = tril_p.bind(x, k=-1)
    found = strict - adjoint(strict)
    return found + (x - adjoint(x)) / 2 * one(x) if x.dtype.kind == "c" else found


def _turned_back(x: Any) -> Any:
    """The adjoint of `_turn`: what it makes of x, which is antihermitian, in its lower triangle."""
    strict = 2 * tril_p.bind(x, k=-1)
    return strict + x * one(x) if x.dtype.kind == "c" else strict


def _tall_vjp(ct_q: Any, ct_r: Any, q: Any, r: Any) -> Any:
    """The cotangent of A (m >= n) from those of Q (m, n) and R (n, n)."""
    back = 0 if ct_r is None else matmul(ct_r, adjoint(r))
    asked = back * -1 if ct_q is None else matmul(adjoint(q), ct_q) - back
    skew = (asked - adjoint(asked)) / 2
    inside = matmul(q, _turned_back(skew) + back)
    if ct_q is not None and q.shape[-2] > q.shape[-1]:
        inside = inside + ct_q - matmul(q, matmul(adjoint(q), ct_q))
    return _by_r(inside, r)


def _vjp(ct: Any, out: Any, a: Any, *, complete: bool) -> Any:
    (ct_q, ct_r), (q, r) = ct, out
    m, n = a.shape[-2:]
    if m >= n:
        if complete and m > n:
            q, rest, r = q[..., :n], q[..., n:], r[..., :n, :]
            ct_r = None if ct_r is None else ct_r[..., :n, :]
            if ct_q is not None:
                lost = matmul(adjoint(ct_q[..., n:]), q)
                ct_q = ct_q[..., :n] - matmul(rest, lost)
        return _tall_vjp(ct_q, ct_r, q, r)
    head = None if ct_r is None else ct_r[..., :m]
    tail = None
    if ct_r is not None:
        tail = matmul(q, ct_r[..., m:])
        asked = matmul(a[..., m:], adjoint(ct_r[..., m:]))
        ct_q = asked if ct_q is None else ct_q + asked
    first = _tall_vjp(ct_q, head, q, r[..., :m])
    if tail is None:
        tail = zeros((*a.shape[:-1], n - m), dtype=a.dtype, device=a.device)
    return concatenate([first, tail], -1)


def _jvp(t: Any, out: Any, a: Any, *, complete: bool) -> Any:
    q, r = out
    m, n = a.shape[-2:]
    k = min(m, n)
    thin, square = q[..., :k], r[..., :k, :k]
    moved = _over(t[..., :k], square)
    inside = matmul(adjoint(thin), moved)
    turn = _turn(inside)
    d_q = matmul(thin, turn)
    d_r = matmul(inside - turn, square)
    if m > n:
        beyond = moved - matmul(thin, inside)
        d_q = d_q + beyond
        if complete:
            rest = q[..., n:]
            d_q = concatenate([d_q, -matmul(thin, matmul(adjoint(beyond), rest))], -1)
            below = zeros((*r.shape[:-2], m - n, n), dtype=r.dtype, device=r.device)
            d_r = concatenate([d_r, below], -2)
    if n > m:
        tail = matmul(adjoint(d_q), a[..., m:]) + matmul(adjoint(q), t[..., m:])
        d_r = concatenate([d_r, tail], -1)
    return d_q, d_r


def _over(x: Any, r: Any) -> Any:
    """x R^-1."""
    return adjoint(triangular_p.bind(r, adjoint(x), code="C", lower=False, unit=False))


qr_p: Primitive = primitive(
    "qr",
    nin=1,
    nout=2,
    spec=_spec,
    vjp=(_vjp,),
    jvp=(_jvp,),
    reads=((0, 1, 2),),
    batch=lambda inputs, batched, **params: qr_p.bind(*inputs, **params),
)


def _samples(r: Any) -> Any:
    for shape in ((3, 3), (4, 2), (2, 4), (1, 1), (2, 3, 2), (0, 2, 2), (1, 2, 2, 3)):
        yield (r.normal(*shape) + 2 * np.eye(shape[-2], shape[-1]),), {}
    yield (r.normal(2, 3).T,), {"mode": "r"}
    yield (r.normal(6, 3, 3)[::2],), {"mode": "complete"}
    yield (np.broadcast_to(r.normal(3, 2), (2, 3, 2)),), {}
    yield (r.normal(3, 2) + 1j * r.normal(3, 2),), {}
    yield (r.normal(2, 3) + 1j * r.normal(2, 3),), {}


@operation(numpy="linalg.qr", oracle="linalg.qr", samples=_samples, namespace="linalg")
def qr(a: Any, mode: str = "reduced") -> Any:
    """(Q, R): A = Q R, Q's columns orthonormal, R upper triangular; for (..., m, n), k = min(m, n).

    `mode`: "reduced" (Q (..., m, k), R (..., k, n)), "complete" (Q (..., m, m), R (..., m, n)), or
    "r" (R alone). The first k columns of A must be independent for a gradient. "raw", LAPACK's
    packed form, raises `ValueError`.
    """
    need(mode in ("reduced", "complete", "r"), "qr", mode=mode,
         want="'reduced', 'complete' or 'r'", fix="scipy.linalg.qr(a, mode='raw') for constants",
         error=ValueError)  # fmt: skip
    found = qr_p.bind(matrices("qr", a), complete=mode == "complete")
    return found[1] if mode == "r" else QRResult(*found)
