"""One half of an array times the sigmoid of the other, in one pass; backward fills both halves.

Used by NumPy's and CuPy's kernels with their own elementwise kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from tensorgrad.expr import Formula, call
from tensorgrad.expr import input as variable

Array = Any


def _backward(x: Any, gate: Any, ct: Any) -> tuple[Any, Any]:
    share = call("sigmoid", gate)
    return ct * share, ct * x * share * (1 - share)


@cache
def formulas() -> tuple[Formula, Formula]:
    """The product, and the cotangents of both halves."""
    inputs = [variable(name, "f") for name in ("x", "gate", "ct")]
    return (
        Formula.trace("glu", lambda x, gate: x * call("sigmoid", gate), inputs[:2]),
        Formula.trace("glu_pull", _backward, inputs),
    )


def halves(x: Array, axis: int) -> tuple[Array, Array]:
    """Views of both halves of an axis."""
    lead, middle = (slice(None),) * axis, x.shape[axis] // 2
    return x[(*lead, slice(middle))], x[(*lead, slice(middle, None))]


def filled(kernel: Callable[..., Any], ct: Array, x: Array, found: Array, axis: int) -> Array:
    """The cotangent of x, written to `found`."""
    if found.size:
        kernel(*halves(x, axis), ct, out=halves(found, axis))
    return found
