"""How a reduce formula runs over a row: in passes, each ending in the reductions the next reads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from tensorgrad.codegen.body import supported
from tensorgrad.expr.formula import Formula
from tensorgrad.expr.graph import topo
from tensorgrad.expr.ir import COLUMN, ELEMENT, ROW, Expr

MOST_PASSES, MOST_OPERANDS, MOST_WORK = 6, 32, 3000
"""Bounds of a kernel: readings of a row, arguments, and what compiles in half a second."""

_CALL_WORK = 20
_FOLDS = frozenset({"rsum", "rmax"})
_ALIASES = frozenset({"bc", "stop"})
_COMPARE = frozenset({"lt", "le", "eq"})
_LIGHT = frozenset(
    "abs sign square relu maximum minimum fmax fmin clip floor ceil trunc round copysign "
    "reciprocal sqrt isnan isinf isfinite signbit".split()
)
"""Leaves that cost no more than storing their value and loading it again."""


def root(e: Expr) -> Expr:
    """What the value of `e` is the broadcast of."""
    while e.op in _ALIASES:
        e = e.args[0]
    return e


def integer(e: Expr) -> bool:
    """Whether the constants among the arguments of `e` are integers."""
    if e.op in _COMPARE:
        return all(a.kind == "i" for a in e.args)
    return e.kind == "i"


class Plan:
    """The passes over a row that compute some outputs, given with their numbers as operands.

    depth: per node the passes that must be over before its value is known.
    passes: per pass its reductions; what comes after the last is not among them.
    cones: per pass, and for what comes after, the nodes with a column that are computed in it.
    kept: nodes that several passes need and that cost more than to store them and load them;
        none unless `keep`.
    """

    def __init__(self, outputs: Sequence[tuple[int, Expr]], keep: bool) -> None:
        self.outputs = tuple(outputs)
        self.order = [e for e in topo([o for _, o in outputs]) if e.op not in _ALIASES]
        self._place = {e: k for k, e in enumerate(self.order)}
        depth: dict[Expr, int] = {}
        for e in self.order:
            depth[e] = max((depth[root(a)] for a in e.args), default=0) + (e.op in _FOLDS)
        found = [e for e in self.order if e.op in _FOLDS]
        deepest = max((depth[e] for e in found), default=0)
        self.depth = depth
        self.passes = [[e for e in found if depth[e] == d + 1] for d in range(deepest)]
        self.wide = [(k, o) for k, o in self.outputs if o.index & COLUMN]
        self.narrow = [(k, o) for k, o in self.outputs if not o.index & COLUMN]
        ends = [[e.args[0] for e in p] for p in self.passes] + [[value(o) for _, o in self.wide]]
        cones = [set(self.cone(roots)) for roots in ends]  # `in` a list would compare
        shared = [e for e in self.order if _heavy(e) and sum(e in c for c in cones) > 1]
        self.kept = shared if keep else []
        self.cones: list[list[Expr]] = []
        stored: set[Expr] = set()
        for roots in ends:
            self.cones.append(self.cone(roots, stored))
            stored |= set(self.kept) & set(self.cones[-1])

    @property
    def sums_rows(self) -> bool:
        """Whether an output adds up the rows."""
        return any(o.op == "isum" for _, o in self.outputs)

    def _sorted(self, nodes: Iterable[Expr]) -> list[Expr]:
        return sorted(nodes, key=self._place.__getitem__)

    def cone(self, roots: Iterable[Expr], stored: Collection[Expr] = ()) -> list[Expr]:
        """The nodes with a column that `roots` reach, not through one without or one `stored`."""
        seen: set[Expr] = set()
        stack = [root(e) for e in roots]
        while stack:
            e = stack.pop()
            if e not in seen and e.index & COLUMN:
                seen.add(e)
                stack += [] if e in stored else [root(a) for a in e.args]
        return self._sorted(seen)

    def rows(self, roots: Iterable[Expr]) -> list[Expr]:
        """The nodes without a column that `roots` rest on, without those below a reduction."""
        seen: set[Expr] = set()
        stack = [root(e) for e in roots]
        while stack:
            e = stack.pop()
            if e not in seen:
                seen.add(e)
                if e.op not in _FOLDS:
                    stack += [root(a) for a in e.args]
        return self._sorted(e for e in seen if not e.index & COLUMN)


def _heavy(e: Expr) -> bool:
    return e.op == "call" and e.index == ELEMENT and e.kind == "f" and e.value not in _LIGHT


def value(o: Expr) -> Expr:
    """What an output holds or adds up."""
    return root(o.args[0] if o.op == "isum" else o)


def split(formula: Formula, keep: bool) -> tuple[Plan, Plan]:
    """The outputs that depend on the rows, and those that every row would write alike."""
    first = len(formula.inputs)
    outs = list(enumerate(formula.outputs, first))
    own = {k for k, o in outs if o.op == "isum" or o.index & ROW}
    parts = [p for p in outs if p[0] in own], [p for p in outs if p[0] not in own]
    return Plan(parts[0], keep), Plan(parts[1], keep)


def supports(formula: Formula, dtype: Any, leading: bool) -> bool:
    """Whether the formula has a generated kernel in `dtype`; the interpreter runs the rest."""
    if np.dtype(dtype) not in (np.dtype(np.float32), np.dtype(np.float64)):
        return False
    outs = formula.outputs
    if len(formula.inputs) + len(outs) > MOST_OPERANDS or any(o.kind != "f" for o in outs):
        return False
    plans = split(formula, not leading)
    if any(len(p.passes) > MOST_PASSES for p in plans):
        return False
    seen = {*formula.inputs, *(e for p in plans for e in p.order)}
    if leading and (plans[1].outputs or any(e.op in ("isum", "at") for e in seen)):
        return False
    double = np.dtype(dtype) == np.dtype(np.float64)
    if not all(_written(e, leading, double) for e in seen):
        return False
    work = [e for p in plans for cone in p.cones for e in cone]
    return sum(2 + 2 * _CALL_WORK * (e.op == "call") for e in work) <= MOST_WORK


def _written(e: Expr, leading: bool, double: bool) -> bool:
    """Whether the emitters can write the node."""
    if e.op in ("rsum", "rmax", "isum", "at"):
        return e.kind == "f"
    if e.op in ("iota", "ncols", "nrows"):
        return True
    if e.op == "input" and e.kind == "i":
        return not leading and not e.index & COLUMN
    if e.op == "const" and e.kind == "i":
        return bool(abs(e.value) < 2**63)
    if e.op in _COMPARE and integer(e):
        return _whole(e, leading)
    if e.op == "cast" and root(e.args[0]).kind == "i":
        return e.kind == "f" and (root(e.args[0]).op in ("const", "iota") or not e.index & COLUMN)
    if e.kind == "i":
        return not e.index & COLUMN and e.op in ("add", "sub", "mul", "neg", "select")
    return supported(e, double)


def _whole(e: Expr, leading: bool) -> bool:
    """Integers are compared without a column, or with the number of the column."""
    wide = [root(a) for a in e.args if root(a).index & COLUMN]
    return all(a.op == "iota" for a in wide) and (not leading or not e.index & ROW)
