"""Formulas that base primitives are made of, one text for every backend."""

from __future__ import annotations

import math
from typing import Any

from tensorgrad.expr import (
    ROW,
    Formula,
    call,
    cast,
    equal,
    iota,
    isum,
    rmax,
    rsum,
    where,
)
from tensorgrad.expr import input as variable

_X, _Y = variable("x"), variable("y")
_CT, _ROW_CT = variable("ct"), variable("ct", "f", ROW)
_EXTREME = variable("extreme", "f", ROW)


def _hit(x: Any, extreme: Any) -> Any:
    """Where x is the extreme one; where that is NaN, every NaN is."""
    return equal(x, extreme) | (call("isnan", x) & call("isnan", extreme))


def _share(x: Any, extreme: Any, ct: Any) -> Any:
    hit = _hit(x, extreme)
    return where(hit, ct / rsum(where(hit, 1.0, 0.0)), 0)


def _place(x: Any) -> Any:
    """The first column that holds the largest element; a NaN is larger than all."""
    hit = _hit(x, rmax(x))
    return -rmax(where(hit, -cast(iota(), "f"), -float("inf")))


def _largest_number(x: Any) -> Any:
    """The largest element that is a number; NaN where none is."""
    nan, inf = float("nan"), float("inf")
    none = rsum(where(call("isnan", x), 0.0, 1.0)) == 0.0
    return where(none, nan, rmax(where(call("isnan", x), -inf, x)))


def gelu_tanh(x: Any) -> Any:
    """x Φ(x) with tanh for the normal distribution function (Hendrycks 2016)."""
    return 0.5 * x * (1 + call("tanh", math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))))


GELU = Formula.trace("gelu_tanh", gelu_tanh, [_X])
RELU = Formula.trace("relu", lambda x: call("relu", x), [_X])
RELU_VJP = Formula.trace("relu_vjp", lambda y, ct: where(y <= 0, 0, ct), [_Y, _CT])

SUM = Formula.trace("sum", rsum, [_X])
MAX = Formula.trace("max", rmax, [_X])
MIN = Formula.trace("min", lambda x: -rmax(-x), [_X])
NANMAX = Formula.trace("nanmax", _largest_number, [_X])
NANMIN = Formula.trace("nanmin", lambda x: -_largest_number(-x), [_X])
ARGMAX = Formula.trace("argmax", _place, [_X])
ARGMIN = Formula.trace("argmin", lambda x: _place(-x), [_X])
SUM_ROWS = Formula.trace("sum_rows", isum, [_X])
TIE_SHARES = Formula.trace("tie_shares", lambda x, m: _share(x, m, 1), [_X, _EXTREME])
EXTREME_VJP = Formula.trace("extreme_vjp", _share, [_X, _EXTREME, _ROW_CT])


def gelu_vjp() -> Formula:
    """Of GELU's argument and the cotangent of its result: that of the argument."""
    found = GELU.vjp((0,), (0,))
    assert found.formula is not None
    assert found.sources == (("in", 0), ("ct", 0))
    return found.formula
