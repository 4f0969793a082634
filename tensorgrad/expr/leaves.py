"""The table of scalar functions: what each is on NumPy and in CUDA, and its derivative.

A derivative names only functions of this table, so the set is closed to every order. Selects in a
derivative are applied to the cotangent (`ct * where(c, p, q)` becomes `where(c, ct*p, ct*q)`, a
constant 0 is exactly no contribution), so no `0 * inf` arises. Accuracy is absolute where a
derivative cancels: tanh' = 1 - y², sigmoid' = y (1 - y).
"""

from __future__ import annotations

import math
from typing import Any

from tensorgrad.expr.ir import Expr, call, equal, where
from tensorgrad.expr.leaf import LEAVES as LEAVES
from tensorgrad.expr.leaf import Leaf

_INF, _NAN = math.inf, math.nan
_EDGES = ((0.0,), (-0.0,), (_INF,), (-_INF,), (_NAN,))
_HALVES = ((0.5,), (-0.5,), (1.5,), (-1.5,), (2.5,), (-2.5,))
_PAIRS = ((0.0, 0.0), (-0.0, 0.0), (1.0, 1.0), (_INF, _INF), (_NAN, 1.0), (1.0, _NAN))
_ANY, _POSITIVE = (-3.0, 3.0), (0.3, 4.0)


def _one(
    name: str,
    cuda: str,
    d: Any,
    domain: tuple[float, float] = _ANY,
    numpy: str = "",
    **more: Any,
) -> None:
    LEAVES[name] = Leaf(name, 1, numpy or name, cuda, d, (domain,), **{"special": _EDGES, **more})


def _two(
    name: str,
    cuda: str,
    d: Any,
    domain: tuple[tuple[float, float], ...] = (_ANY, _ANY),
    numpy: str = "",
    **more: Any,
) -> None:
    LEAVES[name] = Leaf(name, 2, numpy or name, cuda, d, domain, **{"special": _PAIRS, **more})


def _isnan(x: Expr) -> Expr:
    return ~equal(x, x)


def _exponential() -> None:
    log2, log10 = math.log(2.0), math.log(10.0)
    _one("exp", "exp({0})", lambda x, y: (y,), holomorphic=True)
    _one("exp2", "exp2({0})", lambda x, y: (y * log2,), holomorphic=True)
    _one("expm1", "expm1({0})", lambda x, y: (call("exp", x),), holomorphic=True)
    _one("log", "log({0})", lambda x, y: (1 / x,), _POSITIVE, holomorphic=True)
    _one("log2", "log2({0})", lambda x, y: (1 / log2 / x,), _POSITIVE, holomorphic=True)
    _one("log10", "log10({0})", lambda x, y: (1 / log10 / x,), _POSITIVE, holomorphic=True)
    _one("log1p", "log1p({0})", lambda x, y: (1 / (1 + x),), (-0.7, 4.0), holomorphic=True)
    _two("logaddexp", "tg_logaddexp({0}, {1})", _d_logaddexp(1.0))
    _two("logaddexp2", "tg_logaddexp2({0}, {1})", _d_logaddexp(log2))


def _d_logaddexp(scale: float) -> Any:
    def d(a: Expr, b: Expr, y: Expr) -> tuple[Expr, Expr]:
        # Both infinite and alike: inf - inf would make the shares NaN; they are halves.
        t = where(equal(a, b) & call("isinf", a), 0, a - b) * scale
        return call("sigmoid", t), call("sigmoid", -t)

    return d


def _powers() -> None:
    _one("square", "tg_square({0})", lambda x, y: (2 * x,), kind="same", holomorphic=True)
    _one("reciprocal", "(({T})1 / {0})", lambda x, y: (-(y * y),), _POSITIVE, holomorphic=True)
    _one("sqrt", "sqrt({0})", lambda x, y: (0.5 / y,), _POSITIVE, holomorphic=True)
    _one("cbrt", "cbrt({0})", lambda x, y: (1 / (3 * (y * y)),), _POSITIVE)
    _two(
        "pow",
        "tg_pow({0}, {1})",
        _d_pow,
        ((0.3, 3.0), (-2.5, 2.5)),
        "power",
        kind="same",
        holomorphic=True,
        special=((0.0, 0.0), (0.0, 1.0), (0.0, 2.0), (0.0, 3.0), (-2.0, 2.0), (0.0, 0.5)),
    )
    _two("hypot", "hypot({0}, {1})", _d_hypot)


