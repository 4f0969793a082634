"""Singular values and vectors.

With A = U diag(s) Vᴴ and P = Uᴴ dA V: ds = Re diag P; off the diagonal Uᴴ dU and Vᴴ dV have the
entries (P_ij s_j + s_i P*_ji) / (s_j² - s_i²) and (s_i P_ij + P*_ji s_j) / (s_j² - s_i²). Written
in the sum and the difference of both, the gaps s_j - s_i and s_j + s_i come apart, and equal values
matter only to a function that tells their vectors apart. The joint phase of two vectors is not
determined; what a gradient asks of it is dropped, as is what it asks of the bases that
`full_matrices` adds beyond the space that they span.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np  # oracles only

from tensorgrad import dtypes
from tensorgrad.core.primitive import Primitive, Spec
from tensorgrad.core.registry import operation, primitive
from tensorgrad.ops.complex import conj
from tensorgrad.ops.create import eye
from tensorgrad.ops.join import concatenate
from tensorgrad.ops.linalg.matrices import (
    adjoint,
    by_gaps,
    chosen,
    columns,
    diagonals,
    matrices,
    mirrored,
    pairs,
)
from tensorgrad.ops.products import matmul


class SVDResult(NamedTuple):
    """U, s and Vᴴ."""

    U: Any
    S: Any
    Vh: Any


# -- the primitives ----------------------------------------------------------------------------


def _spec(a: Spec, *, full: bool, degenerate: str) -> tuple[Spec, Spec, Spec]:
    *lead, m, n = a.shape
    k = min(m, n)
    return (
        Spec((*lead, m, m if full else k), a.dtype),
        Spec((*lead, k), dtypes.real(a.dtype)),
        Spec((*lead, n if full else k, n), a.dtype),
    )


def _gaps(s: Any) -> tuple[Any, Any, Any]:
    """s_j - s_i and s_j + s_i for all pairs, and the largest s of each matrix."""
    column, row = s[..., None, :], s[..., :, None]
    return column - row, column + row, s.max(axis=-1)[..., None, None]


def _skew(x: Any) -> Any:
    return (x - adjoint(x)) / 2


def _beyond(u: Any, ct: Any, s: Any, top: Any, degenerate: str) -> Any:
    """What a cotangent of U asks beyond the space of its first columns, by columns, over s."""
    k = s.shape[-1]
    thin, wanted = u[..., :k], ct[..., :k]
    found = wanted - matmul(thin, matmul(adjoint(thin), wanted))
    if u.shape[-1] > k:
        found = found - matmul(u[..., k:], matmul(adjoint(ct[..., k:]), thin))
    asked = (found.detach() != 0).any(axis=-2)[..., None, :]
    return by_gaps("svd", found, s[..., None, :], top, degenerate, asked)


def _svd_vjp(ct: Any, out: Any, a: Any, *, full: bool, degenerate: str) -> Any:
    (ct_u, ct_s, ct_vh), (u, s, vh) = ct, out
    k, v = s.shape[-1], adjoint(vh)
    thin_u, thin_v = u[..., :k], v[..., :k]
    inner: Any = 0 if ct_s is None else ct_s[..., None, :] * eye(k, dtype=s.dtype, device=s.device)
    if ct_u is None and ct_vh is None:
        return matmul(matmul(thin_u, inner), adjoint(thin_v))
    ct_v = None if ct_vh is None else adjoint(ct_vh)
    x = 0 if ct_u is None else _skew(matmul(adjoint(thin_u), ct_u[..., :k]))
    y = 0 if ct_v is None else _skew(matmul(adjoint(thin_v), ct_v[..., :k]))
    minus, plus, top = _gaps(s)
    asked = pairs(*[None if c is None else c[..., :k] for c in (ct_u, ct_v)])
    inner = inner + by_gaps("svd", x + y, minus, top, degenerate, asked)
    inner = inner + by_gaps("svd", x - y, plus, top, degenerate, asked)
    total = matmul(matmul(thin_u, inner), adjoint(thin_v))
    if ct_u is not None and a.shape[-2] > k:
        total = total + matmul(_beyond(u, ct_u, s, top, degenerate), adjoint(thin_v))
    if ct_v is not None and a.shape[-1] > k:
        total = total + matmul(thin_u, adjoint(_beyond(v, ct_v, s, top, degenerate)))
    return total


def _svd_jvp(t: Any, out: Any, a: Any, *, full: bool, degenerate: str) -> Any:
    u, s, vh = out
    k, v = s.shape[-1], adjoint(vh)
    thin_u, thin_v = u[..., :k], v[..., :k]
    moved_v, moved_u = matmul(t, thin_v), matmul(adjoint(t), thin_u)
    p = matmul(adjoint(thin_u), moved_v)
    minus, plus, top = _gaps(s)
    different = eye(k, device=s.device) == 0
    both = by_gaps("svd", (p + adjoint(p)) / 2, minus, top, degenerate, different)
    apart = by_gaps("svd", (p - adjoint(p)) / 2, plus, top, degenerate, different)
    row = (s[..., None, :], top, degenerate)
    d_u = _moved(u, both + apart, moved_v, k, row)
    d_v = _moved(v, both - apart, moved_u, k, row)
    return d_u, diagonals(p).real, adjoint(d_v)


def _moved(u: Any, turn: Any, moved: Any, k: int, row: tuple[Any, Any, str]) -> Any:
    """The tangent of U, from its turn in itself and dA V, what moves it beyond itself."""
    thin = u[..., :k]
    found = matmul(thin, turn)
    if u.shape[-2] == k:
        return found
    beyond = moved - matmul(thin, matmul(adjoint(thin), moved))
    beyond = by_gaps("svd", beyond, *row)
    if u.shape[-1] == k:
        return found + beyond
    rest = u[..., k:]
    return concatenate([found + beyond, -matmul(thin, matmul(adjoint(beyond), rest))], -1)


svd_p: Primitive = primitive(
    "svd",
    nin=1,
    nout=3,
    spec=_spec,
    vjp=(_svd_vjp,),
    jvp=(_svd_jvp,),
    reads=((1, 2, 3),),
    batch=lambda inputs, batched, **params: svd_p.bind(*inputs, **params),
)


def _values_vjp(ct: Any, out: Any, a: Any) -> Any:
    u, _, vh = svd_p.bind(a, full=False, degenerate="raise")
    return matmul(columns(u, ct), vh)


def _values_jvp(t: Any, out: Any, a: Any) -> Any:
    u, _, vh = svd_p.bind(a, full=False, degenerate="raise")
    return (conj(u) * matmul(t, adjoint(vh))).sum(axis=-2).real


svdvals_p: Primitive = primitive(
    "svdvals",
    nin=1,
    spec=lambda a: Spec((*a.shape[:-2], min(a.shape[-2:])), dtypes.real(a.dtype)),
    vjp=(_values_vjp,),
    jvp=(_values_jvp,),
    reads=((0,),),
    batch=lambda inputs, batched: svdvals_p.bind(*inputs),
    params=False,
)
"""The vectors are found in its derivative alone."""


# -- the operations ----------------------------------------------------------------------------


def _spread(r: Any, *shape: int) -> Any:
    """Matrices whose singular values lie well apart."""
    x = r.normal(*shape) * 0.2
    return x + np.eye(shape[-2], shape[-1]) * (np.arange(shape[-1]) + 1.0)


def _matrices(r: Any) -> Any:
    for shape in ((3, 3), (4, 2), (2, 4), (1, 1), (2, 3, 2), (0, 2, 2), (1, 2, 2, 3)):
        yield (_spread(r, *shape),), {}
    yield (_spread(r, 3, 4).T,), {}
    yield (_spread(r, 6, 3, 3)[::2],), {}
    yield (np.broadcast_to(_spread(r, 3, 2), (2, 3, 2)),), {}


def _svd_samples(r: Any) -> Any:
    for args, options in _matrices(r):
        yield args, {**options, "full_matrices": False}
    yield (_spread(r, 3, 3),), {}
    yield (_spread(r, 3, 2),), {"compute_uv": False}
    x = _spread(r, 3, 3)
    yield (x,), {"hermitian": True, "compute_uv": False}


@operation(
    numpy="linalg.svd",
    oracle="linalg.svd",
    samples=_svd_samples,
    namespace="linalg",
)
def svd(
    a: Any,
    full_matrices: bool = True,
    compute_uv: bool = True,
    hermitian: bool = False,
    *,
    degenerate: str = "raise",
) -> Any:
    """(U, s, Vᴴ): A = U diag(s) Vᴴ, s falling; k = min(m, n) values, or all of U and Vᴴ.

    With compute_uv=False s alone. `hermitian` reads the lower triangle. The gradient of a function
    that tells the vectors of equal values apart, or those of value 0, raises `GradientError`;
    `degenerate="mask"` takes 0 for what they contribute.
    """
    a = matrices("svd", a, square=hermitian)
    if hermitian:
        a = mirrored(a)
    if not compute_uv:
        return svdvals_p.bind(a)
    return SVDResult(*svd_p.bind(a, full=full_matrices, degenerate=chosen("svd", degenerate)))


@operation(
    numpy="linalg.svdvals",
    oracle="linalg.svdvals",
    samples=_matrices,
    namespace="linalg",
)
def svdvals(x: Any, /) -> Any:
    """The singular values of each matrix, falling: shape (..., min(m, n))."""
    return svdvals_p.bind(matrices("svdvals", x))
