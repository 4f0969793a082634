"""Bodies of the powers and of the inverse hyperbolic functions: float32, by way of doubles."""

from __future__ import annotations

import math

from tensorgrad.codegen.approx_wide import Wide
from tensorgrad.codegen.vectors import Vectors

_SINH = (
    2.545670657152382e-08, 2.755377026364149e-06, 0.0001984128253011599, 0.008333333317464362,
    0.16666666666698407,
)  # fmt: skip
"""(sinh(x) / x - 1) / x² on |x| <= 1, in powers of x²."""


def _unless(v: Vectors, predicate: str, a: str, b: str, other: str, result: str) -> str:
    return v.select(v.compare(predicate, a, b), other, result)


def power(v: Vectors, x: str, p: str) -> str:
    """x^p with the special cases of C99, annex F."""
    w, zero, one, infinity = Wide(v), v.const(0), v.const(1), v.const(math.inf)
    a = v.abs(x)
    wide = w.widen(a)
    log = _unless(w, "oeq", wide, w.const(0), w.const(-math.inf), w.log2(wide))
    log = w.select(w.compare("olt", wide, w.const(math.inf)), log, wide)
    # 1 to an infinite power is 1, for -1 too.
    exponent = _unless(w, "oeq", wide, w.const(1), w.const(0), w.mul(w.widen(p), log))
    result = w.narrow(w.exp2(exponent))
    result = _unless(v, "uno", p, p, p, result)
    whole = v.compare("oeq", v.intrinsic("trunc", p), p)
    half = v.mul(p, v.const(0.5))
    odd = v.logic("and", whole, v.compare("une", v.intrinsic("trunc", half), half))
    result = v.select(odd, v.copysign(result, x), result)
    negative = v.logic("and", v.compare("olt", x, zero), v.compare("one", a, infinity))
    none = v.logic("and", negative, v.logic("xor", whole, v.bool_const(True)))
    result = v.select(none, v.const(math.nan), result)
    result = _unless(v, "oeq", x, one, one, result)
    return _unless(v, "oeq", p, zero, one, result)


def cbrt(v: Vectors, x: str) -> str:
    w, a = Wide(v), v.abs(x)
    root = w.exp2(w.mul(w.log2(w.widen(a)), w.const(1 / 3)))
    result = v.copysign(w.narrow(root), x)
    inside = v.logic("and", v.compare("ogt", a, v.const(0)), v.compare("olt", a, v.const(math.inf)))
    return v.select(inside, result, x)


def sinh(v: Vectors, x: str) -> str:
    w = Wide(v)
    a = w.widen(v.abs(x))
    e = w.exp(a)
    large = w.mul(w.sub(e, w.div(w.const(1), e)), w.const(0.5))
    z = w.mul(a, a)
    small = w.fma(w.mul(w.polynomial(z, _SINH), z), a, a)
    result = w.select(w.compare("olt", a, w.const(1)), small, large)
    return v.copysign(w.narrow(result), x)


def cosh(v: Vectors, x: str) -> str:
    w = Wide(v)
    e = w.exp(w.widen(v.abs(x)))
    return w.narrow(w.mul(w.add(e, w.div(w.const(1), e)), w.const(0.5)))


def asinh(v: Vectors, x: str) -> str:
    """log(1 + a + a² / (1 + √(1 + a²))), a = |x|, with its sign."""
    w, size = Wide(v), v.abs(x)
    a = w.widen(size)
    z, one = w.mul(a, a), w.const(1)
    root = w.add(one, w.intrinsic("sqrt", w.add(z, one)))
    y = w.narrow(w.log1p(w.add(a, w.div(z, root))))
    return v.copysign(_unless(v, "ult", size, v.const(math.inf), y, size), x)


def acosh(v: Vectors, x: str) -> str:
    """log(1 + t + √(t (t + 2))), t = x - 1."""
    w = Wide(v)
    t = w.sub(w.widen(x), w.const(1))
    root = w.intrinsic("sqrt", w.mul(t, w.add(t, w.const(2))))
    y = _unless(v, "ult", x, v.const(math.inf), w.narrow(w.log1p(w.add(t, root))), x)
    return _unless(v, "olt", x, v.const(1), v.const(math.nan), y)


def atanh(v: Vectors, x: str) -> str:
    """log(1 + 2a / (1 - a)) / 2, a = |x|, with its sign."""
    w, size = Wide(v), v.abs(x)
    a, one = w.widen(size), v.const(1)
    t = w.div(w.add(a, a), w.sub(w.const(1), a))
    y = w.narrow(w.mul(w.log1p(t), w.const(0.5)))
    y = _unless(v, "oeq", size, one, v.const(math.inf), y)
    return v.copysign(_unless(v, "ugt", size, one, v.const(math.nan), y), x)
