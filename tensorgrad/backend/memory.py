"""Large arrays in memory that is handed out again.

A fresh large array costs more than the loop that fills it: the system maps and clears its pages at
the first touch and takes them back when the array dies. Here the blocks of dead arrays are kept, up
to a bound, and become the next arrays of their size; see `codegen/allocator.py`.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from functools import cache as once
from importlib import import_module
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorgrad._errors import need

if TYPE_CHECKING:
    from tensorgrad.codegen.recycler import Recycler

LARGE = 2**17
"""Bytes from which the memory of an array is kept."""

ELEMENTS = 2**16
"""Elements of an argument from which the results of a call are expected to be large."""

MOST, SHARE = 2**30, 8
"""Bytes that are kept at most: this many, and this fraction of the machine's memory."""


def bound() -> int:
    """Bytes that may be kept: `TG_RECYCLE` MiB, else an eighth of the memory, at most 1 GiB.

    Raises ValueError where TG_RECYCLE is no whole number.
    """
    told = os.environ.get("TG_RECYCLE", "")
    if told:
        need(
            told.isdecimal(),
            "memory",
            TG_RECYCLE=told,
            want="a whole number of MiB",
            fix="0 to recycle nothing",
            error=ValueError,
        )
        return int(told) * 2**20
    return min(MOST, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // SHARE)


def _built() -> Recycler | None:
    """The recycler, if NumPy takes its memory for the length of a call and no longer."""
    from tensorgrad.codegen import allocator, recycler, ufunc  # late: for import time

    if not ufunc.layout_known() or mmap.PAGESIZE > allocator.PAGE:
        return None
    made = recycler.Recycler(bound())
    name = import_module("numpy._core.multiarray").get_handler_name
    arrays = [make(LARGE, np.uint8) for make in (made.empty, np.empty)]
    taken = [name(a) == "tensorgrad" for a in arrays]
    del arrays
    made.trim()
    return made if taken == [True, False] else None


@once
def recycler() -> Recycler | None:
    """The process's recycler; None where there are no generated kernels, or TG_RECYCLE=0."""
    if os.name != "posix" or not bound():
        return None
    from tensorgrad.codegen.kernels import KERNELS  # late: for import time

    found: Recycler | None = KERNELS.find("memory", _built)
    return found


def recycling(
    function: Callable[..., Any], least: int = ELEMENTS, large: Callable[..., Any] | None = None
) -> Callable[..., Any]:
    """The function, whose new arrays lie in recycled memory where an argument is large.

    Large is an array of `least` elements; with 0 every call counts. Small calls cost 0.01 us more
    than the function's own, large ones 0.2 us. Results, errors and warnings are the function's, or
    in large calls those of `large` where it is given (and there is a recycler).
    """
    found = recycler()
    return function if found is None else found.calling(function, least, large)


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
    """np.empty, whose large arrays lie in recycled memory; raises MemoryError as it does."""
    if prod(shape) * np.dtype(dtype).itemsize >= LARGE:
        found = recycler()
        if found is not None:
            return found.empty(shape, dtype)  # type: ignore[no-any-return]
    return np.empty(shape, dtype)


def trim() -> int:
    """Give the memory that waits for new arrays back to the system; returns its bytes."""
    found = recycler()
    if found is None:
        return 0
    before = found.held
    found.trim()
    return before - found.held
