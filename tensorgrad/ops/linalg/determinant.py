"""Determinants.

d det A = tr(adj(A) dA), adj(A) = det(A) A^-1 where A is not singular. Where it is, the entries of
adj(A) are its minors, which are determinants themselves: exact, and for every order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np  # oracles only

from tensorgrad import dtypes
from tensorgrad.core.primitive import Primitive, Spec
from tensorgrad.core.registry import operation, primitive
from tensorgrad.ops.axes import roll
from tensorgrad.ops.complex import conj
from tensorgrad.ops.create import arange, ones
from tensorgrad.ops.join import stack
from tensorgrad.ops.linalg.matrices import adjoint, columns, matrices, readable
from tensorgrad.ops.linalg.solve import KEPT, factors, inverse, squares
from tensorgrad.ops.linalg.svd import svd_p
from tensorgrad.ops.products import matmul
from tensorgrad.ops.shape import all_batched, astype, reshape
from tensorgrad.ops.vectors import cross_p

SMALL = 3
"""The order up to which they are taken always: they cost less than an inverse."""
MINORS = 16
"""The order up to which they are taken for singular matrices: n² of them, of order n - 1."""


# -- the cofactors -----------------------------------------------------------------------------


def _rest(n: int, device: Any) -> Any:
    """(n, n - 1): the numbers below n without the row's own."""
    row, k = arange(n, device=device)[:, None], arange(n - 1, device=device)
    return k + astype(k >= row, k.dtype)


def _minors(a: Any) -> Any:
    """The cofactors of each matrix, of shape (..., n, n), from the determinants of its minors."""
    n = a.shape[-1]
    if n == 1:
        return ones(a.shape, dtype=a.dtype, device=a.device)
    if n == 2:
        p, q, r, s = (a[..., i, j] for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)))
        return reshape(stack([s, -r, -q, p], -1), a.shape)
    if n == 3:
        return cross_p.bind(roll(a, -1, -2), roll(a, -2, -2))
    rest = _rest(n, a.device)
    rows = a[..., rest[:, None, :, None], rest[None, :, None, :]]
    k = arange(n, device=a.device)
    signs = 1 - 2 * ((k[:, None] + k) % 2)
    return det_p.bind(rows) * astype(signs, dtypes.real(a.dtype))


def _by_values(a: Any) -> Any:
    """The cofactors through singular values: det(U Vᴴ) U diag(the product of the others) Vᴴ."""
    u, s, vh = svd_p.bind(a, full=False, degenerate="raise")
    n = s.shape[-1]
    others = s[..., _rest(n, a.device)].prod(axis=-1)
    phase = det_p.bind(matmul(u, vh))
    # U and V are conjugated: the cofactors are those of adj(A)^T.
    return phase[..., None, None] * conj(matmul(columns(u, others), vh))


def _cofactors(a: Any, det: Any, kept: Sequence[Any]) -> Any:
    """adj(A)^T."""
    n = a.shape[-1]
    if n <= SMALL:
        return _minors(a)
    zero = det.detach() == 0
    if readable(zero) and bool(zero.any()):
        return _minors(a) if n <= MINORS else _by_values(a)
    return det[..., None, None] * inverse(a, kept).mT


def _det_vjp(ct: Any, out: Any, a: Any, *kept: Any) -> Any:
    if not a.shape[-1]:
        return None
    return ct[..., None, None] * conj(_cofactors(a, out, kept))


def _det_jvp(t: Any, out: Any, a: Any, *kept: Any) -> Any:
    if not a.shape[-1]:
        return out * 0
    return (_cofactors(a, out, kept) * t).sum(axis=(-2, -1))


det_p: Primitive = primitive(
    "det",
    nin=1,
    spec=lambda a: Spec(a.shape[:-2], a.dtype),
    vjp=(_det_vjp,),
    jvp=(_det_jvp,),
    reads=((0, 1),),
    batch=lambda inputs, batched: det_p.bind(*inputs),
    params=False,
)

