"""Staged formulas on NumPy arrays: a (row, column) view, the reduced axes as columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad.backend import memory, threads
from tensorgrad.backend.numpy_formula import deliver, quiet
from tensorgrad.expr import COLUMN, ELEMENT, ROW, Formula, topo
from tensorgrad.expr.evaluate import plan

Array = np.ndarray[Any, Any]
Run = Callable[[Sequence[Array]], Sequence[Array]]
Direct = tuple[Callable[..., int], tuple[int, ...], list[tuple[int, ...]], Any, Callable[..., Any]]
"""Generated code, its first arguments, its outputs: their shapes, their dtype, what makes them."""

GENERATED = 1  # the highest order of derivative that is compiled for arrays of any size
LARGE = 65_536  # elements from which a higher order is worth compiling too
COLUMNS = 2**31  # a kernel counts columns in 32 bits
PART = 128  # rows that are added one after the other in a sum over rows
SPLIT = 150_000  # nanoseconds of work from which threads share it
TURN = 2**16  # elements up to which arrays are turned where they would be read in segments
LINE, FEW = 64, 2048  # bytes side by side below which more elements are turned first
DONE, UNFIT = -1, -2


class ReduceKernel:
    """A staged formula over a (row, column) view; `axis` are the columns.

    Generated code computes it where there is some, for reduced axes that lie one after the other;
    arrays that lie otherwise in memory are copied. NumPy interprets the rest.
    """

    def __init__(self, formula: Formula, order: int = 0, result: Any = None) -> None:
        """`result`: the dtype of the outputs where it is not what the inputs promote to."""
        self._formula, self._order, self._result = formula, order, result
        self._ready: dict[Any, Run] = {}
        self._direct: dict[Any, Direct] = {}

    def __call__(
        self,
        *arrays: Array,
        axis: tuple[int, ...],
        shape: tuple[int, ...],
        out: Any = None,
    ) -> Any:
        direct = self._direct.get((axis, shape))
        if direct is not None:
            code, numbers, shapes, dtype, make = direct
            outs = [make(s, dtype) for s in shapes]
            # Other dtypes, and arrays that are not contiguous, are left to the way below.
            if code(*numbers, *arrays, *outs) == DONE:
                if out is None:
                    return outs[0] if len(outs) == 1 else tuple(outs)
                return deliver(outs, out, len(outs) == 1)
        found = self._prepared(axis, shape, arrays)(arrays)
        if out is None:
            return found[0] if len(found) == 1 else tuple(found)
        return deliver(found, out, len(found) == 1)

    def _prepared(
        self, axis: tuple[int, ...], shape: tuple[int, ...], arrays: Sequence[Array]
    ) -> Run:
        key = (axis, shape, *[a.dtype for a in arrays])
        run = self._ready.get(key)
        if run is None:
            if len(self._ready) > 256:
                self._ready.clear()
                self._direct.clear()
            layout = Layout(self._formula, axis, shape, key[2:], self._result)
            run = self._ready[key] = self._made(layout)
        return run

    def _made(self, layout: Layout) -> Run:
        large = layout.extent[0] * layout.extent[1] > TURN
        if large and worth(layout, self._order) and inner_axes(layout.axis, layout.shape):
            from tensorgrad.backend.segments import segmented  # late: for import time

            parts = segmented(layout, lambda f, d: ReduceKernel(f, self._order, d), _number)
            if parts is not None:
                return _widened(parts, layout)
        made = generated(layout, self._order)
        if made is not None and made.direct is not None:
            self._direct[layout.axis, layout.shape] = made.direct
        return made or interpreted(layout, self._order)


class Layout:
    """How a staged formula lies in arrays of one shape and dtypes: casts, views, sizes."""

    def __init__(
        self,
        formula: Formula,
        axis: tuple[int, ...],
        shape: tuple[int, ...],
        given: Any,
        result: Any = None,
    ) -> None:
        floats = [d for d, v in zip(given, formula.inputs) if v.kind == "f"]
        self.formula, self.axis, self.shape, self.given = formula, axis, shape, given
        promoted = dtypes.inexact(dtypes.result_type(*floats))
        self.result = promoted if result is None else result
        self.computed = dtypes.compute(promoted)
        kept = tuple(k for k in range(len(shape)) if k not in axis)
        self.order = kept + axis
        self.straight = self.order == tuple(range(len(shape)))
        self.back = tuple(np.argsort(self.order).tolist())
        self.kept, self.reduced = (tuple(shape[k] for k in part) for part in (kept, axis))
        self.extent = (shapes.size(self.kept), shapes.size(self.reduced))

    def whole(self, index: int) -> tuple[int, ...]:
        """The shape of an array with that index set, its rows first."""
        found = {ELEMENT: self.kept + self.reduced, ROW: self.kept, COLUMN: self.reduced}
        return found.get(index, ())


@lru_cache(maxsize=256)
def _number(value: int, dtype: Any) -> Array:
    return np.asarray(value, dtype)


def _widened(run: Run, layout: Layout) -> Run:
    """`run` on 16-bit floats that are cast once, instead of in each of its stages."""
    if layout.result == layout.computed:
        return run

    def cast(arrays: Sequence[Array]) -> Sequence[Array]:
        return run([a.astype(layout.computed, copy=False) for a in arrays])

    return cast


# -- the interpreter ---------------------------------------------------------------------------


def interpreted(layout: Layout, order: int) -> Run:
    """The formula by NumPy's functions; where `order` is above 0 warnings are off anyway."""
    formula, computed = layout.formula, layout.computed
    steps = plan(formula, computed)
    if not order:
        steps = quiet(steps)
    sizes = {ELEMENT: layout.extent, ROW: (layout.extent[0], 1), COLUMN: (1, layout.extent[1])}
    inputs = [
        (v.index, sizes.get(v.index, (1, 1)), v.kind == "f" and d != computed)
        for v, d in zip(formula.inputs, layout.given)
    ]
    cast = layout.result != computed
    outputs = [(o.index, layout.whole(o.index), cast and o.kind == "f") for o in formula.outputs]

    def run(arrays: Sequence[Array]) -> list[Array]:
        flat = []
        for a, (index, size, casting) in zip(arrays, inputs):
            if index == ELEMENT and not layout.straight:
                a = a.transpose(layout.order)
            if a.shape != size:
                a = a.reshape(size)
            flat.append(a.astype(computed) if casting else a)
        outs = []
        for f, (index, whole, casting) in zip(steps(flat, shape=layout.extent), outputs):
            if f.shape != whole:
                f = f.reshape(whole)
            if index == ELEMENT and not layout.straight:
                f = f.transpose(layout.back)
            outs.append(f.astype(layout.result) if casting else f)
        return outs

    return run


