"""Comparisons, logic, bits and tests of floating-point numbers: constants, off the tape.

>>> less([1.0, 2.0], 2.0)
tensor([ True, False])
>>> logical_and([True, True], [1, 0])
tensor([ True, False])
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad.core.registry import elementwise, operation
from tensorgrad.expr.ufuncs import truth
from tensorgrad.ops.elementwise import leaf


def _pairs(r: Any) -> Any:
    yield from r.pairs()
    yield (r.integers(0, 3, 3, 4), r.integers(0, 3, 4)), {}
    yield (r.integers(0, 3, 5), r.normal(5)), {}
    yield (r.bools(6), r.bools(6)), {}


def _constant(
    name: str, fn: Callable[..., Any], doc: str, kinds: str, samples: Any, methods: str = ""
) -> Callable[..., Any]:
    """An operation whose result is constant wherever it is differentiable."""
    return elementwise(
        name,
        fn,
        doc=doc,
        oracle=name,
        samples=samples,
        numpy=name,
        methods=methods,
        kinds=kinds,
        orders=0,
    )


# -- comparisons -------------------------------------------------------------------------------

equal = _constant("equal", lambda x, y: x == y, "x = y, elementwise.", "ff", _pairs, "__eq__")
less = _constant("less", lambda x, y: x < y, "x < y, elementwise.", "ff", _pairs, "__lt__")
less_equal = _constant(
    "less_equal", lambda x, y: x <= y, "x ≤ y, elementwise.", "ff", _pairs, "__le__"
)


@operation(numpy="greater", methods="__gt__", oracle="greater", samples=_pairs, orders=0)
def greater(x: Any, y: Any, /) -> Any:
    """x > y, elementwise."""
    return less(y, x)


@operation(
    numpy="greater_equal", methods="__ge__", oracle="greater_equal", samples=_pairs, orders=0
)
def greater_equal(x: Any, y: Any, /) -> Any:
    """x ≥ y, elementwise."""
    return less_equal(y, x)


@operation(numpy="not_equal", methods="__ne__", oracle="not_equal", samples=_pairs, orders=0)
def not_equal(x: Any, y: Any, /) -> Any:
    """x ≠ y, elementwise."""
    return logical_not(equal(x, y))


# -- logic -------------------------------------------------------------------------------------


def _singles(r: Any) -> Any:
    yield from r.singles(-2, 2)
    yield (r.integers(-1, 2, 3, 4),), {}
    yield (r.bools(5),), {}


logical_and = _constant(
    "logical_and", lambda x, y: truth(x) & truth(y), "Both x and y are not 0.", "bb", _pairs
)
logical_or = _constant(
    "logical_or", lambda x, y: truth(x) | truth(y), "x or y, or both, are not 0.", "bb", _pairs
)
logical_not = _constant("logical_not", lambda x: ~truth(x), "x is 0.", "b", _singles)


@operation(numpy="logical_xor", oracle="logical_xor", samples=_pairs, orders=0)
def logical_xor(x: Any, y: Any, /) -> Any:
    """Exactly one of x and y is not 0."""
    return not_equal(logical_not(x), logical_not(y))


# -- bits --------------------------------------------------------------------------------------


def _integers(r: Any) -> Any:
    for x in r.layouts(lambda *s: r.integers(-40, 40, *s)):
        yield (x, r.integers(-9, 9)), {}
    yield (r.integers(0, 9, 3, 1), r.integers(0, 9, 4)), {}


def _logical(r: Any) -> Any:
    yield from _integers(r)
    yield (r.bools(6), r.bools(6)), {}


def _shifts(r: Any) -> Any:
    for x in r.layouts(lambda *s: r.integers(-40, 40, *s)):
        yield (x, r.integers(0, 5)), {}
    yield (r.integers(0, 9, 3, 1), r.integers(0, 9, 4)), {}


def _ones(r: Any) -> Any:
    for x in r.layouts(lambda *s: r.integers(-40, 40, *s)):
        yield (x,), {}
    yield (r.bools(5),), {}


bitwise_and = _constant(
    "bitwise_and", lambda x, y: x & y, "The bits set in both.", "ii", _logical, "__and__ __rand__"
)
bitwise_or = _constant(
    "bitwise_or", lambda x, y: x | y, "The bits set in either.", "ii", _logical, "__or__ __ror__"
)
bitwise_xor = _constant(
    "bitwise_xor", lambda x, y: x ^ y, "The bits set in one.", "ii", _logical, "__xor__ __rxor__"
)
invert = _constant("invert", lambda x: ~x, "Every bit flipped.", "i", _ones, "__invert__")
left_shift = _constant(
    "left_shift", lambda x, y: x << y, "x · 2**y, for integers.", "ii", _shifts, "__lshift__"
)
right_shift = _constant(
    "right_shift", lambda x, y: x >> y, "floor(x / 2**y), for integers.", "ii", _shifts,
    "__rshift__",
)  # fmt: skip


# -- floating-point numbers --------------------------------------------------------------------


def _special(r: Any) -> Any:
    for x in r.layouts(lambda *s: r.uniform(-2, 2, *s)):
        yield (x,), {}
    yield (np.array([0.0, -0.0, np.inf, -np.inf, np.nan]),), {}


def _test(name: str, doc: str) -> Callable[..., Any]:
    return leaf(name, doc, samples=_special, orders=0)


isfinite = _test("isfinite", "x is neither infinite nor NaN.")
isinf = _test("isinf", "x is infinite.")
isnan = _test("isnan", "x is not a number.")
signbit = _test("signbit", "The sign bit of x is set (also of -0.0).")
