"""How the threads of a GPU share the rows of a reduce formula, by its shape and dtypes alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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

WARP_WORDS, WORDS = 80, {128: 64, 256: 48, 512: 40}
"""32-bit registers that hold a lane's share of a row: in a warp, and by the threads of a block."""

BESIDE = {128: 64, 256: 40, 512: 36}
"""The same where rows lie side by side, with one more for a column: its address has 64 bits."""

FIXED, FIXED_LOOP = 16, 10
"""Registers for what does not depend on the column: where rows lie side by side more are taken
from what holds the row, and in a loop more leave no room for a second block."""

AT_ONCE, AHEAD = 72, 48
"""32-bit registers for a vector of a row in a loop, and for those that a lane reads ahead."""

INLINE = 4000
"""The most work of element bodies that are written out, in additions."""

ITEMS = (1, 2, 3, 4, 6, 8, 12, 16, 24)
"""Vectors per lane that texts are made for: few, so that few are compiled."""

RESIDENT = {128: 3, 256: 2, 512: 1}
"""Blocks of a multiprocessor, by their threads: it bounds the registers, to 168, 128 and 128."""

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

    words: 32-bit registers that hold it; fixed: those of the row, half of its values at a time,
    and of the addresses of operands; work: of its element bodies, in additions;
    memory: bytes of shared memory for what several passes read of it; size: of its widest operand;
    double: whether it is computed in float64.
    """

    words: int
    fixed: int
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
    words += any(e.op == "iota" for e in nodes)  # ptxas compares several columns at a time
    work = sum(1 + 30 * (e.op == "call") for e in nodes)
    memory = sum(stored[k].itemsize for k in held(loop, formula.inputs))
    operands = zip((*formula.inputs, *formula.outputs), stored, strict=True)
    alone = sum(e.kind == "f" and e.op != "const" and not e.index & COLUMN for e in plan.order)
    columns = sum(bool(e.index & COLUMN) for e in (*formula.inputs, *formula.outputs))
    fixed = alone * size // 8 + 2 * columns
    widest = max((d.itemsize for e, d in operands if e.index & COLUMN), default=size)
    return Load(max(words, 1), fixed, work, memory, widest, double)


def trailing(cost: Load, rows: int, columns: int, shared: int) -> Tiling:
    """Lanes along a row: a part of a warp, a warp, or a block."""
    vector = gcd(columns, max(16 // cost.size, 1))
    while vector > 1 and vector * cost.work > INLINE:
        vector //= 2
    vectors = columns // vector
    for lanes in (1, 2, 4, 8, 16, 32):
        if (vectors <= lanes or lanes == 32) and columns <= WARP_COLUMNS:
            items = _items(-(-vectors // lanes))
            if items and _fits(cost, items * vector, WARP_WORDS):
                return _whole(False, lanes, THREADS // lanes, vector, items)
    for lanes in (128, 256, 512):
        items = _items(-(-vectors // lanes))
        if items and items * lanes <= 2 * vectors and _fits(cost, items * vector, WORDS[lanes]):
            return _whole(False, lanes, 1, vector, items)
    each = cost.words + cost.double * cost.work // 100
    while vector > 1 and vector * each + cost.fixed > AT_ONCE:
        vector //= 2
    lanes = MOST_LANES if columns // vector > 256 else 128
    few = rows < BLOCKS // 2 and rows * columns >= SPLIT and columns >= 2 * SPLIT_COLUMNS
    fits = cost.memory > 0 and columns * cost.memory + 16 * 64 <= shared
    return Tiling(False, lanes, 1, vector, 0, fits and not few, few, *_loop(cost, vector, lanes))


def leading(cost: Load, rows: int, columns: int) -> Tiling:
    """Lanes down the columns; the threads beside each other take rows that lie side by side."""
    group = 32
    while group * cost.size > 32 and group > 8 and rows < group * BLOCKS // 2:
        group //= 2
    least, wide = min(THREADS // group, 16), rows >= 2**32
    beside = replace(cost, words=cost.words + 1)
    for lanes in (4, 8, 16, 32, 64):
        items = _items(-(-columns // lanes))
        if not items or not least <= lanes <= MOST_LANES // group:
            continue
        if _fits(beside, items, BESIDE[lanes * group] - max(0, cost.fixed - FIXED)):
            return _whole(True, lanes, group, 1, items, wide)
    lanes = MOST_LANES // group
    few = -(-rows // group) < BLOCKS // 2 and rows * columns >= SPLIT and columns >= 16 * lanes
    return Tiling(True, lanes, group, 1, 0, False, few, *_loop(cost, 1, MOST_LANES), wide)


def _items(needed: int) -> int:
    """The vectors of a lane in a text for as many as are needed, 0 for too many."""
    return next((n for n in ITEMS if n >= needed), 0)


def _whole(
    leading: bool, lanes: int, group: int, vector: int, items: int, wide: bool = False
) -> Tiling:
    """A row in registers."""
    blocks = RESIDENT[lanes * group]
    return Tiling(leading, lanes, group, vector, items, blocks=blocks, wide=wide)


def _fits(cost: Load, columns: int, words: int) -> bool:
    """Whether a lane can hold that many columns, and have their bodies written out."""
    return columns * cost.words <= words and (columns == 1 or columns * cost.work <= INLINE)


def _loop(cost: Load, vector: int, threads: int) -> tuple[int, int]:
    """The vectors that are read ahead, and the blocks that registers suffice for."""
    light = 4 * vector * cost.work <= INLINE and 4 * vector * cost.words <= AHEAD
    two = not cost.double and vector * cost.words <= 12 and cost.fixed <= FIXED_LOOP
    return 4 if light else 1, RESIDENT[threads] * (2 if two else 1)


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
