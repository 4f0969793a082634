"""What indexing is on every backend: the order of its axes, and what is said of a wrong index."""

from __future__ import annotations

from typing import Any

from tensorgrad import shapes


def outside(op: str, x: Any, error: Exception) -> IndexError:
    """An IndexError with the operation and the array in its text."""
    return IndexError(
        f"{op}: got an index into {x.dtype}{x.shape}: {error}, expected one inside the array; "
        "try -size <= index < size on every axis"
    )


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
