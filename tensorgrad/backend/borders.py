"""Where the elements of a border come from, and which of a matrix lie on a diagonal; numbers only.

`pad`'s modes that repeat an array's own elements are the same on every backend: along one axis a
border is a few slices, forwards or backwards, of the array inside it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from tensorgrad import shapes

Numbers = np.ndarray[Any, Any]
Widths = tuple[tuple[int, int], ...]
Pieces = tuple[tuple[slice, slice], ...]


def inside(shape: shapes.Shape, widths: Widths, first: int) -> tuple[slice, ...]:
    """The key of the array within its borders; axes before `first` are taken with theirs."""
    each = enumerate(zip(shape, widths))
    return tuple(
        [slice(None) if k < first else slice(low, low + size) for k, (size, (low, _)) in each]
    )


def _sources(size: int, places: Numbers, mode: str) -> Numbers:
    """Which of `size` elements stands at a place before 0 or behind the last."""
    if mode == "edge" or (mode == "reflect" and size == 1):
        return np.clip(places, 0, size - 1)
    if mode == "wrap":
        return places % size
    period = 2 * size if mode == "symmetric" else 2 * size - 2
    found = places % period
    return np.where(found < size, found, period - found - (mode == "symmetric"))


@lru_cache(maxsize=1024)
def borders(size: int, low: int, high: int, mode: str) -> Pieces:
    """The pieces of the borders of one axis: (where in the padded axis, which of its elements).

    A source of one element fills the whole of its target.
    """
    found: list[tuple[slice, slice]] = []
    for places in (np.arange(-low, 0), np.arange(size, size + high)):
        sources = _sources(size, places, mode) + low
        start = 0
        while start < len(places):
            steps = np.diff(sources[start:])
            step = int(steps[0]) if len(steps) and -1 <= steps[0] <= 1 else 1
            count = 1 + (int(np.argmax(steps != step)) if (steps != step).any() else len(steps))
            at, first = int(places[start]) + low, int(sources[start])
            found.append((slice(at, at + count), _run(first, count, step)))
            start += count
    return tuple(found)


def _run(first: int, count: int, step: int) -> slice:
    """The slice of `count` elements from `first`, by steps of 1 or -1; one element for step 0."""
    if not step or count == 1:
        return slice(first, first + 1)
    stop = first + count * step
    return slice(first, stop if stop >= 0 else None, step)


def slid(source: slice, low: int) -> slice:
    """A slice of the padded axis as one of the array inside."""
    if (source.step or 1) > 0:
        return slice(source.start - low, source.stop - low)
    stop = -1 if source.stop is None else source.stop - low
    return slice(source.start - low, None if stop < 0 else stop, -1)


def on_diagonal(rows: int, columns: int, offset: int) -> slice:
    """The elements of a diagonal in a matrix laid out in C order: every (columns + 1)th one."""
    count = diagonal_length(rows, columns, offset)
    first = offset if offset >= 0 else -offset * columns
    return slice(first, first + (count - 1) * (columns + 1) + 1, columns + 1) if count else slice(0)


def diagonal_length(rows: int, columns: int, offset: int) -> int:
    """How many elements the diagonal `offset` above the main one has."""
    return max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
