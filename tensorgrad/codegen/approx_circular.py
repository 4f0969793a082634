"""Bodies of the circular functions, and of their inverses in float32.

The argument is reduced by quarter turns, a double's as `approx_turns` has it, a single's in
doubles. Where that is so large that whole turns exceed a double, it is an integer times a power of
two, and the constant 2/π is taken times that power without its multiples of four (Payne and Hanek,
"Radian reduction for trigonometric functions", SIGNUM Newsletter 18, 1983): 26 binary places of the
argument at a time.
"""

from __future__ import annotations

import math

from tensorgrad.codegen import approx_turns
from tensorgrad.codegen.approx_wide import Wide
from tensorgrad.codegen.vectors import Vectors

_QUARTERS = (
    (102, 79, -0.3284762738195453, 2.3488816399632256e-17),
    (76, 53, -1.3544995237659854, 9.170827988311028e-17),
    (50, 27, -0.5529460512772132, 3.808591801500832e-17),
    (0, 0, 0.6366197723675813, 7.166494911215068e-17),
)
"""From 2^first on, x = 2^second y: then 2/π 2^second, less a multiple of 4, as two doubles."""

_SIN = (-0.0001945053373, 0.008331646211, -0.166666463)
_COS = (2.436680006e-05, -0.001388670644, 0.04166663438)
_SIN_DOUBLE = (
    1.589682676941739e-10, -2.505075863338797e-08, 2.7557313695099256e-06, -0.00019841269829816576,
    0.008333333333322424, -0.16666666666666632,
)  # fmt: skip
_COS_DOUBLE = (
    -1.1359669310713451e-11, 2.08757236744867e-09, -2.755731435517592e-07, 2.480158728949163e-05,
    -0.0013888888888874138, 0.0416666666666666,
)  # fmt: skip
"""(sin(r) / r - 1) / r² and (cos(r) - 1 + r²/2) / r⁴ in powers of r², in float64 on |r| <= π/4."""

_ASIN = (0.04216630384, 0.02417951822, 0.04547037557, 0.07495297492, 0.166667521)
_ATAN = (
    -0.001793621923, 0.01091460697, -0.03117784858, 0.05795759708, -0.08403450251, 0.1095218584,
    -0.1426424235, 0.1999854892, -0.3333329856,
)  # fmt: skip


def _quarter(v: Vectors, x: str) -> tuple[str, str]:
    """(q, r) with x = q π/2 + r; of q the two lowest bits hold, |r| <= 0.86."""
    if v.double:
        return approx_turns.quarter(v, x)
    w, a = Wide(v), v.abs(x)
    *large, (_, _, first, second) = _QUARTERS
    scale, high, low = v.const(1), w.const(first), w.const(second)
    for start, power, first, second in reversed(large):
        beyond = v.compare("oge", a, v.const(2.0**start))
        scale = v.select(beyond, v.const(2.0**-power), scale)
        high = w.select(beyond, w.const(first), high)
        low = w.select(beyond, w.const(second), low)
    y = w.widen(v.mul(x, scale))
    magic = w.const(1.5 * 2.0**w.mantissa)
    shifted = w.fma(y, high, magic)
    rest = w.fma(y, high, w.neg(w.sub(shifted, magic)))
    rest = w.fma(y, low, rest)
    return w.low_bits(shifted), w.narrow(w.mul(rest, w.const(math.pi / 2)))


def _sin_cos(v: Vectors, x: str, turn: int = 0) -> tuple[str, str, str]:
    """(q + turn, sin(r), cos(r)) of the reduced argument; once for all functions of it."""
    known = v.text.known.get(("circular", x))
    q, sine, cosine = known or _reduced(v, x)
    v.text.known["circular", x] = q, sine, cosine
    return (v.on_bits("add", q, turn) if turn else q), sine, cosine


def _reduced(v: Vectors, x: str) -> tuple[str, str, str]:
    q, r = _quarter(v, x)
    z = v.mul(r, r)
    sines, cosines = (_SIN_DOUBLE, _COS_DOUBLE) if v.double else (_SIN, _COS)
    sine = v.copysign(v.fma(v.mul(v.polynomial(z, sines), z), r, r), r)
    cosine = v.fma(v.mul(v.polynomial(z, cosines), z), z, v.fma(z, v.const(-0.5), v.const(1)))
    return q, sine, cosine


