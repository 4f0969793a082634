"""The exchanges of rows of an LU decomposition as an order, the same on every backend."""

from __future__ import annotations

from typing import Any


def pivot_order(xp: Any, pivots: Any, rows: int) -> list[Any]:
    """The order of the rows after all exchanges, and its inverse; `xp` is NumPy or CuPy."""
    flat = pivots.reshape(-1, pivots.shape[-1])
    order = xp.tile(xp.arange(rows), (len(flat), 1))
    each = xp.arange(len(flat))
    for k in range(pivots.shape[-1] if len(flat) else 0):
        other = order[each, flat[:, k]]
        order[each, flat[:, k]] = order[:, k]
        order[:, k] = other
    inverse = xp.argsort(order, axis=-1)
    return [x.reshape(*pivots.shape[:-1], rows) for x in (order, inverse)]
