"""Polynomials by their coefficients, the highest power first: values, calculus, arithmetic.

>>> polyval([1.0, 0.0, -1.0], 3.0)
tensor(8.)
>>> polyder([1.0, 2.0, 3.0])
tensor([2., 2.])
"""

from __future__ import annotations

from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes
from tensorgrad._errors import ShapeError, need
from tensorgrad.core.calls import operands
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import operation, primitive
from tensorgrad.ops.complex import conj
from tensorgrad.ops.convolve import convolve
from tensorgrad.ops.create import arange, zeros
from tensorgrad.ops.join import concatenate, pad_p, stack
from tensorgrad.ops.rounding import readable
from tensorgrad.ops.shape import atleast_1d, broadcast_to, reshape

# -- the primitives ----------------------------------------------------------------------------


def powers(n: int, x: Any) -> Any:
    """n - 1, n - 2 ... 1 in the dtype of x: what differentiation multiplies coefficients with."""
    return arange(n - 1, 0, -1, dtype=dtypes.real(x.dtype), device=x.device)


def slope(p: Any, x: Any) -> Any:
    """The derivative of the polynomial at x."""
    n = p.shape[0]
    return polyval_p.bind(p[:-1] * powers(n, p), x) if n > 1 else x * 0


def _rows(op: Primitive, inputs: Any, batched: Any, **params: Any) -> Any:
    size = next(len(x) for x, b in zip(inputs, batched) if b)
    return stack([op.bind(*[x[k] if b else x for x, b in zip(inputs, batched)], **params)
                  for k in range(size)], 0)  # fmt: skip


def _polyval_batch(inputs: Any, batched: Any) -> Any:
    p, x = inputs
    if not batched[0]:
        return polyval_p.bind(p, x)
    rows = x if batched[1] else broadcast_to(x, (p.shape[0], *x.shape))
    return horner(
        [reshape(p[:, k], (-1, *(1,) * (rows.ndim - 1))) for k in range(p.shape[1])], rows
    )


polyval_p: Primitive = primitive(
    "polyval",
    nin=2,
    spec=lambda p, x: Spec(x.shape, dtypes.result_type(p.dtype, x.dtype)),
    vjp=(
        lambda ct, out, p, x: moments_p.bind(conj(x), ct, n=p.shape[0]),
        lambda ct, out, p, x: ct * conj(slope(p, x)),
    ),
    jvp=(None, lambda t, out, p, x: t * slope(p, x)),
    linear=(0,),
    reads=((1,), (0, 1)),
    batch=_polyval_batch,
    params=False,
)
"""Σ p[k] x**(n - 1 - k) for a vector p."""

moments_p: Primitive = primitive(
    "moments",
    nin=2,
    spec=lambda x, w, *, n: Spec((n,), dtypes.result_type(x.dtype, w.dtype)),
    vjp=(
        lambda ct, out, x, w, *, n: conj(w) * slope(ct, conj(x)),
        lambda ct, out, x, w, *, n: polyval_p.bind(ct, conj(x)),
    ),
    jvp=(lambda t, out, x, w, *, n: _moved(t * w, x, n), None),
    linear=(1,),
    reads=((0, 1), (0,)),
    batch=lambda inputs, batched, *, n: _rows(moments_p, inputs, batched, n=n),
)
"""Σ w x**(n - 1 - k) over all elements, for k < n: the adjoint of `polyval`."""


def _moved(w: Any, x: Any, n: int) -> Any:
    """The moments of w with the powers differentiated."""
    if n == 1:
        return zeros((1,), dtype=w.dtype, device=w.device)
    found = moments_p.bind(x, w, n=n - 1) * powers(n, w)
    return pad_p.bind(found, widths=((0, 1),), values=((0, 0),))


vander_p: Primitive = primitive(
    "vander",
    nin=1,
    spec=lambda x, *, n: Spec((*x.shape, n), x.dtype),
    vjp=(lambda ct, out, x, *, n: _columns_slope(ct, conj(x), n),),
    jvp=(lambda t, out, x, *, n: t[..., None] * _slopes(x, n),),
    reads=((0,),),
    batch=lambda inputs, batched, *, n: reshape(
        vander_p.bind(reshape(inputs[0], (-1,)), n=n), (*inputs[0].shape, n)
    ),
)
"""x**(n - 1), x**(n - 2) ... 1, as the columns of a matrix."""


