"""Sums over the taps of a convolution with its channels side by side in a vector.

Where rows of planes are short, or steps between outputs long, much of a stretch lies between
outputs, and is computed in vain. Here an output is a point of the planes, and vectors run over the
channels, which are the innermost axis of all that is written: nothing between points is met.
"""

from __future__ import annotations

import math
from functools import lru_cache, reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorgrad.backend import memory
from tensorgrad.backend.conv_layout import Layout, Shape
from tensorgrad.backend.conv_products import Generated
from tensorgrad.backend.conv_programs import BIAS, FOUND, MADE, PLANES, WEIGHTS, Place, Program

if TYPE_CHECKING:
    from tensorgrad.codegen.conv import Loops

Array = np.ndarray[Any, Any]

HELD = 2**17
"""Elements of weights that stay in the second cache while all points are gone through."""

WORTH = 1.0
"""What share of the other loops' products there may be at most, exchanges of axes beside them."""


class Points:
    """As `Generated` by steps of programs, whose arrays have channels innermost.

    rows, width: channels that are computed, and of a block of them
    """

    def __init__(self, loops: Loops, outputs: int) -> None:
        self.loops, self.loop = loops, loops.channels(outputs)
        self.width = self.loop.columns
        self.blocks = -(-outputs // self.width)
        self.rows = self.blocks * self.width

    def _up(self, n: int) -> int:
        """n rounded up to whole tiles."""
        return self.loop.blocks(n) * self.loop.rows

    def room(self, layout: Layout) -> int:
        """Elements that `add_taps` writes, and `add_dots` reads."""
        most = max(math.prod(layout.counts(i, one)) for i in layout.items for one in layout.sums)
        return layout.shape[0] * self._up(most) * self.rows

    ct_room = room

    def made(self, layout: Layout, counts: Shape, size: int) -> Shape:
        """The strides of image, group, channel, row ..."""
        inner = [self.rows * size * math.prod(counts[k:]) for k in range(1, len(counts) + 1)]
        return (inner[0], self._up(math.prod(counts)) * self.rows * size, size, *inner[1:])

    ct_made = made

    def add_taps(
        self, program: Program, layout: Layout, counts: Shape, terms: Array, block: int,
        blocks: range,
    ) -> None:  # fmt: skip
        """Some blocks of outputs from all terms: bytes in planes, and in a block of WEIGHTS."""
        size, count = program.size, math.prod(counts)
        points = program.held(self._whole(_places(layout, counts) * size))
        tile, row = self.width * size, self.rows * size
        step = max(1, HELD // self.width)
        for g in range(layout.shape[0]):
            for number, column in enumerate(blocks, g * len(blocks)):
                to = (MADE, g * self._up(count) * row + column * tile)
                for k in range(0, len(terms), step):
                    part = program.held(terms[k : k + step])
                    program.add(
                        self.loop.address, self._plane(layout, g, size), points.ctypes.data,
                        part.ctypes.data, (WEIGHTS, number * block), to,
                        to if k else (BIAS, g * row + column * tile),
                        len(points) // self.loop.rows, len(part), row, row if k else 0,
                    )  # fmt: skip

    def sums(self, groups: int, terms: int, dtype: Any) -> Array:
        """Zeros that `add_dots` adds to."""
        found = memory.empty((groups, self._up(terms), self.rows), dtype)
        found.fill(0)
        return found

    def found(self, sums: Array) -> Array:
        """(group, output, term) of what `add_dots` added to."""
        return sums.swapaxes(1, 2)

    def exact(self, groups: int, outputs: int, terms: int) -> bool:
        return False

    def add_dots(
        self, program: Program, layout: Layout, counts: Shape, terms: Array, outputs: int,
        exact: bool,
    ) -> None:  # fmt: skip
        """Products of what lies there with all terms (in bytes), added to FOUND."""
        size, tile, row = program.size, self.width * program.size, self.rows * program.size
        places = _places(layout, counts) * size
        points = program.held(np.stack([places, np.arange(len(places)) * row], 1))
        whole = program.held(self._whole(terms))
        for g in range(layout.shape[0]):
            for column in range(self.blocks):
                to = (FOUND, g * len(whole) * row + column * tile)
                ct = (MADE, g * self._up(len(points)) * row + column * tile)
                program.add(
                    self.loop.address, self._plane(layout, g, size), whole.ctypes.data,
                    points.ctypes.data, ct, to, to, len(whole) // self.loop.rows, len(points),
                    row, row,
                )  # fmt: skip

    def _plane(self, layout: Layout, group: int, size: int) -> Place:
        return PLANES, group * math.prod(layout.shape[1:]) * size

    def _whole(self, offsets: Array) -> Array:
        """With offset 0 again and again to the end of the last tile."""
        return np.pad(offsets, (0, self._up(len(offsets)) - len(offsets)))


def _places(layout: Layout, counts: Shape) -> Array:
    """Where in a plane the outputs lie, image by image."""
    axes = [np.arange(n) * step for n, step in zip(counts, layout.steps)]
    return reduce(np.add.outer, axes).reshape(-1)


@lru_cache(256)
def suited(layout: Layout, how: Generated, outputs: int) -> Generated | Points:
    """The loops that compute least in vain for so many outputs."""
    points = Points(how.loops, outputs)
    counts = layout.counts(layout.items[0], layout.sums[0])
    if min(counts) <= 0:
        return how
    work, columns = layout.work(counts), how.taps_loop.columns
    stretches = how.rows * work.stretches * -(-work.length // columns) * columns
    return points if points.rows * math.prod(counts) <= WORTH * stretches else how
