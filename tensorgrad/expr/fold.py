"""Which operations on constants may be done at once: those exact in float32 and float64 alike."""

from __future__ import annotations

import struct

EXACT_INT = 2**24
"""Integers up to here are float32 numbers."""


def exact(v: float) -> bool:
    """Whether `v` is the same finite number in every compute dtype."""
    if isinstance(v, int):
        return abs(v) <= EXACT_INT
    try:
        back: float = struct.unpack("f", struct.pack("f", v))[0]
    except OverflowError:
        return False
    return back == v and abs(v) != float("inf")


def fold(op: str, x: float, y: float) -> float | None:
    """x op y (add, sub, mul) of exact constants where the result is exact too, else None."""
    if op == "mul":
        r = x * y  # two float32 significands have a float64 product without rounding
    else:
        y = y if op == "add" else -y
        r = x + y
        part = r - x  # TwoSum (Knuth 1969): what follows is the rounding error of x + y
        if (x - (r - part)) + (y - part) != 0:
            return None
    return r if exact(r) else None
