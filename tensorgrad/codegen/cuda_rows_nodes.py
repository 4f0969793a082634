"""The nodes of a reduce formula on one element, as CUDA C++ text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad import dtypes
from tensorgrad.codegen.cuda_body import number
from tensorgrad.codegen.rows_plan import integer, root
from tensorgrad.codegen.typed import is_float
from tensorgrad.expr.ir import Expr
from tensorgrad.expr.leaf import find_leaf

_SIGNS = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<=", "eq": "==",
    "and": "&&", "or": "||",
}  # fmt: skip
_WRAP = frozenset({"add", "sub", "mul"})
_BITS = {"bitand": "&", "bitor": "|", "bitxor": "^"}
_LIMIT = 2**63


def written(e: Expr) -> bool:
    """Whether `Nodes`, or the passes around it, can write the node."""
    if e.op in ("rsum", "rmax", "isum", "at"):
        return e.kind == "f"
    if e.op == "const":
        return e.kind == "b" or (is_float(e.value) and (e.kind == "f" or abs(e.value) < _LIMIT))
    if e.op == "call":
        leaf = find_leaf(e.value)
        return any(a.kind == "f" for a in e.args) and leaf.kind in ("f", "same", "b")
    if e.op == "cast":
        # What a float beyond the integers becomes differs between machines.
        return not (e.kind == "i" and root(e.args[0]).kind == "f")
    return e.op in _SIGNS or e.op in _BITS or e.op in _PLAIN


_PLAIN = frozenset("input iota ncols nrows neg not select invert bc stop".split())


class Nodes:
    """Writes expressions of scalars: real ones in `real`, integers in i64, bools in bool."""

    def __init__(self, computed: np.dtype[Any]) -> None:
        self.double = computed == dtypes.float64
        self.real = "double" if self.double else "float"

    def type_of(self, e: Expr) -> str:
        """The C type of a value."""
        return {"f": self.real, "i": "i64", "b": "bool"}[e.kind]

    def literal(self, constant: Expr, user: Expr) -> str:
        """A constant as an argument of `user`."""
        if constant.kind == "b":
            return "true" if constant.value else "false"
        if not integer(user):
            return number(constant.value, self.double)
        return f"i64({constant.value})"

    def arguments(self, e: Expr, value: Callable[[Expr], str]) -> list[str]:
        """The arguments of `e`, `value` giving the names of those that are no constants."""
        roots = [root(a) for a in e.args]
        return [self.literal(a, e) if a.op == "const" else value(a) for a in roots]

    def node(self, e: Expr, args: list[str]) -> str:
        """The expression of one node, given those of its arguments."""
        if e.op == "call":
            return find_leaf(e.value).cuda.format(*args, T=self.real)
        if e.op == "select":
            return f"{args[0]} ? {args[1]} : {args[2]}"
        if e.op == "cast":
            if e.kind == "b":
                return f"{args[0]} != 0"
            return f"static_cast<{self.type_of(e)}>({args[0]})"
        if e.op == "not":
            return f"!{args[0]}"
        if e.op == "neg" and e.kind == "i":
            return f"i64(u64(0) - u64({args[0]}))"
        if e.op == "neg":
            return f"-{args[0]}"
        if e.op == "invert":
            return f"~{args[0]}"
        if e.op in _WRAP and e.kind == "i":
            return f"i64(u64({args[0]}) {_SIGNS[e.op]} u64({args[1]}))"
        return f"{args[0]} {_SIGNS.get(e.op) or _BITS[e.op]} {args[1]}"
