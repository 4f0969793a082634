"""A convolution as one list of steps: what is copied, summed and copied again, found out once.

The steps of a layout for arrays that lie alike differ only in where the arrays are: a program keeps
the rest. Small images then cost one call instead of a hundred.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorgrad.backend.conv_layout import Item, Layout, Shape, Sums

if TYPE_CHECKING:
    from tensorgrad.backend.conv_points import Points
    from tensorgrad.backend.conv_products import Generated
    from tensorgrad.codegen.conv import Loops

Array = np.ndarray[Any, Any]
Place = tuple[int, int]
"""An address: which of the arrays that a run is given, from 1 on, and bytes behind its start."""

Axis = tuple[int, int, int]
"""Of a copy: elements, and bytes between them in what is written and in what is read."""

TURNED = 3
"""Elements of an axis that is worth a tile whose rows and columns are exchanged."""

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

    def held(self, numbers: Array) -> Array:
        """An array, by whose address a step finds it, that lives as long as the program."""
        self._held.append(numbers)
        return numbers

    def zeros(self, to: Place, elements: int) -> None:
        """Zeros, by whole vectors."""
        self.add(self._loops.zeros, to, elements // self._loops.lanes)

    def copy(self, to: Place, source: Place, counts: Shape, steps: Shape, strides: Shape) -> None:
        """to[k steps] = source[k strides] for all k below the counts."""
        axes = _merged([*zip(counts, steps, strides)])
        across = [axis for axis in axes if axis[1] == self.size and axis[0] >= TURNED]
        along = [axis for axis in axes if axis[2] == self.size and axis[0] >= TURNED]
        both = [axis for axis in axes if axis[1] == axis[2] == self.size]
        if both:
            axes.remove(both[0])
            ends = divmod(both[0][0], self._loops.lanes)
            self.add(self._loops.rows, to, source, *_around(axes), *ends)
        elif across and along:
            axes.remove(across[0])
            axes.remove(along[0])
            (rows, _, stride), (columns, step, _) = across[0], along[0]
            self.add(self._loops.turns, to, source, *_around(axes), rows, columns, step, stride)
        else:
            *axes, last = axes
            self.add(self._loops.elements, to, source, *_around(axes), *last)

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


def _merged(axes: list[Axis]) -> list[Axis]:
    """Axes of one element left out, those made one that follow each other on both sides, the outer
    ones in the order in which the source lies."""
    axes = [axis for axis in axes if axis[0] > 1] or [(1, 0, 0)]
    for outer, inner in permutations(range(len(axes)), 2):
        count, *steps = axes[inner]
        if list(axes[outer][1:]) == [count * step for step in steps]:
            axes[inner] = (axes[outer][0] * count, *axes[inner][1:])
            del axes[outer]
            return _merged(axes)
    return sorted(axes[:-1], key=lambda axis: -abs(axis[2])) + axes[-1:]


def _around(axes: list[Axis]) -> list[int]:
    """The axes around the innermost one, as loops take them: counts, steps and strides."""
    full = [(1, 0, 0)] * (AXES - len(axes)) + axes
    return [word for words in zip(*full) for word in words]


# -- weights -----------------------------------------------------------------------------------


@lru_cache(256)
def packing(how: Generated | Points, shape: Shape, strides: Shape, size: int) -> Program:
    """From kernels (group, output, channel, element) to [group, block, term, row]."""
    program = Program(how.loops, size)
    _pack(program, how, shape, strides, (2, 0), range(how.blocks))
    return program


def _pack(
    program: Program, how: Generated | Points, shape: Shape, strides: Shape, to: Place,
    blocks: range,
) -> None:  # fmt: skip
    """Blocks of the weights; of the last one what rows there are."""
    groups, outputs, channels, elements = shape
    rows, size, terms = how.width, program.size, channels * elements
    whole, rest = divmod(outputs, rows)
    last = max(blocks.start, min(blocks.stop, whole))
    ends = ((blocks.start, last - blocks.start, rows), (last, int(last < blocks.stop), rest))
    for block, many, width in ends:
        if many and width:
            program.copy(
                (to[0], to[1] + size * (block - blocks.start) * terms * rows),
                (1, block * rows * strides[1]),
                (groups, many, channels, elements, width),
                (how.rows * terms * size, rows * terms * size, elements * rows * size, rows * size,
                 size),
                (strides[0], rows * strides[1], *strides[2:], strides[1]),
            )  # fmt: skip


def _terms(one: Sums, how: Generated | Points, shape: Shape, size: int) -> Array:
    """Of each term its bytes in the planes, and in a block of weights."""
    places = np.add.outer(np.arange(shape[2]) * shape[3], one.kernel).reshape(-1)
    return np.stack([one.terms * size, places * how.width * size], 1)


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


@lru_cache(256)
def summing(
    layout: Layout, how: Generated | Points, kernels: tuple[Shape, Shape], source: Shape,
    target: Shape, size: int, chunk: int, start: int, stop: int,
) -> Program:  # fmt: skip
    """The sums of some items, of all arrays that are named.

    kernels: their shape and strides; chunk: the blocks of WEIGHTS that are packed at a time, or 0
    where all of them are ready
    """
    program, shape = Program(how.loops, size), kernels[0]
    (groups, outputs), block = shape[:2], math.prod(shape[2:]) * how.width * size
    reader = _Reader(layout, program, source, size)
    terms = [program.held(_terms(one, how, shape, size)) for one in layout.sums]
    for item in layout.items[start:stop]:
        reader.fill(item)
        for first in range(0, how.blocks, chunk or how.blocks):
            blocks = range(first, min(first + (chunk or how.blocks), how.blocks))
            if chunk:
                _pack(program, how, *kernels, (WEIGHTS, 0), blocks)
            done = blocks.start * how.width
            for one, pairs in zip(layout.sums, terms):
                counts = layout.counts(item, one)
                if min(counts) <= 0:
                    continue
                how.add_taps(program, layout, counts, pairs, block, blocks)
                begin, strides = _result(layout, item, one, target)
                made = how.made(layout, counts, size)
                many = min(blocks.stop * how.width, outputs) - done
                program.copy(
                    (TARGET, begin + done * strides[2]), (MADE, done * made[2]),
                    (counts[0], groups, many, *counts[1:]), strides, made,
                )  # fmt: skip
    return program


def chunk(how: Generated | Points, shape: Shape, least: int) -> int:
    """Blocks of weights to pack at a time: 0, all of them before, unless those are so many."""
    groups, _, *terms = shape
    block = math.prod(terms) * how.width
    if groups > 1 or block * how.blocks <= max(least, ROOM):
        return 0
    return max(1, ROOM // block)


@lru_cache(256)
def collecting(
    layout: Layout, how: Generated | Points, outputs: int, exact: bool, source: Shape, cts: Shape,
    size: int, start: int, stop: int,
) -> Program:  # fmt: skip
    """The gradient of the weights, of some items, added to FOUND; TARGET is the cotangent."""
    program, (one,) = Program(how.loops, size), layout.sums
    reader = _Reader(layout, program, source, size)
    groups, held = layout.shape[0], None
    for item in layout.items[start:stop]:
        reader.fill(item)
        counts = layout.counts(item, one)
        if counts != held:
            program.zeros((MADE, 0), how.ct_room(layout))
            held = counts
        at, strides = _result(layout, item, one, cts)
        shape = (counts[0], groups, outputs, *counts[1:])
        program.copy((MADE, 0), (TARGET, at), shape, how.ct_made(layout, counts, size), strides)
        how.add_dots(program, layout, counts, one.terms * size, outputs, exact)
    return program


def placed(how: Generated | Points, found: Array, target: Array) -> None:
    """target = found (group, output, term)."""
    if target.flags.c_contiguous and target.dtype == found.dtype:
        flat = target.reshape(found.shape)
        steps, strides = flat.strides, found.strides
        _placing(how.loops, found.shape, steps, strides, found.itemsize).run(target, found)
    else:
        target[...] = found.reshape(target.shape)


@lru_cache(256)
def _placing(loops: Loops, counts: Shape, steps: Shape, strides: Shape, size: int) -> Program:
    program = Program(loops, size)
    program.copy((1, 0), (2, 0), counts, steps, strides)
    return program
