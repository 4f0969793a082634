"""Bodies of the leaves: what generated code computes for each scalar function.

Each is at most 4 ulp from the true value on its whole range and right at ±0, ±inf, NaN, denormal
numbers and where it saturates; the arithmetic ones are exact. `fma` is used explicitly, so that
the results do not depend on the compiler. The reductions and the rational and polynomial forms of
log and tanh are those of Moshier, "Methods and Programs for Mathematical Functions", 1989.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from tensorgrad.codegen.vectors import Vectors

Body = Callable[..., str]

_LOG2_HIGH = (0.693359375, 6.93145751953125e-1)
_LOG2_LOW = (-2.12194440054690583e-4, 1.42860682030941723212e-6)
_EXPM1_SINGLE = (
    1.9891180158282143e-4, 1.393382048977602e-3, 8.3333107545768923e-3,
    4.1666463386339524e-2, 1.6666666681794626e-1, 5.0000000136201384e-1,
)  # fmt: skip
_EXPM1_DOUBLE = (
    2.091483135138041e-09, 2.5105419192016337e-08, 2.7557273295539724e-07, 2.7557254913486701e-06,
    2.4801587325822283e-05, 1.9841269875205077e-04, 1.388888888888367e-03, 8.3333333333260248e-03,
    4.1666666666666671e-02, 1.6666666666666671e-01, 5.0e-01,
)  # fmt: skip
"""(expm1(r) - r) / r² on |r| <= log(2)/2 by interpolation at Chebyshev's nodes."""

_LOG_SINGLE = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
_LOG_P = (
    1.01875663804580931796e-4, 4.97494994976747001425e-1, 4.70579119878881725854e0,
    1.44989225341610930846e1, 1.79368678507819816313e1, 7.70838733755885391666e0,
)  # fmt: skip
_LOG_Q = (
    1.12873587189167450590e1, 4.52279145837532221105e1, 8.29875266912776603211e1,
    7.11544750618563894466e1, 2.31251620126765340583e1,
)  # fmt: skip
_TANH_SINGLE = (
    -5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1,
)  # fmt: skip
_TANH_P = (-9.64399179425052238628e-1, -9.92877231001918586564e1, -1.61468768441708447952e3)
_TANH_Q = (1.12811678491632931402e2, 2.23548839060100448583e3, 4.84406305325125486048e3)


def _reduced(v: Vectors, x: str, low: float, high: float) -> tuple[str, str, str]:
    """(n as a float, n as an integer, expm1(r)) with x = n log(2) + r, x cut to [low, high]."""
    y = v.select(v.compare("olt", x, v.const(low)), v.const(low), x)
    y = v.select(v.compare("ogt", y, v.const(high)), v.const(high), y)
    # Adding 1.5 * 2**mantissa rounds to an integer and leaves it in the lowest bits; converting a
    # NaN to an integer would be undefined.
    magic = 1.5 * 2.0**v.mantissa
    shifted = v.fma(y, v.const(1 / math.log(2)), v.const(magic))
    n = v.sub(shifted, v.const(magic))
    base = (v.bias + v.mantissa << v.mantissa) | 1 << (v.mantissa - 1)
    k = v.on_bits("sub", v.bits(shifted), base)
    r = v.fma(n, v.const(-_LOG2_HIGH[v.double]), y)
    r = v.fma(n, v.const(-_LOG2_LOW[v.double]), r)
    q = v.polynomial(r, _EXPM1_DOUBLE if v.double else _EXPM1_SINGLE)
    return n, k, v.fma(q, v.mul(r, r), r)


def exp(v: Vectors, x: str) -> str:
    low, high = (-745.2, 709.79) if v.double else (-104.0, 88.7229)
    _, k, p = _reduced(v, x, low, high)
    result = v.add(p, v.const(1))
    # Two steps: 2**k itself may be below or above the range of normal numbers.
    half = v.on_bits("ashr", k, 1)
    for part in (half, v.on_bits("sub", k, half)):
        result = v.mul(result, v.power_of_two(part))
    return result


def expm1(v: Vectors, x: str) -> str:
    low, high = (-40.0, 709.79) if v.double else (-20.0, 88.7229)
    n, k, p = _reduced(v, x, low, high)
    scale = v.power_of_two(v.on_bits("sub", k, 1))
    half = v.fma(scale, p, v.sub(scale, v.const(0.5)))
    result = v.select(v.compare("oeq", n, v.const(0)), p, v.add(half, half))
    return v.copysign(result, x)


def log(v: Vectors, x: str) -> str:
    tiny, up = (2.0**-1022, 54) if v.double else (2.0**-126, 25)
    denormal = v.compare("olt", x, v.const(tiny))
    bits = v.bits(v.select(denormal, v.mul(x, v.const(2.0**up)), x))
    e = v.on_bits("sub", v.on_bits("lshr", bits, v.mantissa), v.bias - 1)
    zero = v.integer_const(0)
    e = v.on_bits("sub", e, v.select(denormal, v.integer_const(up), zero, v.ints))
    m = v.on_bits("and", bits, (1 << v.mantissa) - 1)
    m = v.from_bits(v.on_bits("or", m, (v.bias - 1) << v.mantissa))
    low = v.compare("olt", m, v.const(math.sqrt(0.5)))
    e = v.on_bits("sub", e, v.select(low, v.integer_const(1), zero, v.ints))
    n = v.to_float(e)
    m = v.sub(v.select(low, v.add(m, m), m), v.const(1))
    z = v.mul(m, m)
    if v.double:
        p = v.div(v.polynomial(m, _LOG_P), v.polynomial(m, _LOG_Q, monic=True))
        low_part = -2.121944400546905827679e-4
    else:
        p, low_part = v.polynomial(m, _LOG_SINGLE), _LOG2_LOW[0]
    y = v.fma(n, v.const(low_part), v.mul(v.mul(p, m), z))
    y = v.fma(z, v.const(-0.5), y)
    y = v.fma(n, v.const(_LOG2_HIGH[0]), v.add(m, y))
    y = v.select(v.compare("oeq", x, v.const(0)), v.const(-math.inf), y)
    y = v.select(v.compare("ult", x, v.const(0)), v.const(math.nan), y)
    return v.select(v.compare("oeq", x, v.const(math.inf)), x, y)


