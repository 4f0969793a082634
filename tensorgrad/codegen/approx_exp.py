"""Bodies of the exponentials and logarithms, and of what is made of them.

In float32 exp is 2ⁿ 2ⁿ exp(r) with one n: |r| <= log(2) costs a coefficient more than half of that,
and saves the arithmetic on exponents; in float64 it would cost digits. The reductions, and the
rational forms of log and tanh in float64, are those of Moshier, "Methods and Programs for
Mathematical Functions", 1989.
"""

from __future__ import annotations

import math

from tensorgrad.codegen.approx_wide import split
from tensorgrad.codegen.vectors import Vectors

_LOG2_HIGH = (0.693359375, 6.93145751953125e-1)
_LOG2_LOW = (-2.12194440054690583e-4, 1.42860682030941723212e-6)
_EXP_SINGLE = (
    0.0001961083617, 0.00141050911, 0.008336120285, 0.04166123644, 0.1666661352, 0.5000003576,
)  # fmt: skip
"""(exp(r) - 1 - r) / r² on |r| <= log(2)."""

_EXPM1_SINGLE = (
    1.9891180158282143e-4, 1.393382048977602e-3, 8.3333107545768923e-3,
    4.1666463386339524e-2, 1.6666666681794626e-1, 5.0000000136201384e-1,
)  # fmt: skip
_EXPM1_DOUBLE = (
    2.091483135138041e-09, 2.5105419192016337e-08, 2.7557273295539724e-07, 2.7557254913486701e-06,
    2.4801587325822283e-05, 1.9841269875205077e-04, 1.388888888888367e-03, 8.3333333333260248e-03,
    4.1666666666666671e-02, 1.6666666666666671e-01, 5.0e-01,
)  # fmt: skip
"""The same on |r| <= log(2)/2."""

_EXP2_SINGLE = (
    0.0001535315387, 0.001339913229, 0.009618439712, 0.05550331995, 0.2402264774, 0.6931471825, 1,
)  # fmt: skip
"""2ʳ on |r| <= 1/2."""

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
_LOG1P_SINGLE = (
    -0.003244023304, 0.0198514536, -0.0569595173, 0.1060365364, -0.1530559212, 0.1967593879,
    -0.2495413423, 0.3332996368, -0.4999990165, 1,
)  # fmt: skip
"""log(1 + e) / e on 0 <= e <= 1."""

_TANH_P = (-9.64399179425052238628e-1, -9.92877231001918586564e1, -1.61468768441708447952e3)
_TANH_Q = (1.12811678491631932402e2, 2.23548839060100448583e3, 4.84406305325125486048e3)


def cut(v: Vectors, predicate: str, x: str, limit: float) -> str:
    """`limit` where x lies beyond it (`olt` or `ogt`), else x, also where it is NaN."""
    bound = v.const(limit)
    return v.select(v.compare(predicate, x, bound), bound, x)


def _rounded(v: Vectors, x: str, step: float, offset: int) -> tuple[str, str]:
    """(n, 2^(n + offset)) where n is the integer next to x / step."""
    # Adding 1.5 * 2**mantissa rounds to an integer and leaves it in the lowest bits; converting a
    # NaN to an integer would be undefined. The bits above are shifted out.
    magic = v.const(1.5 * 2.0**v.mantissa + v.bias + offset)
    shifted = v.fma(x, v.const(1 / step), magic)
    power = v.from_bits(v.on_bits("shl", v.bits(shifted), v.mantissa))
    return v.sub(shifted, magic), power


def _less_log2(v: Vectors, x: str, n: str, times: int, lost: str = "") -> str:
    """x - n times log(2) - lost, the product to more digits than n has."""
    rest = v.fma(n, v.const(-times * _LOG2_HIGH[v.double]), x)
    low = times * _LOG2_LOW[v.double]
    if not lost:
        return v.fma(n, v.const(-low), rest)
    # What is small is summed first: `rest` is exact, and the result rounded but once.
    return v.sub(rest, v.fma(n, v.const(low), lost))


def _halves(v: Vectors, x: str) -> tuple[str, str, str]:
    """(n, 2ʰ, 2ⁿ⁻ʰ) where n is the integer next to x / log(2), and h that next to n / 2."""
    whole, magic = v.const(1.5 * 2.0**v.mantissa), v.const(1.5 * 2.0**v.mantissa + v.bias)
    n = v.sub(v.fma(x, v.const(1 / math.log(2)), whole), whole)
    first = v.fma(n, v.const(0.5), magic)
    second = v.add(v.sub(n, v.sub(first, magic)), magic)
    powers = [v.from_bits(v.on_bits("shl", v.bits(y), v.mantissa)) for y in (first, second)]
    return n, powers[0], powers[1]


