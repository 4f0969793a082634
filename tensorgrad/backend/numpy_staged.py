"""Staged formulas on NumPy arrays: a (row, column) view, the reduced axes as columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad.backend.numpy_formula import deliver
from tensorgrad.expr import COLUMN, ELEMENT, ROW, Formula
from tensorgrad.expr.evaluate import plan

Array = np.ndarray[Any, Any]


class ReduceKernel:
    """A staged formula over a (row, column) view; `axis` are the columns."""

    def __init__(self, formula: Formula) -> None:
        self._formula = formula
        self._ready: dict[Any, Layout] = {}

    def __call__(
        self,
        *arrays: Array,
        axis: tuple[int, ...],
        shape: tuple[int, ...],
        out: Any = None,
    ) -> Any:
        key = (axis, shape, *[a.dtype for a in arrays])
        layout = self._ready.get(key)
        if layout is None:
            if len(self._ready) > 256:
                self._ready.clear()
            layout = self._ready[key] = Layout(self._formula, axis, shape, key[2:])
        found = layout.run(layout.flat(arrays), shape=layout.extent)
        outs = layout.shaped(found)
        return deliver(outs, out, len(outs) == 1)


class Layout:
    """How a staged formula runs on arrays of one shape and dtypes: casts, views, the plan."""

    def __init__(
        self, formula: Formula, axis: tuple[int, ...], shape: tuple[int, ...], given: Any
    ) -> None:
        floats = [d for d, v in zip(given, formula.inputs) if v.kind == "f"]
        self._result = dtypes.inexact(dtypes.result_type(*floats))
        self._computed = dtypes.compute(self._result)
        self.run = plan(formula, self._computed)
        kept = tuple(k for k in range(len(shape)) if k not in axis)
        straight = kept + axis == tuple(range(len(shape)))
        self._order = None if straight else kept + axis
        self._back = None if straight else tuple(np.argsort(kept + axis))
        rows, columns = (tuple(shape[k] for k in part) for part in (kept, axis))
        self.extent = (shapes.size(rows), shapes.size(columns))
        sizes = {ELEMENT: self.extent, ROW: (self.extent[0], 1), COLUMN: (1, self.extent[1])}
        whole = {ELEMENT: rows + columns, ROW: rows, COLUMN: columns}
        self._inputs = [
            (v.index, sizes.get(v.index, (1, 1)), v.kind == "f" and d != self._computed)
            for v, d in zip(formula.inputs, given)
        ]
        cast = self._result != self._computed
        self._outputs = [
            (o.index, whole.get(o.index, ()), cast and o.kind == "f") for o in formula.outputs
        ]

    def flat(self, arrays: Sequence[Array]) -> list[Array]:
        """The inputs as (rows, columns), (rows, 1), (1, columns) or (1, 1)."""
        found = []
        for a, (index, size, cast) in zip(arrays, self._inputs):
            if index == ELEMENT and self._order is not None:
                a = a.transpose(self._order)
            if a.shape != size:
                a = a.reshape(size)
            found.append(a.astype(self._computed) if cast else a)
        return found

    def shaped(self, found: Sequence[Array]) -> list[Array]:
        """The outputs in the shapes and the dtype that they have outside."""
        outs = []
        for f, (index, whole, cast) in zip(found, self._outputs):
            if f.shape != whole:
                f = f.reshape(whole)
            if index == ELEMENT and self._back is not None:
                f = f.transpose(self._back)
            outs.append(f.astype(self._result) if cast else f)
        return outs
