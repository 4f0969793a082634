"""What indexing is on every backend: the order of its axes, and what is said of a wrong index."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tensorgrad import shapes


def outside(
    op: str, x: Any, error: Exception, places: Iterable[tuple[int, Any]] = ()
) -> IndexError:
    """An IndexError with the operation and the array in its text.

    `places` are pairs of an axis and the array of its indices: the first one outside is named.
    """
    return IndexError(
        f"{op}: got an index into {x.dtype}{x.shape}: {_first(x, places) or error}, expected one "
        "inside the array; try -size <= index < size on every axis"
    )


def _first(x: Any, places: Iterable[tuple[int, Any]]) -> str:
    """The first index outside of its axis, and where in its array it stands."""
    for axis, index in places:
        size = x.shape[axis]
        wrong = (index < -size) | (index >= size)
        if index.ndim and wrong.any():
            at = tuple([int(found[0]) for found in wrong.nonzero()])
            return f"index {index[at]} at {at} is out of bounds for axis {axis} with size {size}"
    return ""


def natural_place(axes: shapes.Shape) -> int:
    """Where NumPy puts the axes of an index: at the first of `axes` if these are in a row, or 0.

    >>> natural_place((2, 3)), natural_place((1, 3))
    (2, 0)
    """
    return axes[0] if axes[-1] - axes[0] == len(axes) - 1 else 0


def moved_block(ndim: int, width: int, source: int, target: int) -> list[int]:
    """The order of axes that moves `width` axes from position `source` to `target`.

    >>> moved_block(4, 2, 0, 1)
    [2, 0, 1, 3]
    """
    block = list(range(source, source + width))
    rest = [k for k in range(ndim) if k not in block]
    return rest[:target] + block + rest[target:]