# -- generated code ----------------------------------------------------------------------------


def worth(layout: Layout, order: int) -> bool:
    """Whether generated code pays: not for derivatives of high order on small arrays."""
    return order <= GENERATED or layout.extent[0] * layout.extent[1] >= LARGE


def generated(layout: Layout, order: int) -> Generated | None:
    """The formula as generated code, None where there is none."""
    rows, columns = layout.extent
    if not worth(layout, order) or not rows or layout.computed.kind != "f":
        return None
    if not 0 < columns < COLUMNS:
        return None
    inputs = zip(layout.formula.inputs, layout.given)
    casts = [_cast(v.kind, d, layout.computed) for v, d in inputs]
    if any(c is None for c in casts):  # float64 equals None
        return None
    from tensorgrad.codegen.rows import reduction  # late: for import time

    inner = side_by_side(layout.axis, layout.shape)
    if inner * layout.computed.itemsize < LINE and rows * columns > FEW:
        inner = 0
    code = reduction(layout.formula, layout.computed, True) if inner else None
    if code is None:
        inner = 0
        code = reduction(layout.formula, layout.computed, False, columns)
    return None if code is None else Generated(layout, order, code, casts, inner)


def _cast(kind: str, given: Any, computed: Any) -> Any:
    """The dtype in which generated code reads an input; None where the interpreter must refuse."""
    if kind == "f":
        return computed
    if kind == "i":
        return dtypes.int64 if given.kind in "iu" else None
    return given if given == dtypes.bool_ else None


def side_by_side(axis: tuple[int, ...], shape: tuple[int, ...]) -> int:
    """How many rows lie side by side, the reduced axes leading or in the middle; else 0."""
    long = [k for k in range(len(shape)) if shape[k] > 1]  # those of length 1 may lie anywhere
    order = [kind for kind, _ in groupby(long, lambda k: k in axis)]
    if order not in ([True, False], [False, True, False]):
        return 0
    return shapes.size(shape[max(k for k in long if k in axis) + 1 :])


def inner_axes(axis: shapes.Shape, shape: shapes.Shape) -> shapes.Shape:
    """The reduced axes behind the last kept one where others lie in front of the first, else ()."""
    long = [k for k in range(len(shape)) if shape[k] > 1]
    order = [kind for kind, _ in groupby(long, lambda k: k in axis)]
    if order != [True, False, True]:
        return ()
    last = max(k for k in long if k not in axis)
    return tuple([k for k in axis if k > last])


