"""A convolution as one list of steps: what is copied, summed and copied again, found out once.

The steps of a layout for arrays that lie alike differ only in where the arrays are: a program keeps
the rest. Small images then cost one call instead of a hundred.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorgrad.backend.conv_layout import Item, Layout, Shape, Sums

if TYPE_CHECKING:
    from tensorgrad.backend.conv_products import Generated
    from tensorgrad.codegen.conv import Loops

Array = np.ndarray[Any, Any]
Place = tuple[int, int]
"""An address: which of the arrays that a run is given, from 1 on, and bytes behind its start."""

AXES = 5  # of a copy, around its innermost one; see codegen/conv_copies
KERNELS, PLANES, TARGET, MADE, WEIGHTS, BIAS, SOURCE = range(1, 8)
FOUND = WEIGHTS

ROOM = 2**17
"""Elements of packed weights that are made at a time where all of them outweigh the input."""


class Program:
    """Steps that are added one by one, then run on arrays."""

    def __init__(self, loops: Loops, size: int) -> None:
        self._loops, self.size = loops, size
        self._words, self._bases = [0], [0]
        self._held: list[Array] = []
        self._ready: tuple[Array, Array] | None = None

    def add(self, function: int, *words: int | Place) -> None:
        """One step: a function, and what it is told."""
        self._words[0] += 1
        for word in (function, len(words), *words):
            base, value = word if isinstance(word, tuple) else (0, word)
            self._words.append(value)
            self._bases.append(base)

    def held(self, numbers: Array) -> int:
        """The address of an array that lives as long as the program."""
        self._held.append(numbers)
        return numbers.ctypes.data

    def zeros(self, to: Place, elements: int) -> None:
        """Zeros, by whole vectors."""
        self.add(self._loops.zeros, to, elements // self._loops.lanes)

    def copy(self, to: Place, source: Place, counts: Shape, steps: Shape, strides: Shape) -> None:
        """to[k steps] = source[k strides] for all k below the counts."""
        shape, outer, inner = _merged(counts, steps, strides)
        *around, count = shape
        words = [
            *((1,) * (AXES - len(around)) + tuple(around)),
            *((0,) * (AXES - len(around)) + outer[:-1]),
            *((0,) * (AXES - len(around)) + inner[:-1]),
        ]
        if outer[-1] == inner[-1] == self.size:
            ends = divmod(count, self._loops.lanes)
            self.add(self._loops.rows, to, source, *words, *ends)
        else:
            self.add(self._loops.elements, to, source, *words, count, outer[-1], inner[-1])

    def run(self, *arrays: Array) -> None:
        """All steps, on the arrays that they name."""
        if self._ready is None:
            self._ready = np.array(self._words, np.int64), np.array(self._bases, np.intp)
        words, bases = self._ready
        data = self._loops.data
        job = np.array([0, *map(data, arrays)], np.int64)[bases]
        job += words
        if self._words[0]:
            self._loops.steps(data(job))


def _merged(counts: Shape, steps: Shape, strides: Shape) -> tuple[Shape, Shape, Shape]:
    """Axes of one element left out, the outer ones in the order in which the source lies, and those
    made one that follow each other on both sides."""
    axes = [axis for axis in zip(counts, steps, strides) if axis[0] > 1] or [(1, 0, 0)]
    axes[:-1] = sorted(axes[:-1], key=lambda axis: -abs(axis[2]))
    found = [axes[-1]]
    for n, step, stride in reversed(axes[:-1]):
        m, *inner = found[-1]
        if [step, stride] == [m * one for one in inner]:
            found[-1] = (n * m, inner[0], inner[1])
        else:
            found.append((n, step, stride))
    one, two, three = zip(*reversed(found))
    return one, two, three


# -- weights -----------------------------------------------------------------------------------


def packed(how: Generated, groups: int, channels: int, one: Sums) -> int:
    """Elements of the weights of one of a layout's sums."""
    return groups * how.rows * channels * len(one.kernel)


