"""The parts of a floating-point number, its neighbours, and what is put for NaN and infinities.

>>> modf([1.5, -2.25])
(tensor([ 0.5 , -0.25]), tensor([ 1., -2.]))
>>> nan_to_num([float("nan"), 1.0])
tensor([0., 1.])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes, shapes
from tensorgrad._errors import DTypeError, need
from tensorgrad.core.formula import Elementwise
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import elementwise, known, operation, primitive
from tensorgrad.core.tensor import Payload, Tensor
from tensorgrad.expr import call, equal, stop
from tensorgrad.expr import where as select
from tensorgrad.ops import writing
from tensorgrad.ops.complex import imag, of_parts, real
from tensorgrad.ops.elementwise import absolute, trunc
from tensorgrad.ops.shape import astype, reshape

INF = float("inf")
LARGEST = {
    "float16": 65504.0,
    "bfloat16": 3.3895313892515355e38,
    "float32": 3.4028234663852886e38,
    "float64": 1.7976931348623157e308,
}
"""The largest finite number of each floating dtype."""


def floating(op: str, x: Any, others: Sequence[Any] = ()) -> Any:
    """A value as a real floating tensor, as NumPy's ufuncs cast it; complex numbers are refused."""
    x = operand(x, others, op)
    need(x.dtype.kind != "c", op, x=x, want="real numbers", fix="x.real and x.imag",
         error=DTypeError)  # fmt: skip
    return x if dtypes.is_inexact(x.dtype) else astype(x, dtypes.inexact(x.dtype))


def aligned(inputs: Sequence[Any], batched: Sequence[bool]) -> list[Any]:
    """Inputs whose axes line up behind the batch axis, for rules of what broadcasts."""
    ranks = [t.ndim - b for t, b in zip(inputs, batched)]
    return [
        reshape(t, (t.shape[0], *(1,) * (max(ranks) - rank), *t.shape[1:])) if b else t
        for t, b, rank in zip(inputs, batched, ranks)
    ]


# -- mantissa and exponent ---------------------------------------------------------------------

exponent_p: Primitive = primitive(
    "exponent",
    nin=1,
    spec=lambda x: Spec(x.shape, dtypes.dtype("int32")),
    batch=lambda inputs, batched: exponent_p.bind(*inputs),
    params=False,
)
"""The e of |x| = m 2**e, 1/2 <= m < 1."""

ldexp_p: Primitive = primitive(
    "ldexp",
    nin=2,
    spec=lambda x, e: Spec(shapes.broadcast(x.shape, e.shape, op="ldexp"), x.dtype),
    vjp=(lambda ct, out, x, e: ldexp_p.bind(ct, e), None),
    linear=(0,),
    reads=((1,), ()),
    batch=lambda inputs, batched: ldexp_p.bind(*aligned(inputs, batched)),
    params=False,
)


def _scaled_samples(r: Any) -> Any:
    for (x,), _ in r.singles(-2, 2):
        yield (x, r.integers(-3, 4, *x.shape)), {}
    yield (r.normal(3, 1), r.integers(-3, 4, 4)), {}
    yield (r.normal(4), 3), {}


@operation(numpy="ldexp", oracle="ldexp", samples=_scaled_samples)
def ldexp(x1: Any, x2: Any, /) -> Any:
    """x1 · 2**x2, for integers x2."""
    e = operand(x2, (), "ldexp", x1 if isinstance(x1, Tensor) else None)
    need(e.dtype.kind in "biu", "ldexp", x2=e, want="integers", fix="x1 * tg.exp2(x2)",
         error=DTypeError)  # fmt: skip
    return ldexp_p.bind(floating("ldexp", x1, (e,)), e)


@operation(numpy="frexp", oracle="frexp", samples=lambda r: r.singles(-5, 5))
def frexp(x: Any, /) -> tuple[Any, Any]:
    """(m, e) of x = m 2**e with 1/2 <= |m| < 1; e holds int32 and is constant.

    >>> frexp([6.0, -0.5])
    (tensor([ 0.75, -0.5 ]), tensor([3, 0], dtype=int32))
    """
    x = floating("frexp", x)
    e = exponent_p.bind(x.detach())
    return ldexp_p.bind(x, -e), e


# -- the fraction ------------------------------------------------------------------------------


def _fraction_of(x: Any) -> Any:
    whole = stop(call("trunc", x))
    # Either difference is exact; the sign of a fraction of zero is that of x.
    rest = select(call("signbit", x), -(whole - x), x - whole)
    return select(call("isinf", x), stop(call("copysign", 0.0, x)), rest)


_fraction = known(Elementwise.trace("fraction", _fraction_of))


@operation(numpy="modf", oracle="modf", samples=lambda r: r.singles(-3, 3))
def modf(x: Any, /) -> tuple[Any, Any]:
    """(x - trunc(x), trunc(x)), both with the sign of x; the derivative of the first is 1."""
    x = floating("modf", x)
    return _fraction.bind(x), trunc(x)


