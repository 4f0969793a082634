"""Products of every element of one array with every element of another, per leading index."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad import shapes
from tensorgrad.backend import memory

Array = np.ndarray[Any, Any]

LEAST, LONGEST = 256, 2048
"""Elements on the left from which, and on the right up to which, NumPy is the slower one."""


def multiply(x: Array, y: Array) -> Any:
    """x * y; generated code does it where x has axes of length 1 at its end and y before those."""
    parts = _outer(x, y)
    if parts is None:
        return np.multiply(x, y)
    from tensorgrad.codegen.outer import outer  # late: for import time

    run, (rows, m, n) = outer(x.dtype), parts
    if run is None:
        return np.multiply(x, y)
    found = memory.empty(np.broadcast_shapes(x.shape, y.shape), x.dtype)
    run(x.reshape(rows, m), y.reshape(rows, n), found)
    return found


def _outer(x: Array, y: Array) -> tuple[int, int, int] | None:
    """(rows, elements of x in each, elements of y in each), if a product is of that form."""
    if x.dtype is not y.dtype or x.ndim != y.ndim or x.dtype.char not in "fd":
        return None
    if not (x.flags.c_contiguous and y.flags.c_contiguous) or x.size < LEAST:
        return None
    first, last = 0, x.ndim
    while first < last and x.shape[first] == y.shape[first]:
        first += 1
    while last > first and x.shape[last - 1] == 1:
        last -= 1
    left, right = x.shape[first:last], y.shape[last:]
    n = shapes.size(right)
    if any(s != 1 for s in y.shape[first:last]) or not 1 < n <= LONGEST:
        return None
    rows, m = shapes.size(x.shape[:first]), shapes.size(left)
    return rows, m, n
