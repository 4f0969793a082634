"""The Cholesky decomposition, and systems that are solved with it.

With A = L L^H and Φ the lower triangle with half the diagonal: dL = L Φ(L^-1 dA L^-H) (Murray,
"Differentiation of the Cholesky decomposition", 2016). One triangle of A is read, and the gradient
lies in it: Φ(L^-H (P + P^H) L^-1), P = Φ(L^H ct).
"""

from __future__ import annotations

from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes
from tensorgrad._errors import need
from tensorgrad.core.primitive import Primitive
from tensorgrad.core.registry import operation, primitive
from tensorgrad.ops.create import eye, tensor, tri
from tensorgrad.ops.linalg.matrices import adjoint, matrices, mirrored
from tensorgrad.ops.linalg.solve import well
from tensorgrad.ops.linalg.triangular import systems, triangular_p
from tensorgrad.ops.products import matmul


def _half(x: Any) -> Any:
    """The lower triangle, with half the diagonal."""
    n, dtype = x.shape[-1], dtypes.real(x.dtype)
    return x * (tri(n, dtype=dtype, device=x.device) - eye(n, dtype=dtype, device=x.device) / 2)


def _left(low: Any, x: Any, code: str) -> Any:
    """L^-1 x (code "N") or L^-H x ("C")."""
    return triangular_p.bind(low, x, code=code, lower=True, unit=False)


def _vjp(ct: Any, out: Any, a: Any) -> Any:
    inner = _half(matmul(adjoint(out), ct))
    moved = _left(out, inner + adjoint(inner), "C")
    return _half(adjoint(_left(out, adjoint(moved), "C")))


def _jvp(t: Any, out: Any, a: Any) -> Any:
    moved = _left(out, mirrored(t), "N")
    return matmul(out, _half(adjoint(_left(out, adjoint(moved), "N"))))


cholesky_p: Primitive = primitive(
    "cholesky",
    nin=1,
    spec=lambda a: a,
    vjp=(_vjp,),
    jvp=(_jvp,),
    reads=((1,),),
    batch=lambda inputs, batched: cholesky_p.bind(*inputs),
    params=False,
)
"""L of A = L L^H, from the lower triangle of A."""


def positive(r: Any, *shape: int) -> Any:
    """Positive definite matrices."""
    x = r.normal(*shape) * 0.3
    return np.matmul(x, x.swapaxes(-1, -2).conj()) + np.eye(shape[-1]) * 2


def _definite(r: Any) -> Any:
    for shape in ((3, 3), (1, 1), (2, 2), (2, 3, 3), (0, 2, 2), (1, 2, 2, 2)):
        yield (positive(r, *shape),), {}
    yield (np.triu(positive(r, 3, 3)) - 0.1 * np.tri(3, k=-1),), {"upper": True}
    yield (positive(r, 3, 3).T,), {}
    yield (positive(r, 6, 3, 3)[::2],), {}
    yield (np.broadcast_to(positive(r, 3, 3), (2, 3, 3)),), {"upper": True}
    x = r.normal(3, 3) + 1j * r.normal(3, 3)
    yield (x @ x.conj().T + np.eye(3),), {}
    yield (x @ x.conj().T + np.eye(3),), {"upper": True}


def _oracle(a: Any, upper: bool = False) -> Any:
    """The vmapped samples are not Hermitian: NumPy reads the same triangle."""
    return np.linalg.cholesky(a, upper=upper)


@operation(numpy="linalg.cholesky", oracle=_oracle, samples=_definite, namespace="linalg")
def cholesky(a: Any, /, *, upper: bool = False) -> Any:
    """L with A = L L^H, lower triangular (`upper`: U with A = U^H U) for positive definite A.

    Only that triangle of a is read, and has a gradient. A matrix that is not positive definite
    raises `numpy.linalg.LinAlgError` (on a GPU it gives NaNs).

    >>> cholesky([[4.0, 0.0], [0.0, 9.0]])
    tensor([[2., 0.],
            [0., 3.]])
    """
    a = matrices("cholesky", a, square=True)
    return adjoint(cholesky_p.bind(adjoint(a))) if upper else cholesky_p.bind(a)


def _factor_oracle(a: Any, lower: bool = False) -> Any:
    if a.dtype == np.float16:
        raise TypeError("LAPACK has no 16-bit floats")
    return np.linalg.cholesky(a, upper=not lower), np.bool_(lower)


def _factors(r: Any) -> Any:
    for shape in ((3, 3), (1, 1), (2, 2), (0, 0), (2, 3, 3)):
        yield (positive(r, *shape),), {"lower": len(shape) == 3}
    yield (positive(r, 3, 3).T,), {"lower": True}
    yield (positive(r, 6, 3, 3)[::2],), {}
    x = r.normal(3, 3) + 1j * r.normal(3, 3)
    yield (x @ x.conj().T + np.eye(3),), {}


@operation(oracle=_factor_oracle, samples=_factors, namespace="linalg")
def cho_factor(a: Any, lower: bool = False) -> Any:
    """(c, lower), for `cho_solve`: the triangular factor of positive definite A, and which it is.

    As `cholesky`; what SciPy leaves in the other triangle is 0 here.
    """
    return cholesky(a, upper=not lower), tensor(bool(lower))


def _solve_oracle(c: Any, b: Any, lower: bool) -> Any:
    if c.dtype == np.float16:
        raise TypeError("LAPACK has no 16-bit floats")
    c = np.tril(c) if lower else np.triu(c)
    turned = c.swapaxes(-1, -2).conj()
    return np.linalg.solve(np.matmul(c, turned) if lower else np.matmul(turned, c), b)


def _systems(r: Any) -> Any:
    for a, b, lower in (
        ((3, 3), (3,), True), ((3, 3), (3, 2), False), ((2, 3, 3), (3, 2), True),
        ((3, 3), (2, 3, 1), False), ((2, 1, 2, 2), (3, 2, 2), True), ((1, 1), (1,), False),
        ((0, 2, 2), (0, 2, 1), True),
    ):  # fmt: skip
        yield (well(r, *a), r.normal(*b)), {"lower": lower}
    yield (well(r, 3, 3).T, r.normal(2, 3).T), {"lower": True}
    yield (well(r, 3, 3) + 0.3j * r.normal(3, 3), r.normal(3, 2)), {"lower": False}


@operation(oracle=_solve_oracle, samples=_systems, namespace="linalg")
def cho_solve(c_and_lower: Any, b: Any, lower: Any = None) -> Any:
    """x of A x = b with (c, lower) from `cho_factor(A)`, for (n,) or (..., n, k).

    The pair may be given as such, or the factor alone beside `lower=`.
    """
    if lower is None:
        need(isinstance(c_and_lower, tuple | list) and len(c_and_lower) == 2, "cho_solve",
             c_and_lower=c_and_lower, want="(c, lower)",
             fix="cho_solve(cho_factor(a), b)")  # fmt: skip
        c_and_lower, lower = c_and_lower
    c, b, vector = systems("cho_solve", c_and_lower, b)
    low = bool(lower)
    first, second = ("N", "C") if low else ("C", "N")
    x = triangular_p.bind(c, b, code=first, lower=low, unit=False)
    x = triangular_p.bind(c, x, code=second, lower=low, unit=False)
    return x[..., 0] if vector else x
