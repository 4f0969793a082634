"""How a convolution reads its input: planes between zeros, from which every tap is one offset.

A plane is an image of one channel (with a stride s: one image for each remainder of a position by
s that a tap meets) whose rows lie `pitch` apart, zeros between them. The zeros after a row are
those before the next, and small images follow one another in one plane alike. Output q of tap t is
then element q + offset(t) of a plane, for all q at once: a stretch of memory. What lies between
rows is computed too, and dropped. Large images go in bands of rows, so that planes and results
stay in the second cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]

BUDGET = 2**17
"""Elements of planes and results that are worked on at a time: half a MiB of float32."""

LEAST = 512
"""Outputs that are worked on at a time at least: the weights are read again for each stretch."""

WIDE = 48
"""Outputs of the tile that is taken most often."""

ROOM = 128
"""Elements behind a stretch that may be read: the widest tile of sums."""

LINE = 16  # elements: planes lie an odd number of them apart, in different sets of a cache


class Item(NamedTuple):
    """A piece of work: images n0 to n1, rows q0 to q1 of the result."""

    n0: int
    n1: int
    q0: int
    q1: int


class Move(NamedTuple):
    """Of a phase: its number, where in its planes it begins, its first position and its extent."""

    number: int
    at: int
    starts: Shape
    counts: Shape


class Work(NamedTuple):
    """How outputs lie in a plane: so many stretches of that length, so many elements apart."""

    length: int
    stretches: int
    apart: int


class Tap(NamedTuple):
    """Of one axis: output q meets input step (q + shift) + phase with element k of the kernel."""

    k: int
    phase: int
    shift: int


class Class(NamedTuple):
    """Of one axis: the outputs start, start + stride ... (`size` of them) and their taps."""

    start: int
    size: int
    taps: tuple[Tap, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Outputs that meet the same taps: where they start, how many, and of each tap its element of
    the (flat) kernel, its phase and its offset in a plane.

    terms: offsets from a group's first plane, channel after channel, of each the taps in turn
    """

    start: Shape
    count: Shape
    kernel: Array
    phase: Array
    offset: Array
    terms: Array


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The planes of a source of that size, and what is computed from them.

    step: between the elements of a plane, in the source; every: between outputs of one `Sums`
    lead, most: elements of an axis that taps reach before the first, and from the first on
    tail: zeros (or neighbours) that they reach behind the last output
    steps: elements between neighbours in a plane, image first; front: where element 0 lies
    shape: (groups, phases, channels of a group, elements) of all planes
    longest: elements of the longest stretch, and of the widest tile behind it
    apart: whether images go one by one, since more lies between them than tiles are too long
    """

    size: Shape
    step: Shape
    every: Shape
    phases: tuple[Shape, ...]
    lead: Shape
    tail: Shape
    most: Shape
    steps: Shape
    front: int
    shape: Shape
    longest: int
    apart: bool
    items: tuple[Item, ...]
    sums: tuple[Sums, ...]

    def counts(self, item: Item, one: Sums) -> Shape:
        """(images, rows, ...) of an item's outputs."""
        return item.n1 - item.n0, min(item.q1, one.count[0]) - item.q0, *one.count[1:]

    def work(self, counts: Shape) -> Work:
        """The stretches that hold so many outputs."""
        if self.apart:
            return Work(_stretch((1, *counts[1:]), self.steps), counts[0], self.steps[0])
        return Work(_stretch(counts, self.steps), 1, 0)

    def seen(self, flat: Array, outputs: int, counts: Shape) -> Array:
        """Outputs in stretches, (group, output, image, row, ...) of (group, row, element)."""
        strides = (*flat.strides[:2], *[flat.itemsize * n for n in self.steps])
        return np.ndarray((len(flat), outputs, *counts), flat.dtype, flat, 0, strides)

    def place(self, item: Item, one: Sums) -> tuple[slice, ...]:
        """Where an item's outputs lie in the result: images, groups, channels, rows ..."""
        first, *rest = [
            slice(start + (item.q0 * every if not a else 0), None, every)
            for a, (start, every) in enumerate(zip(one.start, self.every))
        ]
        last = min(item.q1, one.count[0]) - 1
        rows = slice(first.start, one.start[0] + last * self.every[0] + 1, first.step)
        return slice(item.n0, item.n1), slice(None), slice(None), rows, *rest

    def filled(self, item: Item) -> tuple[int, ...]:
        """What tells items apart whose planes hold zeros in the same places."""
        rows = [n - item.q0 for phase in self.phases for n in self.rows(item, phase[0])]
        return item.n1 - item.n0, item.q1 - item.q0, *rows

    def rows(self, item: Item, phase: int) -> tuple[int, int]:
        """The rows of a phase that an item reads."""
        there = -(-(self.size[0] - phase) // self.step[0])
        return max(0, item.q0 - self.lead[0]), min(there, item.q1 + self.tail[0])

    def moves(self, item: Item) -> Iterator[Move]:
        """What an item reads of a source, and where it lies in the planes."""
        for number, phase in enumerate(self.phases):
            low, high = self.rows(item, phase[0])
            there = [-(-(n - r) // s) for n, r, s in zip(self.size, phase, self.step)]
            counts = (high - low, *[min(n, m) for n, m in zip(there[1:], self.most[1:])])
            if min(counts) > 0:
                starts = (low * self.step[0] + phase[0], *phase[1:])
                at = self.front + (low - item.q0) * self.steps[1]
                yield Move(number, at, starts, counts)

    def fill(self, planes: Array, x: Array, item: Item) -> None:
        """Copy what an item reads of x (image, group, channel, ...) to its planes.

        They hold zeros wherever nothing is copied to.
        """
        size = planes.itemsize
        strides = (planes.strides[0], planes.strides[2], *[size * n for n in self.steps])
        for number, at, starts, counts in self.moves(item):
            cuts = [slice(a, a + (n - 1) * s + 1, s) for a, n, s in zip(starts, counts, self.step)]
            source = x[(slice(item.n0, item.n1), slice(None), slice(None), *cuts)]
            shape = (planes.shape[0], planes.shape[2], item.n1 - item.n0, *counts)
            at = number * planes.strides[1] + size * at
            target = np.ndarray(shape, planes.dtype, planes, at, strides)
            target[...] = source.transpose(1, 2, 0, *range(3, source.ndim))


def _stretch(counts: Sequence[int], steps: Shape) -> int:
    """Elements from the first of so many (images, rows, ...) to the last."""
    return 1 + sum((n - 1) * step for n, step in zip(counts, steps))


def _odd(n: int) -> int:
    """n rounded up to an odd number of lines."""
    lines = -(-n // LINE)
    return LINE * (lines | 1)


# -- forwards and backwards --------------------------------------------------------------------


def extent(size: int, kernel: int, stride: int, pair: tuple[int, int], dilation: int) -> int:
    """The length of one axis of a convolution."""
    return (size + sum(pair) - dilation * (kernel - 1) - 1) // stride + 1


@lru_cache(512)
def forwards(
    batch: int, channels: int, outputs: int, groups: int, size: Shape, kernel: Shape,
    stride: Shape, padding: Pairs, dilation: Shape,
) -> Layout:  # fmt: skip
    """The layout by which a convolution reads its input; channels and outputs of one group."""
    axes = []
    for s, (low, high), d, n, k in zip(stride, padding, dilation, size, kernel):
        taps = [Tap(j, (j * d - low) % s, (j * d - low) // s) for j in range(k)]
        axes.append([Class(0, extent(n, k, s, (low, high), d), tuple(taps))])
    planes = (batch, groups, channels, outputs)
    return _layout(planes, size, stride, (1,) * len(size), kernel, axes)


@lru_cache(512)
def backwards(
    batch: int, channels: int, outputs: int, groups: int, size: Shape, kernel: Shape,
    stride: Shape, padding: Pairs, dilation: Shape,
) -> Layout:  # fmt: skip
    """The layout by which its adjoint reads a cotangent (`outputs` channels); size is x's.

    Positions of x with the same remainder by the stride meet the same taps: a `Sums` each.
    """
    axes, counts = [], []
    for s, (low, high), d, n, k in zip(stride, padding, dilation, size, kernel):
        counts.append(extent(n, k, s, (low, high), d))
        shifts = [[(j, r + low - j * d) for j in range(k)] for r in range(min(s, n))]
        axes.append([
            Class(r, -(-(n - r) // s), tuple([Tap(j, 0, m // s) for j, m in some if m % s == 0]))
            for r, some in enumerate(shifts)
        ])  # fmt: skip
    planes = (batch, groups, outputs, channels)
    return _layout(planes, tuple(counts), (1,) * len(size), stride, kernel, axes)


def _layout(
    planes: Shape, size: Shape, step: Shape, every: Shape, kernel: Shape,
    axes: Sequence[Sequence[Class]],
) -> Layout:  # fmt: skip
    """The layout for outputs of every combination of the axes' classes."""
    batch, groups, channels, outputs = planes
    taps = [[t for one in classes for t in one.taps] or [Tap(0, 0, 0)] for classes in axes]
    lead = tuple([max(0, -min(t.shift for t in some)) for some in taps])
    tail = tuple([max(0, max(t.shift for t in some)) for some in taps])
    counts = tuple([max(one.size for one in classes) for classes in axes])
    most = tuple([n + b for n, b in zip(counts, tail)])
    # A row's elements, and those that its taps reach before it, which may lie in the row before.
    held = [min(-(-n // s), m) + a for n, s, m, a in zip(size, step, most, lead)]
    pitch = [max(m, n, 1) for m, n in zip(most, held)]
    steps = tuple([math.prod(pitch[a:]) for a in range(len(pitch) + 1)])
    front, reach = (sum(n * s for n, s in zip(some, steps[1:])) for some in (lead, tail))
    phases = tuple(product(*[sorted({t.phase for t in some}) for some in taps]))
    work = (groups * channels * len(phases), groups * outputs)
    items = _items(batch, counts[0], work, lead[0] + tail[0], steps)
    longest = max(_stretch((i.n1 - i.n0, i.q1 - i.q0, *counts[1:]), steps) for i in items)
    alone = -(-_stretch((1, *counts), steps) // WIDE) * WIDE
    longest = _odd(longest + ROOM)
    length = _odd(front + longest + reach)
    shape = (groups, len(phases), channels, length)
    sums = tuple([_sums(one, phases, steps, front, kernel, shape) for one in product(*axes)])
    return Layout(
        size,
        step,
        every,
        phases,
        lead,
        tail,
        most,
        steps,
        front,
        shape,
        longest,
        alone < steps[0],
        items,
        sums,
    )


def _items(
    batch: int, count: int, work: tuple[int, int], halo: int, steps: Shape
) -> tuple[Item, ...]:
    """Images by the group, or bands of rows: as much as the budget has room for."""
    planes, outputs = work
    image = planes * (steps[0] + halo * steps[1]) + outputs * steps[0]
    if image <= BUDGET or steps[0] < LEAST:
        together = min(batch, max(BUDGET // image, -(-LEAST // steps[0])))
        together = -(-batch // -(-batch // together))
        return tuple([
            Item(n, min(n + together, batch), 0, count) for n in range(0, batch, together)
        ])  # fmt: skip
    room = BUDGET // steps[1] - planes * halo
    rows = max(room // (planes + outputs), min(4 * halo, count), -(-LEAST // steps[1]))
    rows = -(-count // -(-count // rows))
    return tuple([
        Item(n, n + 1, q, min(q + rows, count)) for n in range(batch) for q in range(0, count, rows)
    ])  # fmt: skip


def _sums(
    classes: Sequence[Class], phases: Sequence[Shape], steps: Shape, front: int, kernel: Shape,
    shape: Shape,
) -> Sums:  # fmt: skip
    taps = list(product(*[one.taps for one in classes]))
    number = {phase: k for k, phase in enumerate(phases)}
    weights = [math.prod(kernel[a + 1 :]) for a in range(len(kernel))]
    flat = [sum(t.k * n for t, n in zip(tap, weights)) for tap in taps]
    phase = np.array([number[tuple([t.phase for t in tap])] for tap in taps], np.int64)
    offset = front + np.array(
        [sum(t.shift * step for t, step in zip(tap, steps[1:])) for tap in taps], np.int64
    )
    channels, length = shape[2:]
    planes = phase * channels + np.arange(channels)[:, None]
    return Sums(
        tuple([one.start for one in classes]),
        tuple([one.size for one in classes]),
        np.array(flat, np.int64),
        phase,
        offset,
        np.ascontiguousarray((planes * length + offset).reshape(-1)),
    )