def _fixed(r: Any) -> Any:
    yield from r.singles(-3, 3)
    yield (r.integers(-3, 3, 4),), {}


@operation(numpy="fix", oracle="fix", samples=_fixed)
def fix(x: Any) -> Any:
    """x rounded towards 0: NumPy's older name of `trunc`; derivative 0."""
    return trunc(x)


@operation(numpy="fabs", oracle="fabs", samples=lambda r: r.singles(-2, 2))
def fabs(x: Any, /) -> Any:
    """|x| of real numbers, as a floating number; derivative 0 at 0."""
    return absolute(floating("fabs", x))


spacing_p: Primitive = primitive(
    "spacing",
    nin=1,
    spec=lambda x: x,
    batch=lambda inputs, batched: spacing_p.bind(*inputs),
    params=False,
)


@operation(numpy="spacing", oracle="spacing", samples=lambda r: r.singles(-3, 3), orders=0)
def spacing(x: Any, /) -> Any:
    """The distance to the next floating-point number away from 0, signed as x; a constant."""
    return spacing_p.bind(floating("spacing", x))


# -- what is not finite ------------------------------------------------------------------------


def _specials(r: Any) -> Any:
    for x in r.layouts(lambda *s: r.normal(*s)):
        yield (x,), {}
    yield (np.array([0.0, -0.0, np.inf, -np.inf, np.nan]),), {}
    yield (r.integers(-3, 3, 4),), {}


isneginf = elementwise(
    "isneginf", lambda x: equal(x, -INF), doc="x is -inf.", oracle="isneginf", numpy="isneginf",
    samples=_specials, orders=0,
)  # fmt: skip
isposinf = elementwise(
    "isposinf", lambda x: equal(x, INF), doc="x is +inf.", oracle="isposinf", numpy="isposinf",
    samples=_specials, orders=0,
)  # fmt: skip

_replaced = known(
    Elementwise.trace(
        "nan_to_num",
        lambda x, nan, above, below: select(
            equal(x, x), select(equal(x, INF), above, select(equal(x, -INF), below, x)), nan
        ),
    )
)


def _numbers(r: Any) -> Any:
    yield from r.singles(-2, 2)
    x = r.normal(3, 4)
    x[0, 0], x[1, 1], x[2, 2] = np.nan, np.inf, -np.inf
    yield (x.T,), {"nan": 0.5, "posinf": 2.0, "neginf": -3.0}
    yield (r.normal(3) + 1j * r.normal(3),), {}
    yield (r.integers(-3, 3, 4),), {}


def _numbers_oracle(x: Any, **options: Any) -> Any:
    return np.nan_to_num(x, **options)


_INPLACE = "np.nan_to_num(x, copy=False)"


@operation(numpy="nan_to_num", oracle=_numbers_oracle, samples=_numbers)
def nan_to_num(
    x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    """x with numbers for NaN and for the infinities: by default 0 and the largest of the dtype.

    What was replaced has gradient 0; `nan`, `posinf` and `neginf` may be tensors. Of complex x both
    parts are treated. `copy=False` writes into x and returns it; raises `InPlaceError` where a
    gradient forbids that.

    >>> nan_to_num([float("inf"), 1.0], posinf=9.0)
    tensor([9., 1.])
    """
    x = operand(x, (), "nan_to_num")
    if not copy:
        given, right = (nan, posinf, neginf), "x = np.nan_to_num(x)"
        writing.replace(x, lambda a: nan_to_num(a, True, *given), given, _INPLACE, right)
        return x
    if x.dtype.kind == "c":
        parts = [nan_to_num(p, True, nan, posinf, neginf) for p in (real(x), imag(x))]
        return of_parts.bind(*parts)
    if not dtypes.is_inexact(x.dtype):
        return x.copy()
    largest = LARGEST[x.dtype.name]
    above = largest if posinf is None else posinf
    below = -largest if neginf is None else neginf
    return _replaced.bind(x, *(astype(operand(v, (x,)), x.dtype) for v in (nan, above, below)))


def _nearly_real(r: Any) -> Any:
    for x in r.layouts(lambda *s: r.normal(*s) + 1j * r.uniform(1, 2, *s)):
        if x.size:
            yield (x,), {}
    yield (r.normal(3),), {}


@operation(numpy="real_if_close", oracle="real_if_close", samples=_nearly_real)
def real_if_close(a: Any, tol: float = 100) -> Any:
    """Re a if every |Im a| is below `tol` (times eps where that is above 1), else a.

    Under `vmap`, where no value can be read, a itself.
    """
    a = operand(a, (), "real_if_close")
    if a.dtype.kind != "c" or not readable(a):
        return a
    bound = tol * dtypes.eps(dtypes.real(a.dtype)) if tol > 1 else tol
    small = (absolute(imag(a).detach()) < bound).all()
    return real(a) if bool(small) else a


def readable(x: Any) -> bool:
    """Whether a value can be read: not one with a batch hidden in it."""
    data = x.data
    while isinstance(data, Payload):
        if not data.readable:
            return False
        data = data.inner.data
    return True
