"""The dtype of every node of a formula, as the interpreter's calls of NumPy would give it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tensorgrad import dtypes
from tensorgrad.codegen.approx import has_body
from tensorgrad.expr.formula import Formula
from tensorgrad.expr.graph import topo
from tensorgrad.expr.ir import Expr
from tensorgrad.expr.leaf import LEAVES

BOOL, INT64 = dtypes.bool_, dtypes.int64

COMPARISONS = frozenset({"lt", "le", "eq"})
LOGIC = frozenset({"and", "or", "not"})
BITS = frozenset({"bitand", "bitor", "bitxor", "shl", "shr", "invert"})
_ARITHMETIC = frozenset({"add", "sub", "mul", "neg"})
_ANY = COMPARISONS | {"select", "cast"}
_FLOAT = _ANY | _ARITHMETIC | {"div"}
_INTEGER = _ANY | _ARITHMETIC | BITS
_BOOL = _ANY | LOGIC | {"add", "mul"}

INTEGER_LEAVES = frozenset(
    "abs sign square maximum minimum fmax fmin clip relu floor ceil trunc round "
    "isnan isinf isfinite signbit".split()
)
"""Leaves that NumPy computes on integers exactly, without a detour and without a warning."""

BOOL_LEAVES = frozenset("maximum minimum fmax fmin clip relu".split())


class RefusedError(Exception):
    """Generated code cannot follow the interpreter here."""


def root(e: Expr) -> Expr:
    """The node whose value `e` has: structure without a step is skipped."""
    while e.op in ("bc", "stop"):
        e = e.args[0]
    return e


def bound(value: Any, double: bool) -> float:
    """A constant as the number of the compute dtype that the interpreter gives it.

    Raises OverflowError for an integer beyond every float.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(np.asarray(value, np.float64 if double else np.float32))


class Types:
    """`of[e]`, the dtype of a value, and `met[e]`, the one in which e takes its arguments.

    Constants have none: they take the dtype that meets them. `dtype` is that of the real inputs,
    `integers` has one dtype per integer input. Raises RefusedError where a node
    cannot be generated.
    """

    def __init__(self, formula: Formula, dtype: Any, integers: Sequence[Any]) -> None:
        self.real: np.dtype[Any] = dtypes.compute(np.dtype(dtype))
        _need(self.real.kind in "fiub")
        self.of: dict[Expr, np.dtype[Any]] = {}
        self.met: dict[Expr, np.dtype[Any]] = {}
        given = iter(integers)
        for e in formula.inputs:
            self.of[e] = np.dtype(next(given)) if e.kind == "i" else self._plain(e.kind)
            _need(self.of[e].kind in "iu" or e.kind != "i")
        for e in topo(formula.outputs):
            if e.op not in ("input", "const", "bc", "stop"):
                self._node(e)
        for o in map(root, formula.outputs):
            if o.op == "const":
                _need(o.kind != "i" and self.fits(o.value, self._plain(o.kind)))

    def output(self, o: Expr) -> np.dtype[Any]:
        """The dtype in which an output is computed."""
        found = root(o)
        return self._plain(o.kind) if found.op == "const" else self.of[found]

    def fits(self, value: Any, met: np.dtype[Any]) -> bool:
        """Whether a constant is taken in that dtype, as the interpreter takes it."""
        if met.kind == "b":
            return isinstance(value, bool) or (isinstance(value, int) and value in (0, 1))
        if met.kind == "f":
            return is_float(value)
        if isinstance(value, bool) or not isinstance(value, int):
            return False
        info = np.iinfo(met)
        return bool(info.min <= value <= info.max)

    def _plain(self, kind: str) -> np.dtype[Any]:
        return BOOL if kind == "b" else self.real

    def _node(self, e: Expr) -> None:
        if e.op == "index":
            self.of[e] = INT64
            return
        args = [root(a) for a in (e.args[1:] if e.op == "select" else e.args)]
        met = self.met[e] = self._meeting(e, args)
        allowed = {"f": _FLOAT, "i": _INTEGER, "u": _INTEGER, "b": _BOOL}[met.kind]
        _need(self._has_leaf(e, met) if e.op == "call" else e.op in allowed)
        for a in args:
            if a.op == "const":
                _need(self.fits(a.value, met))
            else:
                _need(self.of[a] == met or (self.of[a].kind in "iu" and met.kind in "iu"))
        self.of[e] = self._result(e, met)
        # What a conversion of a float beyond the integers gives differs between processors.
        _need(e.op != "cast" or met.kind != "f" or e.kind != "i")

    def _meeting(self, e: Expr, args: list[Expr]) -> np.dtype[Any]:
        if e.op == "cast":
            _need(args[0].op != "const" or e.kind == "f")
            return self.real if args[0].op == "const" else self.of[args[0]]
        kind = e.kind
        if e.op in COMPARISONS or e.op == "call":
            kinds = {a.kind for a in e.args} | ({"f"} if e.kind == "f" else set())
            kind = max(kinds, key="bif".index)
        return self._promoted(e, args) if kind == "i" else self._plain(kind)

    def _promoted(self, e: Expr, args: Iterable[Expr]) -> np.dtype[Any]:
        found = [self.of[a] for a in args if a.op != "const"]
        if not found:
            _need(e.op == "select")
            return INT64
        met = np.result_type(*found)
        _need(met.kind in "iu")
        return met

    def _has_leaf(self, e: Expr, met: np.dtype[Any]) -> bool:
        if met.kind == "f":
            return has_body(e.value, met.itemsize == 8)
        return e.value in (BOOL_LEAVES if met.kind == "b" else INTEGER_LEAVES)

    def _result(self, e: Expr, met: np.dtype[Any]) -> np.dtype[Any]:
        if e.op == "cast":
            whole = self.real if self.real.kind in "iu" else INT64
            return whole if e.kind == "i" else self._plain(e.kind)
        if e.op in COMPARISONS or (e.op == "call" and LEAVES[e.value].kind == "b"):
            return BOOL
        return met


def _need(holds: bool) -> None:
    if not holds:
        raise RefusedError


def is_float(value: Any) -> bool:
    """Whether a constant is within the range of the floats."""
    try:
        bound(value, True)
    except OverflowError:
        return False
    return True
