"""Reduce formulas as CUDA C++: sums and maxima over the columns of a (row, column) view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from tensorgrad import dtypes
from tensorgrad.codegen import cuda_rows_tiling as tilings
from tensorgrad.codegen.cuda_rows_head import HEAD
from tensorgrad.codegen.cuda_rows_nodes import Nodes, written
from tensorgrad.codegen.cuda_rows_text import Kernel
from tensorgrad.codegen.cuda_rows_tiling import Tiling
from tensorgrad.codegen.cuda_rows_writer import Writer
from tensorgrad.codegen.cuda_types import MEMORY
from tensorgrad.codegen.rows_plan import MOST_OPERANDS, MOST_PASSES, Plan, split
from tensorgrad.expr.formula import Formula
from tensorgrad.expr.ir import COLUMN
from tensorgrad.expr.show import show

Layout = Literal["trailing", "leading"]

COLUMNS = 2**31 - 2**17
"""The most columns: they are counted in 32 bits."""

SHARED = 48 * 1024
"""Bytes of shared memory that every device gives a block without being asked."""

MOST_WORK = 6000
"""The most work of a column, in additions: what NVRTC compiles in a second or two."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel of a source: its name, grid and block, and bytes of dynamic shared memory."""

    name: str
    grid: tuple[int, int]
    block: tuple[int]
    shared: int


@dataclass(frozen=True, slots=True)
class Source:
    """A reduce formula as CUDA C++ for arrays of one shape.

    Every kernel takes the same arguments: `numbers` as 64-bit integers, a pointer to `scratch`
    bytes (aligned to 16; null where there are none), a pointer to the error word (a 32-bit integer
    that is 0, and afterwards 2^31 - 1 less the first row whose label is out of range: `tg_raise`),
    the inputs, the outputs. The launches follow one another in one stream. Arrays are contiguous
    and no output overlaps an input; those whose address is no multiple of 16 are only slower. The
    results depend on the shape and dtypes, on neither the grids nor the addresses. `name` and
    `text` are the same for many shapes.
    """

    name: str
    text: str
    dtypes: tuple[str, ...]
    launches: tuple[Launch, ...]
    numbers: tuple[int, ...]
    scratch: int


def supports(formula: Formula, given: Sequence[str]) -> bool:
    """Whether the formula has CUDA kernels for inputs of these dtypes."""
    outs = formula.outputs
    if len(formula.inputs) + len(outs) > MOST_OPERANDS or any(o.kind == "i" for o in outs):
        return False
    kinds = {"f": "fiubV", "i": "iu", "b": "b"}
    for e, name in zip(formula.inputs, given, strict=True):
        if name not in MEMORY or dtypes.dtype(name).kind not in kinds[e.kind]:
            return False
    plans = split(formula, False)
    if any(len(p.passes) > MOST_PASSES for p in plans):
        return False
    if not all(map(written, {*formula.inputs, *(e for p in plans for e in p.order), *outs})):
        return False
    work = [e for p in plans for cone in p.cones for e in cone]
    return sum(1 + 30 * (e.op == "call") for e in work) <= MOST_WORK


def rows(
    formula: Formula,
    given: Sequence[str],
    layout: Layout,
    shape: tuple[int, int],
    inner: int = 0,
    shared: int = SHARED,
    tiling: Tiling | None = None,
    result: str = "",
) -> Source:
    """The kernels of a reduce formula for inputs of the dtypes `given` and `shape` rows, columns.

    In memory, "trailing" rows lie one after the other, (rows, columns); of "leading" ones `inner`
    (by default all) lie side by side: (rows / inner, columns, inner). Values with a row are
    (rows,), with a column (columns,). Real outputs have the floating dtype that the real inputs
    promote to, or `result`; half and bfloat16 are computed in float32. `shared` bounds the bytes of
    shared memory; above `SHARED` the launcher must ask the device for them. `tiling` overrides the
    choice of threads.

    Raises ValueError where `supports` is false, for an empty shape, and for rows that are too long.
    """
    count, columns = shape
    inner = inner or count
    if not supports(formula, given) or count < 1 or not 0 < columns <= COLUMNS or count % inner:
        raise ValueError(
            f"{formula.name}: got {count} rows ({inner} side by side) of {columns} columns of "
            f"{', '.join(given)}, expected from 1 to {COLUMNS} columns, and a formula and dtypes "
            "that supports() accepts; try the array library's own functions"
        )
    stored, computed = _types(formula, given, result)
    chosen = tiling or _choose(formula, stored, computed, layout, shape, shared)
    if columns % chosen.vector or chosen.leading != (layout == "leading"):
        raise ValueError(
            f"{formula.name}: got {chosen} for {layout} rows of {columns} columns, expected "
            "vectors that divide the columns, and the same layout; try tiling=None"
        )
    name, text = _text(formula, tuple(d.name for d in stored), computed.name, chosen)
    return _source(formula, name, text, stored, computed, chosen, (count, columns, inner))


def _types(
    formula: Formula, given: Sequence[str], result: str
) -> tuple[tuple[np.dtype[Any], ...], np.dtype[Any]]:
    """The dtypes of the operands, and the one that is computed in."""
    found = [dtypes.dtype(name) for name in given]
    real = [d for d, e in zip(found, formula.inputs, strict=True) if e.kind == "f"]
    promoted = dtypes.inexact(dtypes.result_type(*real))
    stored = dtypes.dtype(result) if result else promoted
    outs = [stored if o.kind == "f" else dtypes.bool_ for o in formula.outputs]
    return (*found, *outs), dtypes.compute(promoted)


