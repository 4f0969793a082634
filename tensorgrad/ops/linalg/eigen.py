"""Eigenvalues and eigenvectors of Hermitian matrices.

LAPACK reads one triangle of a matrix: what it means is the Hermitian one (`mirrored`), and so the
gradient lies in that triangle. With A v_j = w_j v_j and P = Vᴴ dA V: dw = Re diag P, dV = V (F∘P),
F_ij = 1 / (w_j - w_i) off the diagonal (Giles, "An extended collection of matrix derivative results
for forward and reverse mode algorithmic differentiation", 2008). The phases of the vectors are not
determined, and what a gradient asks of them is dropped.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np  # oracles only

from tensorgrad import dtypes
from tensorgrad._errors import need
from tensorgrad.core.primitive import Primitive, Spec
from tensorgrad.core.registry import operation, primitive
from tensorgrad.ops.linalg.matrices import (
    adjoint,
    by_gaps,
    chosen,
    columns,
    diagonals,
    matrices,
    mirrored,
    one,
    pairs,
)
from tensorgrad.ops.products import matmul


def _gaps(w: Any) -> tuple[Any, Any]:
    """w_j - w_i for all pairs, and the largest |w| of each matrix."""
    return w[..., None, :] - w[..., :, None], abs(w).max(axis=-1)[..., None, None]


def _eigh_vjp(ct: Any, out: Any, a: Any, *, upper: bool, degenerate: str) -> Any:
    (ct_w, ct_v), (w, v) = ct, out
    inner: Any = None if ct_w is None else ct_w[..., None, :] * one(v)
    if ct_v is not None:
        turns = matmul(adjoint(v), ct_v)
        found = by_gaps("eigh", (turns - adjoint(turns)) / 2, *_gaps(w), degenerate, pairs(ct_v))
        inner = found if inner is None else inner + found
    return matmul(matmul(v, inner), adjoint(v))


def _eigh_jvp(t: Any, out: Any, a: Any, *, upper: bool, degenerate: str) -> Any:
    w, v = out
    moved = matmul(adjoint(v), matmul(t, v))
    turn = by_gaps("eigh", moved, *_gaps(w), degenerate, one(v) == 0)
    return diagonals(moved).real, matmul(v, turn)


eigh_p: Primitive = primitive(
    "eigh",
    nin=1,
    nout=2,
    spec=lambda a, *, upper, degenerate: (
        Spec(a.shape[:-1], dtypes.real(a.dtype)),
        Spec(a.shape, a.dtype),
    ),
    vjp=(_eigh_vjp,),
    jvp=(_eigh_jvp,),
    reads=((1, 2),),
    batch=lambda inputs, batched, **params: eigh_p.bind(*inputs, **params),
)


def _values_vjp(ct: Any, out: Any, a: Any, *, upper: bool) -> Any:
    _, v = eigh_p.bind(a, upper=upper, degenerate="raise")
    return matmul(columns(v, ct), adjoint(v))


def _values_jvp(t: Any, out: Any, a: Any, *, upper: bool) -> Any:
    _, v = eigh_p.bind(a, upper=upper, degenerate="raise")
    return diagonals(matmul(adjoint(v), matmul(t, v))).real


eigvalsh_p: Primitive = primitive(
    "eigvalsh",
    nin=1,
    spec=lambda a, *, upper: Spec(a.shape[:-1], dtypes.real(a.dtype)),
    vjp=(_values_vjp,),
    jvp=(_values_jvp,),
    reads=((0,),),
    batch=lambda inputs, batched, *, upper: eigvalsh_p.bind(*inputs, upper=upper),
)
"""The vectors are found in its derivative alone: values cost a third of both."""


def _spread(r: Any, *shape: int) -> Any:
    """Matrices whose symmetric parts have eigenvalues well apart."""
    x = r.normal(*shape) * 0.3
    return x + np.diag(np.arange(shape[-1]) * 2.0)


def _hermitian(r: Any) -> Any:
    for shape in ((3, 3), (1, 1), (2, 2), (2, 3, 3), (0, 2, 2), (1, 2, 2, 2)):
        yield (_spread(r, *shape),), {}
    yield (_spread(r, 3, 3).T,), {"UPLO": "U"}
    yield (_spread(r, 6, 3, 3)[::2],), {"UPLO": "u"}
    yield (np.broadcast_to(_spread(r, 3, 3), (2, 3, 3)),), {}


def _read(op: str, a: Any, uplo: str) -> tuple[Any, bool]:
    """The Hermitian matrices that a triangle stands for, and whether it is the upper one."""
    a = matrices(op, a, square=True)
    need(uplo in ("L", "l", "U", "u"), op, UPLO=uplo, want="'L' or 'U'", fix="UPLO='L'",
         error=ValueError)  # fmt: skip
    upper = uplo in "Uu"
    return mirrored(a, upper), upper


def _signed(function: Any) -> Any:
    """The oracle, on the Hermitian matrices that it reads."""
    return lambda a, UPLO="L": tuple(function(a, UPLO))


@operation(
    numpy="linalg.eigh",
    oracle=_signed(np.linalg.eigh),
    samples=_hermitian,
    namespace="linalg",
)
def eigh(a: Any, UPLO: str = "L", *, degenerate: str = "raise") -> Any:
    """(w, V): A V = V diag(w) for Hermitian A, w rising, V unitary; shapes (..., n), (..., n, n).

    Only the triangle `UPLO` of a is read, and has a gradient. The gradient of a function that tells
    the vectors of equal eigenvalues apart raises `GradientError`; `degenerate="mask"` takes 0 for
    what such a pair contributes.
    """
    a, upper = _read("eigh", a, UPLO)
    return EighResult(*eigh_p.bind(a, upper=upper, degenerate=chosen("eigh", degenerate)))


class EighResult(NamedTuple):
    """Eigenvalues and eigenvectors."""

    eigenvalues: Any
    eigenvectors: Any


@operation(
    numpy="linalg.eigvalsh",
    oracle="linalg.eigvalsh",
    samples=_hermitian,
    namespace="linalg",
)
def eigvalsh(a: Any, UPLO: str = "L") -> Any:
    """The eigenvalues of Hermitian matrices, rising; the gradient lies in the triangle read."""
    a, upper = _read("eigvalsh", a, UPLO)
    return eigvalsh_p.bind(a, upper=upper)
