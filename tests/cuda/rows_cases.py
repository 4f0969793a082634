"""Reduce formulas as CUDA texts on arrays, run on the CPU and by the interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from codegen.rows_tools import sample
from host import Module, build

from tensorgrad import dtypes
from tensorgrad.codegen.cuda_rows import Source, rows
from tensorgrad.codegen.cuda_rows_tiling import Tiling
from tensorgrad.expr import COLUMN, ELEMENT, ROW, Formula
from tensorgrad.expr.evaluate import plan

EMPTY = {"f": np.nan, "b": True}


@dataclass
class Case:
    """A formula with arrays for it, and the source for their shape.

    `inner` rows lie side by side; 0 where they lie one after the other.
    """

    formula: Formula
    arrays: list[Any]
    shape: tuple[int, int]
    inner: int
    source: Source

    def sizes(self) -> dict[int, tuple[int, int]]:
        count, columns = self.shape
        return {ELEMENT: (count, columns), ROW: (count, 1), COLUMN: (1, columns), 0: (1, 1)}

    def beside(self, a: Any, e: Any, back: bool = False) -> Any:
        """An array with rows side by side in memory, or as it was before."""
        if e.index != ELEMENT or not self.inner:
            return a
        count, columns = self.shape
        if back:
            return a.reshape(count // self.inner, columns, self.inner).transpose(0, 2, 1)
        a = a.reshape(count // self.inner, self.inner, columns).transpose(0, 2, 1)
        return np.ascontiguousarray(a)

    def arguments(self) -> tuple[tuple[Any, ...], Any, list[Any]]:
        """What every launch is given, the error word and the poisoned outputs in it."""
        source, formula, size = self.source, self.formula, self.sizes()
        given = [self.beside(a, e) for a, e in zip(self.arrays, formula.inputs, strict=True)]
        names = source.dtypes[len(given) :]
        outs = [
            np.full(size[o.index], EMPTY[o.kind], dtypes.dtype(n))
            for o, n in zip(formula.outputs, names, strict=True)
        ]
        scratch = np.full(source.scratch, 255, np.uint8) if source.scratch else None
        error = np.zeros(1, np.int32)
        return (*map(np.int64, source.numbers), scratch, error, *given, *outs), error, outs

    def run(self, module: Module, **how: Any) -> list[Any]:
        """The outputs; IndexError with the row where a label is out of range."""
        source, size = self.source, self.sizes()
        args, error, outs = self.arguments()
        grid = how.pop("grid", None)
        for launch in source.launches:
            f = module.get_function(launch.name)
            f.max_dynamic_shared_size_bytes = max(launch.shared, 48 * 1024)
            blocks = (min(grid or 2**31, launch.grid[0]), launch.grid[1])
            blocks = launch.grid if launch.name.endswith("fold") else blocks
            f(blocks, launch.block, args, launch.shared, **how)
        if error[0]:
            raise IndexError(f"row {2**31 - 1 - error[0]}")
        return [
            self.beside(a, o, back=True).reshape(size[o.index])
            for a, o in zip(outs, self.formula.outputs, strict=True)
        ]

    def expected(self, dtype: Any = None) -> list[Any]:
        """What the interpreter computes, in `dtype` if it is given."""
        floats = [d for d, e in zip(self.source.dtypes, self.formula.inputs) if e.kind == "f"]
        result = dtypes.inexact(dtypes.result_type(*map(dtypes.dtype, floats)))
        computed = np.dtype(dtype or dtypes.compute(result))
        size = self.sizes()
        given = [
            (a.astype(computed) if e.kind == "f" else a).reshape(size[e.index])
            for a, e in zip(self.arrays, self.formula.inputs, strict=True)
        ]
        with np.errstate(all="ignore"):
            return list(plan(self.formula, computed)(given, shape=self.shape))


def case(
    formula: Formula,
    shape: tuple[int, int],
    inner: int,
    dtype: Any,
    rng: np.random.Generator,
    tiling: Tiling | None = None,
    arrays: Any = None,
) -> Case:
    if arrays is None:
        arrays = [sample(e, shape, (1,), dtype, rng) for e in formula.inputs]
    arrays = [np.ascontiguousarray(np.atleast_1d(a)) for a in arrays]
    names = [a.dtype.name for a in arrays]
    layout: Any = "leading" if inner else "trailing"
    source = rows(formula, names, layout, shape, inner, 200 * 1024, tiling)
    return Case(formula, arrays, shape, inner, source)


def compiled(cases: Sequence[Case]) -> Module:
    """One module for all texts: most of the time goes to what they share."""
    texts = sorted({c.source.text for c in cases}, key=lambda t: "TG_HALF" not in t)
    return build("\n".join(texts))


def moved(a: Any) -> Any:
    """The same array at an address that is no multiple of 16."""
    memory = np.empty(a.nbytes + 32, np.uint8)
    start = -memory.ctypes.data % 16 + a.itemsize
    there = memory[start : start + a.nbytes].view(a.dtype).reshape(a.shape)
    there[...] = a
    return there