class Generated:
    """Runs generated code on arrays of one layout.

    code: as `codegen.rows.reduction` makes it; `inner` rows lie side by side in memory, or 0.
    """

    def __init__(
        self, layout: Layout, order: int, code: Callable[..., int], casts: list[Any], inner: int
    ) -> None:
        formula = layout.formula
        self._layout, self._code, self._order = layout, code, order
        self._rows, self._columns = layout.extent
        self._casts = [None if c == d else c for c, d in zip(casts, layout.given)]
        self._casting = any(c is not None for c in self._casts)
        self._turned = not inner and not _trailing(layout)
        self._small = self._rows * self._columns <= TURN
        self._back = layout.result if layout.result != layout.computed else None
        sums = [o.op == "isum" for o in formula.outputs]
        self._part = inner or (_part(self._rows, self._columns) if any(sums) else self._rows)
        parts = 1 if inner else -(-self._rows // self._part)
        self._folds = sums if parts > 1 else []
        self._shapes = [
            self._shape(o.index, parts if s else 1) for o, s in zip(formula.outputs, sums)
        ]
        large = self._rows * self._columns * layout.computed.itemsize >= memory.LARGE
        self._make: Callable[..., Any] = memory.empty if large else np.empty
        self._grain = self._chunk()
        plain = not (self._turned or self._folds or self._back)
        self._numbers = (self._rows, self._columns, 0, self._rows, self._part)
        self.direct: Direct | None = None
        if plain and not self._casting and not self._grain:
            self.direct = (code, self._numbers, self._shapes, layout.computed, self._make)
        self._plain, self.shared = plain, bool(self._grain)

    def _shape(self, index: int, parts: int) -> tuple[int, ...]:
        layout = self._layout
        whole = layout.shape if index == ELEMENT and not self._turned else layout.whole(index)
        return whole if parts == 1 else (parts, *whole)

    def _chunk(self) -> int:
        """The fewest rows that a thread takes, 0 where the work is too small to share."""
        formula = self._layout.formula
        nodes = topo(formula.outputs)
        shared = all(o.index & ROW or o.op == "isum" for o in formula.outputs)
        cost = 0.05 * len(nodes) + 0.3 * sum(e.op == "call" for e in nodes)
        if not shared or self._rows * self._columns * cost < SPLIT:
            return 0
        if any(o.op == "isum" for o in formula.outputs):  # one thread adds up a part
            return self._part if self._folds else 0
        return 64 if self._part < self._rows else -(-16_384 // self._columns)

    def __call__(self, arrays: Sequence[Array]) -> Sequence[Array]:
        """The outputs; raises IndexError where a label is out of range, as the interpreter does."""
        if self._casting:
            arrays = [a if c is None else a.astype(c) for a, c in zip(arrays, self._casts)]
        given = self._turn(arrays) if self._turned else arrays
        outs = [self._make(shape, self._layout.computed) for shape in self._shapes]
        status = self._run(given, outs)
        if status == UNFIT:
            status = self._run([np.ascontiguousarray(a).reshape(a.shape) for a in given], outs)
        if status != DONE:
            return interpreted(self._layout, self._order)(arrays)
        return outs if self._plain else self._finished(outs)

    def _run(self, arrays: Sequence[Array], outs: list[Array]) -> int:
        code, rows, columns, part = self._code, self._rows, self._columns, self._part
        if not self._grain or threads.get_num_threads() == 1:
            return code(*self._numbers, *arrays, *outs)
        found: list[int] = []

        def job(start: int, stop: int) -> None:
            found.append(code(rows, columns, start, stop, part, *arrays, *outs))

        threads.split(rows, self._grain, job)
        return max(found, key=lambda status: status != DONE)

    def _turn(self, arrays: Sequence[Array]) -> list[Array]:
        """The arrays with their reduced axes last, copied."""
        layout = self._layout
        return [
            np.ascontiguousarray(a.transpose(layout.order)) if v.index == ELEMENT else a
            for a, v in zip(arrays, layout.formula.inputs)
        ]

    def _finished(self, outs: list[Array]) -> list[Array]:
        """Outputs as they are outside: sums over rows added up, axes in place, cast."""
        found = list(outs)
        for k, o in enumerate(self._layout.formula.outputs):
            if self._folds and self._folds[k]:
                found[k] = _folded(found[k])
            elif o.index == ELEMENT and self._turned:
                found[k] = found[k].transpose(self._layout.back)
                if self._small:
                    found[k] = np.ascontiguousarray(found[k])
            if self._back is not None:
                found[k] = found[k].astype(self._back)
        return found


def _trailing(layout: Layout) -> bool:
    """Whether no kept axis comes after a reduced one; axes of length 1 may lie anywhere."""
    long = [k in layout.axis for k in range(len(layout.shape)) if layout.shape[k] > 1]
    return long == sorted(long)


def _part(rows: int, columns: int) -> int:
    """Rows in each partial sum over rows: by the shape alone, so that threads change nothing.

    Fewer where rows are long, so that there are parts for the threads.
    """
    part = PART
    while part > 8 and part * columns > 2**20:
        part //= 2
    return min(part, rows)


def _folded(lines: Array) -> Array:
    """Σ over the first axis, the halves added until one line is left."""
    while len(lines) > 2:
        half = len(lines) // 2
        np.add(lines[:half], lines[-half:], lines[:half])
        lines = lines[: len(lines) - half]
    return np.asarray(np.add(lines[0], lines[1]))
