"""Group normalisation in two readings of its input, and two of input and cotangent backward.

A group is a row of moments, a channel of an image a row of what is written, so that a weight for
each channel is a value of the row. Used by NumPy's and CuPy's kernels with their own row kernels;
what is found for a row is kept in the dtype that is computed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from tensorgrad import dtypes, shapes
from tensorgrad.expr import ELEMENT, ROW, Formula, call, ncols, rsum
from tensorgrad.expr import input as variable

Array = Any
Find = Callable[[Formula, Any], Callable[..., Any]]
"""What runs a formula over rows, with results of that dtype."""


def _traced(name: str, function: Callable[..., Any], elements: str, rows: str) -> Formula:
    inputs = [variable(n, "f", ELEMENT) for n in elements.split()]
    inputs += [variable(n, "f", ROW) for n in rows.split()]
    return Formula.trace(f"group_norm_{name}", function, inputs)


@lru_cache(maxsize=16)
def moments(eps: float) -> Formula:
    """The mean of a group and 1 / its standard deviation."""

    def statistics(x: Any) -> Any:
        mean = rsum(x) / ncols()
        d = x - mean
        return mean, 1 / call("sqrt", rsum(d * d) / ncols() + eps)

    return _traced("moments", statistics, "x", "")


@lru_cache(maxsize=1)
def formulas() -> tuple[Formula, Formula, Formula, Formula]:
    """y; the sums of ct and ct h for weight and bias, h normalised; dx; a sum."""
    return (
        _traced("scale", lambda x, m, r, w, b: (x - m) * r * w + b, "x", "m r w b"),
        _traced("sums", lambda x, ct, m, r: (rsum(ct), rsum(ct * ((x - m) * r))), "x ct", "m r"),
        _traced(
            "dx",
            lambda x, ct, m, r, w, s, t: r * (ct * w - s - (x - m) * r * t),
            "x ct",
            "m r w s t",
        ),
        _traced("sum", rsum, "x", ""),
    )


def _flat(x: Array) -> tuple[Array, dict[str, Any]]:
    """(N, C, ...), and its rows of channels."""
    if x.ndim == 2:
        x = x.reshape((*x.shape, 1))
    return x, {"axis": tuple(range(2, x.ndim)), "shape": x.shape}


def _shaped(y: Array, x: Array) -> Array:
    """y as x is: itself where it can be, since a gradient that is a view would be copied."""
    return y if y.shape == x.shape else y.reshape(x.shape)


def _rows(value: Array, count: int) -> Array:
    """A value (C,) of each channel for each of `count` images."""
    return value.reshape(1, -1).repeat(count, 0)


def forward(
    find: Find, x: Array, weight: Array, bias: Array, groups: int, eps: float
) -> tuple[Array, Array, Array]:
    """y, and the mean and 1 / std of each group, (N, G)."""
    wide, (flat, view) = dtypes.compute(x.dtype), _flat(x)
    count, channels = x.shape[:2]
    length = shapes.size(x.shape[2:])
    grouped = (count, groups, channels // groups * length)
    mean, inverse = find(moments(eps), wide)(x.reshape(grouped), axis=(2,), shape=grouped)
    each = [v.repeat(channels // groups, 1) for v in (mean, inverse)]
    given = (flat, *each, _rows(weight, count), _rows(bias, count))
    return _shaped(find(formulas()[0], x.dtype)(*given, **view), x), mean, inverse


def backward(
    find: Find, ct: Array, wanted: Sequence[int], saved: Sequence[Array], groups: int
) -> list[tuple[int, Array]]:
    """The cotangents of x, weight and bias, those of them that are wanted."""
    x, weight, bias, mean, inverse = saved
    wide, (flat, view), (cts, _) = dtypes.compute(x.dtype), _flat(x), _flat(ct)
    count, channels = x.shape[:2]
    length = shapes.size(x.shape[2:])
    _, sums, dx, total = formulas()
    share = channels // groups
    each = [v.repeat(share, 1) for v in (mean, inverse)]
    plain, scaled = find(sums, wide)(flat, cts, *each, **view)
    found = []
    if 0 in wanted:
        wider = weight.astype(wide, copy=False)
        shape = (count, groups, share)
        means = [
            (find(total, wide)((v * wider).reshape(shape), axis=(2,), shape=shape)
             * wide.type(1 / (share * length))).repeat(share, 1)
            for v in (plain, scaled)
        ]  # fmt: skip
        given = (flat, cts, *each, _rows(weight, count), *means)
        found.append((0, _shaped(find(dx, x.dtype)(*given, **view), x)))
    for place, value, like in ((1, scaled, weight), (2, plain, bias)):
        if place in wanted:
            size = (count, channels)
            found.append((place, find(total, like.dtype)(value, axis=(0,), shape=size)))
    return found
