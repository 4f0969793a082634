"""How the threads of a GPU share the rows of a reduce formula, by its shape and dtypes alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np

from tensorgrad.codegen.rows_plan import Plan, split
from tensorgrad.expr.formula import Formula
from tensorgrad.expr.ir import COLUMN, ELEMENT, Expr

THREADS, MOST_LANES = 128, 512
"""Threads of a block whose rows are short, and of one that has a single row."""

WARP_COLUMNS = 1024
"""Columns up to which a warp takes a row."""

WARP_WORDS, WORDS = 128, {128: 80, 256: 64, 512: 48}
"""32-bit registers that hold a lane's share of a row: in a warp, and by the threads of a block."""

INLINE = 4000
"""The most work of element bodies that are written out, in additions."""

ITEMS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
"""Vectors per lane that texts are made for: few, so that few are compiled."""

BLOCKS = 264
"""Blocks that keep a GPU busy: two for each of 132 multiprocessors."""

SPLIT, SPLIT_COLUMNS = 2**18, 2048
"""Elements from which blocks share rows that are few, and the fewest columns of a share."""

PARTS = 512
"""The most partial sums over rows that are added up at the end."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """The work of a block and of a thread.

    leading: rows lie side by side in memory (the reduced axes lead, or stand in the middle).
    lanes: threads that share a row, a power of two.
    group: rows that a block takes at a time.
    vector: columns side by side that a lane reads at once.
    items: vectors of a lane that registers hold; 0 where the row is read in a loop.
    shared: of a row in a loop, what several passes read lies in shared memory.
    split: several blocks share a row, with a launch for each pass.
    unroll: vectors of a lane in a loop that are read ahead.
    blocks: of a multiprocessor at the same time, at least.
    wide: rows are counted in 64 bits where they are divided.
    """

    leading: bool
    lanes: int
    group: int
    vector: int
    items: int
    shared: bool = False
    split: bool = False
    unroll: int = 4
    blocks: int = 1
    wide: bool = False

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.lanes * self.group

    @property
    def step(self) -> int:
        """Columns that the lanes of a row read at once."""
        return self.lanes * self.vector


@dataclass(frozen=True, slots=True)
class Load:
    """What a column of a row costs a thread.

    words: 32-bit registers that hold it; work: of its element bodies, in additions;
    memory: bytes of shared memory for what several passes read of it; size: of its widest operand;
    double: whether it is computed in float64.
    """

    words: int
    work: int
    memory: int
    size: int
    double: bool


def held(plan: Plan, inputs: Sequence[Expr]) -> list[int]:
    """The numbers of the inputs of the whole view that several passes read."""
    cones = [set(cone) for cone in plan.cones]
    return [
        k
        for k, e in enumerate(inputs)
        if e.index == ELEMENT and sum(e in cone for cone in cones) > 1
    ]


def load(formula: Formula, stored: Sequence[np.dtype[Any]], double: bool) -> Load:
    """The load of a formula with operands of the dtypes `stored`."""
    size = 8 if double else 4
    plan, loop = split(formula, True)[0], split(formula, False)[0]
    nodes = [e for cone in plan.cones for e in cone]
    read = {e for e in nodes if e.op == "input"}
    sums = sum(o.op == "isum" and bool(o.index & COLUMN) for _, o in plan.outputs)
    words = (len(read) + len(plan.kept) + sums) * size // 4
    work = sum(1 + 30 * (e.op == "call") for e in nodes)
    memory = sum(stored[k].itemsize for k in held(loop, formula.inputs))
    operands = zip((*formula.inputs, *formula.outputs), stored, strict=True)
    widest = max((d.itemsize for e, d in operands if e.index & COLUMN), default=size)
    return Load(max(words, 1), work, memory, widest, double)


def trailing(cost: Load, rows: int, columns: int, shared: int) -> Tiling:
    """Lanes along a row: a part of a warp, a warp, or a block."""
    vector = gcd(columns, max(16 // cost.size, 1))
    while vector > 1 and vector * cost.work > INLINE:
        vector //= 2
    vectors = columns // vector
    for lanes in (1, 2, 4, 8, 16, 32):
        if (vectors <= lanes or lanes == 32) and columns <= WARP_COLUMNS:
            items = _items(-(-vectors // lanes))
            if _fits(cost, items * vector, WARP_WORDS):
                return Tiling(False, lanes, THREADS // lanes, vector, items)
    for lanes in (128, 256, 512):
        items = _items(-(-vectors // lanes))
        if items * lanes <= 2 * vectors and _fits(cost, items * vector, WORDS[lanes]):
            return Tiling(False, lanes, 1, vector, items)
    lanes = MOST_LANES if vectors > 256 else 128
    few = rows < BLOCKS // 2 and rows * columns >= SPLIT and columns >= 2 * SPLIT_COLUMNS
    fits = cost.memory > 0 and columns * cost.memory + 16 * 64 <= shared
    return Tiling(False, lanes, 1, vector, 0, fits and not few, few, *_loop(cost, vector))


def leading(cost: Load, rows: int, columns: int) -> Tiling:
    """Lanes down the columns; the threads beside each other take rows that lie side by side."""
    group = 32
    while group * cost.size > 32 and group > 8 and rows < group * BLOCKS // 2:
        group //= 2
    least, wide = min(THREADS // group, 16), rows >= 2**32
    for lanes in (4, 8, 16, 32, 64):
        items = _items(-(-columns // lanes))
        if least <= lanes <= MOST_LANES // group and _fits(cost, items, WORDS[lanes * group]):
            return Tiling(True, lanes, group, 1, items, wide=wide)
    lanes = MOST_LANES // group
    few = -(-rows // group) < BLOCKS // 2 and rows * columns >= SPLIT and columns >= 16 * lanes
    return Tiling(True, lanes, group, 1, 0, False, few, *_loop(cost, 1), wide)


def _items(needed: int) -> int:
    return next((n for n in ITEMS if n >= needed), needed)


def _fits(cost: Load, columns: int, words: int) -> bool:
    """Whether a lane can hold that many columns, and have their bodies written out."""
    return columns * cost.words <= words and (columns == 1 or columns * cost.work <= INLINE)


def _loop(cost: Load, vector: int) -> tuple[int, int]:
    """The vectors that are read ahead, and the blocks that registers suffice for."""
    two = not cost.double and vector * cost.words <= 12
    return 4 if 4 * vector * cost.work <= INLINE else 1, 2 if two else 1


def chunks(tiling: Tiling, rows: int, columns: int) -> int:
    """The blocks that share a row."""
    if not tiling.split:
        return 1
    least = SPLIT_COLUMNS if not tiling.leading else 8 * tiling.lanes
    wanted = 2 * BLOCKS // -(-rows // tiling.group)
    return max(1, min(tiling.lanes, columns // least, wanted))


def part(tiling: Tiling, rows: int, sums: bool) -> int:
    """Rows whose sum is one partial sum: at most `PARTS` of them, whole groups each."""
    if not sums:
        return tiling.group
    groups = -(-rows // tiling.group)
    return tiling.group * -(-groups // PARTS)
