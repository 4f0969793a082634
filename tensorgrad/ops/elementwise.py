"""Arithmetic and piecewise functions, one formula each; `where` and `clip`.

Every derivative follows from the formula. Conventions at kinks: abs' = 0 at 0, sign' = round' = 0,
maximum and minimum share the cotangent equally among ties, clip passes it at its bounds.

>>> maximum([1.0, 4.0], [3.0, 2.0]) + square(2.0)
tensor([7., 8.])
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad import dtypes
from tensorgrad.core.calls import operand, operands
from tensorgrad.core.formula import Elementwise
from tensorgrad.core.primitive import Primitive, Spec
from tensorgrad.core.registry import elementwise, known, operation, primitive
from tensorgrad.core.tensor import Tensor
from tensorgrad.expr import LEAVES, Expr, call
from tensorgrad.expr import where as select
from tensorgrad.expr.ufuncs import truth
from tensorgrad.ops.complex import conj, imag, of_parts, real
from tensorgrad.ops.shape import whole

# -- what the entries share --------------------------------------------------------------------


def leaf(name: str, doc: str, of: str = "", **more: Any) -> Callable[..., Any]:
    """The operation of a leaf `of` (default: the same name), sampled on the leaf's own domain."""
    of = of or name
    if LEAVES[of].arity == 1:
        more = {"samples": lambda r: _unary_samples(r, of), **more}
        return elementwise(name, lambda x: call(of, x), doc=doc, **_named(name, more))
    more = {"samples": lambda r: r.pairs(*LEAVES[of].domain), **more}
    return elementwise(name, lambda x, y: call(of, x, y), doc=doc, **_named(name, more))


def _named(name: str, more: dict[str, Any]) -> dict[str, Any]:
    return {"oracle": name, "numpy": name, **more}


def _unary_samples(r: Any, of: str) -> Any:
    low, high = LEAVES[of].domain[0]
    yield from r.singles(low, high)
    if LEAVES[of].holomorphic:
        yield (r.uniform(0.3, 0.7, 3) + 1j * r.uniform(-0.5, 0.5, 3),), {}


def complex_pairs(r: Any, **ranges: Any) -> Any:
    """`r.pairs`, then complex against complex and complex against real."""
    yield from r.pairs(**ranges)
    a = r.uniform(0.5, 2, 2, 3) + 1j * r.normal(2, 3)
    yield (a, r.uniform(0.5, 2, 3) + 1j * r.normal(3)), {}
    yield (a, r.uniform(0.5, 2, 3)), {}


def traced(*values: Any) -> bool:
    """True if a value is a variable of a formula that is being written."""
    return Expr in [type(v) for v in values]


# -- arithmetic --------------------------------------------------------------------------------

add = elementwise(
    "add",
    lambda x, y: x + y,
    doc="x + y, elementwise.",
    oracle="add",
    samples=complex_pairs,
    numpy="add",
    methods="__add__ __radd__",
)
subtract = elementwise(
    "subtract",
    lambda x, y: x - y,
    doc="x - y, elementwise.",
    oracle="subtract",
    samples=complex_pairs,
    numpy="subtract",
    methods="__sub__",
)
multiply = elementwise(
    "multiply",
    lambda x, y: x * y,
    doc="x · y, elementwise.",
    oracle="multiply",
    samples=complex_pairs,
    numpy="multiply",
    methods="__mul__ __rmul__",
)
divide = elementwise(
    "divide",
    lambda x, y: x / y,
    doc="x / y, elementwise; integers become floating.",
    oracle="divide",
    samples=lambda r: complex_pairs(r, second=(0.5, 2.0)),
    numpy="divide true_divide",
    methods="__truediv__",
)
power = leaf(
    "power",
    "x to the power y; d(x**0)/dx = 0, and d(0**y)/dy = 0 for y > 0.",
    "pow",
    samples=lambda r: complex_pairs(r, first=(0.3, 3.0), second=(-2.0, 2.0)),
)
floor_divide = leaf(
    "floor_divide",
    "The largest integer that is not above x / y; derivative 0.",
    methods="__floordiv__",
)
remainder = leaf(
    "remainder",
    "x - floor(x / y) y: the remainder with the sign of y (Python's %).",
    numpy="remainder mod",
    methods="__mod__",
)
fmod = leaf("fmod", "x - trunc(x / y) y: the remainder with the sign of x (C's fmod).")


