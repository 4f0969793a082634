"""Polynomials from points and from zeros, and the zeros of polynomials.

>>> poly([1.0, 2.0])
tensor([ 1., -3.,  2.])
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes
from tensorgrad._errors import ShapeError, need
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import OPERATIONS, operation, primitive
from tensorgrad.ops import protocols
from tensorgrad.ops.complex import conj, imag, real
from tensorgrad.ops.convolve import convolve
from tensorgrad.ops.create import eye, ones, zeros
from tensorgrad.ops.elementary import sqrt
from tensorgrad.ops.join import concatenate, stack
from tensorgrad.ops.polynomial import moments_p, polyval_p, slope, vander
from tensorgrad.ops.products import matmul, outer
from tensorgrad.ops.rounding import readable
from tensorgrad.ops.shape import astype


def _linalg(name: str) -> Any:
    """An operation of `tg.linalg`, which is loaded when it is first needed."""
    protocols.load("linalg")
    return OPERATIONS[f"linalg.{name}"].function


# -- zeros -------------------------------------------------------------------------------------

zeros_p: Primitive = primitive(
    "zeros_of",
    nin=2,
    spec=lambda p, at: Spec(at.shape, at.dtype),
    vjp=(
        lambda ct, out, p, at: -moments_p.bind(conj(out), ct / conj(slope(p, out)), n=p.shape[0]),
        None,
    ),
    jvp=(lambda t, out, p, at: -(polyval_p.bind(t, out) / slope(p, out)), None),
    reads=((0, 2), ()),
    batch=lambda inputs, batched: _zeros_rows(inputs, batched),
    params=False,
)
"""The zeros `at` of the polynomial p, as they depend on p: dr = -dp(r) / p'(r)."""


def _zeros_rows(inputs: Any, batched: Any) -> Any:
    size = next(len(x) for x, b in zip(inputs, batched) if b)
    rows = [[x[k] if b else x for x, b in zip(inputs, batched)] for k in range(size)]
    return stack([zeros_p.bind(*row) for row in rows], 0)


def _companion(p: Any) -> Any:
    """The matrix whose characteristic polynomial is p."""
    n = p.shape[0] - 1
    return concatenate([(-p[1:] / p[0])[None], eye(n - 1, n, dtype=p.dtype, device=p.device)])


def _apart(r: Any) -> Any:
    for z in ((1.0, -2.0), (0.5, 2.0, -1.5), (3.0,), (1 + 1j, 1 - 1j), (0.5j, -0.5j, 2),
              (0.3, -1.2, 2.0, 4.0)):  # fmt: skip
        yield (np.poly(np.asarray(z) * r.uniform(0.9, 1.1)) * r.uniform(0.5, 2),), {}
    yield (np.poly([1 + 1j, -0.5, 3 - 1j]) * (1 + 0.5j),), {}
    yield (np.repeat(np.poly([1.0, -2.0, 3.5]), 2)[::2],), {}


def _roots_oracle(p: Any) -> Any:
    return np.roots(p).astype(np.result_type(p.dtype, np.complex64))


@operation(numpy="roots", oracle=_roots_oracle, samples=_apart)
def roots(p: Any) -> Any:
    """The zeros of a polynomial of these coefficients, eigenvalues of its companion matrix.

    Always complex, as the eigenvalues are. dr = -Σ r**(n - 1 - k) dp[k] / p'(r) is infinite at a
    multiple zero. Zeros in front of p are dropped. Raises `ShapeError` for what is no vector.
    """
    p = operand(p, (), "roots")
    need(p.ndim == 1, "roots", p=p, want="a vector of coefficients", fix="tg.vmap",
         error=ShapeError)  # fmt: skip
    if not dtypes.is_inexact(p.dtype):
        p = astype(p, dtypes.float64)
    first, last = _bounds(p)
    wide = dtypes.result_type(p.dtype, "complex64")
    if last - first < 1:
        at = zeros((0,), dtype=wide, device=p.device)
    else:
        inner = p.detach()[first : last + 1]
        at = astype(_linalg("eigvals")(_companion(inner)), wide)
    trailing = max(p.shape[0] - 1 - last, 0) if last >= first else 0
    if trailing:
        at = concatenate([at, zeros((trailing,), dtype=wide, device=p.device)])
    return zeros_p.bind(astype(p, wide, copy=False), at) if at.size else at


def _bounds(p: Any) -> tuple[int, int]:
    """The places of the first and the last coefficient that is not zero (all, under `vmap`)."""
    if not readable(p):
        return 0, p.shape[0] - 1
    places = [k for k, x in enumerate(p.detach().tolist()) if x != 0]
    return (places[0], places[-1]) if places else (0, -1)


def _zeros(r: Any) -> Any:
    for n in (1, 2, 3, 4):
        yield (r.normal(n),), {}
    yield (r.normal(6)[::2],), {}
    yield (r.normal(2) + 1j * r.normal(2),), {}
    yield (r.normal(3) - 1j * r.uniform(0.5, 1, 3),), {}
    yield (r.integers(-3, 4, 3),), {}


