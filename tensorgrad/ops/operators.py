"""Python's operators where an operation itself does not serve, and the other names of operations.

`OPERATORS` are Tensor methods by name; all others are operations and stand in the registry.
`ALIASES` are further names: the Python array API standard's, and NumPy's own second ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tensorgrad import dtypes
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import operation
from tensorgrad.core.tensor import Tensor
from tensorgrad.expr import Expr
from tensorgrad.ops.compare import equal, not_equal
from tensorgrad.ops.elementary import sqrt
from tensorgrad.ops.elementwise import power, reciprocal, square

ALIASES = {
    "abs": "absolute",
    "acos": "arccos",
    "acosh": "arccosh",
    "amax": "max",
    "amin": "min",
    "asin": "arcsin",
    "asinh": "arcsinh",
    "atan": "arctan",
    "atan2": "arctan2",
    "atanh": "arctanh",
    "bitwise_invert": "invert",
    "bitwise_left_shift": "left_shift",
    "bitwise_not": "invert",
    "bitwise_right_shift": "right_shift",
    "concat": "concatenate",
    "conjugate": "conj",
    "degrees": "rad2deg",
    "mod": "remainder",
    "permute_dims": "transpose",
    "radians": "deg2rad",
    "true_divide": "divide",
}

_SHORT = {2: square, 0.5: sqrt, -1: reciprocal}
_ARRAYS = (Tensor, bool, int, float, complex, list, tuple)


def _pow_samples(r: Any) -> Any:
    for exponent in (2, 0.5, -1, 3, -2.0, 0, 1):
        yield (r.uniform(0.3, 2, 3, 2), exponent), {}
    yield (r.uniform(0.3, 2), 2), {}
    yield (r.uniform(0.3, 2, 0, 3), 2), {}
    yield (r.uniform(0.3, 2, 4, 3).T, r.uniform(-2, 2, 3, 1)), {}
    yield (2.0, r.normal(4)), {}
    yield (r.integers(-3, 4, 5), 2), {}


@operation(methods="__pow__", oracle=lambda x, y: x**y, samples=_pow_samples)
def pow(x: Any, y: Any, /) -> Any:
    """x ** y: `power`, with the number 2, 0.5 or -1 as square, square root or reciprocal."""
    if (type(y) is int or type(y) is float) and y in _SHORT:
        if type(x) is Expr:
            return x**y
        x = operand(x, (), "pow")
        if dtypes.is_inexact(x.dtype) or (y == 2 and x.dtype.kind == "b"):  # NumPy's int8
            return _SHORT[y](x)
    if type(y) is int and y < 0 and getattr(getattr(x, "dtype", None), "kind", "f") in "biu":
        raise ValueError(
            f"pow: got {x.dtype}{x.shape} to the power {y}, expected no negative integer powers of "
            "integers; try x.astype(float)"
        )
    return power(x, y)


def _eq(x: Any, y: Any) -> Any:
    return equal(x, y) if isinstance(y, _ARRAYS) or hasattr(y, "dtype") else NotImplemented


def _ne(x: Any, y: Any) -> Any:
    return not_equal(x, y) if isinstance(y, _ARRAYS) or hasattr(y, "dtype") else NotImplemented


OPERATORS: dict[str, Callable[[Any, Any], Any]] = {"__eq__": _eq, "__ne__": _ne}
"""These leave None, strings and the like to Python, which then compares identities."""