@lru_cache(256)
def packing(layout: Layout, how: Generated, shape: Shape, strides: Shape, size: int) -> Program:
    """From kernels (group, output, channel, element) to [group, block, K, row], sums in turn."""
    program, start = Program(how.loops, size), 0
    for one in layout.sums:
        _pack(program, how, one, shape, strides, (2, size * start), range(how.blocks))
        start += packed(how, shape[0], shape[2], one)
    return program


def _pack(
    program: Program, how: Generated, one: Sums, shape: Shape, strides: Shape, to: Place,
    blocks: range,
) -> None:  # fmt: skip
    """Blocks of the weights of one of a layout's sums; of the last one what rows there are."""
    groups, outputs, channels, elements = shape
    rows, size, terms = how.taps_loop.rows, program.size, channels * len(one.kernel)
    whole, rest = divmod(outputs, rows)
    straight = len(one.kernel) == elements and bool((np.diff(one.kernel) == 1).all())
    taps = [(0, elements)] if straight else [(int(k), 1) for k in one.kernel]
    last = max(blocks.start, min(blocks.stop, whole))
    ends = ((blocks.start, last - blocks.start, rows), (last, int(last < blocks.stop), rest))
    for block, many, width in ends:
        for t, (k, count) in enumerate(taps):
            if many and width:
                at = ((block - blocks.start) * terms + t) * rows
                program.copy(
                    (to[0], to[1] + size * at),
                    (1, block * rows * strides[1] + k * strides[3]),
                    (groups, many, channels, count, width),
                    (how.rows * terms * size, rows * terms * size,
                     len(one.kernel) * rows * size, rows * size, size),
                    (strides[0], rows * strides[1], *strides[2:], strides[1]),
                )  # fmt: skip


# -- sums over taps, and gradients of weights --------------------------------------------------


class _Reader:
    """Copies the items of a layout to its planes, one by one."""

    def __init__(self, layout: Layout, program: Program, strides: Shape, size: int) -> None:
        self.layout, self.program, self.strides, self.size = layout, program, strides, size
        self.steps = tuple([size * n for n in layout.steps])
        _, phases, channels, length = layout.shape
        self.plane = (phases * channels * length * size, channels * length * size, length * size)
        self.held: Any = None

    def fill(self, item: Item) -> None:
        layout, strides, size = self.layout, self.strides, self.size
        kind = layout.filled(item)
        if kind != self.held:
            self.program.zeros((PLANES, 0), math.prod(layout.shape))
            self.held = kind
        groups, _, channels, _ = layout.shape
        for number, at, starts, counts in layout.moves(item):
            first = item.n0 * strides[0] + sum(n * s for n, s in zip(starts, strides[3:]))
            self.program.copy(
                (PLANES, number * self.plane[1] + size * at),
                (SOURCE, first),
                (item.n1 - item.n0, groups, channels, *counts),
                (self.steps[0], self.plane[0], self.plane[2], *self.steps[1:]),
                (*strides[:3], *[n * s for n, s in zip(layout.step, strides[3:])]),
            )


def _result(layout: Layout, item: Item, one: Sums, strides: Shape) -> tuple[int, Shape]:
    """Where an item's outputs begin in a result of those strides, and their strides."""
    starts = (one.start[0] + item.q0 * layout.every[0], *one.start[1:])
    first = item.n0 * strides[0] + sum(n * s for n, s in zip(starts, strides[3:]))
    return first, (*strides[:3], *[n * s for n, s in zip(layout.every, strides[3:])])


def _stretches(layout: Layout, rows: int, size: int) -> Shape:
    """Strides of (image, group, row, ...) in stretches of outputs."""
    longest = layout.longest * size
    steps = [size * n for n in layout.steps]
    return (steps[0], rows * longest, longest, *steps[1:])


def _shared(layout: Layout, counts: Shape, size: int) -> Shape:
    """(length, groups, bytes of a group, stretches, bytes between them) of both loops."""
    work, (groups, *plane) = layout.work(counts), layout.shape
    return work.length, groups, size * math.prod(plane), work.stretches, size * work.apart


