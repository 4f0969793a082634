"""The error functions, their inverses, and the normal distribution.

>>> erfinv([0.0, 0.5]), ndtr(0.0)
(tensor([0.        , 0.47693628]), tensor(0.5))
"""

from __future__ import annotations

import math
from typing import Any

from tensorgrad.core.primitive import Primitive
from tensorgrad.core.registry import elementwise
from tensorgrad.expr import call
from tensorgrad.expr import where as select
from tensorgrad.ops.elementary import exp
from tensorgrad.ops.elementwise import square
from tensorgrad.ops.special.rules import Call, formula, smooth, special

_ROOT_PI = math.sqrt(math.pi)


def _far(w: Any) -> Any:
    """1 + 3/2 w + 15/4 w² ...: the odd factorials over powers of 2, for |w| < 1/400."""
    found: Any = 0.0
    for c in (
        134607.12890625,
        15836.1328125,
        2111.484375,
        324.84375,
        59.0625,
        13.125,
        3.75,
        1.5,
        1.0,
    ):
        found = found * w + c
    return found


def _erfcx_slope(x: Any, y: Any) -> Any:
    """2 x y - 2 / √π; where that cancels, its expansion in 1 / x²."""
    w = 1 / (x * x)
    return select(x > 20, -w / _ROOT_PI * _far(-w), 2 * x * y - 2 / _ROOT_PI)


def _dawsn_slope(x: Any, y: Any) -> Any:
    w = 1 / (x * x)
    return select(call("abs", x) > 20, -0.5 * w * _far(w), 1 - 2 * x * y)


def _mills_slope(x: Any, y: Any) -> Any:
    """-y (x + y); where x + y cancels, its expansion in 1 / x."""
    w = 1 / (x * x)
    far = (1 - w * (2 - w * (10 - w * (74 - w * 706)))) / x
    return select(x < -100, y * far, -y * (x + y))


_erfcx_slope_of = formula("erfcx_slope", _erfcx_slope)
_dawsn_slope_of = formula("dawsn_slope", _dawsn_slope)
_mills_slope_of = formula("mills_slope", _mills_slope)

mills_p: Primitive = smooth("mills", {"x": lambda x, out: _mills_slope_of(x, out)})
"""φ(x) / Φ(x), the derivative of log Φ."""

erfcx: Call = special(
    "erfcx",
    "exp(x²) erfc(x), which does not underflow for large x.",
    {"x": lambda x, out: _erfcx_slope_of(x, out)},
    samples=lambda r: r.singles(-1.5, 4),
)
erfi: Call = special(
    "erfi",
    "-i erf(i x) = 2/√π ∫₀ˣ exp(t²) dt.",
    {"x": lambda x: 2 / _ROOT_PI * exp(square(x))},
    samples=lambda r: r.singles(-1.5, 1.5),
    complex=True,
)
dawsn: Call = special(
    "dawsn",
    "Dawson's integral exp(-x²) ∫₀ˣ exp(t²) dt.",
    {"x": lambda x, out: _dawsn_slope_of(x, out)},
    samples=lambda r: r.singles(-3, 3),
)
erfinv: Call = special(
    "erfinv",
    "The inverse of erf, for y between -1 and 1.",
    {"y": lambda out: _ROOT_PI / 2 * exp(square(out))},
    samples=lambda r: r.singles(-0.8, 0.8),
)
erfcinv: Call = special(
    "erfcinv",
    "The inverse of erfc, for y between 0 and 2.",
    {"y": lambda out: -_ROOT_PI / 2 * exp(square(out))},
    samples=lambda r: r.singles(0.2, 1.8),
)
ndtr = elementwise(
    "ndtr",
    lambda x: 0.5 * call("erfc", x * -math.sqrt(0.5)),
    doc="Φ(x), the distribution function of the standard normal.",
    oracle="scipy.special.ndtr",
    samples=lambda r: r.singles(-3, 3),
    numpy="scipy.special.ndtr",
    family="errors",
    namespace="special",
)
log_ndtr: Call = special(
    "log_ndtr",
    "log Φ(x) of the standard normal, accurate in both tails.",
    {"x": lambda x: mills_p.bind(x)},
    samples=lambda r: r.singles(-4, 3),
)
ndtri: Call = special(
    "ndtri",
    "The inverse of Φ of the standard normal.",
    {"y": lambda out: math.sqrt(2 * math.pi) * exp(0.5 * square(out))},
    samples=lambda r: r.singles(0.15, 0.85),
)