def _choose(
    formula: Formula,
    stored: Sequence[np.dtype[Any]],
    computed: np.dtype[Any],
    layout: Layout,
    shape: tuple[int, int],
    shared: int,
) -> Tiling:
    cost = tilings.load(formula, stored, computed == dtypes.float64)
    if layout == "leading":
        return tilings.leading(cost, *shape)
    return tilings.trailing(cost, *shape, shared)


@cache
def _text(
    formula: Formula, names: tuple[str, ...], computed: str, tiling: Tiling
) -> tuple[str, str]:
    """The name of the kernels, and their text, whose first line is the formula."""
    from hashlib import sha256  # late: for import time

    stored = [dtypes.dtype(name) for name in names]
    nodes = Nodes(np.dtype(computed))
    key = f"{formula.key} {names} {computed} {tiling}"
    name = f"rows_{sha256(key.encode()).hexdigest()[:16]}"
    plan, alike = _plans(formula, tiling)
    texts: list[str] = []
    for k, stage in enumerate(_stages(plan, tiling)):
        kernel = Kernel(formula, stored, nodes, plan, tiling, stage)
        texts.append(kernel.write(f"{name}_{k}"))
    if any(o.op == "isum" for o in formula.outputs):
        texts.append(_fold(formula, plan, names, nodes, f"{name}_fold"))
    if alike.outputs:
        kernel = Kernel(formula, stored, nodes, alike, _alike(), once=True)
        texts.append(kernel.write(f"{name}_once"))
    half = "#define TG_HALF\n" if {"float16", "bfloat16"} & set(names) else ""
    comment = "// " + " ".join(show(formula).split())
    body = "\n\n".join(texts)
    return name, f'{comment}\n{half}#include "reduce.cuh"\n{HEAD}\n{body}\n'


def _plans(formula: Formula, tiling: Tiling) -> tuple[Plan, Plan]:
    """The plans of what depends on the rows and of what does not; loops compute values again."""
    plan, _ = split(formula, bool(tiling.items))
    return plan, split(formula, False)[1]


def _stages(plan: Plan, tiling: Tiling) -> list[int | None]:
    if not plan.outputs:
        return []
    return list(range(len(plan.passes) + 1)) if tiling.split else [None]


def _alike() -> Tiling:
    """One block computes what every row would write alike."""
    return Tiling(False, 256, 1, 1, 0)


def _fold(formula: Formula, plan: Plan, names: Sequence[str], nodes: Nodes, name: str) -> str:
    """The kernel that adds up partial sums over rows."""
    writer = Writer(formula, [dtypes.dtype(n) for n in names], nodes, plan, _alike())
    writer.begin(name, "512")
    writer.put(f"__shared__ {nodes.real} fold[512];")
    writer.put("const i64 number = 0;")
    for k, (place, o) in enumerate(writer.sums):
        length = "columns" if o.index & COLUMN else "1"
        line = writer.line(place)
        writer.put(f"if (blockIdx.y == {k}) tg_fold({line}, parts, {length}, p{place}, fold);")
    writer.close()
    return "\n".join(writer.lines)


def _source(
    formula: Formula,
    name: str,
    text: str,
    stored: Sequence[np.dtype[Any]],
    computed: np.dtype[Any],
    tiling: Tiling,
    size: tuple[int, int, int],
) -> Source:
    count, columns, inner = size
    plan, alike = _plans(formula, tiling)
    sums = [o for o in formula.outputs if o.op == "isum"]
    part = tilings.part(tiling, count, bool(sums))
    parts = -(-count // part)
    chunks = tilings.chunks(tiling, count, columns)
    chunk = -(-columns // chunks // 16) * 16
    chunks = -(-columns // chunk) if tiling.split else 1
    words = parts * sum(columns if o.index & COLUMN else 1 for o in sums)
    if tiling.split:
        words += chunks * count * sum(map(len, plan.passes))
    launches: list[Launch] = []
    for k, _ in enumerate(_stages(plan, tiling)):
        grid = (min(parts, 2**30), chunks)
        shared = _lines(formula, plan, stored, columns) if tiling.shared else 0
        launches.append(Launch(f"{name}_{k}", grid, (tiling.threads,), shared))
    if sums:
        width = 32 if parts > 32 else 512
        longest = max(columns if o.index & COLUMN else 1 for o in sums)
        launches.append(Launch(f"{name}_fold", (-(-longest // width), len(sums)), (512,), 0))
    if alike.outputs:
        launches.append(Launch(f"{name}_once", (1, 1), (_alike().threads,), 0))
    numbers = (count, columns, inner, part, parts, chunks, chunk)
    names = tuple(d.name for d in stored)
    return Source(name, text, names, tuple(launches), numbers, words * computed.itemsize)


def _lines(
    formula: Formula,
    plan: Plan,
    stored: Sequence[np.dtype[Any]],
    columns: int,
) -> int:
    """Bytes of shared memory for what passes read of a row: lines that begin at 16 bytes."""
    sizes = [stored[k].itemsize for k in tilings.held(plan, formula.inputs)]
    return sum(-(-columns * n // 16) * 16 for n in sizes)