def _d_pow(x: Expr, p: Expr, y: Expr) -> tuple[Expr, Expr]:
    d_x = where(equal(p, 0), 0, p * x ** (p - 1))
    # At x = 0 the power is finite just where p >= 0, a comparison complex numbers lack.
    d_p = where(equal(x, 0) & call("isfinite", y), 0, y * call("log", x))
    return d_x, d_p


def _d_hypot(a: Expr, b: Expr, y: Expr) -> tuple[Expr, Expr]:
    origin = equal(y, 0)
    return where(origin, 0, a / y), where(origin, 0, b / y)


def _circular() -> None:
    near_one = (-0.8, 0.8)
    root = _root_1_minus_square
    _one("sin", "sin({0})", lambda x, y: (call("cos", x),), holomorphic=True)
    _one("cos", "cos({0})", lambda x, y: (-call("sin", x),), holomorphic=True)
    _one("tan", "tan({0})", lambda x, y: (1 + y * y,), (-1.2, 1.2), holomorphic=True)
    _one("asin", "asin({0})", lambda x, y: (1 / root(x),), near_one, "arcsin", holomorphic=True)
    _one("acos", "acos({0})", lambda x, y: (-1 / root(x),), near_one, "arccos", holomorphic=True)
    _one("atan", "atan({0})", lambda x, y: (1 / (1 + x * x),), numpy="arctan", holomorphic=True)
    _two("atan2", "atan2({0}, {1})", _d_atan2, (_ANY, _POSITIVE), "arctan2")
    degree = math.pi / 180
    _one("deg2rad", "({0} * ({T})0.017453292519943295)", lambda x, y: (degree,))
    _one(
        "rad2deg",
        "({0} * (({T})180 / ({T})3.141592653589793))",  # NumPy divides in the type itself
        lambda x, y: (1 / degree,),
    )


def _root_1_minus_square(x: Expr) -> Expr:
    # (1 - x)(1 + x) keeps near ±1 the digits that 1 - x² loses.
    return call("sqrt", (1 - x) * (1 + x))


def _d_atan2(a: Expr, b: Expr, y: Expr) -> tuple[Expr, Expr]:
    r = call("hypot", a, b)  # dividing twice by r, since r² overflows early
    origin = equal(r, 0)
    return where(origin, 0, b / r / r), where(origin, 0, -(a / r / r))


def _hyperbolic() -> None:
    _one("sinh", "sinh({0})", lambda x, y: (call("cosh", x),), holomorphic=True)
    _one("cosh", "cosh({0})", lambda x, y: (call("sinh", x),), holomorphic=True)
    _one("tanh", "tanh({0})", lambda x, y: (1 - y * y,), holomorphic=True)
    _one(
        "asinh",
        "asinh({0})",
        lambda x, y: (1 / call("hypot", x, 1),),  # x² + 1 overflows early
        numpy="arcsinh",
    )
    _one(
        "acosh",
        "acosh({0})",
        lambda x, y: (1 / (call("sqrt", x - 1) * call("sqrt", x + 1)),),
        (1.3, 5.0),
        "arccosh",
        holomorphic=True,
    )
    _one(
        "atanh",
        "atanh({0})",
        lambda x, y: (1 / ((1 - x) * (1 + x)),),
        (-0.8, 0.8),
        "arctanh",
        holomorphic=True,
    )


def _statistical() -> None:
    slope = 2 / math.sqrt(math.pi)

    def gauss(x: Expr) -> Expr:
        return slope * call("exp", -(x * x))

    _one("erf", "erf({0})", lambda x, y: (gauss(x),), numpy="scipy.special.erf", holomorphic=True)
    _one(
        "erfc",
        "erfc({0})",
        lambda x, y: (-gauss(x),),
        numpy="scipy.special.erfc",
        holomorphic=True,
    )
    _one(
        "sigmoid",
        "tg_sigmoid({0})",
        lambda x, y: (y * (1 - y),),
        numpy="scipy.special.expit",
    )
    _one(
        "log_sigmoid",
        "tg_log_sigmoid({0})",
        lambda x, y: (call("sigmoid", -x),),
        numpy="tensorgrad.expr.evaluate.log_sigmoid",
    )
    _one(
        "softplus",
        "tg_softplus({0})",
        lambda x, y: (call("sigmoid", x),),
        numpy="tensorgrad.expr.evaluate.softplus",
    )
    _one(
        "relu",
        "tg_relu({0})",
        lambda x, y: (where(y <= 0, 0, 1),),
        numpy="tensorgrad.expr.evaluate.relu",
        kind="same",
        special=_EDGES,
    )


