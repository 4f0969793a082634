"""Norms of matrices and vectors, condition numbers and ranks.

The norm of a vector stands in `ops.norm`; here are those of matrices, which need singular values.
Every gradient is 0 where the norm is 0, and shared equally where a maximum is met several times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes, shapes
from tensorgrad._errors import ShapeError, need
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import operation
from tensorgrad.ops.axes import moveaxis
from tensorgrad.ops.compare import isnan
from tensorgrad.ops.elementwise import where
from tensorgrad.ops.linalg.matrices import matrices, mirrored
from tensorgrad.ops.linalg.solve import inv_p, well
from tensorgrad.ops.linalg.svd import svdvals_p
from tensorgrad.ops.norm import vector
from tensorgrad.ops.shape import astype, expand_dims

INF = float("inf")


def _values(x: Any) -> Any:
    """Singular values, zeros as constants."""
    s = svdvals_p.bind(matrices("norm", x))
    return where(s == 0, 0, s)


def _sums(axis: int, last: str) -> Callable[[Any], Any]:
    """The largest or smallest of the sums of |x| over one of the last two axes."""
    return lambda x: getattr(abs(x).sum(axis=axis), last)(axis=-1)


NORMS: dict[Any, Callable[[Any], Any]] = {
    "nuc": lambda x: _values(x).sum(axis=-1),
    2: lambda x: _values(x).max(axis=-1),
    -2: lambda x: _values(x).min(axis=-1),
    1: _sums(-2, "max"),
    -1: _sums(-2, "min"),
    INF: _sums(-1, "max"),
    -INF: _sums(-1, "min"),
}
"""The norms of the matrices on the last two axes, but for Frobenius'."""


def of_matrix(op: str, x: Any, ord: Any, over: tuple[int, int], keepdims: bool) -> Any:
    """The norm of the matrices on two axes: ord None or "fro" is Frobenius'."""
    if ord in (None, "fro", "f"):
        return vector(op, x, 2, over, keepdims)
    need(ord in NORMS, op, ord=ord, want="'fro', 'nuc', 1, -1, 2, -2, inf or -inf for a matrix",
         fix="vector_norm for other orders", error=ValueError)  # fmt: skip
    if ord in (1, 2, INF) and not (x.shape[over[0]] and x.shape[over[1]]):
        return vector(op, x, 2, over, keepdims)  # zeros
    x = x if dtypes.is_inexact(x.dtype) else astype(x, dtypes.float64)
    found = NORMS[ord](x if over == (x.ndim - 2, x.ndim - 1) else moveaxis(x, over, (-2, -1)))
    return expand_dims(found, tuple(sorted(over))) if keepdims else found


def _spread(r: Any, *shape: int) -> Any:
    """Matrices whose singular values and whose sums lie well apart."""
    x = r.normal(*shape) * 0.1 + 0.3
    return x + np.eye(shape[-2], shape[-1]) * (np.arange(shape[-1]) + 1.0)


def _samples(r: Any) -> Any:
    for order in ("fro", "nuc", 1, -1, 2, -2, INF, -INF):
        yield (_spread(r, 3, 4),), {"ord": order}
    for order in ("nuc", 1, -2, -INF):
        yield (_spread(r, 2, 4, 3),), {"ord": order, "keepdims": order != 1}
    yield (_spread(r, 3, 2).T,), {}
    yield (_spread(r, 6, 3, 3)[::2],), {"ord": 2}
    yield (_spread(r, 3, 3) + 0.2j * r.normal(3, 3),), {"ord": "nuc"}
    yield (r.normal(0, 2, 2),), {"ord": 1}


@operation(
    numpy="linalg.matrix_norm",
    oracle="linalg.matrix_norm",
    samples=_samples,
    namespace="linalg",
)
def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """The norm of matrices (..., m, n): "fro", "nuc" (Σ s), 2 and -2 (largest and smallest s),
    1 and -1 (largest and smallest sum of a column's |x|), inf and -inf (of a row's).
    """
    x = operand(x, (), "matrix_norm")
    need(x.ndim >= 2, "matrix_norm", x=x, want="a matrix, or a stack", fix="vector_norm",
         error=ShapeError)  # fmt: skip
    return of_matrix("matrix_norm", x, ord, (x.ndim - 2, x.ndim - 1), keepdims)


