"""How the arrays of an elementwise kernel lie beside one another: flat, in rows, or strided.

All numbers here are of shapes and strides alone; nothing is read from the arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import Any, Literal

import numpy as np

Layout = Literal["flat", "rows", "strided"]
Read = Literal["each", "one", "row", "column"]
Placed = tuple[tuple[int, ...], tuple[int, ...], int]
"""Shape, strides in bytes, and bytes of an element."""

MOST_AXES = 8
NARROW = 2**31 - 1
"""The most elements, and the farthest element, that 32-bit positions reach."""

_EACH: tuple[Read, ...] = ("each",)
_READS: dict[tuple[int, ...], Read] = {(0, 1): "row", (1, 0): "column", (0, 0): "one"}
_DIVISOR = np.dtype([("by", "u4"), ("magic", "u4"), ("shift", "u4")])


@dataclass(frozen=True)
class View:
    """One shape over several operands.

    layout, wide: what `elementwise` is asked for; `wide` where positions need 64 bits.
    reads: in the layouts "flat" and "rows", per input: "each" element once, the only "one", the
        "row" that all rows repeat, or the "column" with one element per row.
    shape: of the result, as far as its axes could not be joined, the last axis fastest.
    steps: in the layout "strided", per operand and axis, in elements.
    """

    layout: Layout
    wide: bool
    reads: tuple[Read, ...]
    shape: tuple[int, ...]
    steps: tuple[tuple[int, ...], ...] = ()

    @cached_property
    def size(self) -> int:
        """The number of elements."""
        return prod(self.shape)

    def arguments(self, pointers: Sequence[Any]) -> tuple[Any, ...]:
        """A kernel's typed arguments, given the addresses (or arrays) of inputs, then outputs.

        A number is a NumPy scalar, a struct by value a NumPy array of no axes.
        """
        return (*self._head, *pointers, *self._tail)

    @cached_property
    def _head(self) -> tuple[Any, ...]:
        return ((np.int64 if self.wide else np.int32)(self.size),)

    @cached_property
    def _tail(self) -> tuple[Any, ...]:
        if self.layout == "flat":
            return ()
        if self.layout == "rows":
            return (_divisors(self.shape[-1:], self.wide).reshape(()),)
        whole = "i8" if self.wide else "i4"
        divisor = np.dtype([("by", "u8")]) if self.wide else _DIVISOR
        count = len(self.steps)
        struct = np.zeros(
            (),
            [("axes", whole), ("size", divisor, MOST_AXES), ("steps", whole, (count, MOST_AXES))],
        )
        axes = len(self.shape)
        struct["axes"] = axes
        struct["size"][:axes] = _divisors(self.shape[::-1], self.wide)
        struct["steps"][:, :axes] = [s[::-1] for s in self.steps]
        return (struct,)


def _divisors(sizes: Sequence[int], wide: bool) -> Any:
    """Sizes as the kernels divide by them: x // by = (x * magic // 2^32 + x) >> shift, x < 2^31.

    With shift = ceil(log2(by)), magic = floor(2^32 (2^shift - by) / by) + 1 (Granlund and
    Montgomery, Division by invariant integers using multiplication, 1994).
    """
    if wide:
        return np.array([(s,) for s in sizes], [("by", "u8")])
    found = []
    for by in sizes:
        shift = (by - 1).bit_length()
        found.append((by, ((2**shift - by) << 32) // by + 1, shift))
    return np.array(found, _DIVISOR)


@lru_cache(maxsize=4096)
def arrange(operands: tuple[Placed, ...], outputs: int, indexed: bool = False) -> View:
    """The simplest layout of inputs that broadcast to the last `outputs` operands.

    Where positions are `indexed`, axes keep their order. Outputs may lie exactly in the memory of
    inputs that are read as "each", and overlap no others.

    Raises ValueError for more than 8 axes that cannot be joined, for inputs that do not broadcast
    to the outputs, for outputs that repeat elements, and for strides between elements.
    """
    shape = operands[-1][0]
    steps = [_steps(placed, shape) for placed in operands]
    first = len(operands) - outputs
    for placed, s in zip(operands[first:], steps[first:], strict=True):
        if placed[0] != shape or any(k == 0 and n > 1 for k, n in zip(s, shape, strict=True)):
            raise ValueError(
                f"arrange: got an output of shape {placed[0]} and strides {placed[1]}, expected "
                f"{shape} with every element once; try an array of its own"
            )
    if prod(shape) == 0:
        return View("flat", False, _EACH * first, (0,))
    sizes, joined = _joined(shape, steps, first, indexed)
    if len(sizes) > MOST_AXES:
        raise ValueError(
            f"arrange: got {len(sizes)} axes of shape {shape} that cannot be joined, expected at "
            f"most {MOST_AXES}; try contiguous copies"
        )
    wide = prod(sizes) > NARROW
    reads = _reads(joined, first, sizes)
    if reads is not None:
        return View("flat" if len(sizes) == 1 else "rows", wide, reads, sizes)
    far = max(sum(abs(k) * (n - 1) for k, n in zip(s, sizes, strict=True)) for s in joined)
    return View("strided", wide or far > NARROW, (), sizes, joined)


def _steps(placed: Placed, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The steps in elements of an operand broadcast to `shape`, 0 along repeated axes."""
    own, strides, itemsize = placed
    extra = len(shape) - len(own)
    fits = extra >= 0 and all(
        n in (1, m) for n, m in zip(own, shape[max(extra, 0) :], strict=False)
    )
    whole = all(s % itemsize == 0 for s, n in zip(strides, own, strict=True) if n > 1)
    if not fits or not whole:
        raise ValueError(
            f"arrange: got shape {own} and strides {strides} for elements of {itemsize} bytes, "
            f"expected a shape that broadcasts to {shape} and whole elements between elements; "
            "try contiguous copies"
        )
    found = [0 if n == 1 else s // itemsize for n, s in zip(own, strides, strict=True)]
    return (0,) * extra + tuple(found)


def _joined(
    shape: tuple[int, ...], steps: Sequence[tuple[int, ...]], first: int, indexed: bool
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """The shape and steps with axes of one element dropped and neighbours joined."""
    axes = [d for d, n in enumerate(shape) if n > 1]
    if not indexed:
        axes.sort(key=lambda d: -abs(steps[first][d]))
    sizes: list[int] = []
    found: list[list[int]] = [[] for _ in steps]
    for d in axes:
        if sizes and all(f[-1] == s[d] * shape[d] for f, s in zip(found, steps, strict=True)):
            sizes[-1] *= shape[d]
            for f, s in zip(found, steps, strict=True):
                f[-1] = s[d]
        else:
            sizes.append(shape[d])
            for f, s in zip(found, steps, strict=True):
                f.append(s[d])
    if not sizes:
        return (1,), ((1,),) * len(steps)
    return tuple(sizes), tuple(map(tuple, found))


def _reads(
    steps: Sequence[tuple[int, ...]], first: int, sizes: tuple[int, ...]
) -> tuple[Read, ...] | None:
    """How the inputs are read if the outputs are contiguous and each input is simple, or None."""
    packed = (1,) if len(sizes) == 1 else (sizes[-1], 1)
    if len(sizes) > 2 or any(s != packed for s in steps[first:]):
        return None
    known: dict[tuple[int, ...], Read] = {(0,): "one", **_READS, packed: "each"}
    reads = [known.get(s) for s in steps[:first]]
    return None if None in reads else tuple(r for r in reads if r is not None)
