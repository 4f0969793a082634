"""Neighbours along an axis: their sums and differences, and slopes, for both kinds of arrays."""

from __future__ import annotations

from typing import Any

Array = Any


def on(axis: int, start: int | None, stop: int | None) -> tuple[slice, ...]:
    """The key of a stretch of one axis."""
    return (*(slice(None),) * axis, slice(start, stop))


ENDS = {1: (-1.0, 1.0), 2: (-1.5, 2.0, -0.5)}
"""The slope at the first of two points, or of three, by their values."""


class Neighbours:
    """The primitives of neighbours over `xp`, the functions of NumPy or of CuPy."""

    def __init__(self, xp: Any) -> None:
        self.xp = xp

    def neighbours(self, x: Array, *, axis: int, sign: int, out: Array | None = None) -> Any:
        xp = self.xp
        later, earlier = x[on(axis, 1, None)], x[on(axis, None, -1)]
        return (xp.add if sign > 0 else xp.subtract)(later, earlier, out=out)

    def spread(self, x: Array, *, axis: int, sign: int, out: Array | None = None) -> Any:
        xp = self.xp
        size = x.shape[axis]
        if out is None:
            out = xp.empty((*x.shape[:axis], size + 1, *x.shape[axis + 1 :]), x.dtype)
        inner, first = out[on(axis, 1, size)], out[on(axis, 0, 1)]
        if not size:
            out.fill(0)
            return out
        later, earlier = x[on(axis, 1, None)], x[on(axis, None, -1)]
        if sign > 0:
            xp.add(earlier, later, inner)
            xp.copyto(first, x[on(axis, 0, 1)])
        else:
            xp.subtract(earlier, later, inner)
            xp.negative(x[on(axis, 0, 1)], first)
        xp.copyto(out[on(axis, size, None)], x[on(axis, -1, None)])
        return out

    def slopes(self, x: Array, *, axis: int, edge: int, out: Array | None = None) -> Any:
        xp = self.xp
        if out is None:
            out = xp.empty(x.shape, x.dtype)
        size, inner = x.shape[axis], out[on(axis, 1, -1)]
        xp.subtract(x[on(axis, 2, None)], x[on(axis, None, -2)], inner)
        inner *= x.dtype.type(0.5)
        for at, step in ((0, 1), (size - 1, -1)):
            near = [x[on(axis, at + step * k, at + step * k + 1)] for k in range(edge + 1)]
            total = sum(
                x.dtype.type(step * weight) * part for weight, part in zip(ENDS[edge], near)
            )
            xp.copyto(out[on(axis, at, at + 1)], total)
        return out

    def unslopes(self, x: Array, *, axis: int, edge: int, out: Array | None = None) -> Any:
        xp = self.xp
        if out is None:
            out = xp.empty(x.shape, x.dtype)
        size, inner = x.shape[axis], x[on(axis, 1, -1)]
        out[on(axis, None, 2)] = 0
        xp.copyto(out[on(axis, 2, None)], inner)
        out[on(axis, None, -2)] -= inner
        out *= x.dtype.type(0.5)
        for k, weight in enumerate(ENDS[edge]):
            near, far = on(axis, k, k + 1), on(axis, size - 1 - k, size - k)
            out[near] += x.dtype.type(weight) * x[on(axis, 0, 1)]
            out[far] -= x.dtype.type(weight) * x[on(axis, size - 1, size)]
        return out