def _columns_slope(ct: Any, x: Any, n: int) -> Any:
    """Σ_k (n - 1 - k) x**(n - 2 - k) ct[:, k]."""
    if n < 2:
        return None
    scaled = ct[..., :-1] * powers(n, x)
    return horner([scaled[..., k] for k in range(n - 1)], x)


def _slopes(x: Any, n: int) -> Any:
    if n < 2:
        return zeros((*x.shape, n), dtype=x.dtype, device=x.device)
    found = vander_p.bind(x, n=n - 1) * powers(n, x)
    return concatenate([found, zeros((*x.shape, 1), dtype=x.dtype, device=x.device)], -1)


def horner(p: Any, x: Any) -> Any:
    """Horner's scheme in operations, for coefficients that are arrays themselves."""
    y = p[0] + x * 0
    for coefficient in p[1:]:
        y = y * x + coefficient
    return y


# -- values ------------------------------------------------------------------------------------


def _values(r: Any) -> Any:
    for x in r.layouts(lambda *s: r.uniform(-1.5, 1.5, *s)):
        yield (r.normal(4), x), {}
    yield (r.normal(1), r.normal(3)), {}
    yield (r.normal(3, 2), r.normal(2)), {}
    yield (r.normal(6)[::2], np.asarray(0.5)), {}
    yield (r.normal(3) + 1j * r.normal(3), r.normal(4)), {}
    yield (r.normal(3), r.normal(4) + 1j * r.normal(4)), {}
    yield (r.integers(-3, 4, 3), r.integers(-3, 4, 5)), {}


@operation(numpy="polyval", oracle="polyval", samples=_values)
def polyval(p: Any, x: Any) -> Any:
    """p[0] x**(n - 1) + ... + p[n - 1], elementwise in x.

    Rows of coefficients, where p has more axes than one, broadcast against x.
    """
    p, x = operand(p, (), "polyval", _near(x)), operand(x, (), "polyval", _near(p))
    if p.ndim == 1:
        return polyval_p.bind(p, x)
    need(p.ndim and p.shape[0], "polyval", p=p, want="coefficients", fix="[p]", error=ShapeError)
    return horner([p[k] for k in range(p.shape[0])], x)


def _near(x: Any) -> Any:
    return x if hasattr(x, "node") else None


def _points(r: Any) -> Any:
    for n, columns in ((4, None), (3, 5), (3, 1), (2, 2), (0, 3), (1, 4), (4, 0)):
        yield (r.normal(n), columns), {}
        yield (r.normal(n),), {"N": columns, "increasing": True}
    yield (r.normal(8)[::2],), {}
    yield (r.normal(3) + 1j * r.normal(3),), {}
    yield (r.integers(-3, 4, 3),), {}


@operation(numpy="vander", oracle="vander", samples=_points)
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """The matrix of powers x**(N - 1) ... x, 1 of a vector (len(x), N); or in rising order."""
    x = operand(x, (), "vander")
    need(x.ndim == 1, "vander", x=x, want="a vector", fix="tg.vmap", error=ShapeError)
    n = x.shape[0] if N is None else N
    wide = dtypes.result_type(x.dtype, dtypes.int64)
    found = vander_p.bind(x if x.dtype == wide else x.astype(wide), n=n)
    return found[:, ::-1] if increasing else found


# -- calculus ----------------------------------------------------------------------------------


def _coefficients(r: Any) -> Any:
    for n in (1, 2, 3, 5, 6):
        yield (r.normal(n),), {}
        yield (r.normal(n), 2), {}
    yield (r.normal(8)[::2],), {"m": 0}
    yield (r.normal(3) + 1j * r.normal(3),), {}
    yield (r.integers(-3, 4, 4),), {}


@operation(numpy="polyder", oracle="polyder", samples=_coefficients)
def polyder(p: Any, m: int = 1) -> Any:
    """The coefficients of the m-th derivative."""
    p = operand(p, (), "polyder")
    m = int(m)
    need(m >= 0, "polyder", m=m, want="0 at least", fix="polyint(p, -m)", error=ValueError)
    for _ in range(m):
        p = p[:-1] * arange(p.shape[0] - 1, 0, -1, device=p.device) if len(p) else p
    return p


def _integrals(r: Any) -> Any:
    yield from _coefficients(r)
    yield (r.normal(3), 1, 2.5), {}
    yield (r.normal(3), 2, [1.0, -2.0]), {}


