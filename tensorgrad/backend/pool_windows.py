"""Where the windows of pooling lie: their number, and which of them an offset is seen by.

A window q of an axis of S elements has the elements q s - p + k d, k = 0 ... K - 1, that exist.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

Shape = tuple[int, ...]


def count(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool) -> int:
    """Windows of an axis; with `ceil` also one that only begins within the axis or before it."""
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    if not ceil:
        return room // stride + 1
    found = -(-room // stride) + 1
    return found - ((found - 1) * stride >= size + padding)


class Tap(NamedTuple):
    """An element of all windows: its number; as indices, which have it and where it is in them."""

    number: int
    windows: Any
    elements: Any
    whole: bool


def _axis(
    size: int, windows: int, kernel: int, stride: int, padding: int, dilation: int
) -> list[tuple[slice, slice, bool]]:
    found = []
    for k in range(kernel):
        offset = k * dilation - padding
        low = max(0, -(offset // stride))
        high = min(windows, (size - 1 - offset) // stride + 1)
        high = max(low, high)
        first = low * stride + offset
        stop = first + (high - low - 1) * stride + 1
        where = slice(first, stop, stride) if high > low else slice(0, 0)
        found.append((slice(low, high), where, (low, high) == (0, windows)))
    return found


@lru_cache(512)
def axis_taps(
    size: int, windows: int, kernel: int, stride: int, padding: int, dilation: int
) -> tuple[tuple[slice, slice, bool], ...]:
    """Of one axis, for each k: the windows that have it, the elements that it is, whether all."""
    return tuple(_axis(size, windows, kernel, stride, padding, dilation))


class Pass(NamedTuple):
    """One axis of windows taken together, the others as they are.

    shape: the spatial axes from this one on of what it gives. parts: for each element k the indices
    of the windows that have it, and of what it is. whole: whether all have the first two.
    """

    shape: Shape
    parts: tuple[tuple[Any, Any], ...]
    whole: bool


@lru_cache(512)
def axis_passes(
    lead: int, size: Shape, windows: Shape, kernel: Shape, stride: Shape, padding: Shape,
    dilation: Shape,
) -> tuple[Pass, ...]:  # fmt: skip
    """The axes behind `lead` others, one by one: the slices of the first are whole rows."""

    def one(axis: int, *options: int) -> Pass:
        parts = axis_taps(*options)
        before = (slice(None),) * (lead + axis)
        indices = tuple([((*before, q), (*before, s)) for q, s, _ in parts])
        whole = all(whole for *_, whole in parts[:2])
        return Pass((windows[axis], *size[axis + 1 :]), indices, whole)

    each = zip(size, windows, kernel, stride, padding, dilation)
    return tuple([one(axis, *options) for axis, options in enumerate(each)])


@lru_cache(512)
def window_taps(
    size: Shape, windows: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape
) -> tuple[Tap, ...]:
    """Every element of the windows of several axes, the last axis first in number."""

    def each() -> Iterator[Tap]:
        axes = map(axis_taps, size, windows, kernel, stride, padding, dilation)
        for number, parts in enumerate(product(*axes)):
            yield Tap(
                number,
                (..., *[one[0] for one in parts]),
                (..., *[one[1] for one in parts]),
                all(one[2] for one in parts),
            )

    return tuple(each())


@lru_cache(512)
def lengths(
    size: int, windows: int, kernel: int, stride: int, padding: int, padded: bool
) -> tuple[int, ...]:
    """How many elements each window of an axis counts, the padding's (up to its end) or not."""
    starts = [q * stride - padding for q in range(windows)]
    if padded:
        return tuple([min(at + kernel, size + padding) - at for at in starts])
    return tuple([min(at + kernel, size) - max(at, 0) for at in starts])


def disjoint(
    size: Shape, windows: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape
) -> bool:
    """Whether the windows, side by side, are all of the axes."""
    return (
        kernel == stride
        and all(d == 1 for d in dilation)
        and not any(padding)
        and all(n == q * k for n, q, k in zip(size, windows, kernel))
    )
