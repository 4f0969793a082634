"""Arithmetic, comparison and the elementary functions, each one line: a leaf or a formula."""

from __future__ import annotations

from tensorgrad.core.registry import elementwise
from tensorgrad.expr import call

add = elementwise(
    "add", lambda x, y: x + y, doc="x + y, elementwise.", oracle="add",
    samples=lambda r: r.pairs(), numpy="add", methods="__add__",
)
multiply = elementwise(
    "multiply", lambda x, y: x * y, doc="x * y, elementwise.", oracle="multiply",
    samples=lambda r: r.pairs(), numpy="multiply", methods="__mul__",
)
exp = elementwise(
    "exp", lambda x: call("exp", x), doc="e to the power x.", oracle="exp",
    samples=lambda r: r.singles(-2, 2), numpy="exp",
)
silu = elementwise(
    "silu", lambda x: x / (1.0 + exp(-x)), doc="x sigmoid(x).", oracle=lambda x: x,
    samples=lambda r: r.singles(-2, 2),
)
