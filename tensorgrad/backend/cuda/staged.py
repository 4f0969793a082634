"""Staged formulas on CuPy arrays: a (row, column) view, the reduced axes as columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import cupy
import numpy as np

from tensorgrad import dtypes
from tensorgrad.backend.cuda import device, launch
from tensorgrad.backend.cuda.faults import Fault, faults
from tensorgrad.backend.cuda.interpret import Interpreter, whole
from tensorgrad.backend.numpy_staged import Layout, side_by_side
from tensorgrad.backend.segments import segmented
from tensorgrad.codegen import cuda_rows
from tensorgrad.expr import ELEMENT, Formula
from tensorgrad.expr.graph import topo

Array = Any
Run = Callable[[Sequence[Array]], list[Array]]

REMEMBERED = 256
"""Shapes and dtypes that one formula remembers."""


class ReduceKernel:
    """A staged formula over a (row, column) view; `axis` are the columns."""

    def __init__(self, formula: Formula, result: Any = None) -> None:
        """`result`: the dtype of the outputs where it is not what the inputs promote to."""
        self.formula, self._result = formula, result
        self._ready: dict[Any, Run] = {}

    def __call__(
        self, *arrays: Array, axis: tuple[int, ...], shape: tuple[int, ...], out: Any = None
    ) -> Any:
        key = (axis, shape, *[a.dtype for a in arrays])
        run = self._ready.get(key)
        if run is None:
            if len(self._ready) >= REMEMBERED:
                self._ready.clear()
            layout = Layout(self.formula, axis, shape, key[2:], self._result)
            run = self._ready[key] = (
                segmented(layout, ReduceKernel, _number)
                or _generated(layout)
                or _Interpreted(layout)
            )
        found = run(arrays)
        if out is not None:
            for o, value in zip(out if isinstance(out, tuple) else (out,), found):
                cupy.copyto(o, value, casting="same_kind")
            return out
        return found[0] if len(found) == 1 else tuple(found)


def _number(value: int, dtype: Any) -> Array:
    return _held(device.current(), value, dtype)


@cache
def _held(place: int, value: int, dtype: Any) -> Array:
    """A 0-d array on the device `place`, the current one."""
    return cupy.full((), value, dtype)


@cache
def shared_limit() -> int:
    """Bytes of shared memory that every device gives a block on request: plans hold for all."""
    return min(device.properties(k).shared_on_request for k in range(device.count()))


class _Interpreted:
    """The formula by CuPy's functions: empty arrays, complex numbers, formulas too large."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._steps = Interpreter(layout.formula, layout.computed)

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        layout, given = self._layout, []
        for a, v in zip(arrays, layout.formula.inputs):
            if v.index == ELEMENT and not layout.straight:
                a = a.transpose(layout.order)
            a = a.reshape(whole(v.index, layout.extent))
            given.append(a.astype(layout.computed) if v.kind == "f" else a)
        found = []
        for value, o in zip(self._steps(given, layout.extent), layout.formula.outputs):
            shaped = value.reshape(layout.whole(o.index))
            if o.index == ELEMENT and not layout.straight:
                shaped = shaped.transpose(layout.back)
            found.append(shaped.astype(layout.result) if o.kind == "f" else shaped)
        return found


def _generated(layout: Layout) -> _Generated | None:
    """The formula as generated kernels, None where there are none."""
    rows, columns = layout.extent
    names = tuple([d.name for d in layout.given])
    if not launch.generating() or not rows or not 0 < columns <= cuda_rows.COLUMNS:
        return None
    if not cuda_rows.supports(layout.formula, names):
        return None
    return _Generated(layout, names)


class _Generated:
    """Generated kernels on arrays of one shape and dtypes, one launch after the other."""

    def __init__(self, layout: Layout, names: Sequence[str]) -> None:
        formula, extent = layout.formula, layout.extent
        inner = side_by_side(layout.axis, layout.shape)
        lie: cuda_rows.Layout = "leading" if inner else "trailing"
        source = cuda_rows.rows(
            formula, names, lie, extent, inner, shared_limit(), result=layout.result.name
        )
        self._layout = layout
        self._turned = not inner and not _trailing(layout)
        self._numbers = [np.int64(n) for n in source.numbers]
        self._scratch = source.scratch
        self._launches = [
            (launch.generated(source.text, one.name), one.grid, one.block, one.shared)
            for one in source.launches
        ]
        count = len(formula.inputs)
        self._outs = [
            (self._shape(o.index), dtypes.dtype(name))
            for o, name in zip(formula.outputs, source.dtypes[count:])
        ]
        self._word = 0
        if any(e.op == "at" for e in topo(formula.outputs)):
            fault = Fault(formula.name, "label", extent[1], "labels from 0, or more columns")
            self._word = faults().word(fault)

    def _shape(self, index: int) -> tuple[int, ...]:
        layout = self._layout
        return layout.shape if index == ELEMENT and not self._turned else layout.whole(index)

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        given = [self._laid(a, v.index) for a, v in zip(arrays, self._layout.formula.inputs)]
        outs = [cupy.empty(shape, dtype) for shape, dtype in self._outs]
        scratch = cupy.empty(self._scratch, np.uint8) if self._scratch else None
        places = (launch.address(scratch), self._word, *[a.data.ptr for a in (*given, *outs)])
        for run, grid, block, shared in self._launches:
            run(grid, block, *self._numbers, *places, shared=shared)
        if self._turned:
            pairs = zip(outs, self._layout.formula.outputs)
            return [a.transpose(self._layout.back) if o.index == ELEMENT else a for a, o in pairs]
        return outs

    def _laid(self, a: Array, index: int) -> Array:
        """An input as the kernels read it: contiguous, its reduced axes last where they must be."""
        if self._turned and index == ELEMENT:
            a = a.transpose(self._layout.order)
        return launch.contiguous(a)


def _trailing(layout: Layout) -> bool:
    """Whether no kept axis comes after a reduced one; axes of length 1 may lie anywhere."""
    long = [k in layout.axis for k in range(len(layout.shape)) if layout.shape[k] > 1]
    return long == sorted(long)
