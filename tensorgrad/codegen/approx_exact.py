"""Bodies of the leaves that are exact or rounded once: pieces, steps, signs and remainders."""

from __future__ import annotations

import math
from collections.abc import Callable

from tensorgrad.codegen.approx_rest import rest_of
from tensorgrad.codegen.approx_wide import Wide
from tensorgrad.codegen.vectors import Vectors

Body = Callable[..., str]


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


def heaviside(v: Vectors, x: str, at_zero: str) -> str:
    zero = v.const(0)
    result = v.select(v.compare("ogt", x, zero), v.const(1), at_zero)
    result = v.select(v.compare("olt", x, zero), zero, result)
    return v.select(v.compare("uno", x, x), x, result)


def rounded(name: str) -> Body:
    """The body of a leaf that is one instruction: LLVM's intrinsic of that name."""

    def body(v: Vectors, x: str) -> str:
        return v.intrinsic(name, x)

    return body


def against_infinity(predicate: str) -> Body:
    def body(v: Vectors, x: str) -> str:
        return v.compare(predicate, v.abs(x), v.const(math.inf))

    return body


def signbit(v: Vectors, x: str) -> str:
    return v.text.value(f"icmp slt {v.ints} {v.bits(x)}, zeroinitializer")


def nextafter(v: Vectors, x: str, to: str) -> str:
    """The neighbours of a number are those of its bits, seen as sign and magnitude."""
    bits = v.bits(x)
    toward = v.logic("xor", v.compare("olt", x, to), signbit(v, x))
    step = v.select(toward, v.integer_const(1), v.integer_const(-1), v.ints)
    near = v.from_bits(v.on_bits("add", bits, step))
    smallest = v.copysign(v.from_bits(v.integer_const(1)), to)
    near = v.select(v.compare("oeq", x, v.const(0)), smallest, near)
    near = v.select(v.compare("oeq", x, to), to, near)
    return v.select(v.compare("uno", x, to), v.add(x, to), near)


def hypot(v: Vectors, a: str, b: str) -> str:
    """√(a² + b²); infinite beside an infinity, even with a NaN."""
    result = _scaled_root(v, a, b) if v.double else _wide_root(v, a, b)
    infinity = v.const(math.inf)
    either = [v.compare("oeq", v.abs(x), infinity) for x in (a, b)]
    return v.select(v.logic("or", *either), infinity, result)


def _wide_root(v: Vectors, a: str, b: str) -> str:
    w = Wide(v)
    wide_a, wide_b = w.widen(a), w.widen(b)
    total = w.fma(wide_a, wide_a, w.mul(wide_b, wide_b))
    return w.narrow(w.intrinsic("sqrt", total))


def _scaled_root(v: Vectors, a: str, b: str) -> str:
    """The squares of what lies beyond 2^±500 are taken 2^∓600 of the way."""
    a, b = v.abs(a), v.abs(b)
    larger = v.select(v.compare("ogt", a, b), a, b)
    high = v.compare("ogt", larger, v.const(2.0**500))
    low = v.compare("olt", larger, v.const(2.0**-500))
    down = v.select(low, v.const(2.0**600), v.const(1))
    down = v.select(high, v.const(2.0**-600), down)
    up = v.select(low, v.const(2.0**-600), v.const(1))
    up = v.select(high, v.const(2.0**600), up)
    a, b = v.mul(a, down), v.mul(b, down)
    return v.mul(v.intrinsic("sqrt", v.fma(a, a, v.mul(b, b))), up)


_STEP, _STEPS = 28, 10
"""A quotient of two singles is below 2²⁷⁸; a part of 28 bits times 24 is exact in a double."""


def _fmod(v: Vectors, a: str, b: str) -> str:
    """a - b trunc(a / b), exact."""
    if v.double:
        result = v.copysign(rest_of(v, v.abs(a), v.abs(b)), a)
    else:
        result = _long_division(v, a, b)
    inside = v.logic(
        "and",
        v.compare("oeq", v.abs(b), v.const(math.inf)),
        v.compare("olt", v.abs(a), v.const(math.inf)),
    )
    return v.select(inside, a, result)


def _long_division(v: Vectors, a: str, b: str) -> str:
    """Digits of 28 bits, in doubles."""
    w = Wide(v)
    rest, divisor = w.abs(w.widen(a)), w.abs(w.widen(b))
    inverse = w.div(w.const(1), divisor)
    for k in reversed(range(_STEPS)):
        scale = 2.0 ** (_STEP * k)
        # A digit may be off by one: the rest is then negative, and the next digit mends it.
        digit = w.intrinsic("rint", w.mul(rest, w.mul(inverse, w.const(1 / scale))))
        rest = w.fma(w.neg(digit), w.mul(divisor, w.const(scale)), rest)
    below = w.compare("olt", rest, w.const(0))
    return v.copysign(w.narrow(w.select(below, w.add(rest, divisor), rest)), a)


def fmod(v: Vectors, a: str, b: str) -> str:
    return _fmod(v, a, b)


def _divided(v: Vectors, a: str, b: str) -> tuple[str, str]:
    """(floor(a / b), a - b floor(a / b)) by NumPy's steps, b not 0."""
    zero, one = v.const(0), v.const(1)
    rest = _fmod(v, a, b)
    quotient = v.div(v.sub(a, rest), b)
    apart = v.logic("xor", v.compare("olt", b, zero), v.compare("olt", rest, zero))
    apart = v.logic("and", apart, v.compare("une", rest, zero))
    moved = v.select(apart, v.add(rest, b), rest)
    moved = v.select(v.compare("oeq", rest, zero), v.copysign(zero, b), moved)
    quotient = v.select(apart, v.sub(quotient, one), quotient)
    whole = v.intrinsic("floor", quotient)
    up = v.compare("ogt", v.sub(quotient, whole), v.const(0.5))
    whole = v.select(up, v.add(whole, one), whole)
    none = v.compare("oeq", quotient, zero)
    return v.select(none, v.copysign(zero, v.div(a, b)), whole), moved


def floor_divide(v: Vectors, a: str, b: str) -> str:
    whole, _ = _divided(v, a, b)
    return v.select(v.compare("oeq", b, v.const(0)), v.div(a, b), whole)


def remainder(v: Vectors, a: str, b: str) -> str:
    _, rest = _divided(v, a, b)
    return v.select(v.compare("oeq", b, v.const(0)), v.const(math.nan), rest)


def scaled(double: float, single: float) -> Body:
    """x times a constant, which NumPy rounds to each width in its own way."""

    def body(v: Vectors, x: str) -> str:
        return v.mul(x, v.const(double if v.double else single))

    return body
