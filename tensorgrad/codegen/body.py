"""The nodes of a formula on one vector's worth of elements, as LLVM text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgrad.codegen.approx import BODIES, has_body
from tensorgrad.codegen.integers import BOOL_OPERATIONS, Integers, integer_call
from tensorgrad.codegen.typed import BOOL, INT64, LOGIC, Types, is_float, root
from tensorgrad.codegen.typed import bound as bound
from tensorgrad.codegen.vectors import Vectors
from tensorgrad.expr.formula import Formula
from tensorgrad.expr.graph import topo
from tensorgrad.expr.ir import Expr

_PREDICATES = {"lt": "olt", "le": "ole", "eq": "oeq"}


_ARITHMETIC = frozenset({"add", "sub", "mul", "div", "neg"})


def supported(e: Expr, double: bool = True) -> bool:
    """Whether `Body` without types can write the node: real numbers and bools, no integers."""
    if e.op == "const":
        return e.kind == "b" or is_float(e.value)
    if e.kind not in "fb":
        return False
    real = [a.kind == "f" or (a.op == "const" and a.kind == "i") for a in e.args]
    reals = all(real) and any(a.kind == "f" for a in e.args)
    if e.op == "call":
        return reals and has_body(e.value, double)
    if e.op in _PREDICATES:
        return reals or (e.op == "eq" and all(a.kind == "b" for a in e.args))
    if e.op in _ARITHMETIC:
        return e.kind == "f" and all(real)
    if e.op in LOGIC:
        return e.kind == "b"
    if e.op == "cast":
        return e.args[0].kind in "fb"
    return e.op in ("input", "select", "bc", "stop")


class Body:
    """The nodes of a formula on one vector's worth of elements.

    Without `types` real nodes are floats of the vectors' width and integers have 64 bits. `index`
    is the register of the elements' positions, for the formulas that ask for them.
    """

    def __init__(self, v: Vectors, types: Types | None = None, index: str = "") -> None:
        self.v, self.types, self.index = v, types, index
        self._real: np.dtype[Any] = np.dtype(np.float64 if v.double else np.float32)

    def values(self, formula: Formula, inputs: Sequence[str]) -> list[str]:
        """One register per output, given one per input."""
        known = dict(zip(formula.inputs, inputs, strict=True))
        for e in topo(formula.outputs):
            if e not in known and e.op not in ("const", "bc", "stop"):
                met = self.met(e)
                kinds = [BOOL if e.op == "select" and k == 0 else met for k in range(len(e.args))]
                args = [self.argument(a, t, known) for a, t in zip(e.args, kinds)]
                known[e] = self.node(e, args)
        return [self.argument(o, self.of(o), known) for o in formula.outputs]

    def argument(self, e: Expr, met: np.dtype[Any], known: dict[Expr, str]) -> str:
        """The register of e's value, or its constant, in the dtype that meets it."""
        e = root(e)
        if e.op == "const":
            return self.constant(e.value, met)
        return self.convert(known[e], self.of(e), met)

    def of(self, e: Expr) -> np.dtype[Any]:
        """The dtype of a node's value."""
        if self.types is not None:
            return self.types.output(e)
        return {"f": self._real, "i": INT64, "b": BOOL}[e.kind]

    def met(self, e: Expr) -> np.dtype[Any]:
        """The dtype in which a node takes its arguments."""
        if self.types is not None:
            return self.types.met.get(e, INT64)
        args = e.args[1:] if e.op == "select" else e.args
        kinds = {a.kind for a in args} | ({"f"} if e.kind == "f" and e.op != "cast" else set())
        kind = max(kinds or {e.kind}, key="bif".index)
        return {"f": self._real, "i": INT64, "b": BOOL}[kind]

    def constant(self, value: Any, met: np.dtype[Any]) -> str:
        if met.kind == "b":
            return self.v.bool_const(bool(value))
        if met.kind == "f":
            return self.v.const(bound(value, self.v.double))
        return Integers(self.v, met).const(value)

    def convert(self, x: str, source: np.dtype[Any], target: np.dtype[Any]) -> str:
        """A value as another dtype, as NumPy casts it; nothing becomes an integer but integers."""
        v = self.v
        if source == target:
            return x
        if target.kind == "b":
            if source.kind == "f":
                return v.compare("une", x, v.const(0))
            return Integers(v, source).compare("ne", x, "zeroinitializer")
        if target.kind == "f" and source.kind == "b":
            return v.select(x, v.const(1), v.const(0))
        before = v.bools if source.kind == "b" else v.of(f"i{8 * source.itemsize}")
        if target.kind == "f":
            name = "sitofp" if source.kind == "i" else "uitofp"
            return v.text.value(f"{name} {before} {x} to {v.floats}")
        after = v.of(f"i{8 * target.itemsize}")
        if before == after:
            return x
        name = "sext" if source.kind == "i" else "zext"
        if source.itemsize > target.itemsize:
            name = "trunc"
        return v.text.value(f"{name} {before} {x} to {after}")

    def node(self, e: Expr, args: list[str]) -> str:
        """The register of one node, given those of its arguments in the dtype that meets them."""
        if e.op == "const":
            return self.constant(e.value, BOOL if e.kind == "b" else self._real)
        if e.op in ("bc", "stop"):
            return args[0]
        if e.op == "index":
            return self.index
        met = self.met(e)
        if e.op == "cast":
            return self.convert(args[0], met, self.of(e))
        if met.kind == "f":
            return self._on_floats(e, args)
        if met.kind == "b":
            return self._on_bools(e, args)
        return self._on_integers(e, args, met)

    def _on_floats(self, e: Expr, args: list[str]) -> str:
        v = self.v
        if e.op == "call":
            return BODIES[e.value](v, *args)
        if e.op in _PREDICATES:
            return v.compare(_PREDICATES[e.op], *args)
        return str(getattr(v, e.op)(*args))

    def _on_bools(self, e: Expr, args: list[str]) -> str:
        if e.op == "select":
            condition, a, b = args
            return self.v.select(condition, a, b, self.v.bools)
        return BOOL_OPERATIONS[e.value if e.op == "call" else e.op](self.v, *args)

    def _on_integers(self, e: Expr, args: list[str], met: np.dtype[Any]) -> str:
        if e.op == "call":
            return integer_call(e.value, self.v, met, args)
        integers = Integers(self.v, met)
        if e.op in _PREDICATES:
            return integers.compare(e.op, *args)
        return str(getattr(integers, e.op)(*args))
