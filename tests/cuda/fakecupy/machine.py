"""The machine that the stand-in plays: devices with memory, a driver, streams that capture.

Device memory is host memory behind a ledger: what is allocated is poisoned (0xff: NaN, -1), what is
freed is poisoned again, and an address that lies in no live block is an illegal one.
"""

from __future__ import annotations

import bisect
import ctypes
import itertools
import threading
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

ALIGNMENT = 512
POISON = 0xFF
ERRORS = {
    1: ("cudaErrorInvalidValue", "invalid argument"),
    2: ("cudaErrorMemoryAllocation", "out of memory"),
    35: (
        "cudaErrorInsufficientDriver",
        "CUDA driver version is insufficient for CUDA runtime version",
    ),
    100: ("cudaErrorNoDevice", "no CUDA-capable device is detected"),
    101: ("cudaErrorInvalidDevice", "invalid device ordinal"),
    400: ("cudaErrorInvalidResourceHandle", "invalid resource handle"),
    600: ("cudaErrorNotReady", "device not ready"),
    700: ("cudaErrorIllegalAddress", "an illegal memory access was encountered"),
    900: (
        "cudaErrorStreamCaptureUnsupported",
        "operation not permitted when stream is capturing",
    ),
    901: (
        "cudaErrorStreamCaptureInvalidated",
        "operation failed due to a previous error during capture",
    ),
    904: ("cudaErrorStreamCaptureUnjoined", "capturing stream has unjoined work"),
    905: (
        "cudaErrorStreamCaptureIsolation",
        "dependency created on uncaptured work in another stream",
    ),
    906: (
        "cudaErrorStreamCaptureImplicit",
        "operation would make the legacy stream depend on a capturing blocking stream",
    ),
    907: (
        "cudaErrorCapturedEvent",
        "operation not permitted on an event last recorded in a capturing stream",
    ),
}


class CUDARuntimeError(RuntimeError):
    """An error of the CUDA runtime, with its number in `status`."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__("{}: {}".format(*ERRORS[status]))

    def __reduce__(self) -> Any:
        return type(self), (self.status,)


@dataclass(eq=False)
class Block:
    """Memory as `cudaMalloc` or `cudaHostAlloc` gives it; device -1 is pinned memory."""

    device: int
    size: int
    data: Any = field(repr=False)  # bytes, aligned
    address: int
    live: bool = True


@dataclass
class Machine:
    """Which hardware there is, and what has happened on it since `install`."""

    devices: int = 1
    memory: int = 1 << 30  # of each device
    driver: int = 13000  # as cudaDriverGetVersion says; 0 means that there is none
    runtime: int = 13000
    capability: tuple[int, int] = (9, 0)
    name: str = "NVIDIA H200 (stand-in)"
    peers: bool = False
    used: dict[int, int] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    addresses: list[int] = field(default_factory=list)
    streams: dict[int, Any] = field(default_factory=dict)
    launches: dict[str, int] = field(default_factory=dict)  # by name of the kernel
    tickets: Any = field(default_factory=lambda: itertools.count(1))
    local: threading.local = field(default_factory=threading.local)

    def check(self) -> None:
        """Raise what the runtime raises where it finds no driver or no device."""
        if self.driver < self.runtime // 1000 * 1000:
            raise CUDARuntimeError(35)
        if self.devices == 0:
            raise CUDARuntimeError(100)

    @property
    def device(self) -> int:
        """The current device of this thread."""
        self.check()
        return getattr(self.local, "device", 0)

    @device.setter
    def device(self, index: int) -> None:
        self.valid(index)
        self.local.device = index

    def valid(self, index: int) -> None:
        self.check()
        if not 0 <= index < self.devices:
            raise CUDARuntimeError(101)

    # -- memory --------------------------------------------------------------------------------

    def allocate(self, size: int, device: int) -> Block:
        """A fresh poisoned block; raises cudaErrorMemoryAllocation."""
        self.check()
        if device >= 0:
            if self.used.get(device, 0) + size > self.memory:
                raise CUDARuntimeError(2)
            self.used[device] = self.used.get(device, 0) + size
        raw = np.empty(size + 2 * ALIGNMENT, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT
        data = raw[start : start + size]
        data[:] = POISON
        block = Block(device, size, data, raw.ctypes.data + start)
        at = bisect.bisect(self.addresses, block.address)
        self.addresses.insert(at, block.address)
        self.blocks.insert(at, block)
        return block

    def release(self, block: Block) -> None:
        if not block.live:
            return
        block.live = False
        block.data[:] = POISON
        if block in self.blocks:
            at = self.blocks.index(block)
            del self.blocks[at], self.addresses[at]
        if block.device >= 0:
            self.used[block.device] -= block.size

    def find(self, address: int) -> Block | None:
        """The live block that an address lies in."""
        at = bisect.bisect(self.addresses, address) - 1
        if at < 0:
            return None
        block = self.blocks[at]
        return block if address < block.address + max(block.size, 1) else None


_CURRENT = [Machine()]


def machine() -> Machine:
    """The machine in play."""
    return _CURRENT[-1]


def play(found: Machine) -> None:
    """Put a machine in the place of the current one."""
    _CURRENT[-1] = found


@cache
def _bytes(count: int) -> Any:
    """The ctypes array of that many bytes; made anew each time it would be garbage of a cycle."""
    return ctypes.c_ubyte * count


def bytes_at(address: int, size: int) -> Any:
    """Memory as an array of bytes: of a block where the address lies in one, else of the host."""
    block = machine().find(address)
    if block is not None:
        start = address - block.address
        if start + size > block.size:
            raise CUDARuntimeError(700)
        return block.data[start : start + size]
    host: Any = _bytes(size).from_address(address)
    return np.frombuffer(host, np.uint8)