def _steps() -> None:
    """Piecewise constant functions: the derivative is zero, also at the steps."""
    same: dict[str, Any] = {"kind": "same", "special": _EDGES + _HALVES}
    _one("sign", "tg_sign({0})", None, **same)
    _one("floor", "tg_floor({0})", None, **same)
    _one("ceil", "tg_ceil({0})", None, **same)
    _one("trunc", "tg_trunc({0})", None, **same)
    _one("round", "tg_round({0})", None, numpy="tensorgrad.expr.evaluate.round_even", **same)
    _two("floor_divide", "tg_floor_divide({0}, {1})", None, (_ANY, _POSITIVE), kind="same")
    _one("isfinite", "tg_isfinite({0})", None, kind="b")
    _one("isinf", "tg_isinf({0})", None, kind="b")
    _one("isnan", "tg_isnan({0})", None, kind="b")
    _one("signbit", "tg_signbit({0})", None, kind="b")


def _pieces() -> None:
    """Piecewise smooth functions, with their conventions at the joints."""
    _one(
        "abs",
        "tg_abs({0})",
        lambda x, y: (where(x > 0, 1, where(x < 0, -1, 0)),),
        numpy="absolute",
        kind="same",
    )
    _two("maximum", "tg_maximum({0}, {1})", lambda a, b, y: _shares(b < a, a < b), kind="same")
    _two("minimum", "tg_minimum({0}, {1})", lambda a, b, y: _shares(a < b, b < a), kind="same")
    _two("fmax", "tg_fmax({0}, {1})", lambda a, b, y: _shares_fm(b < a, a < b, a, b), kind="same")
    _two("fmin", "tg_fmin({0}, {1})", lambda a, b, y: _shares_fm(a < b, b < a, a, b), kind="same")
    LEAVES["clip"] = Leaf(
        "clip",
        3,
        "tensorgrad.expr.evaluate.clip",
        "tg_minimum(tg_maximum({0}, {1}), {2})",
        _d_clip,
        (_ANY, (-2.0, -0.5), (0.5, 2.0)),
        kind="same",
        special=((-1.0, -1.0, 1.0), (1.0, -1.0, 1.0), (0.5, 0.5, 0.5), (0.0, 1.0, -1.0)),
    )


def _modular() -> None:
    """Sign transfer, neighbours and remainders."""
    _two("copysign", "copysign({0}, {1})", _d_copysign)
    _two("nextafter", "nextafter({0}, {1})", lambda x, to, y: (1, None))
    _two("heaviside", "tg_heaviside({0}, {1})", lambda x, h, y: (None, where(equal(x, 0), 1, 0)))
    _two(
        "remainder",
        "tg_remainder({0}, {1})",
        lambda a, b, y: (1, -call("round", (a - y) / b)),  # a whole number but for rounding
        (_ANY, _POSITIVE),
        kind="same",
    )
    _two(
        "fmod",
        "fmod({0}, {1})",
        lambda a, b, y: (1, -call("round", (a - y) / b)),
        (_ANY, _POSITIVE),
        kind="same",
    )


def _shares(first: Expr, second: Expr) -> tuple[Expr, Expr]:
    """Who gets the cotangent: the one that won, both alike at a tie (and with a NaN)."""
    return (
        where(first, 1, where(second, 0, 0.5)),
        where(second, 1, where(first, 0, 0.5)),
    )


def _shares_fm(first: Expr, second: Expr, a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """The same where a NaN loses against a number."""
    return _shares(first | (_isnan(b) & ~_isnan(a)), second | (_isnan(a) & ~_isnan(b)))


def _d_clip(x: Expr, low: Expr, high: Expr, y: Expr) -> tuple[Expr, Expr, Expr]:
    above = (high < x) | (high < low)
    below = ~above & (x < low)
    return where(above | below, 0, 1), where(below, 1, 0), where(above, 1, 0)


def _d_copysign(x: Expr, s: Expr, y: Expr) -> tuple[Expr, None]:
    # |x| with the sign of s, so the convention abs'(0) = 0 holds here too.
    alike = equal(call("signbit", x), call("signbit", s))
    return where(equal(x, 0), 0, where(alike, 1, -1)), None


_exponential()
_powers()
_circular()
_hyperbolic()
_statistical()
_steps()
_pieces()
_modular()