@operation(numpy="polyint", oracle="polyint", samples=_integrals)
def polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    """The coefficients of the m-th integral; `k` holds its constants, the first one's first."""
    p, m = operand(p, (), "polyint"), int(m)
    need(m >= 0, "polyint", m=m, want="0 at least", fix="polyder(p, -m)", error=ValueError)
    if m == 0:
        return p
    given = atleast_1d(operand(0.0 if k is None else k, (), "polyint", p))
    need(given.shape[0] in (1, m) and given.ndim == 1, "polyint", m=m, k=given,
         want="one constant, or one per integration", fix=f"k=[0] * {m}",
         error=ValueError)  # fmt: skip
    if given.shape[0] == 1 and m > 1:
        given = broadcast_to(given, (m,))
    for j in range(m):
        parts = p / arange(p.shape[0], 0, -1, device=p.device)
        p = concatenate(
            [parts, given[j : j + 1].astype(dtypes.result_type(given.dtype, dtypes.float64))]
        )
    return p


# -- arithmetic --------------------------------------------------------------------------------


def _two(r: Any) -> Any:
    for n, m in ((3, 3), (4, 2), (2, 4), (1, 3), (3, 1), (5, 2)):
        yield (r.normal(n), r.uniform(0.5, 1.5, m)), {}
    yield (r.normal(8)[::2], r.uniform(0.5, 1.5, 3)), {}
    yield (r.normal(3) + 1j * r.normal(3), r.uniform(0.5, 1.5, 2)), {}
    yield (r.normal(3), 2.0), {}


def _paired(op: str, a1: Any, a2: Any) -> tuple[Any, Any]:
    a, b = (atleast_1d(x) for x in operands((a1, a2), op))
    need(a.ndim == b.ndim == 1, op, a1=a, a2=b, want="two vectors of coefficients", fix="tg.vmap",
         error=ShapeError)  # fmt: skip
    return a, b


def _padded(a: Any, n: int) -> Any:
    widths = ((n - a.shape[0], 0),)
    return a if a.shape[0] == n else pad_p.bind(a, widths=widths, values=((0, 0),))


@operation(numpy="polyadd", oracle="polyadd", samples=_two)
def polyadd(a1: Any, a2: Any) -> Any:
    """The coefficients of the sum."""
    a, b = _paired("polyadd", a1, a2)
    n = max(a.shape[0], b.shape[0])
    return _padded(a, n) + _padded(b, n)


@operation(numpy="polysub", oracle="polysub", samples=_two)
def polysub(a1: Any, a2: Any) -> Any:
    """The coefficients of the difference a1 - a2."""
    a, b = _paired("polysub", a1, a2)
    n = max(a.shape[0], b.shape[0])
    return _padded(a, n) - _padded(b, n)


@operation(numpy="polymul", oracle="polymul", samples=_two)
def polymul(a1: Any, a2: Any) -> Any:
    """The coefficients of the product."""
    a, b = _paired("polymul", a1, a2)
    return convolve(a, b)


def _dividends(r: Any) -> Any:
    def divisor(n: int) -> Any:  # whose first coefficient is the largest: errors do not grow
        return r.uniform(0.5, 1.5, n) + (np.arange(n) == 0)

    for u, v in ((3, 3), (4, 2), (2, 4), (1, 3), (3, 1), (5, 2), (5, 3)):
        yield (r.normal(u), divisor(v)), {}
    yield (r.normal(8)[::2], divisor(3)), {}
    yield (r.normal(3) + 1j * r.normal(3), divisor(2)), {}


@operation(numpy="polydiv", oracle="polydiv", samples=_dividends)
def polydiv(u: Any, v: Any) -> tuple[Any, Any]:
    """(q, r) of u = q v + r, the degree of r below that of v (zeros in front of r are dropped)."""
    u, v = _paired("polydiv", u, v)
    wide = dtypes.result_type(u.dtype, v.dtype, dtypes.inexact(u.dtype))
    u, v = u.astype(wide, copy=False), v.astype(wide, copy=False)
    m, n = u.shape[0] - 1, v.shape[0] - 1
    scale, rest, quotient = 1.0 / v[0], u, []
    for k in range(m - n + 1):
        quotient.append(scale * rest[k])
        taken = pad_p.bind(quotient[-1] * v, widths=((k, m - n - k),), values=((0, 0),))
        rest = rest - taken
    q = stack(quotient) if quotient else reshape(u[:0].sum(), (1,))
    # What was divided away is zero but for rounding.
    rest = rest[min(len(quotient), m) :]
    while rest.shape[0] > 1 and readable(rest) and abs(rest[0].detach().item()) <= 1e-8:
        rest = rest[1:]
    return q, rest
