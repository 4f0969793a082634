"""Pinned memory of the host: a buffer that NumPy takes, at an address that kernels take."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from .machine import machine
from .memory import UNIT


def _pinned_pointer(size: int) -> Any:
    """A `PinnedMemoryPointer`: `ptr`, `size()`, `mem`, and a buffer that NumPy takes."""
    block = machine().allocate(-(-size // UNIT) * UNIT, -1)
    members = {"ptr": block.address, "size": lambda self: block.size, "_block": block}
    kind: Any = type("PinnedMemoryPointer", (ctypes.c_ubyte * block.size,), members)
    found = kind.from_address(block.address)
    found.mem = block
    return found


class PinnedMemoryPool:
    """Pinned memory that is given out and never taken back."""

    def malloc(self, size: int) -> Any:
        machine().check()
        return _pinned_pointer(size)

    def free_all_blocks(self) -> None:
        """Nothing is kept, so nothing is freed."""

    def n_free_blocks(self) -> int:
        return 0


def alloc_pinned_memory(size: int) -> Any:
    return POOL.malloc(size)


def empty_pinned(shape: Any, dtype: Any = float, order: str = "C") -> Any:
    """A NumPy array in pinned memory."""
    dtype = np.dtype(dtype)
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    count = int(np.prod(shape))
    block = machine().allocate(max(count * dtype.itemsize, 1), -1)
    flat = block.data[: count * dtype.itemsize].view(dtype)
    return flat.reshape(shape, order=order)


def zeros_pinned(shape: Any, dtype: Any = float, order: str = "C") -> Any:
    found = empty_pinned(shape, dtype, order)
    found[...] = 0
    return found


POOL = PinnedMemoryPool()
