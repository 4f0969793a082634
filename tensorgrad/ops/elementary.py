"""The elementary functions, under NumPy's names: exponentials, roots, circles, hyperbolas, erf.

Each is one leaf of the formula language; its derivative stands there.

>>> exp([0.0, 1.0])
tensor([1.        , 2.71828183])
>>> arctan2(1.0, 1.0)
tensor(0.78539816)
"""

from __future__ import annotations

import math
from typing import Any

from tensorgrad import dtypes
from tensorgrad.core.calls import operand, operands
from tensorgrad.core.formula import Elementwise
from tensorgrad.core.primitive import Primitive, Spec
from tensorgrad.core.registry import known, operation, primitive
from tensorgrad.expr import Expr, call
from tensorgrad.expr import where as select
from tensorgrad.ops.complex import conj, imag, of_parts, real
from tensorgrad.ops.elementwise import absolute, leaf, power, traced, where

exp = leaf("exp", "e to the power x.", methods="exp")
exp2 = leaf("exp2", "2 to the power x.")
expm1 = leaf("expm1", "exp(x) - 1, accurate near 0.")
log = leaf("log", "The natural logarithm of x.", methods="log")
log2 = leaf("log2", "The logarithm of x to base 2.")
log10 = leaf("log10", "The logarithm of x to base 10.")
log1p = leaf("log1p", "log(1 + x), accurate near 0.")
logaddexp = leaf("logaddexp", "log(exp(x) + exp(y)) without overflow.")
logaddexp2 = leaf("logaddexp2", "log2(2**x + 2**y) without overflow.")

sqrt = leaf("sqrt", "The square root of x; derivative inf at 0.", methods="sqrt")
cbrt = leaf("cbrt", "The cube root of x.")

sin = leaf("sin", "The sine of x (radians).", methods="sin")
cos = leaf("cos", "The cosine of x (radians).", methods="cos")
tan = leaf("tan", "The tangent of x (radians).")
arcsin = leaf("arcsin", "The angle in [-π/2, π/2] whose sine is x.", "asin")
arccos = leaf("arccos", "The angle in [0, π] whose cosine is x.", "acos")
arctan = leaf("arctan", "The angle in [-π/2, π/2] whose tangent is x.", "atan")
arctan2 = leaf(
    "arctan2",
    "The angle in [-π, π] of the point (y, x), ordinate first; gradient 0 at the origin.",
    "atan2",
)
deg2rad = leaf("deg2rad", "x degrees in radians: x π / 180.", numpy="deg2rad radians")
rad2deg = leaf("rad2deg", "x radians in degrees: x 180 / π.", numpy="rad2deg degrees")

sinh = leaf("sinh", "The hyperbolic sine of x.")
cosh = leaf("cosh", "The hyperbolic cosine of x.")
tanh = leaf("tanh", "The hyperbolic tangent of x.", methods="tanh")
_arcsinh = known(Elementwise.trace("arcsinh", lambda x: call("asinh", x)))


@operation(numpy="arcsinh", oracle="arcsinh", samples=lambda r: complex_singles(r))
def arcsinh(x: Any, /) -> Any:
    """The inverse hyperbolic sine of x."""
    if type(x) is not Expr:
        x = operand(x, (), "arcsinh")
        if x.dtype.kind == "c":
            # The rule of the real one is not holomorphic. Turned by their parts: 1j * inf is NaN.
            found = arcsin(of_parts.bind(-imag(x), real(x)))
            return of_parts.bind(imag(found), -real(found))
    return _arcsinh.bind(x)


arccosh = leaf("arccosh", "The inverse hyperbolic cosine of x, for x at least 1.", "acosh")
arctanh = leaf("arctanh", "The inverse hyperbolic tangent of x, for |x| below 1.", "atanh")

erf = leaf("erf", "2/√π ∫₀ˣ exp(-t²) dt.", oracle="scipy.special.erf", numpy="scipy.special.erf")
erfc = leaf(
    "erfc",
    "1 - erf(x), accurate for large x.",
    oracle="scipy.special.erfc",
    numpy="scipy.special.erfc",
)


