"""Eigenvalues and eigenvectors of general matrices.

With A V = V diag(w), columns of length 1 and P = V^-1 dA V: dw = diag P; dV = V (F∘P) but for
what would change the lengths, F_ij = 1 / (w_j - w_i) off the diagonal (Boeddeker et al., "On the
computation of complex-valued gradients with application to statistically optimum beamforming",
2017). The phases of the vectors are not determined, and what a gradient asks of them is dropped.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np  # oracles only

from tensorgrad import dtypes
from tensorgrad.core.primitive import Primitive, Spec
from tensorgrad.core.registry import operation, primitive
from tensorgrad.ops.complex import conj
from tensorgrad.ops.linalg.matrices import (
    adjoint,
    by_gaps,
    chosen,
    columns,
    diagonals,
    matrices,
    one,
    pairs,
)
from tensorgrad.ops.linalg.solve import solution
from tensorgrad.ops.products import matmul


def _complex(dtype: Any) -> Any:
    return dtypes.result_type(dtype, dtypes.dtype("complex64"))


def _gaps(w: Any) -> tuple[Any, Any]:
    """w_j - w_i for all pairs, and the largest |w| of each matrix."""
    return w[..., None, :] - w[..., :, None], abs(w).max(axis=-1)[..., None, None]


def _part(found: Any, a: Any) -> Any:
    """The cotangent of a: that of a real matrix is real."""
    return found if a.dtype.kind == "c" else found.real


def _eig_vjp(ct: Any, out: Any, a: Any, *, degenerate: str) -> Any:
    (ct_w, ct_v), (w, v) = ct, out
    inner: Any = None if ct_w is None else ct_w[..., None, :] * one(v)
    if ct_v is not None:
        lengths = (conj(v) * ct_v).sum(axis=-2).real
        asked = matmul(adjoint(v), ct_v - columns(v, lengths))
        gaps, top = _gaps(w)
        turn = by_gaps("eig", asked, conj(gaps), top, degenerate, pairs(ct_v))
        inner = turn if inner is None else inner + turn
    return _part(solution(v, matmul(inner, adjoint(v)), adjoint=True), a)


def _eig_jvp(t: Any, out: Any, a: Any, *, degenerate: str) -> Any:
    w, v = out
    moved = solution(v, matmul(t, v))
    gaps, top = _gaps(w)
    turn = matmul(v, by_gaps("eig", moved, gaps, top, degenerate, one(v) == 0))
    return diagonals(moved), turn - columns(v, (conj(v) * turn).sum(axis=-2).real)


eig_p: Primitive = primitive(
    "eig",
    nin=1,
    nout=2,
    spec=lambda a, *, degenerate: (
        Spec(a.shape[:-1], _complex(a.dtype)),
        Spec(a.shape, _complex(a.dtype)),
    ),
    vjp=(_eig_vjp,),
    jvp=(_eig_jvp,),
    reads=((1, 2),),
    batch=lambda inputs, batched, **params: eig_p.bind(*inputs, **params),
)


def _values_vjp(ct: Any, out: Any, a: Any) -> Any:
    _, v = eig_p.bind(a, degenerate="raise")
    return _part(solution(v, ct[..., None] * adjoint(v), adjoint=True), a)


def _values_jvp(t: Any, out: Any, a: Any) -> Any:
    _, v = eig_p.bind(a, degenerate="raise")
    return diagonals(solution(v, matmul(t, v)))


eigvals_p: Primitive = primitive(
    "eigvals",
    nin=1,
    spec=lambda a: Spec(a.shape[:-1], _complex(a.dtype)),
    vjp=(_values_vjp,),
    jvp=(_values_jvp,),
    reads=((0,),),
    batch=lambda inputs, batched: eigvals_p.bind(*inputs),
    params=False,
)
"""The vectors are found in its derivative alone."""


def _spread(r: Any, *shape: int) -> Any:
    """Matrices whose eigenvalues are real and well apart."""
    return r.normal(*shape) * 0.2 + np.diag(np.arange(shape[-1]) * 2.0 + 1)


def _samples(r: Any) -> Any:
    for shape in ((3, 3), (1, 1), (2, 2), (2, 3, 3), (0, 2, 2), (1, 2, 2, 2)):
        yield (_spread(r, *shape),), {}
    yield (_spread(r, 3, 3).T,), {}
    yield (_spread(r, 6, 3, 3)[::2],), {}
    yield (np.broadcast_to(_spread(r, 3, 3), (2, 3, 3)),), {}


def _wide(x: Any) -> Any:
    return x.astype(np.result_type(x, np.complex64))


class EigResult(NamedTuple):
    """Eigenvalues and eigenvectors."""

    eigenvalues: Any
    eigenvectors: Any


@operation(
    numpy="linalg.eig",
    oracle=lambda a: tuple(_wide(x) for x in np.linalg.eig(a)),
    samples=_samples,
    namespace="linalg",
)
def eig(a: Any, *, degenerate: str = "raise") -> Any:
    """(w, V): A V = V diag(w), columns of V of length 1; shapes (..., n) and (..., n, n).

    Always complex, where NumPy's dtype depends on the values. The gradient of a function that tells
    the vectors of equal values apart raises `GradientError`; `degenerate="mask"` takes 0 for what
    such a pair contributes.
    """
    a = matrices("eig", a, square=True)
    return EigResult(*eig_p.bind(a, degenerate=chosen("eig", degenerate)))


@operation(
    numpy="linalg.eigvals",
    oracle=lambda a: _wide(np.linalg.eigvals(a)),
    samples=_samples,
    namespace="linalg",
)
def eigvals(a: Any) -> Any:
    """The eigenvalues of each matrix, in no particular order; always complex."""
    return eigvals_p.bind(matrices("eigvals", a, square=True))