@operation(
    numpy="divmod",
    methods="__divmod__",
    oracle="divmod",
    samples=lambda r: r.pairs((-3, 3), (0.2, 4)),
)
def divmod(x: Any, y: Any, /) -> tuple[Any, Any]:
    """(floor(x / y), x - floor(x / y) y), elementwise."""
    return floor_divide(x, y), remainder(x, y)


negative = elementwise(
    "negative",
    lambda x: -x,
    doc="-x, elementwise.",
    oracle="negative",
    samples=lambda r: _unary_samples(r, "square"),
    numpy="negative",
    methods="__neg__",
)
positive = elementwise(
    "positive",
    lambda x: x,
    doc="x, a copy.",
    oracle="positive",
    samples=lambda r: _unary_samples(r, "square"),
    numpy="positive",
    methods="__pos__",
)
square = leaf("square", "x², elementwise.", methods="square")
reciprocal = leaf("reciprocal", "1 / x, elementwise; of integers it is an integer, as in NumPy.")
hypot = leaf("hypot", "√(x² + y²) without overflow; gradient 0 at the origin.")


# -- pieces ------------------------------------------------------------------------------------

_abs = known(Elementwise.trace("absolute", lambda x: call("abs", x)))
_share = known(Elementwise.trace("share", lambda x, r: select(r > 0, x / r, 0)))
"""x / r, and 0 where r is 0."""

_modulus: Primitive = primitive(
    "modulus",
    nin=1,
    spec=lambda z: Spec(z.shape, dtypes.real(z.dtype)),
    vjp=(lambda ct, out, z: z * _share.bind(ct, out),),
    jvp=(lambda t, out, z: real(conj(_direction(z)) * t),),
    reads=((0, 1),),
    batch=lambda inputs, batched: _modulus.bind(*inputs),
    params=False,
)


def _direction(z: Any) -> Any:
    """z / |z|, and 0 at 0."""
    return z * _share.bind(1.0, absolute(z))


def _absolute_samples(r: Any) -> Any:
    yield from r.singles(-2, 2)
    yield (r.normal(3, 2) + 1j * r.uniform(1, 2, 3, 2),), {}


@operation(
    numpy="absolute",
    methods="__abs__ abs",
    oracle="absolute",
    samples=_absolute_samples,
)
def absolute(x: Any, /) -> Any:
    """|x|, elementwise; of complex x it is real, √(Re² + Im²). Derivative 0 at 0."""
    if type(x) is not Expr:
        x = operand(x, (), "absolute")
        if x.dtype.kind == "c":
            return _modulus.bind(x)
    return _abs.bind(x)


_sign = known(Elementwise.trace("sign", lambda x: call("sign", x)))


def _reached(part: Any, other: Any) -> Any:
    """A part of a complex number as far as its direction needs it: 1 for one infinite part."""
    far, beyond = call("isinf", part), call("isinf", other)
    both = select(far & beyond, float("nan"), select(far, call("copysign", 1.0, part), 0.0))
    return select(far | beyond, both, part)


_reached_p = known(Elementwise.trace("reached", _reached))


@operation(numpy="sign", oracle="sign", samples=_absolute_samples)
def sign(x: Any, /) -> Any:
    """-1, 0 or 1, as x is below, at or above 0; derivative 0. Of complex x it is x / |x|."""
    if type(x) is not Tensor:
        if type(x) is Expr:
            return _sign.bind(x)
        x = operand(x, (), "sign")
    if x.dtype.kind != "c":
        return _sign.bind(x)
    parts = real(x), imag(x)
    return _direction(of_parts.bind(_reached_p.bind(*parts), _reached_p.bind(*parts[::-1])))


def off_tape(*tensors: Tensor) -> bool:
    """True if no derivative can be asked of what is made of these tensors."""
    return all(x.node is None and not x.level for x in tensors)


def _ahead(x: Any, y: Any, larger: bool) -> Any:
    """x beyond y, by their real parts and then by their imaginary ones."""
    if not larger:
        x, y = y, x
    return (real(x) > real(y)) | ((real(x) == real(y)) & (imag(x) > imag(y)))


