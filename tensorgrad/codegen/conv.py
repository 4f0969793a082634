"""The generated loops of convolutions: which tile of sums suits the processor, and how to call."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from tensorgrad.codegen import conv_copies
from tensorgrad.codegen.compiler import compiler
from tensorgrad.codegen.conv_text import Vectors, dots, points, taps
from tensorgrad.codegen.kernels import KERNELS
from tensorgrad.codegen.ufunc import layout_known

Tile = tuple[int, int]

_CALL = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
"""The kind of function that gives up the interpreter's lock while it runs."""


@dataclass(frozen=True, slots=True)
class Registers:
    """What a processor has: bytes of a vector, whether it multiplies and adds in one, and tiles.

    taps: (rows, vectors) by which a tile of sums fills the registers, one of them for few rows;
    dots: (rows, offsets) alike; points: (rows, vectors), one for each number of vectors.
    """

    bytes: int
    fused: bool
    taps: tuple[Tile, ...]
    dots: tuple[Tile, ...]
    points: tuple[Tile, ...]


MANY = ((6, 4), (8, 3), (10, 2), (12, 1))
WIDE = Registers(64, True, ((8, 3), (4, 6), (1, 8)), ((6, 4), (1, 8)), MANY)
NARROW = Registers(32, True, ((4, 3), (1, 6)), ((3, 4), (1, 4)), ((4, 3), (6, 2), (10, 1)))
ARM = Registers(16, True, ((8, 3), (4, 6), (1, 8)), ((6, 4), (1, 4)), MANY)
OLD = Registers(16, False, ((4, 2), (1, 6)), ((2, 4), (1, 4)), ((4, 2), (8, 1)))
"""x86 with AVX-512, with AVX2, 64-bit ARM, and x86 with neither."""


def registers() -> Registers:
    """What this processor has."""
    if platform.machine() in ("aarch64", "arm64"):
        return ARM
    has = import_module("llvmlite.binding").get_host_cpu_features()
    if has.get("avx512f"):
        return WIDE
    return NARROW if has.get("avx2") and has.get("fma") else OLD


@dataclass(frozen=True, slots=True)
class Loop:
    """A generated loop: its tile of sums, in rows and in elements or offsets, and where it lies."""

    rows: int
    columns: int
    address: int

    def blocks(self, rows: int) -> int:
        """Tiles that so many rows take."""
        return -(-rows // self.rows)

    def run(self, *words: int) -> None:
        """The loop on the words that it names (see `conv_text`)."""
        job = np.array(words, np.int64)
        _CALL(self.address)(job.ctypes.data)


@dataclass(frozen=True, slots=True, eq=False)
class Loops:
    """The loops for one dtype, by rows of a tile; `lanes` are the elements of a vector.

    rows, elements, turns, zeros: where what surrounds them lies; steps: runs a list of them all, of
    which it is told the address; see `conv_copies`
    """

    lanes: int
    taps: tuple[Loop, ...]
    dots: tuple[Loop, ...]
    points: tuple[Loop, ...]
    rows: int
    elements: int
    turns: int
    zeros: int
    steps: Callable[[int], None]
    data: Callable[[Any], int]

    def chosen(self, rows: int) -> tuple[Loop, Loop]:
        """Of each kind the loop that wastes least on so many rows.

        A load of the other factor counts as a row.
        """

        def cost(loop: Loop) -> int:
            return loop.blocks(rows) * (loop.rows + 1)

        return min(self.taps, key=cost), min(self.dots, key=cost)

    def channels(self, outputs: int) -> Loop:
        """Of the sums at points the loop whose vectors waste least on so many channels."""

        def cost(loop: Loop) -> tuple[int, int]:
            blocks = -(-outputs // loop.columns)
            return blocks * loop.columns, blocks

        return min(self.points, key=cost)


def loops(dtype: Any) -> Loops | None:
    """The loops for float32 or float64; None where nothing can be generated."""
    dtype = np.dtype(dtype)
    return KERNELS.find(("conv", dtype), lambda: build(dtype, registers()))  # type: ignore[no-any-return]


def build(dtype: np.dtype[Any], has: Registers) -> Loops:
    """The loops for a dtype, as they are for a processor that has those registers."""
    vectors = Vectors(has.bytes // dtype.itemsize, dtype.itemsize, has.fused)

    find = compiler().address
    lanes = vectors.lanes
    return Loops(
        lanes,
        tuple([Loop(r, w * lanes, find(taps(vectors, r, w))) for r, w in has.taps]),
        tuple([Loop(r, min(m, lanes), find(dots(vectors, r, min(m, lanes)))) for r, m in has.dots]),
        tuple([Loop(r, w * lanes, find(points(vectors, r, w))) for r, w in has.points]),
        find(conv_copies.rows(vectors)),
        find(conv_copies.elements(vectors)),
        find(conv_copies.turns(vectors)),
        find(conv_copies.zeros(vectors)),
        _CALL(find(conv_copies.steps())),
        _header if layout_known() else _interface,
    )


def _header(x: Any) -> int:
    """As `_interface`, in a sixth of its time: read where the array's header has it."""
    return ctypes.c_int64.from_address(id(x) + 16).value


def _interface(x: Any) -> int:
    return int(x.__array_interface__["data"][0])
