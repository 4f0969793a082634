"""The one Bessel function that NumPy has; the others are in `tg.special`."""

from __future__ import annotations

from typing import Any

from tensorgrad import dtypes
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import OPERATIONS, operation
from tensorgrad.ops import protocols


@operation(numpy="i0", oracle="i0", samples=lambda r: r.singles(-4, 4))
def i0(x: Any) -> Any:
    """The modified Bessel function of the first kind and order 0: Σ (x/2)²ᵏ / k!²."""
    x = operand(x, (), "i0")
    protocols.load("special")
    function = OPERATIONS["special.i0"].function
    return function(x if dtypes.is_inexact(x.dtype) else x.astype(dtypes.float64))