def _larger(name: str, doc: str, larger: bool, keeps_nan: bool) -> Callable[..., Any]:
    """The operation that picks the larger (smaller) of two; of a number and NaN one or the other.

    Complex numbers are ordered by their parts, as in NumPy.
    """
    made = known(Elementwise.trace(name, lambda x, y: call(name, x, y)))

    def function(x: Any, y: Any, /) -> Any:
        if not (type(x) is type(y) is Tensor):
            if traced(x, y):
                return made.bind(x, y)
            x, y = operands((x, y), name)
        if (x.dtype.kind != "c" and y.dtype.kind != "c") or off_tape(x, y):
            return made.bind(x, y)
        won, lost = (x != x, y != y) if keeps_nan else (y != y, x != x)
        even = (x == y) & (abs(x) < float("inf"))
        taken = won | ~(lost | _ahead(y, x, larger))
        return where(even, 0.5 * x + 0.5 * y, where(taken, x, y))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return operation(numpy=name, oracle=name, samples=complex_pairs)(function)


maximum = _larger(
    "maximum", "The larger of x and y, NaN if one is; ties share the gradient equally.", True, True
)
minimum = _larger(
    "minimum",
    "The smaller of x and y, NaN if one is; ties share the gradient equally.",
    False,
    True,
)
fmax = _larger("fmax", "The larger of x and y, the other one where one is NaN.", True, False)
fmin = _larger("fmin", "The smaller of x and y, the other one where one is NaN.", False, False)
copysign = leaf("copysign", "|x| with the sign of y.")
nextafter = leaf("nextafter", "The next floating-point number after x on the way to y.")
heaviside = leaf("heaviside", "0 for x < 0, y for x = 0, 1 for x > 0.")
floor = leaf("floor", "The largest integer that is not above x; derivative 0.")
ceil = leaf("ceil", "The smallest integer that is not below x; derivative 0.")
trunc = leaf("trunc", "x without its fraction, rounded towards 0; derivative 0.")

_round = known(Elementwise.trace("round", lambda x: call("round", x)))


def _round_samples(r: Any) -> Any:
    yield from r.singles(-3, 3)
    yield (r.uniform(-3, 3, 4),), {"decimals": 2}
    yield (r.uniform(-300, 300, 4),), {"decimals": -1}
    yield (r.integers(-300, 300, 4),), {"decimals": -1}
    yield (r.integers(-300, 300, 4),), {"decimals": 1}


@operation(numpy="round around", methods="round __round__", oracle="round", samples=_round_samples)
def round(a: Any, decimals: int = 0) -> Any:
    """a rounded to `decimals` places (before the point if negative), halves to even.

    The derivative is 0. Integers stay integers; the parts of a complex number are rounded alone.

    >>> round([1.25, 2.5, 3.5])
    tensor([1., 2., 4.])
    """
    decimals = whole("round", decimals)
    if type(a) is Expr:
        return _round.bind(a) if decimals == 0 else _round.bind(a * 10.0**decimals) / 10.0**decimals
    a = operand(a, (), "round")
    if a.dtype.kind == "c":
        return of_parts.bind(round(real(a), decimals), round(imag(a), decimals))
    if not dtypes.is_inexact(a.dtype):
        if decimals >= 0:
            return positive(a)
        return round(a.astype(dtypes.float64), decimals).astype(a.dtype)
    if decimals == 0:
        return _round.bind(a)
    scale = 10.0 ** abs(decimals)  # divided by, never multiplied with its inexact inverse
    if decimals > 0:
        return _round.bind(a * scale) / scale
    return _round.bind(a / scale) * scale


@operation(numpy="rint", oracle="rint", samples=lambda r: r.singles(-3, 3))
def rint(x: Any, /) -> Any:
    """x rounded to the nearest integer, halves to even, as a floating number; derivative 0."""
    if type(x) is Expr:
        return _round.bind(x)
    x = operand(x, (), "rint")
    return round(x if dtypes.is_inexact(x.dtype) else x.astype(dtypes.inexact(x.dtype)))


# -- choices -----------------------------------------------------------------------------------


_where = known(
    Elementwise.trace("where", lambda condition, x, y: select(truth(condition), x, y), "bff")
)


def _where_samples(r: Any) -> Any:
    for (x, y), _ in r.pairs():
        shape = np.broadcast_shapes(x.shape, y.shape)
        yield (r.bools(*shape), x, y), {}
    yield (r.bools(3, 1), r.normal(4), r.normal(2, 1, 1)), {}
    yield (r.integers(0, 2, 5), r.normal(5), r.normal(5)), {}
    yield (r.bools(4), r.normal(4), 0.0), {}


