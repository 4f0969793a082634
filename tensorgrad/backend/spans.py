"""Spans: stretches of an axis of any lengths that begin, and end, in order; numbers only."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

Numbers = np.ndarray[Any, Any]
Spans = tuple[tuple[int, int], ...]


@lru_cache(512)
def shared_out(size: int, wanted: int) -> Spans:
    """The windows ⌊q S / Q⌋ ... ⌈(q + 1) S / Q⌉ - 1 of an axis of S elements, for Q of them."""
    return tuple([(q * size // wanted, -(-(q + 1) * size // wanted)) for q in range(wanted)])


@lru_cache(512)
def transposed(spans: Spans, size: int) -> Spans:
    """Of each of `size` elements the spans that it lies in."""
    starts, stops = np.array(spans, np.int64).reshape(-1, 2).T
    at = np.arange(size)
    first, last = np.searchsorted(stops, at, "right"), np.searchsorted(starts, at, "right")
    return tuple(zip(first.tolist(), np.maximum(first, last).tolist()))


@lru_cache(512)
def table(spans: Spans) -> tuple[Numbers, Numbers]:
    """(span, element): the elements of each, the last one repeated; and whether it is its own."""
    starts, stops = np.array(spans, np.int64).reshape(-1, 2).T
    index = starts[:, None] + np.arange(max(1, int((stops - starts).max())))
    own = index < stops[:, None]
    return np.where(own, index, np.maximum(stops - 1, 0)[:, None]), own


@lru_cache(64)
def places(size: tuple[int, ...], spans: tuple[Spans, ...]) -> Numbers:
    """(window, element): the numbers in an image of each window's elements, in row-major order.

    Shorter windows repeat their elements.
    """
    rank, found = len(size), np.zeros((), np.int64)
    for k, (n, one) in enumerate(zip(size, spans)):
        own = table(one)[0]
        axes = [1] * (2 * rank)
        axes[k], axes[rank + k] = own.shape
        found = found * n + own.reshape(axes)
    return found.reshape(int(np.prod(found.shape[:rank])), -1)
