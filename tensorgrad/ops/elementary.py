"""The elementary functions, under NumPy's names: exponentials, roots, circles, hyperbolas, erf.

Each is one leaf of the formula language; its derivative stands there.

>>> exp([0.0, 1.0])
tensor([1.        , 2.71828183])
>>> arctan2(1.0, 1.0)
tensor(0.78539816)
"""

from __future__ import annotations

from typing import Any

from tensorgrad.core.registry import operation
from tensorgrad.ops.complex import imag, real
from tensorgrad.ops.elementwise import leaf

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
arcsinh = leaf("arcsinh", "The inverse hyperbolic sine of x.", "asinh")
arccosh = leaf("arccosh", "The inverse hyperbolic cosine of x, for x at least 1.", "acosh")
arctanh = leaf("arctanh", "The inverse hyperbolic tangent of x, for |x| below 1.", "atanh")

erf = leaf("erf", "2/√π ∫₀ˣ exp(-t²) dt.", oracle="scipy.special.erf", numpy="scipy.special.erf")
erfc = leaf(
    "erfc",
    "1 - erf(x), accurate for large x.",
    oracle="scipy.special.erfc",
    numpy="scipy.special.erfc",
)


def _angle_samples(r: Any) -> Any:
    for x in r.layouts(lambda *s: r.uniform(-2, 2, *s) + 1j * r.uniform(0.5, 2, *s)):
        yield (x,), {}
    yield (r.normal(3),), {}
    yield (r.normal(3) + 1j,), {"deg": True}


@operation(numpy="angle", oracle="angle", samples=_angle_samples)
def angle(z: Any, deg: bool = False) -> Any:
    """The angle of z in the complex plane: arctan2(Im z, Re z) in radians, or in degrees."""
    found = arctan2(imag(z), real(z))
    return rad2deg(found) if deg else found
