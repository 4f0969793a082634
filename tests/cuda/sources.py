"""Every CUDA text of the project, with what its machine code must have.

The kernels of `kernels/*.cu`, and the generated texts of the registry's formulas and of their
derivatives, elementwise and reduce, in random dtypes, layouts and shapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from codegen.rows_tools import family, real
from codegen.rows_tools import formulas as reduce_formulas
from host import KERNELS, exports

from tensorgrad import dtypes, ops
from tensorgrad.backend import ctc, gated, group_norm, recurrent
from tensorgrad.codegen import cuda, cuda_rows
from tensorgrad.core.formula import Elementwise
from tensorgrad.core.primitive import PRIMITIVES
from tensorgrad.expr import ELEMENT, Formula
from tensorgrad.expr.graph import topo

ops.load()

FLOATS = ("float32", "float64", "float16", "bfloat16")

REGISTERS, FEW_THREADS, MANY = 128, 168, 192
"""The most of a thread, for two blocks of 256 threads a multiprocessor, or three of up to 128;
or two of 128, for the longest derivatives in float64."""

SCALAR = {
    "cum(sum|prod|max|min)_columns": "neighbouring threads take neighbouring columns",
    "index_add_atomic": "one atomic addition an element",
    "argsort_|put_last": "whole numbers to places that the data decide",
    "norm_fold": "adds lines of partial sums, one column a thread",
    "clip_factor|softmax_xent_(scale|mean)": "one block adds up a row of numbers",
    "conv_": "elements that windows meet, wherever they lie",
    "put_words": "a number a thread",
    "(max|avg|pool)_(pool|taps|pick|spread)": "a window a thread, from wherever it begins",
    "transpose": "a tile whose rows are whole lines of memory",
}
"""Kernels by hand that read one element at a time, and why."""

NO_LOADS = "uniform|normal|integers"
NO_STORES = "square_sum|(uniform|normal)_(f16|bf16)|integers_"
"""Kernels by hand that read nothing; that write a number a block, or few bytes a thread."""

MOST = {"attention.*_f64": 255, "attention": FEW_THREADS}
"""Kernels by hand of 128 threads, of which shared memory lets two or three blocks run at once."""


@dataclass(frozen=True)
class Needs:
    """The least 16-byte loads and stores of global memory, and the most registers of a thread."""

    loads: int
    stores: int
    registers: int = REGISTERS


@dataclass(frozen=True)
class Text:
    """A CUDA text, and what each of its kernels must have."""

    name: str
    text: str
    needs: dict[str, Needs]


def by_hand() -> list[Text]:
    """The files of `kernels/`."""
    found = []
    for path in sorted(KERNELS.glob("*.cu")):
        text = path.read_text()
        found.append(Text(path.name, text, {name: _by_hand(name) for name in exports(text)}))
    return found


def _by_hand(name: str) -> Needs:
    if any(re.match(pattern, name) for pattern in SCALAR):
        return Needs(0, 0)
    most = next((n for pattern, n in MOST.items() if re.match(pattern, name)), REGISTERS)
    return Needs(int(not re.match(NO_LOADS, name)), int(not re.match(NO_STORES, name)), most)


def joined(texts: Sequence[Text]) -> str:
    """One text of many, which compiles faster: most of the time goes to what they share."""
    alike = {tuple(t.needs): t.text for t in texts}  # formulas of two names may be one kernel
    return "\n".join(["#define TG_HALF", *alike.values()])


def generated(rng: np.random.Generator, count: int | None = None) -> Iterator[Text]:
    """Texts of formulas, in random order: `count` of them, or one of every formula."""
    for name, order in drawn(rng):
        found = formula(name, order)
        if found is None:
            continue
        make = _elements if found.elementwise else _rows
        text = make(f"{name} order {order}", found, rng)
        if text is None:
            continue
        yield text
        if count is not None:
            count -= 1
            if count == 0:
                return


def drawn(rng: np.random.Generator) -> list[tuple[str, int]]:
    """Every formula by name, with the orders of its derivatives, in random order."""
    names = [*_elementwise(), *reduce_formulas()]
    every = [(name, order) for name in names for order in range(4)]
    every += [(name, 0) for name in layers()]
    return [every[k] for k in rng.permutation(len(every))]


def formula(name: str, order: int) -> Formula | None:
    """A formula of `drawn`; None where there is none of that order."""
    if name in layers():
        return layers()[name]
    elements = _elementwise()
    return _member(elements[name].formula if name in elements else reduce_formulas()[name], order)


@cache
def layers() -> dict[str, Formula]:
    """Formulas that layers run beside those of the operations, which have no derivative."""
    found = [*gated.formulas(), *ctc.formulas(), *group_norm.formulas(), group_norm.moments(1e-5)]
    steps = (recurrent.LSTM, recurrent.GRU, recurrent.TANH, recurrent.RELU)
    pulls = (recurrent.LSTM_PULL, recurrent.GRU_PULL, recurrent.TANH_PULL, recurrent.RELU_PULL)
    found += [step() for step in (*steps, *pulls)]
    return {f"{one.name} of a layer": one for one in found}


@cache
def _elementwise() -> dict[str, Elementwise]:
    return {name: p for name, p in PRIMITIVES.items() if isinstance(p, Elementwise)}


def _member(formula: Formula, order: int) -> Formula | None:
    """The formula, its VJP, its JVP, or the VJP of its VJP; None where there is none."""
    if order == 0:
        return formula
    found = family(formula) if real(formula.inputs) and formula.outputs[0].kind == "f" else []
    return found[order] if order < len(found) else None


def _dtypes(formula: Formula, kind: str, whole: str) -> list[str]:
    return [{"f": kind, "i": whole, "b": "bool"}[e.kind] for e in formula.inputs]


def _elements(name: str, formula: Formula, rng: np.random.Generator) -> Text | None:
    kind = str(rng.choice(FLOATS))
    layout: Any = str(rng.choice(["flat", "rows", "strided"]))
    wide = bool(rng.integers(2))
    given = _dtypes(formula, kind, "int32")
    if not cuda.supports(formula, given):
        return None
    more = [str(r) for r in rng.choice(["each", "one", "row", "column"], len(given))]
    reads: Any = ["each", *more[1:]][: len(given)] if layout == "rows" else []
    source = cuda.elementwise(formula, given, layout, wide, reads)
    sizes = [dtypes.dtype(d).itemsize * source.vector for d in source.dtypes]
    direct = [r == "each" for r in source.reads] + [True] * len(formula.outputs)
    if layout == "strided":
        direct = [False] * len(sizes)
    count, read = len(formula.inputs), set(topo(formula.outputs))
    direct[:count] = [d and e in read for d, e in zip(direct, formula.inputs)]
    full = [d and size == 16 for d, size in zip(direct, sizes, strict=True)]
    most = MANY if source.block <= 128 else REGISTERS
    least = Needs(sum(full[:count]), sum(full[count:]), most)
    label = f"{name} {kind} {layout}{' wide' * wide} {source.name}"
    return Text(label, source.text, {source.name: least})


def _rows(name: str, formula: Formula, rng: np.random.Generator) -> Text | None:
    kind = str(rng.choice(FLOATS))
    layout: Any = str(rng.choice(["trailing", "leading"]))
    shape: Any = tuple(int(2 ** rng.uniform(1, 16)) for _ in range(2))
    if rng.integers(2):
        shape = (shape[0], -(-shape[1] // 8) * 8)  # rows that 16-byte accesses fit
    given = _dtypes(formula, kind, "int64")
    if not cuda_rows.supports(formula, given):
        return None
    source = cuda_rows.rows(formula, given, layout, shape)
    read = {a for e in topo(formula.outputs) if e.op != "at" for a in e.args}
    reads = [e.index == ELEMENT and e.kind == "f" and e in read for e in formula.inputs]
    vectors = [int(n) for n in re.findall(r"tg_take<(\d+)>\(", source.text)]
    full = any(reads) and any(n * dtypes.dtype(kind).itemsize == 16 for n in vectors)
    writes = any(o.index == ELEMENT and o.kind == "f" for o in formula.outputs)
    split = len([launch for launch in source.launches if launch.name[-1].isdigit()]) > 1
    label = f"{name} {kind} {layout} {shape} {source.name}"
    needs = {}
    for launch in source.launches:
        most = FEW_THREADS if launch.block[0] <= 128 else REGISTERS
        first = full and launch.name == f"{source.name}_0"
        needs[launch.name] = Needs(int(first), int(first and writes and not split), most)
    return Text(label, source.text, needs)