def _vectors(r: Any) -> Any:
    x = r.apart(3, 4) + 0.05
    for order in (2, 1, 3, 2.5, INF, -INF):
        yield (x,), {"ord": order, "axis": 1}
    yield (x,), {}
    yield (x.T,), {"keepdims": True}
    yield (r.apart(2, 3, 4),), {"axis": (0, -1), "ord": 1}
    yield (r.apart(2, 3, 4),), {"axis": (2, 0), "ord": 3, "keepdims": True}
    yield (r.apart(5),), {"axis": -1}
    yield (r.normal(0, 3),), {"axis": 1}
    yield (r.apart(2, 3) + 1j * r.normal(2, 3),), {"axis": 0, "ord": 1}


@operation(
    numpy="linalg.vector_norm",
    oracle="linalg.vector_norm",
    samples=_vectors,
    namespace="linalg",
)
def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    """(Σ |x|^p)^(1/p) over axes (None: all), p = `ord`; inf, -inf: the largest, smallest |x|.

    ord 0 counts what is not 0, which has no gradient.
    """
    x = operand(x, (), "vector_norm")
    ord = 2 if ord is None else ord
    return vector("vector_norm", x, ord, shapes.axes(axis, x.ndim, "vector_norm"), keepdims)


# -- condition and rank ------------------------------------------------------------------------


def _conditions(r: Any) -> Any:
    for p in (None, 2, -2, "fro", "nuc", 1, -1, INF, -INF):
        yield (_spread(r, 3, 3),), {"p": p}
    yield (_spread(r, 3, 4),), {}
    yield (_spread(r, 2, 3, 3),), {"p": 1}
    yield (_spread(r, 6, 3, 3)[::2],), {"p": -2}
    yield (well(r, 3, 3) + 0.2j * r.normal(3, 3),), {"p": "fro"}


@operation(numpy="linalg.cond", oracle="linalg.cond", samples=_conditions, namespace="linalg")
def cond(x: Any, p: Any = None) -> Any:
    """‖A‖ ‖A^-1‖ in the matrix norm p; None (2) and -2 by singular values, of any (..., m, n).

    Infinite for a singular matrix. Raises `numpy.linalg.LinAlgError` where there is no element.
    """
    x = matrices("cond", x, square=p not in (None, 2, -2))
    if not (x.shape[-1] and x.shape[-2]):
        raise np.linalg.LinAlgError(
            f"cond: got an array of shape {x.shape}, expected matrices with elements; "
            "try x.size first"
        )
    if p in (None, 2, -2):
        s = svdvals_p.bind(x)
        found = s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    else:
        over = (x.ndim - 2, x.ndim - 1)
        inverse = inv_p.bind(x, strict=False)
        found = of_matrix("cond", x, p, over, False) * of_matrix("cond", inverse, p, over, False)
    undefined = isnan(found.detach()) & ~isnan(x.detach()).any(axis=(-2, -1))
    return where(undefined, INF, found)


def _ranks(r: Any) -> Any:
    for shape in ((3, 3), (4, 2), (2, 4), (2, 3, 3), (1, 2, 2, 3), (3,), ()):
        yield (r.normal(*shape),), {}
    yield (np.ones((3, 3)) + np.eye(3) * 1e-5,), {"tol": 1e-3}
    yield (np.ones((2, 3, 3)),), {"rtol": 1e-3}
    yield (np.ones((3, 3)),), {"hermitian": True}
    yield (np.zeros(3),), {}
    yield (r.normal(3, 3).T,), {}


@operation(
    numpy="linalg.matrix_rank",
    oracle=lambda a, **options: np.asarray(np.linalg.matrix_rank(a, **options)).astype(np.int64),
    samples=_ranks,
    orders=0,
    namespace="linalg",
)
def matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    """How many singular values are above `tol` (`rtol`, max(m, n) eps, times the largest).

    Of less than two axes: 1 unless all elements are 0. An integer, and so a constant.
    """
    a = operand(A, (), "matrix_rank").detach()
    need(tol is None or rtol is None, "matrix_rank", tol=tol, rtol=rtol, want="one of the two",
         fix="rtol= alone", error=ValueError)  # fmt: skip
    if a.ndim < 2:
        return astype((a != 0).any(), "int64")
    a = matrices("matrix_rank", a, square=hermitian)
    s = svdvals_p.bind(mirrored(a) if hermitian else a)
    if tol is None:
        if rtol is None:
            rtol = max(a.shape[-2:]) * dtypes.eps(s.dtype)
        tol = s.max(axis=-1, keepdims=True, initial=0) * operand(rtol, (s,))[..., None]
    else:
        tol = operand(tol, (s,))[..., None]
    return (s > tol).sum(axis=-1)
