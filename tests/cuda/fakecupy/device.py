"""`cupy.cuda.Device`, and `cupy.cuda.runtime` as far as a backend needs it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from . import memory, streams
from .machine import CUDARuntimeError, machine


class Device:
    """A device by its index, which is checked when it is used."""

    def __init__(self, device: Any = None) -> None:
        self.id = machine().device if device is None else int(device)
        self._entered: list[int] = []

    def __int__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"

    def __enter__(self) -> Device:
        self._entered.append(machine().device)
        machine().device = self.id
        return self

    def __exit__(self, *exc: object) -> None:
        machine().device = self._entered.pop()

    def use(self) -> None:
        machine().device = self.id

    def synchronize(self) -> None:
        with self:
            streams.wait_device()

    @property
    def compute_capability(self) -> str:
        machine().valid(self.id)
        return "{}{}".format(*machine().capability)

    @property
    def mem_info(self) -> tuple[int, int]:
        with self:
            return mem_get_info()

    @property
    def pci_bus_id(self) -> str:
        machine().valid(self.id)
        return f"0000:{self.id + 1:02X}:00.0"

    @property
    def attributes(self) -> dict[str, int]:
        found = properties(self.id)
        return {
            "MultiProcessorCount": found["multiProcessorCount"],
            "MaxThreadsPerBlock": found["maxThreadsPerBlock"],
            "MaxSharedMemoryPerBlock": found["sharedMemPerBlock"],
            "MaxSharedMemoryPerBlockOptin": found["sharedMemPerBlockOptin"],
            "WarpSize": found["warpSize"],
        }


def device_count() -> int:
    machine().check()
    return machine().devices


def set_device(index: int) -> None:
    machine().device = index


def mem_get_info() -> tuple[int, int]:
    """Free and total bytes of the current device."""
    total = machine().memory
    return total - machine().used.get(machine().device, 0), total


def properties(device: int) -> dict[str, Any]:
    """The part of cudaDeviceProp that a launcher reads."""
    machine().valid(device)
    major, minor = machine().capability
    return {
        "name": machine().name.encode(),
        "totalGlobalMem": machine().memory,
        "major": major,
        "minor": minor,
        "multiProcessorCount": 132,
        "warpSize": 32,
        "maxThreadsPerBlock": 1024,
        "maxThreadsPerMultiProcessor": 2048,
        "maxThreadsDim": (1024, 1024, 64),
        "maxGridSize": (2**31 - 1, 65535, 65535),
        "regsPerBlock": 65536,
        "sharedMemPerBlock": 49152,
        "sharedMemPerBlockOptin": 232448,
        "sharedMemPerMultiprocessor": 233472,
        "l2CacheSize": 60 << 20,
        "memoryBusWidth": 6144,
        "pciBusID": device + 1,
        "pciDeviceID": 0,
        "pciDomainID": 0,
        "concurrentKernels": 1,
        "asyncEngineCount": 3,
        "unifiedAddressing": 1,
    }


def _memcpy(dst: int, src: int, size: int, kind: int) -> None:
    memory.copy_bytes(dst, src, size)


def _memcpy_async(dst: int, src: int, size: int, kind: int, stream: int) -> None:
    memory.copy_async(dst, src, size, stream)


def _memset(ptr: int, value: int, size: int) -> None:
    memory.fill(ptr, value, size, 0)


def _peer(device: int, peer: int) -> int:
    machine().valid(device)
    machine().valid(peer)
    return int(machine().peers)


def _host_alloc(size: int, flags: int) -> int:
    return machine().allocate(size, -1).address


def _malloc(size: int) -> int:
    return machine().allocate(size, machine().device).address


def _free(ptr: int) -> None:
    block = machine().find(ptr)
    if block is None or block.address != ptr:
        raise CUDARuntimeError(1)
    machine().release(block)


def _pointer(ptr: int) -> Any:
    block = machine().find(ptr)
    if block is None:
        return SimpleNamespace(device=-2, devicePointer=0, hostPointer=ptr, type=0)
    kind = 1 if block.device == -1 else 2
    return SimpleNamespace(device=block.device, devicePointer=ptr, hostPointer=0, type=kind)


def _query(ptr: int) -> int:
    return 600 if streams.state(ptr).pending else 0


def _attribute(attribute: int, device: int) -> int:
    found = properties(device)
    values = {16: found["multiProcessorCount"], 97: found["sharedMemPerBlockOptin"]}
    if attribute not in values:
        raise CUDARuntimeError(1)
    return int(np.int64(values[attribute]))


CONSTANTS = {
    "memcpyHostToHost": 0,
    "memcpyHostToDevice": 1,
    "memcpyDeviceToHost": 2,
    "memcpyDeviceToDevice": 3,
    "memcpyDefault": 4,
    "streamDefault": 0,
    "streamNonBlocking": 1,
    "streamLegacy": streams.LEGACY,
    "streamPerThread": streams.PER_THREAD,
    "streamCaptureModeGlobal": 0,
    "streamCaptureModeThreadLocal": 1,
    "streamCaptureModeRelaxed": 2,
    "CUDA_R_32F": 0,
    "CUDA_R_64F": 1,
    "CUDA_R_16F": 2,
    "CUDA_R_16BF": 14,
    "CUDA_C_32F": 4,
    "CUDA_C_64F": 5,
    "cudaDevAttrMultiProcessorCount": 16,
    "cudaDevAttrMaxSharedMemoryPerBlockOptin": 97,
}


def runtime() -> dict[str, Any]:
    """The names of `cupy.cuda.runtime`."""
    return {
        **CONSTANTS,
        "CUDARuntimeError": CUDARuntimeError,
        "getDeviceCount": device_count,
        "getDevice": lambda: machine().device,
        "setDevice": set_device,
        "getDeviceProperties": properties,
        "deviceSynchronize": streams.wait_device,
        "deviceCanAccessPeer": _peer,
        "driverGetVersion": lambda: machine().driver,
        "runtimeGetVersion": lambda: machine().runtime,
        "memGetInfo": mem_get_info,
        "memcpy": _memcpy,
        "memcpyAsync": _memcpy_async,
        "memset": _memset,
        "memsetAsync": memory.fill,
        "malloc": _malloc,
        "free": _free,
        "hostAlloc": _host_alloc,
        "freeHost": _free,
        "pointerGetAttributes": _pointer,
        "streamSynchronize": streams.wait,
        "streamIsCapturing": streams.capturing,
        "streamQuery": _query,
        "is_hip": False,
        "deviceGetAttribute": _attribute,
    }
