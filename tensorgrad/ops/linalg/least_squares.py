"""The pseudoinverse and least squares, for matrices of constant rank.

With P = A^+ and constant rank (Golub, Pereyra, "The differentiation of pseudo-inverses and
nonlinear least squares problems whose variables separate", 1973):
dP = -P dA P + P P^H dA^H (1 - A P) + (1 - P A) dA^H P^H P.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np  # oracles only

from tensorgrad import dtypes
from tensorgrad._errors import ShapeError, need
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import operation, primitive
from tensorgrad.ops.linalg.matrices import adjoint, matrices, mirrored, readable
from tensorgrad.ops.linalg.svd import svdvals
from tensorgrad.ops.products import matmul
from tensorgrad.ops.shape import astype


def _chain(x: Any, y: Any, z: Any) -> Any:
    """x y z by the smaller of the two products in the middle: a long side is never squared."""
    small = x.shape[-2] * y.shape[-1] <= y.shape[-2] * z.shape[-1]
    return matmul(matmul(x, y), z) if small else matmul(x, matmul(y, z))


def _vjp(ct: Any, out: Any, a: Any, **_: Any) -> Any:
    p, ph, back = out, adjoint(out), adjoint(ct)
    found = -_chain(ph, ct, ph)
    found = found + _chain(back - _chain(a, p, back), p, ph)
    return found + _chain(ph, p, back - _chain(back, p, a))


def _jvp(t: Any, out: Any, a: Any, **_: Any) -> Any:
    p, ph, th = out, adjoint(out), adjoint(t)
    found = -_chain(p, t, p)
    left, right = _chain(p, ph, th), _chain(th, ph, p)
    return found + left - _chain(left, a, p) + right - _chain(p, a, right)


pinv_p: Primitive = primitive(
    "pinv",
    nin=1,
    spec=lambda a, **_: Spec((*a.shape[:-2], a.shape[-1], a.shape[-2]), a.dtype),
    vjp=(_vjp,),
    jvp=(_jvp,),
    reads=((0, 1),),
    batch=lambda inputs, batched, **params: pinv_p.bind(*inputs, **params),
)


def _tall(r: Any, *shape: int) -> Any:
    return r.normal(*shape) * 0.3 + np.eye(shape[-2], shape[-1]) * 2


def _samples(r: Any) -> Any:
    for shape in ((3, 3), (4, 2), (2, 4), (1, 1), (2, 3, 2), (0, 2, 2), (1, 2, 2, 3)):
        yield (_tall(r, *shape),), {}
    yield (_tall(r, 2, 3).T,), {"rcond": 1e-10}
    yield (_tall(r, 6, 3, 3)[::2],), {"rtol": None}
    yield (_tall(r, 3, 3),), {"hermitian": True}
    yield (_tall(r, 3, 2) + 0.5j * r.normal(3, 2),), {}


def _oracle(a: Any, **options: Any) -> Any:
    if options.get("hermitian"):
        a = np.tril(a) + np.tril(a, -1).T
    return np.linalg.pinv(a, **options)


_UNSET: Any = object()


@operation(numpy="linalg.pinv", oracle=_oracle, samples=_samples, namespace="linalg")
def pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = _UNSET) -> Any:
    """The Moore-Penrose inverse (..., n, m) of (..., m, n); singular values below the cut are 0.

    The cut is `rcond` (1e-15) or `rtol` (None: max(m, n) eps) times the largest. `hermitian` reads
    the lower triangle. The gradient is right where the rank does not change.
    """
    a = matrices("pinv", a, square=hermitian)
    need(rcond is None or rtol is _UNSET, "pinv", rcond=rcond, rtol=rtol, want="one of the two",
         fix="rtol= alone", error=ValueError)  # fmt: skip
    cut = 1e-15 if rtol is _UNSET else rtol
    if rcond is not None:
        cut = rcond
    if cut is None:
        cut = max(a.shape[-2:]) * dtypes.eps(dtypes.real(a.dtype))
    return pinv_p.bind(mirrored(a) if hermitian else a, rcond=float(cut), hermitian=hermitian)


class LstsqResult(NamedTuple):
    """The solution, the sums of squared residuals, the rank and the singular values."""

    x: Any
    residuals: Any
    rank: Any
    s: Any


def _lstsq_samples(r: Any) -> Any:
    for a, b in (((4, 2), (4,)), ((4, 2), (4, 3)), ((3, 3), (3,)), ((2, 4), (2,)), ((5, 1), (5, 1)),
                 ((2, 3), (2, 2))):  # fmt: skip
        yield (_tall(r, *a), r.normal(*b)), {}
    yield (_tall(r, 2, 4).T, r.normal(3, 4).T), {"rcond": 1e-8}
    yield (_tall(r, 8, 3)[::2], r.normal(4)), {"rcond": -1}


@operation(
    numpy="linalg.lstsq",
    oracle="linalg.lstsq",
    samples=_lstsq_samples,
    namespace="linalg",
)
def lstsq(a: Any, b: Any, rcond: float | None = None) -> Any:
    """(x, residuals, rank, s): the x of least norm among those that make |b - A x| least.

    A (m, n), b (m,) or (m, k). `residuals` are Σ |b - A x|² for each column of b where the rank is
    n < m, else empty (under `vmap`, where no rank can be read, it is taken for n). Singular values
    below `rcond` (max(m, n) eps) times the largest count as 0.
    """
    a, b = operand(a, (b,), "lstsq"), operand(b, (a,), "lstsq")
    a = matrices("lstsq", a)
    need(a.ndim == 2 and b.ndim in (1, 2) and len(b) == len(a), "lstsq", a=a, b=b,
         want="a matrix, and a vector or matrix of as many rows", fix="tg.vmap for stacks",
         error=ShapeError)  # fmt: skip
    m, n = a.shape
    smallest = dtypes.eps(dtypes.real(a.dtype))
    cut = smallest * max(m, n) if rcond is None else smallest if rcond < 0 else float(rcond)
    x = matmul(pinv_p.bind(a, rcond=cut, hermitian=False), b)
    s = svdvals(a)
    rank = (s.detach() > cut * (s.detach().max() if s.size else 0.0)).sum()
    left = b - matmul(a, x)
    sums = (abs(left) ** 2).sum(axis=0).reshape((-1,))
    if n >= m or (readable(rank) and int(rank) < n):
        sums = sums[:0]
    return LstsqResult(x, sums, astype(rank, dtypes.dtype("int32")), s)