def growth_parts(v: Vectors, x: str, lost: str = "") -> tuple[str, str, str]:
    """(p, s, t) with exp(x - lost) = (1 + p) s t, `lost` being small.

    x is at least -745.2 in float64 and -104 in float32; NaN passes.
    """
    if v.double:
        n, s, t = _halves(v, x)
        r = _less_log2(v, x, n, 1, lost)
        q = v.polynomial(r, _EXPM1_DOUBLE)
    else:
        n, s = _rounded(v, x, 2 * math.log(2), 0)
        r, t = _less_log2(v, x, n, 2, lost), s
        q = v.polynomial(r, _EXP_SINGLE)
    return v.fma(q, v.mul(r, r), r), s, t


def exp_inside(v: Vectors, x: str) -> str:
    """exp(x) for the same x."""
    p, s, t = growth_parts(v, x)
    return v.mul(v.mul(v.add(p, v.const(1)), s), t)


def _limits(v: Vectors) -> tuple[float, float]:
    """Where exp is 0, and where it is infinite."""
    return (-745.2, 709.79) if v.double else (-104.0, 88.7229)


def _exp_below(v: Vectors, x: str, high: float) -> str:
    """exp(x), or exp(high) where x is larger."""
    return exp_inside(v, cut(v, "ogt", cut(v, "olt", x, _limits(v)[0]), high))


def _decay(v: Vectors, a: str) -> str:
    """exp(-a) for a >= 0."""
    return exp_inside(v, cut(v, "olt", v.neg(a), _limits(v)[0]))


def exp(v: Vectors, x: str) -> str:
    return _exp_below(v, x, _limits(v)[1])


def exp2(v: Vectors, x: str) -> str:
    y = cut(v, "ogt", cut(v, "olt", x, -150.5), 128)
    magic = v.const(1.5 * 2.0**v.mantissa)
    shifted = v.add(y, magic)
    p = v.polynomial(v.sub(y, v.sub(shifted, magic)), _EXP2_SINGLE)
    # Two steps: 2ⁿ itself may be below or above the range of normal numbers.
    base = (v.bias + v.mantissa << v.mantissa) | 1 << (v.mantissa - 1)
    n = v.on_bits("sub", v.bits(shifted), base)
    half = v.on_bits("ashr", n, 1)
    p = v.mul(p, v.power_of_two(half))
    return v.mul(p, v.power_of_two(v.on_bits("sub", n, half)))


def expm1(v: Vectors, x: str) -> str:
    low, high = (-40.0, 709.79) if v.double else (-20.0, 88.7229)
    y = cut(v, "ogt", cut(v, "olt", x, low), high)
    # With 2ⁿ⁻¹, since 2ⁿ may be infinite where the result is not.
    n, half = _rounded(v, y, math.log(2), -1)
    r = _less_log2(v, y, n, 1)
    q = v.polynomial(r, _EXPM1_DOUBLE if v.double else _EXPM1_SINGLE)
    p = v.fma(q, v.mul(r, r), r)
    result = v.fma(half, p, v.sub(half, v.const(0.5)))
    result = v.select(v.compare("oeq", n, v.const(0)), p, v.add(result, result))
    return v.copysign(result, x)


def _near_one(v: Vectors, m: str) -> tuple[str, str, str]:
    """(m - 1, (m - 1)², the rest) of log(m) = m - 1 - (m - 1)²/2 + rest, √½ <= m < √2."""
    f = v.sub(m, v.const(1))
    z = v.mul(f, f)
    if v.double:
        p = v.div(v.polynomial(f, _LOG_P), v.polynomial(f, _LOG_Q, monic=True))
    else:
        p = v.polynomial(f, _LOG_SINGLE)
    return f, z, v.mul(v.mul(p, f), z)


def _split(v: Vectors, x: str) -> tuple[str, str]:
    """`split` for denormal numbers too."""
    tiny, up = (2.0**-1022, 54) if v.double else (2.0**-126, 25)
    denormal = v.compare("olt", x, v.const(tiny))
    n, m = split(v, v.select(denormal, v.mul(x, v.const(2.0**up)), x))
    return v.add(n, v.select(denormal, v.const(-up), v.const(0))), m


def _log_of(v: Vectors, n: str, m: str) -> str:
    """log(2ⁿ m)."""
    f, z, rest = _near_one(v, m)
    low = -2.121944400546905827679e-4 if v.double else _LOG2_LOW[0]
    y = v.fma(z, v.const(-0.5), v.fma(n, v.const(low), rest))
    return v.fma(n, v.const(_LOG2_HIGH[0]), v.add(f, y))


def _log_specials(v: Vectors, x: str, y: str) -> str:
    """y, the logarithm of x, or its limit at 0 and infinity, and NaN below 0."""
    y = v.select(v.compare("olt", x, v.const(math.inf)), y, x)
    y = v.select(v.compare("oeq", x, v.const(0)), v.const(-math.inf), y)
    return v.select(v.compare("olt", x, v.const(0)), v.const(math.nan), y)


