"""Bodies of the error function and its complement.

erfc(a) = exp(-a²) g(a) for a >= 0, where (a + K) g(a) is a polynomial of t = (a - K) / (a + K)
(Shepherd and Laframboise, "Chebyshev approximation of (1 + 2x) exp(x²) erfc x in 0 <= x < ∞",
Mathematics of Computation 36, 1981). The square's rounding error enters the exponential.
"""

from __future__ import annotations

from tensorgrad.codegen.approx_exp import cut, exp_inside, growth_parts
from tensorgrad.codegen.vectors import Vectors

_SHIFT = (3.0, 3.5)
_SCALED_SINGLE = (
    -0.0003253338218, -0.0004831773113, 0.003080328461, -0.001226430293, -0.02683982626,
    0.1195290685, -0.3104660213, 0.5902283192, -0.8833944798, 1.074006915,
)  # fmt: skip
_SCALED_DOUBLE = (
    -5.23838633171101e-10, -1.226711606366688e-09, 4.206114416117222e-09, 1.2889626484992123e-08,
    -2.171735960825848e-08, -8.874026406217594e-08, 1.1488197856475404e-07, 5.545755050536378e-07,
    -7.950500957867511e-07, -3.3939964770324844e-06, 7.24346951440577e-06, 1.8647817979487793e-05,
    -7.477687820857378e-05, -4.206229633253024e-05, 0.0007145316470555687, -0.0013053546741212216,
    -0.003177050338657294, 0.026518619880232935, -0.09231870663869324, 0.2257386216474721,
    -0.43525602671688474, 0.6941136466346434, -0.937799724567112, 1.08705558926226,
)  # fmt: skip
_ERF_DOUBLE = (
    5.957176147748911e-11, -1.1372848856791674e-09, 1.4659775274047436e-08, -1.6350312701054695e-07,
    1.6461000484121368e-06, -1.4925595266831182e-05, 0.0001205533111164271, -0.000854832698083379,
    0.0052239776248180145, -0.026866170645076792, 0.11283791670954879, -0.3761263890318375,
    1.1283791670955126,
)  # fmt: skip
_ERF_SINGLE = (
    -0.0006090385723, 0.00501196878, -0.02677891403, 0.1128214076, -0.3761252463, 1.128379107,
)  # fmt: skip
"""erf(x) / x in powers of x², in float64 on |x| <= 1, in float32 on |x| <= 0.9."""

_LOG_ERFC = (
    0.0001971815946, -0.00305560627, 0.02227708325, -0.1040373519, -0.6370597482, -1.127749562,
    -0.0001774959528,
)  # fmt: skip
"""log(erfc(a)) on 0.9 <= a <= 4."""

_WEIGHT = 6.5
"""About what a relative error of 1 / (a + K) costs erfc(a), less one, over 1 / (a + K)."""


def _tail(v: Vectors, a: str) -> str:
    """erfc(a) for a >= 0."""
    shift = v.const(_SHIFT[v.double])
    y = cut(v, "ogt", a, 27.3 if v.double else 10.2)
    shifted = v.add(y, shift)
    inverse = v.div(v.const(1), shifted)
    # Relative errors of the inverse, from its sum and from its division; the result has _WEIGHT
    # times as much, which the exponential takes back together with the square's.
    lost = v.sub(y, v.sub(shifted, shift))
    wrong = v.fma(v.neg(inverse), shifted, v.const(1))
    wrong = v.fma(v.neg(inverse), lost, wrong)
    square = v.mul(y, y)
    lost = v.fma(y, y, v.neg(square))
    lost = v.fma(wrong, v.fma(inverse, v.const(-_WEIGHT), v.const(-1)), lost)
    more, s, t = growth_parts(v, v.neg(square), lost)
    place = v.fma(inverse, v.const(-2 * _SHIFT[v.double]), v.const(1))
    *rest, last = _SCALED_DOUBLE if v.double else _SCALED_SINGLE
    tail = v.polynomial(place, rest)
    g = v.fma(tail, place, v.const(last))
    p = v.mul(g, inverse)
    whole = v.fma(p, more, p)
    if v.double:
        # What the last step of Horner's rule and the product by the inverse lost.
        small = v.fma(tail, place, v.sub(v.const(last), g))
        small = v.fma(small, inverse, v.fma(g, inverse, v.neg(p)))
        whole = v.add(v.fma(p, more, small), p)
    return v.mul(v.mul(whole, s), t)


def erfc(v: Vectors, x: str) -> str:
    a = v.abs(x)
    y = _tail(v, a)
    y = v.select(v.compare("olt", x, v.const(0)), v.sub(v.const(2), y), y)
    if not v.double:
        return y
    near = v.fma(v.neg(x), v.polynomial(v.mul(x, x), _ERF_DOUBLE), v.const(1))
    return v.select(v.compare("olt", a, v.const(0.5)), near, y)


def erf(v: Vectors, x: str) -> str:
    if not v.double:
        return _erf_single(v, x)
    a = v.abs(x)
    large = v.sub(v.const(1), _tail(v, a))
    small = v.mul(a, v.polynomial(v.mul(a, a), _ERF_DOUBLE))
    return v.copysign(v.select(v.compare("olt", a, v.const(1)), small, large), x)


def _erf_single(v: Vectors, x: str) -> str:
    """An odd polynomial near 0, else 1 - exp(a polynomial)."""
    a = cut(v, "ogt", v.abs(x), 4)
    large = v.sub(v.const(1), exp_inside(v, v.polynomial(a, _LOG_ERFC)))
    small = v.mul(a, v.polynomial(v.mul(a, a), _ERF_SINGLE))
    return v.copysign(v.select(v.compare("olt", a, v.const(0.9)), small, large), x)