@operation(numpy="poly", oracle="poly", samples=_zeros)
def poly(seq_of_zeros: Any) -> Any:
    """The coefficients of the polynomial with these zeros (of a square matrix: its eigenvalues).

    Real where the zeros are pairs of conjugates.
    """
    z = operand(seq_of_zeros, (), "poly")
    if z.ndim == 2:
        need(z.shape[0] == z.shape[1], "poly", seq_of_zeros=z, want="a square matrix or a vector",
             fix="z[0]", error=ShapeError)  # fmt: skip
        z = _linalg("eigvals")(z)
        if readable(z) and not bool(imag(z).detach().any()):
            z = real(z)
    need(z.ndim == 1, "poly", seq_of_zeros=z, want="a vector or a square matrix", fix="z[0]",
         error=ShapeError)  # fmt: skip
    if not z.size:
        return ones((), device=z.device)
    if dtypes.is_half(z.dtype) or not dtypes.is_inexact(z.dtype):
        z = astype(z, dtypes.float64)
    one, found = (
        ones((1,), dtype=z.dtype, device=z.device),
        ones((1,), dtype=z.dtype, device=z.device),
    )
    for k in range(z.shape[0]):
        found = convolve(found, concatenate([one, -z[k : k + 1]]))
    if z.dtype.kind == "c" and readable(z):
        values = z.detach().tolist()
        if sorted(values, key=_order) == sorted([v.conjugate() for v in values], key=_order):
            return real(found)
    return found


def _order(z: complex) -> tuple[float, float]:
    return z.real, z.imag


# -- fits --------------------------------------------------------------------------------------


def _fits(r: Any) -> Any:
    x = np.linspace(-1.5, 2, 8) + r.uniform(-0.1, 0.1, 8)
    for deg in (0, 1, 3):
        yield (x, r.normal(8), deg), {}
    yield (x, r.normal(8, 3), 2), {}
    yield (x, r.normal(8), 2), {"w": r.uniform(0.5, 2, 8)}
    yield (x, r.normal(8), 1), {"cov": True}
    yield (x, r.normal(8, 2), 1), {"cov": "unscaled", "w": r.uniform(0.5, 2, 8)}
    yield (x, r.normal(8), 2), {"rcond": 1e-10}
    yield (x[::2], r.normal(8)[::2], 1), {}


@operation(numpy="polyfit", oracle="polyfit", samples=_fits)
def polyfit(
    x: Any,
    y: Any,
    deg: int,
    rcond: float | None = None,
    full: bool = False,
    w: Any = None,
    cov: Any = False,
) -> Any:
    """The coefficients of the polynomial of degree `deg` that fits best: least Σ (w (y - p(x)))².

    y is (m,) or (m, k). Differentiable in x, y and w. `full`: also the sums of squared residuals,
    the rank, the singular values and rcond; `cov`: also the covariance of the coefficients, scaled
    by the mean of the squared residuals unless it is "unscaled".
    """
    x, y = operand(x, (), "polyfit"), operand(y, (), "polyfit")
    need(deg >= 0, "polyfit", deg=deg, want="0 at least", fix="deg=1", error=ValueError)
    need(x.ndim == 1 and x.size and y.ndim in (1, 2) and y.shape[0] == x.shape[0], "polyfit", x=x,
         y=y, want="a vector, and as many values (or rows of them)", fix="y.T",
         error=ShapeError)  # fmt: skip
    order = int(deg) + 1
    lhs, rhs = vander(x if dtypes.is_inexact(x.dtype) else astype(x, dtypes.float64), order), y
    rhs = y if dtypes.is_inexact(y.dtype) else astype(y, dtypes.float64)
    if w is not None:
        w = operand(w, (y,), "polyfit")
        need(w.shape == (y.shape[0],), "polyfit", w=w, y=y, want="a weight per point",
             fix="w=tg.ones(len(y))", error=ShapeError)  # fmt: skip
        lhs, rhs = lhs * w[:, None], rhs * (w[:, None] if rhs.ndim == 2 else w)
    rcond = x.shape[0] * dtypes.eps(dtypes.inexact(x.dtype)) if rcond is None else rcond
    scale = sqrt((abs(lhs) ** 2).sum(axis=0))
    lhs = lhs / scale
    found = _linalg("lstsq")(lhs, astype(rhs, dtypes.result_type(lhs.dtype, rhs.dtype)), rcond)
    c = (found.x.T / scale).T
    if full:
        return c, found.residuals, found.rank, found.s, rcond
    if readable(found.rank) and int(found.rank) != order:
        warnings.warn("polyfit may be poorly conditioned", np.exceptions.RankWarning, stacklevel=2)
    return (c, _covariance(lhs, scale, found.residuals, y, order, cov)) if cov else c


def _covariance(lhs: Any, scale: Any, residuals: Any, y: Any, order: int, cov: Any) -> Any:
    base = _linalg("pinv")(matmul(lhs.T, lhs)) / outer(scale, scale)
    factor: Any = 1
    if cov != "unscaled":
        need(y.shape[0] > order, "polyfit", points=y.shape[0], deg=order - 1,
             want="more points than coefficients", fix="cov='unscaled'",
             error=ValueError)  # fmt: skip
        factor = residuals / (y.shape[0] - order)
    if y.ndim == 1:
        return base * factor
    return base[:, :, None] * factor