def complex_singles(r: Any) -> Any:
    """Real numbers in every layout, then complex ones."""
    yield from r.singles(-2, 2)
    yield (r.uniform(-2, 2, 3, 2) + 1j * r.uniform(-0.8, 0.8, 3, 2),), {}


_SERIES = 14


def _sinc_of(x: Any) -> Any:
    """sin(πx) / πx, near 0 by its series, whose derivatives of any order lose no digits."""
    square = x * x
    turned = square * -(math.pi**2)
    near: Any = 1.0 / math.factorial(2 * _SERIES + 1)
    for k in range(_SERIES - 1, -1, -1):
        near = near * turned + 1.0 / math.factorial(2 * k + 1)
    angle = x * math.pi
    return select(square < 0.25, near, call("sin", angle) / angle)


_sinc = known(Elementwise.trace("sinc", _sinc_of))


@operation(numpy="sinc", oracle="sinc", samples=complex_singles)
def sinc(x: Any, /) -> Any:
    """sin(πx) / πx, 1 at 0; every derivative is accurate near 0.

    >>> sinc([0.0, 0.5])
    tensor([1.        , 0.63661977])
    """
    if type(x) is Expr:
        return _sinc.bind(x)
    x = operand(x, (), "sinc")
    if x.dtype.kind != "c":
        return _sinc.bind(x if dtypes.is_inexact(x.dtype) else x.astype(dtypes.float64))
    near, angle = absolute(x) < 0.5, x * math.pi
    squares, series = angle * angle, x * 0 + 1.0 / math.factorial(2 * _SERIES + 1)
    for k in range(_SERIES - 1, -1, -1):
        series = 1.0 / math.factorial(2 * k + 1) - series * squares
    far = where(near, 1, angle)
    return where(near, series, sin(far) / far)


def _powers(r: Any) -> Any:
    yield from r.pairs((0.3, 3.0), (-2.0, 2.0))
    yield (r.uniform(0.5, 2, 3) + 1j * r.normal(3), r.uniform(0.5, 2, 3)), {}
    yield (r.integers(1, 5, 3), r.integers(-2, 3, 3)), {}


@operation(numpy="float_power", oracle="float_power", samples=_powers)
def float_power(x1: Any, x2: Any, /) -> Any:
    """x1 to the power x2 in float64 (or complex128) at least, so that integers may be inverted."""
    if traced(x1, x2):
        return power(x1, x2)
    x1, x2 = operands((x1, x2), "float_power")
    wide = dtypes.result_type(x1.dtype, x2.dtype, dtypes.float64)
    return power(x1.astype(wide, copy=False), x2.astype(wide, copy=False))


_turn = known(
    Elementwise.trace("turn", lambda ct, r: select(r > 0, ct / r / r, 0))
)  # dividing twice, since r² overflows early

_phase: Primitive = primitive(
    "phase",
    nin=1,
    spec=lambda z: Spec(z.shape, dtypes.real(z.dtype)),
    vjp=(lambda ct, out, z: z * 1j * _turn.bind(ct, absolute(z)),),
    jvp=(lambda t, out, z: imag(conj(z) * t) * _turn.bind(1.0, absolute(z)),),
    reads=((0,),),
    batch=lambda inputs, batched: _phase.bind(*inputs),
    params=False,
)


def _angle_samples(r: Any) -> Any:
    for x in r.layouts(lambda *s: r.uniform(-2, 2, *s) + 1j * r.uniform(0.5, 2, *s)):
        yield (x,), {}
    yield (r.normal(3),), {}
    yield (r.normal(3) + 1j,), {"deg": True}


@operation(numpy="angle", oracle="angle", samples=_angle_samples)
def angle(z: Any, deg: bool = False) -> Any:
    """The angle of z in the complex plane: arctan2(Im z, Re z) in radians, or in degrees."""
    z = z if type(z) is Expr else operand(z, (), "angle")
    complex_one = type(z) is not Expr and z.dtype.kind == "c"
    found = _phase.bind(z) if complex_one else arctan2(imag(z), real(z))
    return rad2deg(found) if deg else found