def _odd(v: Vectors, q: str) -> str:
    return v.text.value(f"trunc {v.ints} {q} to {v.bools}")


def _signed(v: Vectors, x: str, bit: str) -> str:
    """x with the sign bit turned over where the highest bit of the integer is set."""
    flip = v.on_bits("and", bit, -1 << (63 if v.double else 31))
    return v.from_bits(v.on_bits("xor", v.bits(x), flip))


def _wave(turn: int, v: Vectors, x: str) -> str:
    q, sine, cosine = _sin_cos(v, x, turn)
    return _signed(
        v, v.select(_odd(v, q), cosine, sine), v.on_bits("shl", q, 62 if v.double else 30)
    )


def sin(v: Vectors, x: str) -> str:
    return _wave(0, v, x)


def cos(v: Vectors, x: str) -> str:
    return _wave(1, v, x)


def tan(v: Vectors, x: str) -> str:
    q, sine, cosine = _sin_cos(v, x)
    odd = _odd(v, q)
    y = v.div(v.select(odd, cosine, sine), v.select(odd, sine, cosine))
    return _signed(v, y, v.on_bits("shl", q, 63 if v.double else 31))


def _half_angle(v: Vectors, x: str) -> tuple[str, str, str]:
    """(|x| > 1/2, s, asin(s)) with s = √((1 - |x|) / 2) there, else s = |x|."""
    a = v.abs(x)
    large = v.compare("ogt", a, v.const(0.5))
    half = v.fma(a, v.const(-0.5), v.const(0.5))
    z = v.select(large, half, v.mul(a, a))
    s = v.select(large, v.intrinsic("sqrt", half), a)
    return large, s, v.fma(v.mul(v.polynomial(z, _ASIN), z), s, s)


def asin(v: Vectors, x: str) -> str:
    large, _, y = _half_angle(v, x)
    other = v.fma(y, v.const(-2), v.const(math.pi / 2))
    return v.copysign(v.select(large, other, y), x)


_PI = (3.1415927410125732, -8.742277657347586e-08)
"""π as the sum of two singles."""


def acos(v: Vectors, x: str) -> str:
    large, _, y = _half_angle(v, x)
    left = v.compare("olt", x, v.const(0))
    twice = v.add(y, y)
    far = v.select(left, v.sub(v.const(_PI[0]), v.sub(twice, v.const(_PI[1]))), twice)
    signed = v.sub(v.copysign(y, x), v.const(_PI[1] / 2))
    return v.select(large, far, v.sub(v.const(_PI[0] / 2), signed))


def _octant(v: Vectors, y: str, x: str) -> tuple[str, str, str]:
    """(y > x, the smaller, the larger) of two numbers that are not negative."""
    steep = v.compare("ogt", y, x)
    return steep, v.select(steep, x, y), v.select(steep, y, x)


def _atan_of(v: Vectors, ratio: str, steep: str) -> str:
    """atan of a ratio of [0, 1], or where `steep` of its inverse."""
    z = v.mul(ratio, ratio)
    y = v.fma(v.mul(v.polynomial(z, _ATAN), z), ratio, ratio)
    other = v.sub(v.const(_PI[0] / 2), v.sub(y, v.const(_PI[1] / 2)))
    return v.select(steep, other, y)


def atan(v: Vectors, x: str) -> str:
    steep, small, large = _octant(v, v.abs(x), v.const(1))
    return v.copysign(_atan_of(v, v.div(small, large), steep), x)


def atan2(v: Vectors, y: str, x: str) -> str:
    """The angle of the point (x, y), with the special cases of C99, annex F."""
    steep, small, large = _octant(v, v.abs(y), v.abs(x))
    ratio = v.div(small, large)
    # Both zero or both infinite: 0/1 and 1/1.
    ratio = v.select(v.compare("oeq", large, v.const(0)), v.const(0), ratio)
    ratio = v.select(v.compare("oeq", small, v.const(math.inf)), v.const(1), ratio)
    angle = _atan_of(v, ratio, steep)
    left = v.text.value(f"icmp slt {v.ints} {v.bits(x)}, zeroinitializer")
    turned = v.sub(v.const(_PI[0]), v.sub(angle, v.const(_PI[1])))
    angle = v.copysign(v.select(left, turned, angle), y)
    return v.select(v.compare("uno", y, x), v.add(y, x), angle)
