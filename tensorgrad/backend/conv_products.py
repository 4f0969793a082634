"""Sums over the taps of a convolution: by generated loops, or tile by tile over BLAS.

Planes are those of a `Layout`; K counts channel by channel the taps of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorgrad.backend import memory
from tensorgrad.backend.blas import DOOR
from tensorgrad.backend.conv_layout import Sums, Work

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
    """By loops that read the planes in place; see `Tiled` for what they do."""

    def __init__(self, loops: Loops, outputs: int) -> None:
        self.loops, self._lanes = loops, loops.lanes
        self.taps_loop, self.dots_loop = loops.chosen(outputs)
        self.blocks, self._tiles = self.taps_loop.blocks(outputs), self.dots_loop.blocks(outputs)
        self.rows = self.blocks * self.taps_loop.rows
        self.ct_rows = self._tiles * self.dots_loop.rows

    def added(self, groups: int, bias: Array | None, dtype: Any) -> Array:
        """A bias (group, output) as the loops read it."""
        if bias is not None and bias.shape[1] == self.rows:
            return np.ascontiguousarray(bias)
        added = np.zeros((groups, self.rows), dtype)
        if bias is not None:
            added[:, : bias.shape[1]] = bias
        return added

    def weights(self, w: Array, bias: Array | None) -> tuple[Array, Array]:
        groups, outputs, *terms = w.shape
        added = self.added(groups, bias, w.dtype)
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
        terms = one.terms * planes.itemsize
        self.taps_loop.run(
            _at(planes), _at(terms), _at(w), _at(out), _at(bias), len(terms), self.blocks,
            -(-work.length // self.taps_loop.columns), out.strides[1], len(planes),
            planes.strides[0], work.stretches, work.apart * planes.itemsize,
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
