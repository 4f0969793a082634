"""NumPy's own functions on expressions, so that code written for arrays can be traced."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from tensorgrad.expr.leaf import LEAVES


def truth(value: Any) -> Any:
    """A value as a condition: true where it is not 0 (so also for NaN)."""
    e = FUNCTIONS["lift"](value)
    return e if e.kind == "b" else e != 0


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "negative": operator.neg,
    "positive": operator.pos,
    "power": operator.pow,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "equal": operator.eq,
    "not_equal": operator.ne,
    "bitwise_and": operator.and_,
    "bitwise_or": operator.or_,
    "bitwise_xor": operator.xor,
    "invert": operator.invert,
    "left_shift": operator.lshift,
    "right_shift": operator.rshift,
    "logical_and": lambda a, b: truth(a) & truth(b),
    "logical_or": lambda a, b: truth(a) | truth(b),
    "logical_xor": lambda a, b: truth(a) ^ truth(b),
    "logical_not": lambda a: ~truth(a),
}
"""By NumPy's name; `ir` adds what it defines (call, lift, where)."""


def _leaf_named(name: str) -> str | None:
    for leaf in LEAVES.values():
        if leaf.numpy.rpartition(".")[2] == name:
            return leaf.name
    return None


class NumPyProtocols:
    """What makes `np.exp(e)`, `np.where(c, a, b)` and `np.float64(2) * e` expressions."""

    __slots__ = ()

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        return _apply(name, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return _apply(func.__name__, args, kwargs)


def _apply(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    known = FUNCTIONS.get(name)
    leaf = _leaf_named(name) if known is None else None
    if kwargs or (known is None and leaf is None):
        options = "".join(f", {k}=" for k in kwargs)
        raise TypeError(
            f"{name}: got a traced value{options}, expected an elementwise function without "
            "options; try it outside the formula"
        )
    exprs = map(FUNCTIONS["lift"], args)
    return FUNCTIONS["call"](leaf, *exprs) if known is None else known(*exprs)
