"""What a position in an image is made of, as formulas: elements along each axis, their weights.

The operation (op by op, of any order) and the generated loops of `numpy_sampling` are written with
the same functions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import lru_cache, reduce
from typing import Any, NamedTuple

from tensorgrad.expr import ELEMENT, Formula, call, where
from tensorgrad.expr import input as variable

FAR = 1e9
"""Positions from here on, and NaN, are outside: their integers would not fit."""


def clamped(p: Any, most: Any) -> Any:
    """Derivative 0 at both ends, as in PyTorch."""
    return where(p <= 0, 0, where(p >= most, most, p))


def reflected(p: Any, low: Any, span: Any, most: Any) -> Any:
    d = call("abs", p - low)
    turns = call("floor", d / span)
    rest = d - turns * span
    even = turns == 2 * call("floor", turns / 2)
    return clamped(low + where(even, rest, span - rest), most)


def close(p: Any) -> Any:
    return where(call("abs", p) < FAR, p, -100)


def keys_near(t: Any) -> Any:
    return (1.25 * t - 2.25) * t * t + 1


def keys_far(t: Any) -> Any:
    t = 1 + t
    return ((-0.75 * t + 3.75) * t - 6) * t + 3


class Sampling(NamedTuple):
    """How images are read: the mode, whether ends are centres, and of each axis its padding."""

    mode: str
    corners: bool
    paddings: tuple[str, ...]

    @property
    def rank(self) -> int:
        return len(self.paddings)

    @property
    def taps(self) -> int:
        """Elements along an axis that a position reads."""
        return {"nearest": 1, "bilinear": 2, "bicubic": 4}[self.mode]


class _Tap(NamedTuple):
    whole: Any
    there: Any
    weight: Any


CONSTANTS = ("half", "most", "span")
"""Of each axis of n elements: half its length, n - 1, and how far apart reflections lie."""


def constants(size: Sequence[int], corners: bool) -> list[float]:
    """The values of CONSTANTS, axis by axis."""
    lengths = [n - 1 if corners else n for n in size]
    return [v for n, length in zip(size, lengths) for v in (0.5 * length, n - 1.0, float(length))]


def _inputs(rank: int) -> tuple[list[Any], list[Any]]:
    grid = [variable(f"g{k}", "f", ELEMENT) for k in range(rank)]
    return grid, [variable(f"{n}{k}", "f", ELEMENT) for k in range(rank) for n in CONSTANTS]


def _within(p: Any, how: Sampling, axis: int, most: Any, span: Any) -> Any:
    if how.paddings[axis] == "border":
        p = clamped(p, most)
    elif how.paddings[axis] == "reflection":
        p = reflected(p, 0.0 if how.corners else -0.5, span, most)
    return close(p)


def _along(how: Sampling, axis: int, g: Any, half: Any, most: Any, span: Any) -> Iterator[_Tap]:
    p = (g + 1) * half if how.corners else (g + 1) * half - 0.5
    if how.mode == "bicubic":
        p = close(p)
        low = call("floor", p)
        t = p - low
        weights = (keys_far(t), keys_near(t), keys_near(1 - t), keys_far(1 - t))
        each = [(_within(low + k, how, axis, most, span), w) for k, w in enumerate(weights, -1)]
    else:
        p = _within(p, how, axis, most, span)
        low = call("round" if how.mode == "nearest" else "floor", p)
        t = p - low
        each = [(low, None)] if how.mode == "nearest" else [(low, 1 - t), (low + 1, t)]
    for whole, weight in each:
        there = (whole >= 0) & (whole <= most)
        yield _Tap(where(there, whole, 0), there, weight)


def _product(parts: Any) -> Any:
    return reduce(lambda a, b: a * b, parts)


def _combined(how: Sampling, grid: list[Any], known: list[Any]) -> tuple[list[Any], Any, Any]:
    """The elements of each axis; of each combination whether it is there, and its weight."""
    rank, step = how.rank, len(CONSTANTS)
    axes = [
        list(_along(how, k, grid[rank - 1 - k], *known[step * k : step * (k + 1)]))
        for k in range(rank)
    ]
    every = list(itertools.product(*axes))
    there = [reduce(lambda a, b: a & b, [tap.there for tap in taps]) for taps in every]
    if how.mode == "nearest":
        return [tap.whole for axis in axes for tap in axis], there, []
    weights = [_product(tap.weight for tap in taps) for taps in every]
    return [tap.whole for axis in axes for tap in axis], there, weights


@lru_cache(64)
def reading(how: Sampling) -> Formula:
    """(grid, constants) -> elements of each axis, then whether combinations are there, weights."""
    grid, known = _inputs(how.rank)

    def formula(*inputs: Any) -> Any:
        whole, there, weights = _combined(how, list(inputs[: how.rank]), list(inputs[how.rank :]))
        return (*whole, *there, *weights)

    return Formula.trace("grid_sample", formula, [*grid, *known])


@lru_cache(64)
def moving(how: Sampling) -> Formula:
    """(grid, constants, cotangents of all weights, 1) -> the cotangent of each of the grid."""
    grid, known = _inputs(how.rank)
    count = how.taps**how.rank
    given = [variable(f"d{k}", "f", ELEMENT) for k in range(count)]

    def total(*inputs: Any) -> Any:
        rank, end = how.rank, how.rank + len(known)
        _, there, weights = _combined(how, list(inputs[:rank]), list(inputs[rank:end]))
        terms = [where(ok, w * d, 0) for ok, w, d in zip(there, weights, inputs[end:])]
        return sum(terms[1:], terms[0])

    made = Formula.trace("grid_sample_grid", total, [*grid, *known, *given])
    found = made.vjp(tuple(range(how.rank)), (0,))
    assert found.formula is not None
    return found.formula
