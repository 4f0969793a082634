"""Staged formulas whose rows lie in segments: a view (outer, kept, inner), reduced but for kept.

No array is turned. Each pass reduces the segments, rows of (outer x kept, inner), to partial
values; a second, small kernel folds these over the outer axes; the last pass reads what was found
once for every segment. Order and number of partial values follow from the shape alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from tensorgrad import shapes
from tensorgrad.backend.numpy_staged import Layout, inner_axes
from tensorgrad.expr import COLUMN, ELEMENT, ROW, SCALAR, Expr, Formula, rmax, rsum, topo
from tensorgrad.expr import input as variable
from tensorgrad.expr.formula import substitute

Array = Any
Source = tuple[str, int]
"""What a stage reads: ("in", k) an input, ("found", k) a reduction, ("n", 0) the columns."""

_ALIASES, _FOLDS = ("bc", "stop"), ("rsum", "rmax")
_REFUSED = frozenset({"iota", "at", "isum", "nrows"})
"""Nodes that number columns or add up rows: a segment alone does not know them."""


class Stage:
    """One kernel over all segments: its formula, and what its inputs are."""

    def __init__(self, name: str, outputs: Sequence[Expr], known: dict[Expr, Source]) -> None:
        used = {e for e in topo(outputs) if e.op == "input"}
        inputs = tuple([e for e in known if e in used])
        self.formula = Formula(name, inputs, tuple(outputs))
        self.sources = tuple([known[e] for e in inputs])


class Stages:
    """A formula as stages.

    passes: each makes the reductions of one depth; last: what has a column, and what is computed
        for a row, None where there is neither.
    folds: per reduction, in the order of the passes, how its partial values are joined.
    results: per output ("found", k) a reduction, or ("last", k) an output of the last stage.
    """

    def __init__(self, formula: Formula) -> None:
        known: dict[Expr, Source] = {e: ("in", k) for k, e in enumerate(formula.inputs)}
        size = variable("segments_n", "f", SCALAR)
        known[size] = ("n", 0)
        nodes = topo(formula.outputs)
        table = {e: size for e in nodes if e.op == "ncols"}
        depth: dict[Expr, int] = {}
        for e in nodes:
            depth[e] = max((depth[a] for a in e.args), default=0) + (e.op in _FOLDS)
        found = sorted([e for e in nodes if e.op in _FOLDS], key=depth.__getitem__)
        number = {e: k for k, e in enumerate(found)}
        self.folds = [e.op for e in found]
        self.passes: list[Stage] = []
        for level in sorted({depth[e] for e in found}):
            now = [e for e in found if depth[e] == level]
            stage = Stage(f"{formula.name}_pass{level}", substitute(now, table), known)
            self.passes.append(stage)
            for e in now:
                value = variable(f"segments_{number[e]}", "f", ROW)
                table[e], known[value] = value, ("found", number[e])
        rest = [o for o in formula.outputs if _root(o) not in number]
        self.last = Stage(f"{formula.name}_last", substitute(rest, table), known) if rest else None
        places = iter(range(len(rest)))
        self.results = [
            ("found", number[_root(o)]) if _root(o) in number else ("last", next(places))
            for o in formula.outputs
        ]


def _root(e: Expr) -> Expr:
    while e.op in _ALIASES and e.index == ROW:
        e = e.args[0]
    return e


@lru_cache(maxsize=256)
def _stages(formula: Formula) -> Stages | None:
    """The formula as stages, None where it is none of those that can be cut."""
    nodes = topo(formula.outputs)
    if any(e.op in _REFUSED for e in nodes):
        return None
    if any(o.index not in (ELEMENT, ROW) or o.kind != "f" for o in formula.outputs):
        return None
    if any(v.index == COLUMN or v.kind != "f" for v in formula.inputs):
        return None
    return Stages(formula)


@lru_cache(maxsize=8)
def _fold(op: str) -> Formula:
    function = rsum if op == "rsum" else rmax
    return Formula.trace(f"segments_{op}", function, [variable("x", "f", ELEMENT)])


def segmented(
    layout: Layout, kernel: Callable[[Formula, Any], Any], number: Callable[[int, Any], Array]
) -> Segmented | None:
    """What runs a formula on a view (outer, kept, inner), None for other views and formulas.

    kernel: makes what runs a formula over rows, of the dtype of its results; number: a 0-d array
        that nobody writes to, of a value and dtype, where the arrays are.
    """
    inner = inner_axes(layout.axis, layout.shape)
    if not inner or not all(layout.extent) or layout.computed.kind != "f":
        return None
    stages = _stages(layout.formula)
    return None if stages is None else Segmented(layout, stages, inner, kernel, number)


class Segmented:
    """Runs the stages of a formula on arrays of one layout."""

    shared = False
    direct = None

    def __init__(
        self, layout: Layout, stages: Stages, inner: shapes.Shape, kernel: Any, number: Any
    ) -> None:
        self._layout, self._stages = layout, stages
        self._rows, columns = layout.extent
        length = shapes.size(tuple([layout.shape[k] for k in inner]))
        self._outer = columns // length
        self._view: dict[str, Any] = {"axis": inner, "shape": layout.shape}
        self._lead = tuple([n for k, n in enumerate(layout.shape) if k not in inner])
        wide = layout.computed  # what is found for a segment is not rounded to 16 bits
        self._passes = [kernel(stage.formula, wide) for stage in stages.passes]
        self._last: Any = stages.last and kernel(stages.last.formula, layout.result)
        self._alone = stages.last is not None and not any(
            o.index == ELEMENT for o in stages.last.formula.outputs
        )
        self._folds = {op: kernel(_fold(op), wide) for op in set(stages.folds)}
        self._number, self._columns = number, columns

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        layout, stages = self._layout, self._stages
        found: list[Array] = []
        for stage, run in zip(stages.passes, self._passes):
            partial = run(*self._values(stage, arrays, found), **self._view)
            for part in partial if isinstance(partial, tuple) else (partial,):
                found.append(self._folded(part, stages.folds[len(found)]))
        outs: Any = ()
        if stages.last is not None:
            outs = self._rest(stages.last, arrays, found)
        results = []
        for (kind, k), o in zip(stages.results, layout.formula.outputs):
            value = found[k] if kind == "found" else outs[k]
            value = value.reshape(layout.whole(ROW)) if o.index == ROW else value
            same = value.dtype == layout.result
            results.append(value if same else value.astype(layout.result))
        return results

    def _values(
        self, stage: Stage, given: Sequence[Array], found: Sequence[Array], spread: bool = True
    ) -> list[Array]:
        """What a stage reads; a value of a row once for each of its segments."""
        values = []
        for (kind, k), v in zip(stage.sources, stage.formula.inputs):
            if kind == "n":
                value = self._number(self._columns, self._layout.computed)
            else:
                value = given[k] if kind == "in" else found[k]
            if v.index == ROW:
                value = value.reshape((1, self._rows))
                value = value.repeat(self._outer, 0).reshape(self._lead) if spread else value[0]
            values.append(value)
        return values

    def _folded(self, partial: Array, op: str) -> Array:
        """The partial values of the segments of each row joined."""
        shape = (self._outer, self._rows)
        return self._folds[op](partial.reshape(shape), axis=(0,), shape=shape)

    def _rest(
        self, stage: Stage, given: Sequence[Array], found: Sequence[Array]
    ) -> Sequence[Array]:
        """The outputs of the last stage; of one for a row the first of its segments."""
        view = {"axis": (1,), "shape": (self._rows, 1)} if self._alone else self._view
        outs = self._last(*self._values(stage, given, found, not self._alone), **view)
        outs = outs if isinstance(outs, tuple) else (outs,)
        if self._alone:
            return outs
        pairs = zip(outs, stage.formula.outputs)
        return [a.reshape(self._outer, -1)[0] if o.index == ROW else a for a, o in pairs]