_NUMBERS = {bool, int, float, complex}


@operation(numpy="where", oracle="where", samples=_where_samples)
def where(condition: Any, x: Any = None, y: Any = None, /) -> Any:
    """x where the condition holds (is not 0), else y; broadcast against one another.

    The branch that is not taken gets gradient 0. With the condition alone: `nonzero(condition)`.
    Raises `TypeError` if only one of x and y is given.

    >>> where([True, False], [1.0, 2.0], 0.0)
    tensor([1., 0.])
    """
    if x is None and y is None:
        c: Any = operand(condition, (), "where")
        return c.nonzero()
    if x is None or y is None:
        raise TypeError(
            f"where: got {'y' if x is None else 'x'} alone, expected both or neither; "
            "try where(condition, x, y)"
        )
    if traced(condition, x, y):
        return _where.bind(condition, x, y)
    if isinstance(condition, Tensor) and {type(x), type(y)} <= _NUMBERS:
        x, y = (operand(v, (), "where", condition) for v in (x, y))
    x, y = operands((x, y), "where")
    c = operand(condition, (), "where")
    return _where.bind(c if c.dtype == dtypes.bool_ else c != 0, x, y)


_clip = known(Elementwise.trace("clip", lambda x, low, high: call("clip", x, low, high)))


def _clip_samples(r: Any) -> Any:
    for (x,), _ in r.singles(-2, 2):
        yield (x, -0.7, 0.8), {}
    yield (r.normal(3, 4), r.uniform(-1, -0.5, 4), r.uniform(0.5, 1, 3, 1)), {}
    yield (r.normal(5), None, 0.3), {}
    yield (r.normal(5),), {"min": -0.4}
    yield (r.normal(5),), {"a_min": -0.4, "a_max": 0.1}
    yield (r.integers(-5, 5, 6), -2, 3), {}
    yield (r.integers(-5, 5, 6),), {"max": 1}


def _clip_oracle(x: Any, min: Any = None, max: Any = None, **names: Any) -> Any:
    low, high = names.get("a_min", min), names.get("a_max", max)
    x = x if low is None else np.where(x < low, low, x)
    return x if high is None else np.where(x > high, high, x)


def _bound(name: str, value: Any, other: Any) -> Any:
    """One bound of `clip`, given under one of its two names."""
    if value is not None and other is not None:
        raise TypeError(f"clip: got both {name} and a_{name}, expected one; try {name}={value!r}")
    return other if value is None else value


@operation(numpy="clip", methods="clip", oracle=_clip_oracle, samples=_clip_samples)
def clip(a: Any, min: Any = None, max: Any = None, *, a_min: Any = None, a_max: Any = None) -> Any:
    """a kept within bounds: minimum(maximum(a, min), max).

    Bounds are numbers, arrays or tensors, None for none; `a_min` and `a_max` are NumPy's names.
    At a bound the gradient passes to a; beyond it, it goes to the bound.
    Raises `TypeError` for a bound that is given under both of its names.

    >>> clip([-2.0, 0.5, 3.0], 0.0, 1.0)
    tensor([0. , 0.5, 1. ])
    """
    low, high = _bound("min", min, a_min), _bound("max", max, a_max)
    if not traced(a, low, high):
        a, *bounds = operands((a, *[b for b in (low, high) if b is not None]), "clip")
        kind = dtypes.result_type(a.dtype, *(b.dtype for b in bounds))
        if kind.kind == "c" or not dtypes.is_inexact(kind):
            return _clip_ordered(a, bounds, low is None, high is None)
        low = None if low is None else bounds[0]
        high = None if high is None else bounds[-1]
    if low is None and high is None:
        return positive(a)
    # One formula with an infinite bound: maximum alone would share the gradient at a tie.
    return _clip.bind(
        a, float("-inf") if low is None else low, float("inf") if high is None else high
    )


def _clip_ordered(x: Tensor, bounds: list[Tensor], no_low: bool, no_high: bool) -> Any:
    """clip where there is no infinity: of integers, and of complex numbers by their parts."""
    found = positive(x) if no_low else maximum(x, bounds[0])
    return found if no_high else minimum(found, bounds[-1])
