"""The nodes of a formula on one vector's worth of elements, as LLVM text."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgrad.codegen.approx import BODIES
from tensorgrad.codegen.vectors import Vectors
from tensorgrad.expr.formula import Formula
from tensorgrad.expr.graph import topo
from tensorgrad.expr.ir import Expr

_PREDICATES = {"lt": "olt", "le": "ole", "eq": "oeq"}
_ARITHMETIC = frozenset({"add", "sub", "mul", "div"})
_LOGIC = frozenset({"and", "or"})


def bound(value: Any, double: bool) -> float:
    """A constant as the number of the compute dtype that the interpreter gives it.

    Raises OverflowError for an integer beyond every float.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(np.asarray(value, np.float64 if double else np.float32))


def supported(e: Expr) -> bool:
    """Whether `Body` can write the node."""
    if e.op == "const":
        return e.kind == "b" or _is_float(e.value)
    if e.kind not in "fb":
        return False
    real = [a.kind == "f" or (a.op == "const" and a.kind == "i") for a in e.args]
    if e.op == "input":
        return True
    if e.op == "call":
        return e.value in BODIES and all(real) and any(a.kind == "f" for a in e.args)
    if e.op in ("lt", "le"):
        return all(real) and any(a.kind == "f" for a in e.args)
    if e.op == "eq":
        bools = all(a.kind == "b" for a in e.args)
        return bools or (all(real) and any(a.kind == "f" for a in e.args))
    if e.op in _ARITHMETIC or e.op == "neg":
        return e.kind == "f" and all(real)
    if e.op in _LOGIC or e.op == "not":
        return e.kind == "b"
    if e.op == "cast":
        return e.args[0].kind in "fb"
    return e.op in ("select", "bc", "stop")


def _is_float(value: Any) -> bool:
    try:
        bound(value, True)
    except OverflowError:
        return False
    return True


class Body:
    """The nodes of a formula on one vector's worth of elements."""

    def __init__(self, v: Vectors) -> None:
        self.v = v

    def values(self, formula: Formula, inputs: Sequence[str]) -> list[str]:
        """One register per output, given one per input."""
        known = dict(zip(formula.inputs, inputs, strict=True))
        for e in topo(formula.outputs):
            if e not in known:
                known[e] = self.node(e, [known[a] for a in e.args])
        return [known[o] for o in formula.outputs]

    def node(self, e: Expr, args: list[str]) -> str:
        """The register of one node, given those of its arguments."""
        v = self.v
        if e.op == "const":
            if e.kind == "b":
                return v.bool_const(e.value)
            return v.const(bound(e.value, v.double))
        if e.op == "call":
            return BODIES[e.value](v, *args)
        if e.op in _ARITHMETIC or e.op == "neg":
            return str(getattr(v, e.op)(*args))
        if e.op in _PREDICATES:
            if e.args[0].kind == "b":
                return v.logic("xor", v.logic("xor", *args), v.bool_const(True))
            return v.compare(_PREDICATES[e.op], *args)
        if e.op in _LOGIC:
            return v.logic(e.op, *args)
        if e.op == "not":
            return v.logic("xor", args[0], v.bool_const(True))
        if e.op == "select":
            condition, a, b = args
            return v.select(condition, a, b, v.bools if e.kind == "b" else v.floats)
        if e.op == "cast" and e.kind == "f":
            return v.select(args[0], v.const(1), v.const(0))
        if e.op == "cast":
            return v.compare("une", args[0], v.const(0))
        return args[0]
