"""The windows of pooling and convolution as the kernels of `kernels/*.cu` read them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

Shape = tuple[int, ...]

LONGEST = 2**31 - 1
"""The elements that one launch counts."""

_BY = np.dtype([("by", "u4"), ("magic", "u4"), ("shift", "u4")])
_AXIS = np.dtype(
    [*[(n, "i4") for n in "size count kernel stride low dilation".split()], ("by_stride", _BY)]
)
WINDOWS = np.dtype([("axis", _AXIS, 3), *[(n, _BY, 3) for n in ("sizes", "counts", "kernels")]])
"""tg_windows of `windows.cuh`."""


def by(number: int) -> tuple[int, int, int]:
    """A number as the kernels divide by it: x // by = (x * magic // 2^32 + x) >> shift, x < 2^31.

    With shift = ceil(log2(by)), magic = floor(2^32 (2^shift - by) / by) + 1 (Granlund and
    Montgomery, Division by invariant integers using multiplication, 1994).
    """
    shift = (number - 1).bit_length()
    return number, ((2**shift - number) << 32) // number + 1, shift


@lru_cache(512)
def geometry(
    size: Shape, count: Shape, kernel: Shape, stride: Shape, low: Shape, dilation: Shape
) -> Any:
    """One to three axes as three, in a struct."""
    found = np.zeros((), WINDOWS)
    given: Sequence[tuple[Shape, int]] = (
        (size, 1), (count, 1), (kernel, 1), (stride, 1), (low, 0), (dilation, 1)
    )  # fmt: skip
    full = [((fill,) * (3 - len(one)) + one) for one, fill in given]
    for k, each in enumerate(zip(*full, strict=True)):
        found["axis"][k] = (*each, by(each[3]))
    for name, one in zip(("sizes", "counts", "kernels"), full):
        found[name] = [by(math.prod(one[k:])) for k in range(3)]
    found.flags.writeable = False
    return found