det_factored_p: Primitive = primitive(
    "det_factored",
    nin=3,
    spec=lambda a, lu, pivots: Spec(a.shape[:-2], a.dtype),
    vjp=(_det_vjp,),
    jvp=(_det_jvp,),
    reads=((0, 1, 2, 3),),
    batch=lambda inputs, batched: det_factored_p.bind(*all_batched(inputs, batched)),
)
"""det and A^-1 from the same factors: their product is exact where A is singular but for rounding.
"""


def _slogdet_vjp(ct: Any, out: Any, a: Any, *kept: Any) -> Any:
    """A^-H (ct_log + i k), k being what is asked of the sign's phase."""
    (ct_sign, ct_log), sign = ct, out[0]
    if a.dtype.kind == "c" and ct_sign is not None:
        turned = -1j * (conj(ct_sign) * sign).imag
        ct_log = turned if ct_log is None else ct_log + turned
    if ct_log is None:
        return None
    return ct_log[..., None, None] * adjoint(inverse(a, kept))


def _slogdet_jvp(t: Any, out: Any, a: Any, *kept: Any) -> Any:
    moved = (inverse(a, kept).mT * t).sum(axis=(-2, -1))
    if a.dtype.kind == "c":
        return out[0] * (1j * moved.imag), moved.real
    return None, moved


slogdet_p: Primitive = primitive(
    "slogdet",
    nin=1,
    nout=2,
    spec=lambda a: (Spec(a.shape[:-2], a.dtype), Spec(a.shape[:-2], dtypes.real(a.dtype))),
    vjp=(_slogdet_vjp,),
    jvp=(_slogdet_jvp,),
    reads=((0, 1),),
    batch=lambda inputs, batched: slogdet_p.bind(*inputs),
)

slogdet_factored_p: Primitive = primitive(
    "slogdet_factored",
    nin=3,
    nout=2,
    spec=lambda a, lu, pivots: slogdet_p.spec(a),
    vjp=(_slogdet_vjp,),
    jvp=(_slogdet_jvp,),
    reads=((0, 1, 2, 3),),
    batch=lambda inputs, batched: slogdet_factored_p.bind(*all_batched(inputs, batched)),
)

# -- the operations ----------------------------------------------------------------------------


def _squares(r: Any) -> Any:
    yield from squares(r)
    yield (r.normal(4, 4) * 0.3 + np.eye(4),), {}
    yield (np.ones((4, 4)) * 0.7 + r.normal(4, 1),), {}
    yield (_large(r),), {}


def _large(r: Any) -> Any:
    """A matrix whose factors are kept, with a determinant of moderate size."""
    return r.normal(KEPT, KEPT) * 0.05 + np.eye(KEPT)


def _logarithms(r: Any) -> Any:
    yield from squares(r)
    yield (_large(r),), {}


class SlogdetResult(NamedTuple):
    """The sign (of modulus 1) and the logarithm of the modulus."""

    sign: Any
    logabsdet: Any


@operation(numpy="linalg.det", oracle="linalg.det", samples=_squares, namespace="linalg")
def det(a: Any) -> Any:
    """The determinant of each matrix (..., n, n); its derivatives exist at singular ones too.

    At a singular matrix of more than 16 rows the second derivative raises `GradientError` where
    two of its singular values are equal.
    """
    a = matrices("det", a, square=True)
    kept = factors(a, strict=False)
    return det_factored_p.bind(a, *kept) if kept else det_p.bind(a)


@operation(
    numpy="linalg.slogdet",
    oracle=lambda a: tuple(np.linalg.slogdet(a)),
    samples=_logarithms,
    namespace="linalg",
)
def slogdet(a: Any) -> Any:
    """(sign, log |det|) of matrices (..., n, n): the determinant where it would overflow.

    A singular matrix gives (0, -inf), and its gradient raises `numpy.linalg.LinAlgError`.
    """
    a = matrices("slogdet", a, square=True)
    kept = factors(a, strict=False)
    return SlogdetResult(*(slogdet_factored_p.bind(a, *kept) if kept else slogdet_p.bind(a)))