@lru_cache(256)
def summing(
    layout: Layout, how: Generated, kernels: tuple[Shape, Shape], source: Shape, target: Shape,
    size: int, chunk: int, start: int, stop: int,
) -> Program:  # fmt: skip
    """The sums of some items, of all arrays that are named.

    kernels: their shape and strides; chunk: the blocks of WEIGHTS that are packed at a time, or 0
    where all of them are ready
    """
    program, loop, shape = Program(how.loops, size), how.taps_loop, kernels[0]
    reader = _Reader(layout, program, source, size)
    terms = [program.held(one.terms * size) for one in layout.sums]
    made = _stretches(layout, how.rows, size)
    for item in layout.items[start:stop]:
        reader.fill(item)
        first = 0
        for one, offsets in zip(layout.sums, terms):
            counts, at = layout.counts(item, one), first
            first += packed(how, shape[0], shape[2], one)
            if min(counts) <= 0:
                continue
            length, *grid = _shared(layout, counts, size)
            for block in range(0, how.blocks, chunk or how.blocks):
                blocks = range(block, min(block + (chunk or how.blocks), how.blocks))
                if chunk:
                    _pack(program, how, one, *kernels, (WEIGHTS, 0), blocks)
                row = block * loop.rows
                program.add(
                    loop.address, (PLANES, 0), offsets, (WEIGHTS, 0 if chunk else size * at),
                    (MADE, row * made[2]), (BIAS, row * size), len(one.terms), len(blocks),
                    -(-length // loop.columns), made[2], *grid,
                )  # fmt: skip
            begin, strides = _result(layout, item, one, target)
            extent = (counts[0], shape[0], shape[1], *counts[1:])
            program.copy((TARGET, begin), (MADE, 0), extent, strides, made)
    return program


def chunk(layout: Layout, how: Generated, groups: int, channels: int, least: int) -> int:
    """Blocks of weights to pack at a time: 0, all of them before, unless those are so many."""
    words = sum(packed(how, groups, channels, one) for one in layout.sums)
    if groups > 1 or words <= max(least, ROOM):
        return 0
    longest = max(packed(how, groups, channels, one) for one in layout.sums) // how.blocks
    return max(1, ROOM // longest)


@lru_cache(256)
def collecting(
    layout: Layout, how: Generated, outputs: int, columns: int, exact: bool, source: Shape,
    cts: Shape, size: int, start: int, stop: int,
) -> Program:  # fmt: skip
    """The gradient of the weights, of some items, added to FOUND; TARGET is the cotangent.

    exact: FOUND has a row for each output, and none that only fills a tile
    """
    program, loop = Program(how.loops, size), how.dots_loop
    whole = outputs // loop.rows * loop.rows if exact else how.ct_rows
    parts = [(loop, 0, whole), (how.loops.dots[-1], whole, outputs - whole if exact else 0)]
    reader = _Reader(layout, program, source, size)
    groups, (one,) = layout.shape[0], layout.sums
    terms = np.zeros(columns, np.int64)
    terms[: len(one.terms)] = one.terms * size
    offsets = program.held(terms)
    made = _stretches(layout, how.ct_rows, size)
    held = None
    for item in layout.items[start:stop]:
        reader.fill(item)
        counts = layout.counts(item, one)
        if counts != held:
            program.zeros((MADE, 0), groups * how.ct_rows * layout.longest)
            held = counts
        at, strides = _result(layout, item, one, cts)
        shape = (counts[0], groups, outputs, *counts[1:])
        program.copy((MADE, 0), (TARGET, at), shape, made, strides)
        length, *grid = _shared(layout, counts, size)
        for one_loop, row, rows in parts:
            if rows:
                program.add(
                    one_loop.address, (PLANES, 0), offsets, (MADE, row * made[2]),
                    (FOUND, row * columns * size), columns // one_loop.columns,
                    rows // one_loop.rows, -(-length // how.loops.lanes), made[2], columns * size,
                    *grid,
                )  # fmt: skip
    return program


def exact(how: Generated, groups: int, outputs: int, terms: int) -> bool:
    """Whether products of stretches fill the gradient of the weights, and nothing beside it."""
    loop, single = how.dots_loop, how.loops.dots[-1]
    if outputs % loop.rows == 0:
        return terms % loop.columns == 0
    return groups == single.rows == 1 and terms % loop.columns == terms % single.columns == 0
