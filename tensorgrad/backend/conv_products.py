"""Sums over the taps of a convolution: by generated loops, or tile by tile over BLAS.

Planes are those of a `Layout`; K counts channel by channel the taps of each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorgrad.backend import memory
from tensorgrad.backend.blas import DOOR
from tensorgrad.backend.conv_layout import Layout, Shape, Sums, Work
from tensorgrad.backend.conv_programs import BIAS, FOUND, MADE, PLANES, WEIGHTS, Program

if TYPE_CHECKING:
    from tensorgrad.codegen.conv import Loops

Array = np.ndarray[Any, Any]

TILE = 800
"""Outputs of a tile that goes to BLAS: with it the second cache holds what they are made of."""


class Tiled:
    """Over BLAS: rows of a tile of outputs are copied side by side, then multiplied.

    rows, ct_rows: rows that `taps` writes of a group, and that `dots` reads
    """

    def __init__(self, outputs: int) -> None:
        self.rows = self.ct_rows = outputs

    def weights(self, w: Array, bias: Array | None) -> tuple[Array, Array | None]:
        """w (group, output, channel, tap) and bias (group, output) as `taps` reads them."""
        return w.reshape(*w.shape[:2], -1), bias

    def taps(
        self, planes: Array, one: Sums, weights: tuple[Array, Any], out: Array, work: Work
    ) -> None:
        """out[g, o, p] = bias[g, o] + Σ_k w[g, o, k] planes[g, term k + p] for the places p."""
        w, bias = weights
        for at, tile in _tiles(planes, one, work):
            for g, rows in enumerate(tile):
                found = DOOR.multiply(w[g], rows)
                out[g, :, at] = found if bias is None else found + bias[g, :, None]

    def sums(self, groups: int, terms: int, dtype: Any) -> Array:
        """Zeros that `dots` adds to: at least (groups, outputs, terms)."""
        return np.zeros((groups, self.ct_rows, terms), dtype)

    def dots(self, planes: Array, one: Sums, ct: Array, out: Array, work: Work) -> None:
        """out[g, o, k] += Σ_p ct[g, o, p] planes[g, term k + p]; ct is 0 behind a stretch."""
        for at, tile in _tiles(planes, one, work):
            for g, rows in enumerate(tile):
                out[g] += DOOR.multiply(ct[g, :, at], rows.T)


def _tiles(planes: Array, one: Sums, work: Work) -> Iterator[tuple[slice, Array]]:
    """Places by the tile, and (group, K, place) of what the terms read there."""
    groups, _, channels, _ = planes.shape
    starts = [
        (n * work.apart + at, min(TILE, work.length - at))
        for n in range(work.stretches) for at in range(0, work.length, TILE)
    ]  # fmt: skip
    for start, size in starts:
        tile = np.empty((groups, channels, len(one.offset), size), planes.dtype)
        for t, (phase, offset) in enumerate(zip(one.phase, one.offset + start)):
            tile[:, :, t] = planes[:, phase, :, offset : offset + size]
        yield slice(start, start + size), tile.reshape(groups, -1, size)


class Generated:
    """By loops that read the planes in place; see `Tiled` for what they do.

    rows, width: rows of a group that weights are made for, and of a block of them
    """

    def __init__(self, loops: Loops, outputs: int) -> None:
        self.loops, self._lanes = loops, loops.lanes
        self.taps_loop, self.dots_loop = loops.chosen(outputs)
        self.blocks, self._tiles = self.taps_loop.blocks(outputs), self.dots_loop.blocks(outputs)
        self.width = self.taps_loop.rows
        self.rows = self.blocks * self.width
        self.ct_rows = self._tiles * self.dots_loop.rows

    def weights(self, w: Array, bias: Array | None) -> tuple[Array, Array]:
        groups, outputs, *terms = w.shape
        added = filled(groups, self.rows, bias, w.dtype)
        if outputs < self.rows:
            full = np.zeros((groups, self.rows, *terms), w.dtype)
            full[:, :outputs] = w
            w = full
        packed = memory.empty((groups, self.blocks, *terms, self.taps_loop.rows), w.dtype)
        packed[...] = np.moveaxis(w.reshape(groups, self.blocks, -1, *terms), 2, -1)
        return packed, added

    def taps(
        self, planes: Array, one: Sums, weights: tuple[Array, Any], out: Array, work: Work
    ) -> None:
        w, bias = weights
        step = self.width * planes.itemsize
        terms = np.stack([one.terms * planes.itemsize, np.arange(len(one.terms)) * step], 1)
        self.taps_loop.run(
            _at(planes), _at(terms), _at(w), _at(out), _at(bias), len(terms), self.blocks,
            len(terms) * step, -(-work.length // self.taps_loop.columns), out.strides[1],
            len(planes), planes.strides[0], work.stretches, work.apart * planes.itemsize,
        )  # fmt: skip

    def sums(self, groups: int, terms: int, dtype: Any) -> Array:
        return np.zeros((groups, self.ct_rows, self._columns(terms)), dtype)

    def dots(self, planes: Array, one: Sums, ct: Array, out: Array, work: Work) -> None:
        terms = np.zeros(out.shape[2], np.int64)
        terms[: len(one.terms)] = one.terms * planes.itemsize
        self.dots_loop.run(
            _at(planes), _at(terms), _at(ct), _at(out), len(terms) // self.dots_loop.columns,
            self._tiles, -(-work.length // self._lanes), ct.strides[1], out.strides[1],
            len(planes), planes.strides[0], work.stretches, work.apart * planes.itemsize,
        )  # fmt: skip

    def _columns(self, terms: int) -> int:
        return -(-terms // self.dots_loop.columns) * self.dots_loop.columns

    # The same as steps of programs.

    def room(self, layout: Layout) -> int:
        """Elements of the stretches that `add_taps` writes."""
        return layout.shape[0] * self.rows * layout.longest

    def made(self, layout: Layout, counts: Shape, size: int) -> Shape:
        """The strides of what it wrote: of image, group, output, row ..."""
        return _stretches(layout, self.rows, size)

    def add_taps(
        self, program: Program, layout: Layout, counts: Shape, terms: Array, block: int,
        blocks: range,
    ) -> None:  # fmt: skip
        """Some blocks of outputs from all terms: bytes in planes, and in a block of WEIGHTS."""
        loop, size = self.taps_loop, program.size
        length, *grid = _shared(layout, counts, size)
        first, row = blocks.start * loop.rows, layout.longest * size
        program.add(
            loop.address, (PLANES, 0), terms.ctypes.data, (WEIGHTS, 0), (MADE, first * row),
            (BIAS, first * size), len(terms), len(blocks), block, -(-length // loop.columns), row,
            *grid,
        )  # fmt: skip

    def ct_room(self, layout: Layout) -> int:
        """Elements of the stretches that `add_dots` reads."""
        return layout.shape[0] * self.ct_rows * layout.longest

    def ct_made(self, layout: Layout, counts: Shape, size: int) -> Shape:
        """As `made`, of what it reads."""
        return _stretches(layout, self.ct_rows, size)

    def exact(self, groups: int, outputs: int, terms: int) -> bool:
        """Whether products of stretches fill the gradient of the weights, and nothing beside it."""
        loop, single = self.dots_loop, self.loops.dots[-1]
        if outputs % loop.rows == 0:
            return terms % loop.columns == 0
        return groups == single.rows == 1 and terms % loop.columns == terms % single.columns == 0

    def found(self, sums: Array) -> Array:
        """(group, output, term) of what `add_dots` added to."""
        return sums

    def add_dots(
        self, program: Program, layout: Layout, counts: Shape, terms: Array, outputs: int,
        exact: bool,
    ) -> None:  # fmt: skip
        """Products of what lies there with all terms, added to FOUND.

        exact: it has a row for each output, and none that only fills a tile
        """
        loop, size = self.dots_loop, program.size
        columns = self._columns(len(terms))
        offsets = program.held(np.pad(terms, (0, columns - len(terms)))).ctypes.data
        length, *grid = _shared(layout, counts, size)
        row = layout.longest * size
        whole = outputs // loop.rows * loop.rows if exact else self.ct_rows
        parts = [(loop, 0, whole), (self.loops.dots[-1], whole, outputs - whole if exact else 0)]
        for one, first, rows in parts:
            if rows:
                program.add(
                    one.address, (PLANES, 0), offsets, (MADE, first * row),
                    (FOUND, first * columns * size), columns // one.columns, rows // one.rows,
                    -(-length // self._lanes), row, columns * size, *grid,
                )  # fmt: skip


def filled(groups: int, rows: int, bias: Array | None, dtype: Any) -> Array:
    """A bias (group, output) as the loops read it: of all rows that they write."""
    if bias is not None and bias.shape[1] == rows:
        return np.ascontiguousarray(bias)
    found = np.zeros((groups, rows), dtype)
    if bias is not None:
        found[:, : bias.shape[1]] = bias
    return found


def _stretches(layout: Layout, rows: int, size: int) -> Shape:
    """Strides of (image, group, row, ...) in stretches of outputs."""
    longest = layout.longest * size
    steps = [size * n for n in layout.steps]
    return (steps[0], rows * longest, longest, *steps[1:])


def _shared(layout: Layout, counts: Shape, size: int) -> Shape:
    """(length, groups, bytes of a group, stretches, bytes between them) of both loops."""
    work, (groups, *plane) = layout.work(counts), layout.shape
    return work.length, groups, size * math.prod(plane), work.stretches, size * work.apart


def _at(x: Array) -> int:
    return int(x.__array_interface__["data"][0])


def products(dtype: Any, outputs: int) -> Tiled | Generated:
    """How the sums of a convolution with so many outputs of a group are made."""
    if np.dtype(dtype).kind == "f":
        from tensorgrad.codegen.conv import loops  # late: for import time

        found = loops(dtype)
        if found is not None:
            return generated(found, outputs)
    return Tiled(outputs)


@lru_cache(256)
def generated(loops: Loops, outputs: int) -> Generated:
    """By those loops, each with the tile that wastes least on so many outputs."""
    return Generated(loops, outputs)
