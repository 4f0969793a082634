"""A line search for the strong Wolfe conditions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple


class Point(NamedTuple):
    """A point on the line: the step, the value, the gradient, and its slope along the line."""

    step: float
    value: float
    gradient: Any
    slope: float


Along = Callable[[float], Point]


def strong_wolfe(
    along: Along,
    start: Point,
    step: float,
    reach: float,
    *,
    c1: float = 1e-4,
    c2: float = 0.9,
    tolerance_change: float = 1e-9,
    most: int = 25,
) -> tuple[Point, int]:
    """A point with f ≤ f₀ + c1 t s₀ and |s| ≤ c2 |s₀|, and how many points were tried.

    `start` is the point at step 0, `step` the first to try, `reach` the largest component of the
    direction. Stops after `most` further tries with the best seen. Nocedal, Wright, "Numerical
    optimization", algorithms 3.5 and 3.6, with cubic interpolation, as in minFunc.
    """

    def too_high(point: Point) -> bool:
        return point.value > start.value + c1 * point.step * start.slope

    def flat(point: Point) -> bool:
        return abs(point.slope) <= -c2 * start.slope

    before, here, count = start, along(step), 0
    while count < most:
        if too_high(here) or (count > 1 and here.value >= before.value):
            break
        if flat(here):
            return here, count + 1
        if here.slope >= 0:
            break
        least = here.step + 0.01 * (here.step - before.step)
        step = interpolated(before, here, least, here.step * 10)
        before, here, count = here, along(step), count + 1
    if count == most:
        return (start if start.value <= here.value else here), count + 1
    narrow = tolerance_change / reach if reach else math.inf
    return _zoom(along, (before, here), too_high, flat, narrow, most, count)


def _zoom(
    along: Along,
    bracket: tuple[Point, Point],
    too_high: Callable[[Point], bool],
    flat: Callable[[Point], bool],
    width: float,
    most: int,
    count: int,
) -> tuple[Point, int]:
    """Narrow a bracket that holds such a point."""
    low, high = sorted(bracket, key=lambda point: point.value)
    stalled = False
    while count < most and abs(high.step - low.step) >= width:
        left, right = sorted((low.step, high.step))
        step = interpolated(low, high, left, right)
        margin = 0.1 * (right - left)
        close = min(right - step, step - left) < margin
        if close and (stalled or step >= right or step <= left):
            step = right - margin if abs(step - right) < abs(step - left) else left + margin
            close = False
        stalled = close
        here, count = along(step), count + 1
        if too_high(here) or here.value >= low.value:
            high = here
            if high.value < low.value:
                low, high = high, low
            continue
        if flat(here):
            return here, count + 1
        if here.slope * (high.step - low.step) >= 0:
            high = low
        low = here
    return low, count + 1


def interpolated(a: Point, b: Point, least: float, most: float) -> float:
    """Where the cubic through two points with their slopes is smallest, kept within bounds."""
    if a.step > b.step:
        a, b = b, a
    if a.step == b.step:
        return a.step
    d1 = a.slope + b.slope - 3 * (a.value - b.value) / (a.step - b.step)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0:
        return (least + most) / 2
    d2 = math.sqrt(square)
    below = b.slope - a.slope + 2 * d2
    if below == 0:
        return (least + most) / 2
    step = b.step - (b.step - a.step) * ((b.slope + d2 - d1) / below)
    return min(max(step, least), most)
