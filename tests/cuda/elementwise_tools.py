"""Elementwise CUDA texts on arrays: kernels for their layout, compiled together, run on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from codegen.test_kernel_leaves import true_value
from codegen.test_kernel_types import reference, same
from host import build

from tensorgrad import dtypes
from tensorgrad.codegen.cuda import Source, elementwise, supports
from tensorgrad.codegen.cuda_types import result
from tensorgrad.codegen.cuda_views import View, arrange
from tensorgrad.expr import LEAVES, Formula
from tensorgrad.expr.evaluate import plan
from tensorgrad.expr.graph import topo
from tensorgrad.expr.traits import traits

FLOATS = ["float32", "float64", "float16", "bfloat16"]
GUARD = 64  # bytes before and after an array that must stay as they are


def fresh(shape: Any, dtype: Any, shift: int = 0) -> tuple[Any, Any]:
    """A poisoned array `shift` elements past a multiple of 64 bytes, and the memory around it."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape)) * dtype.itemsize
    memory = np.full(count + 4 * GUARD, 0xA5, np.uint8)
    start = -memory.ctypes.data % GUARD + GUARD + shift * dtype.itemsize
    found = memory[start : start + count].view(dtype).reshape(shape)
    return found, (memory, start, start + count)


def copied(a: Any, shift: int = 0) -> Any:
    """A contiguous copy that begins `shift` elements past a multiple of 64 bytes."""
    found = fresh(a.shape, a.dtype, shift)[0]
    found[...] = a
    return found


@dataclass
class Case:
    """A formula on arrays, with the kernel for their layout."""

    formula: Formula
    arrays: Sequence[Any]
    outs: Sequence[Any] = ()
    shift: int = 0
    real: str | None = None
    asked: tuple[str, ...] | None = None
    wide: bool = False
    guards: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        given = [a.dtype.name for a in self.arrays]
        assert supports(self.formula, given, self.real, self.asked), self.formula.content
        if not len(self.outs):
            stored = elementwise(self.formula, given, real=self.real, outs=self.asked).dtypes
            shape = np.broadcast_shapes(*(a.shape for a in self.arrays))
            made = [fresh(shape, dtypes.dtype(name), self.shift) for name in stored[len(given) :]]
            self.outs, self.guards = [m[0] for m in made], [m[1] for m in made]
        indexed = any(e.op == "index" for e in topo(self.formula.outputs))
        every = (*self.arrays, *self.outs)
        placed = tuple((a.shape, a.strides, a.itemsize) for a in every)
        view = arrange(placed, len(self.outs), indexed)
        if self.wide:
            view = View(view.layout, True, view.reads, view.shape, view.steps)
        self.view = view
        self.source = elementwise(
            self.formula, given, view.layout, view.wide, view.reads, self.real, self.asked
        )

    def launch(self, module: Any, schedule: str) -> None:
        blocks, arguments = self.source.grid(self.view.size), self.view.arguments
        if blocks[0]:
            kernel = module.get_function(self.source.name)
            given = arguments([*self.arrays, *self.outs])
            typed = [a[()] if a.dtype.names else a for a in given]
            kernel(blocks, (self.source.block,), typed, schedule=schedule)
        for memory, start, stop in self.guards:
            assert np.all(memory[:start] == 0xA5)
            assert np.all(memory[stop:] == 0xA5)


def compiled(sources: Sequence[Source]) -> Any:
    """One module of all kernels."""
    texts = {s.name: s.text for s in sources}
    return build("\n".join(["#define TG_HALF", *texts.values()]))


def run(cases: Sequence[Case], schedules: Sequence[str] = ("random",)) -> list[list[Any]]:
    """The outputs of every case, after the last of the schedules."""
    module = compiled([c.source for c in cases])
    for schedule in schedules:
        for case in cases:
            case.launch(module, schedule)
    return [list(c.outs) for c in cases]


def expected(case: Case) -> list[Any]:
    arrays = [np.array(a) for a in case.arrays]
    stored = result(case.formula, [a.dtype for a in arrays])
    with np.errstate(all="ignore"):
        given = [
            a.astype(dtypes.compute(stored)) if e.kind == "f" else a
            for a, e in zip(arrays, case.formula.inputs, strict=True)
        ]
        return reference(case.formula, stored, given)


def check(cases: Sequence[Case], schedules: Sequence[str] = ("random",)) -> None:
    """Every output is the interpreter's, bit for bit."""
    wanted = [expected(c) for c in cases]
    for case, got, want in zip(cases, run(cases, schedules), wanted, strict=True):
        for g, w in zip(got, want, strict=True):
            assert same(np.array(g, order="C"), w), (case.formula.content, case.source.text)


def wider(case: Case) -> list[Any]:
    """The outputs computed in a wider dtype than the case's, where SciPy's functions allow it."""
    formula, arrays = case.formula, [np.array(a) for a in case.arrays]
    wide = np.dtype(np.longdouble if arrays[0].dtype == np.float64 else np.float64)
    calls = [e.value for e in topo(formula.outputs) if e.op == "call"]
    with np.errstate(all="ignore"):
        if wide != np.float64 and any("scipy" in LEAVES[c].numpy for c in calls):
            if traits(formula.inputs, formula.outputs).single is not None:
                return [true_value(calls[0], arrays[0].astype(wide))]
            wide = np.dtype(np.float64)
        given = [a.astype(wide) if e.kind == "f" else a for a, e in zip(arrays, formula.inputs)]
        return list(plan(formula, wide)(given))


def close(case: Case, got: Sequence[Any]) -> None:
    """Within twice the interpreter's own error, and one rounding to 16 bits where that is done."""
    for g, i, w in zip(got, expected(case), wider(case), strict=True):
        if g.dtype.kind in "bi":
            assert same(g, i)
            continue
        eps = 2.0**-52 if g.dtype == np.float64 else 2.0**-23
        half = {"float16": 2.0**-11, "bfloat16": 2.0**-8}.get(g.dtype.name, 0)
        g, i = g.astype(w.dtype), i.astype(w.dtype)
        fine = np.isfinite(i) & np.isfinite(w)
        assert np.array_equal(np.isnan(g), np.isnan(i))
        assert np.array_equal(g[np.isinf(i)], i[np.isinf(i)]) or half
        size = np.abs(w[fine]).max(initial=0)
        own = np.abs(i[fine] - w[fine]).max(initial=0)
        error = np.abs(g[fine] - i[fine])
        assert np.all(error <= 2 * own + 16 * eps * size + 2 * half * np.abs(w[fine])), (
            case.formula.content,
            error.max(),
        )
