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
SOURCE, PLANES, TARGET, MADE, WEIGHTS, BIAS = range(1, 7)
FOUND = WEIGHTS


class Program:
    """Steps that are added one by one, then run on arrays."""

    def __init__(self, loops: Loops, size: int) -> None:
        self._loops, self._size = loops, size
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
        if outer[-1] == inner[-1] == self._size:
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
    groups, outputs, channels, elements = shape
    program, rows = Program(how.loops, size), how.taps_loop.rows
    start = 0
    for one in layout.sums:
        terms = channels * len(one.kernel)
        whole, rest = divmod(outputs, rows)
        straight = len(one.kernel) == elements and bool((np.diff(one.kernel) == 1).all())
        taps = [(0, elements)] if straight else [(int(k), 1) for k in one.kernel]
        for block, blocks, width in ((0, whole, rows), (whole, min(rest, 1), rest)):
            for t, (k, many) in enumerate(taps):
                if blocks:
                    program.copy(
                        (2, size * (start + (block * terms + t) * rows)),
                        (1, block * rows * strides[1] + k * strides[3]),
                        (groups, blocks, channels, many, width),
                        (how.rows * terms * size, rows * terms * size,
                         len(one.kernel) * rows * size, rows * size, size),
                        (strides[0], rows * strides[1], *strides[2:], strides[1]),
                    )  # fmt: skip
        start += packed(how, groups, channels, one)
    return program


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
    layout: Layout, how: Generated, outputs: int, source: Shape, target: Shape, size: int,
    start: int, stop: int,
) -> Program:  # fmt: skip
    """The sums of some items: of SOURCE, PLANES, TARGET, MADE, WEIGHTS and BIAS."""
    program, loop = Program(how.loops, size), how.taps_loop
    reader = _Reader(layout, program, source, size)
    groups, _, channels, _ = layout.shape
    terms = [program.held(one.terms * size) for one in layout.sums]
    made = _stretches(layout, how.rows, size)
    for item in layout.items[start:stop]:
        reader.fill(item)
        first = 0
        for one, offsets in zip(layout.sums, terms):
            weights = (WEIGHTS, size * first)
            first += packed(how, groups, channels, one)
            counts = layout.counts(item, one)
            if min(counts) <= 0:
                continue
            length, *grid = _shared(layout, counts, size)
            program.add(
                loop.address, (PLANES, 0), offsets, weights, (MADE, 0), (BIAS, 0), len(one.terms),
                how.rows // loop.rows, -(-length // loop.columns), made[2], *grid,
            )  # fmt: skip
            at, strides = _result(layout, item, one, target)
            shape = (counts[0], groups, outputs, *counts[1:])
            program.copy((TARGET, at), (MADE, 0), shape, strides, made)
    return program


@lru_cache(256)
def collecting(
    layout: Layout, how: Generated, outputs: int, columns: int, source: Shape, cts: Shape,
    size: int, start: int, stop: int,
) -> Program:  # fmt: skip
    """The gradient of the weights, of some items: of SOURCE, PLANES, cotangents, MADE and FOUND."""
    program, loop = Program(how.loops, size), how.dots_loop
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
        program.add(
            loop.address, (PLANES, 0), offsets, (MADE, 0), (FOUND, 0), columns // loop.columns,
            how.ct_rows // loop.rows, -(-length // how.loops.lanes), made[2], columns * size,
            *grid,
        )  # fmt: skip
    return program