def log1p(v: Vectors, x: str) -> str:
    u = v.add(x, v.const(1))
    # What 1 + x lost: exact for |x| < 1 either way, and the smaller term for the rest.
    lost = v.select(
        v.compare("olt", x, v.const(1)),
        v.sub(x, v.sub(u, v.const(1))),
        v.sub(v.const(1), v.sub(u, x)),
    )
    y = log(v, u)
    inside = v.logic("and", v.compare("ogt", u, v.const(0)), v.compare("olt", u, v.const(math.inf)))
    return v.copysign(v.select(inside, v.add(y, v.div(lost, u)), y), x)


def tanh(v: Vectors, x: str) -> str:
    a, z = v.abs(x), v.mul(x, x)
    if v.double:
        p = v.div(v.polynomial(z, _TANH_P), v.polynomial(z, _TANH_Q, monic=True))
    else:
        p = v.polynomial(z, _TANH_SINGLE)
    small = v.fma(v.mul(p, z), a, a)
    e = v.add(exp(v, v.add(a, a)), v.const(1))
    large = v.sub(v.const(1), v.div(v.const(2), e))
    return v.copysign(v.select(v.compare("olt", a, v.const(0.625)), small, large), x)


def sigmoid(v: Vectors, x: str) -> str:
    # exp(-|x|) never overflows, so the left tail keeps its denormal values.
    e = exp(v, v.neg(v.abs(x)))
    left = v.compare("olt", x, v.const(0))
    return v.div(v.select(left, e, v.const(1)), v.add(e, v.const(1)))


def softplus(v: Vectors, x: str) -> str:
    tail = log1p(v, exp(v, v.neg(v.abs(x))))
    return v.add(maximum(v, x, v.const(0)), tail)


def log_sigmoid(v: Vectors, x: str) -> str:
    tail = log1p(v, exp(v, v.neg(v.abs(x))))
    return v.sub(minimum(v, x, v.const(0)), tail)


def relu(v: Vectors, x: str) -> str:
    return v.select(v.compare("ole", x, v.const(0)), v.const(0), x)


def _extreme(predicate: str, lasting: int) -> Body:
    """The first argument where it wins or argument `lasting` is NaN, else the second."""

    def body(v: Vectors, a: str, b: str) -> str:
        nan = (a, b)[lasting]
        wins = v.logic("or", v.compare(predicate, a, b), v.compare("uno", nan, nan))
        return v.select(wins, a, b)

    return body


maximum, minimum = _extreme("ogt", 0), _extreme("olt", 0)
fmax, fmin = _extreme("ogt", 1), _extreme("olt", 1)


def clip(v: Vectors, x: str, low: str, high: str) -> str:
    return minimum(v, maximum(v, x, low), high)


def sign(v: Vectors, x: str) -> str:
    zero = v.const(0)
    result = v.select(v.compare("ogt", x, zero), v.const(1), x)
    result = v.select(v.compare("olt", x, zero), v.const(-1), result)
    return v.select(v.compare("oeq", x, zero), zero, result)


def _rounded(name: str) -> Body:
    def body(v: Vectors, x: str) -> str:
        return v.intrinsic(name, x)

    return body


def _against_infinity(predicate: str) -> Body:
    def body(v: Vectors, x: str) -> str:
        return v.compare(predicate, v.abs(x), v.const(math.inf))

    return body


def signbit(v: Vectors, x: str) -> str:
    return v.text.value(f"icmp slt {v.ints} {v.bits(x)}, zeroinitializer")


BODIES: dict[str, Body] = {
    "exp": exp,
    "expm1": expm1,
    "log": log,
    "log1p": log1p,
    "tanh": tanh,
    "sigmoid": sigmoid,
    "softplus": softplus,
    "log_sigmoid": log_sigmoid,
    "relu": relu,
    "maximum": maximum,
    "minimum": minimum,
    "fmax": fmax,
    "fmin": fmin,
    "clip": clip,
    "sign": sign,
    "sqrt": _rounded("sqrt"),
    "floor": _rounded("floor"),
    "ceil": _rounded("ceil"),
    "trunc": _rounded("trunc"),
    "round": _rounded("rint"),
    "abs": Vectors.abs,
    "copysign": Vectors.copysign,
    "square": lambda v, x: v.mul(x, x),
    "reciprocal": lambda v, x: v.div(v.const(1), x),
    "isnan": lambda v, x: v.compare("uno", x, x),
    "isinf": _against_infinity("oeq"),
    "isfinite": _against_infinity("olt"),
    "signbit": signbit,
}
"""Leaf to its body: (vectors, one register per argument) -> the register of the result."""