def log(v: Vectors, x: str) -> str:
    return _log_specials(v, x, _log_of(v, *_split(v, x)))


def _log_base(v: Vectors, x: str, unit: float, high: float, low: float) -> str:
    """log(x) `unit` where log(2) `unit` = high + low, and n high is exact."""
    n, m = _split(v, x)
    f, z, rest = _near_one(v, m)
    y = v.add(f, v.fma(z, v.const(-0.5), rest))
    y = v.fma(y, v.const(unit), v.mul(n, v.const(low))) if low else v.mul(y, v.const(unit))
    return _log_specials(v, x, v.fma(n, v.const(high), y))


def log2(v: Vectors, x: str) -> str:
    return _log_base(v, x, 1 / math.log(2), 1, 0)


def log10(v: Vectors, x: str) -> str:
    return _log_base(v, x, 1 / math.log(10), 0.301025390625, 4.605038981195214e-06)


def log1p(v: Vectors, x: str) -> str:
    u = v.add(x, v.const(1))
    # What 1 + x lost: exact for |x| < 1 either way, and the smaller term for the rest.
    lost = v.select(
        v.compare("olt", x, v.const(1)),
        v.sub(x, v.sub(u, v.const(1))),
        v.sub(v.const(1), v.sub(u, x)),
    )
    y = v.add(_log_of(v, *split(v, u)), v.div(lost, u))
    # 1 + x is 0, negative or at least 2**-53, so never denormal.
    return v.copysign(_log_specials(v, u, y), x)


def tanh(v: Vectors, x: str) -> str:
    if not v.double:
        return _tanh_single(v, x)
    a, z = v.abs(x), v.mul(x, x)
    p = v.div(v.polynomial(z, _TANH_P), v.polynomial(z, _TANH_Q, monic=True))
    small = v.fma(v.mul(p, z), a, a)
    e = v.add(_exp_below(v, v.add(a, a), 50), v.const(1))
    large = v.sub(v.const(1), v.div(v.const(2), e))
    return v.copysign(v.select(v.compare("olt", a, v.const(0.625)), small, large), x)


def _tanh_single(v: Vectors, x: str) -> str:
    """e / (e + 2), e = expm1(2|x|), or 1 - 2 / (e + 2) where e > 2; beyond ±10 it is ±1."""
    y = cut(v, "ogt", v.abs(x), 10)
    y = v.add(y, y)
    n, power = _rounded(v, y, math.log(2), 0)
    r = _less_log2(v, y, n, 1)
    p = v.fma(v.polynomial(r, _EXPM1_SINGLE), v.mul(r, r), r)
    e = v.fma(power, p, v.sub(power, v.const(1)))
    # Near 1 a rounding of e / (e + 2) would double what 1 - tanh² has lost.
    near = v.compare("ogt", e, v.const(2))
    q = v.div(v.select(near, v.const(2), e), v.add(e, v.const(2)))
    return v.copysign(v.select(near, v.sub(v.const(1), q), q), x)


def sigmoid(v: Vectors, x: str) -> str:
    # exp(x), not exp(-x), so that the left tail keeps its denormal values.
    e = _exp_below(v, x, 60)
    return v.div(e, v.add(e, v.const(1)))


def _log1p_exp(v: Vectors, e: str) -> str:
    """log(1 + e) for 0 <= e <= 1."""
    return log1p(v, e) if v.double else v.mul(e, v.polynomial(e, _LOG1P_SINGLE))


def softplus(v: Vectors, x: str) -> str:
    above = v.select(v.compare("ogt", x, v.const(0)), x, v.const(0))
    return v.add(above, _log1p_exp(v, _decay(v, v.abs(x))))


def log_sigmoid(v: Vectors, x: str) -> str:
    below = v.select(v.compare("olt", x, v.const(0)), x, v.const(0))
    return v.sub(below, _log1p_exp(v, _decay(v, v.abs(x))))


def _distance(v: Vectors, a: str, b: str) -> tuple[str, str]:
    """(the larger, |a - b|), the latter 0 for equal infinities too."""
    larger = v.select(v.compare("ogt", a, b), a, b)
    same = v.compare("oeq", a, b)
    return larger, v.select(same, v.const(0), v.abs(v.sub(a, b)))


def logaddexp(v: Vectors, a: str, b: str) -> str:
    larger, apart = _distance(v, a, b)
    return v.add(larger, _log1p_exp(v, _decay(v, apart)))


def logaddexp2(v: Vectors, a: str, b: str) -> str:
    larger, apart = _distance(v, a, b)
    tail = _log1p_exp(v, exp2(v, v.neg(apart)))
    # Two roundings, so that equal arguments give exactly one more.
    return v.add(larger, v.mul(tail, v.const(1 / math.log(2))))
