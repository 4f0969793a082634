"""The table of leaf bodies: what generated code computes for each scalar function.

A body is a branch-free expression on vectors, at most 4 ulp from the true value on its whole range
and right at ±0, ±inf, NaN, denormal numbers and where it saturates; `fma` is used explicitly, so
that the results do not depend on the compiler. Every leaf has a body in float32; in float64 the
rest is left to NumPy.
"""

from __future__ import annotations

from collections.abc import Callable

from tensorgrad.codegen import (
    approx_circular,
    approx_erf,
    approx_exact,
    approx_exp,
    approx_powers,
)
from tensorgrad.codegen.vectors import Vectors

Body = Callable[..., str]

BODIES: dict[str, Body] = {
    "exp": approx_exp.exp,
    "exp2": approx_exp.exp2,
    "expm1": approx_exp.expm1,
    "log": approx_exp.log,
    "log2": approx_exp.log2,
    "log10": approx_exp.log10,
    "log1p": approx_exp.log1p,
    "logaddexp": approx_exp.logaddexp,
    "logaddexp2": approx_exp.logaddexp2,
    "tanh": approx_exp.tanh,
    "sigmoid": approx_exp.sigmoid,
    "softplus": approx_exp.softplus,
    "log_sigmoid": approx_exp.log_sigmoid,
    "erf": approx_erf.erf,
    "erfc": approx_erf.erfc,
    "pow": approx_powers.power,
    "cbrt": approx_powers.cbrt,
    "sinh": approx_powers.sinh,
    "cosh": approx_powers.cosh,
    "asinh": approx_powers.asinh,
    "acosh": approx_powers.acosh,
    "atanh": approx_powers.atanh,
    "sin": approx_circular.sin,
    "cos": approx_circular.cos,
    "tan": approx_circular.tan,
    "asin": approx_circular.asin,
    "acos": approx_circular.acos,
    "atan": approx_circular.atan,
    "atan2": approx_circular.atan2,
    "hypot": approx_exact.hypot,
    "relu": approx_exact.relu,
    "maximum": approx_exact.maximum,
    "minimum": approx_exact.minimum,
    "fmax": approx_exact.fmax,
    "fmin": approx_exact.fmin,
    "clip": approx_exact.clip,
    "sign": approx_exact.sign,
    "heaviside": approx_exact.heaviside,
    "nextafter": approx_exact.nextafter,
    "fmod": approx_exact.fmod,
    "remainder": approx_exact.remainder,
    "floor_divide": approx_exact.floor_divide,
    "deg2rad": approx_exact.scaled(0.017453292519943295, 0.01745329238474369),
    "rad2deg": approx_exact.scaled(57.29577951308232, 57.2957763671875),
    "sqrt": approx_exact.rounded("sqrt"),
    "floor": approx_exact.rounded("floor"),
    "ceil": approx_exact.rounded("ceil"),
    "trunc": approx_exact.rounded("trunc"),
    "round": approx_exact.rounded("rint"),
    "abs": Vectors.abs,
    "copysign": Vectors.copysign,
    "square": lambda v, x: v.mul(x, x),
    "reciprocal": lambda v, x: v.div(v.const(1), x),
    "isnan": lambda v, x: v.compare("uno", x, x),
    "isinf": approx_exact.against_infinity("oeq"),
    "isfinite": approx_exact.against_infinity("olt"),
    "signbit": approx_exact.signbit,
}
"""Leaf to its body: (vectors, one register per argument) -> the register of the result."""

ULP: dict[str, float] = {
    "exp": 1.8, "exp2": 1.2, "expm1": 1.7, "log": 1.0, "log2": 2.1, "log10": 2.3, "log1p": 1.7,
    "logaddexp": 2.6, "logaddexp2": 3.6, "tanh": 2.8, "sigmoid": 3.8, "softplus": 3.3,
    "log_sigmoid": 3.3, "erf": 2.8, "erfc": 3.3, "pow": 0.6, "cbrt": 0.6, "sinh": 0.6, "cosh": 0.6,
    "asinh": 0.6, "acosh": 0.6, "atanh": 0.6, "sin": 1.8, "cos": 1.8, "tan": 3.9, "asin": 2.6,
    "acos": 1.3, "atan": 1.7, "atan2": 1.8, "hypot": 0.6,
}  # fmt: skip
"""The largest error measured in float32, rounded up; a leaf that is not here is exact."""

ULP_DOUBLE: dict[str, float] = {
    "exp": 1.2, "expm1": 2.0, "log": 1.0, "log1p": 1.7, "tanh": 1.6, "sigmoid": 2.7,
    "softplus": 2.3, "log_sigmoid": 2.3, "erf": 1.8, "erfc": 3.9,
    "sin": 1.7, "cos": 1.7, "tan": 3.7, "hypot": 1.2, "logaddexp": 3.3,
}  # fmt: skip
"""The same in float64."""

DOUBLE: frozenset[str] = frozenset(
    "exp expm1 log log1p logaddexp tanh sigmoid softplus log_sigmoid erf erfc sin cos tan "
    "hypot fmod remainder floor_divide relu maximum minimum fmax fmin clip sign heaviside "
    "nextafter deg2rad rad2deg sqrt floor ceil trunc round abs copysign square reciprocal "
    "isnan isinf isfinite signbit".split()
)
"""The leaves that have a body in float64 too."""


def has_body(name: str, double: bool) -> bool:
    """Whether generated code computes the leaf in float64 (`double`) or float32."""
    return name in (DOUBLE if double else BODIES)
