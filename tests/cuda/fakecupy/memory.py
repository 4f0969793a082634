"""Device memory: pointers, the pool with its best fit, limits and errors, and pinned memory."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import streams
from .machine import POISON, Block, CUDARuntimeError, bytes_at, machine

UNIT = 512


class OutOfMemoryError(MemoryError):
    """CuPy's, with its words."""

    def __init__(self, size: int, total: int, limit: int = 0) -> None:
        self._args = (size, total, limit)
        text = f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes"
        super().__init__(text + (f", limit set to: {limit:,} bytes)." if limit else ")."))

    def __reduce__(self) -> Any:
        return type(self), self._args


class BaseMemory:
    """Memory on a device."""

    __slots__ = ("device_id", "ptr", "size")

    def __init__(self, ptr: int, size: int, device_id: int) -> None:
        self.ptr = ptr
        self.size = size
        self.device_id = device_id

    def __int__(self) -> int:
        return self.ptr

    @property
    def device(self) -> Any:
        from .device import Device

        return Device(self.device_id)


class Memory(BaseMemory):
    """Memory of its own, as `cudaMalloc` gives it."""

    __slots__ = ("_block", "_machine")

    def __init__(self, size: int) -> None:
        self._block: Block | None = None
        self._machine = machine()
        device = machine().device
        if size:
            self._block = machine().allocate(size, device)
        super().__init__(self._block.address if self._block else 0, size, device)

    def __del__(self) -> None:
        if self._block is not None:
            self._machine.release(self._block)


class UnownedMemory(BaseMemory):
    """Memory that something else owns."""

    __slots__ = ("_owner",)

    def __init__(self, ptr: int, size: int, owner: Any, device_id: int = -1) -> None:
        if device_id < 0:
            block = machine().find(ptr)
            device_id = machine().device if block is None else block.device
        super().__init__(ptr, size, device_id)
        self._owner = owner


class MemoryPointer:
    """A place in memory, which it keeps alive."""

    __slots__ = ("device_id", "mem", "ptr")

    def __init__(self, mem: BaseMemory, offset: int) -> None:
        if not isinstance(mem, BaseMemory):
            raise TypeError(
                "Argument 'mem' has incorrect type (expected cupy.cuda.memory.BaseMemory, got "
                f"{type(mem).__name__})"
            )
        self.mem = mem
        self.ptr = mem.ptr + int(offset)
        self.device_id = mem.device_id

    device = BaseMemory.device

    def __int__(self) -> int:
        return self.ptr

    def __repr__(self) -> str:
        return f"<MemoryPointer 0x{self.ptr:x} device={self.device_id} mem={self.mem!r}>"

    def __add__(self, offset: int) -> MemoryPointer:
        return MemoryPointer(self.mem, self.ptr - self.mem.ptr + offset)

    __radd__ = __add__

    def __sub__(self, offset: int) -> MemoryPointer:
        return self + -offset

    # -- copies: the plain ones use the legacy stream and wait for it ----------------------------

    def copy_from_device(self, src: MemoryPointer, size: int) -> None:
        streams.no_sync()
        copy_async(self.ptr, src.ptr, size, 0)

    def copy_from_device_async(self, src: MemoryPointer, size: int, stream: Any = None) -> None:
        copy_async(self.ptr, src.ptr, size, _handle(stream))

    def copy_from_host(self, mem: Any, size: int) -> None:
        streams.no_sync()
        copy_async(self.ptr, _address(mem), size, 0)

    def copy_from_host_async(self, mem: Any, size: int, stream: Any = None) -> None:
        _guarded(_handle(stream), "H2D")
        copy_async(self.ptr, _address(mem), size, _handle(stream))

    def copy_from(self, mem: Any, size: int) -> None:
        device = isinstance(mem, MemoryPointer)
        (self.copy_from_device if device else self.copy_from_host)(mem, size)

    def copy_from_async(self, mem: Any, size: int, stream: Any = None) -> None:
        device = isinstance(mem, MemoryPointer)
        (self.copy_from_device_async if device else self.copy_from_host_async)(mem, size, stream)

    def copy_to_host(self, mem: Any, size: int) -> None:
        streams.no_sync()
        copy_async(_address(mem), self.ptr, size, 0)

    def copy_to_host_async(self, mem: Any, size: int, stream: Any = None) -> None:
        _guarded(_handle(stream), "D2H")
        copy_async(_address(mem), self.ptr, size, _handle(stream))

    def memset(self, value: int, size: int) -> None:
        streams.no_sync()
        fill(self.ptr, value, size, 0)

    def memset_async(self, value: int, size: int, stream: Any = None) -> None:
        fill(self.ptr, value, size, _handle(stream))


def _handle(stream: Any) -> int:
    return streams.current_ptr() if stream is None else int(stream.ptr)


def _address(mem: Any) -> int:
    return mem if isinstance(mem, int) else int(mem.value)


def _guarded(ptr: int, way: str) -> None:
    if streams.capturing(ptr):
        raise RuntimeError(f"the current stream is capturing, so {way} transfers are disallowed")


def copy_async(target: int, source: int, size: int, ptr: int) -> None:
    """cudaMemcpyAsync: with pinned memory on one side it waits, with pageable memory it does not.

    A copy from pageable memory has taken the bytes when it returns.
    """
    if not size:
        return
    to, given = bytes_at(target, size), bytes_at(source, size)
    found = [machine().find(a) for a in (target, source)]
    if any(block is not None and block.device == -1 for block in found) and None not in found:
        streams.defer(lambda: np.copyto(to, given), ptr)
    else:
        streams.submit(lambda: np.copyto(to, given), ptr)


def copy_bytes(target: int, source: int, size: int, ptr: int = 0) -> None:
    """A copy that is done when it returns."""
    streams.wait(ptr)
    copy_async(target, source, size, ptr)
    streams.wait(ptr)


def fill(target: int, value: int, size: int, ptr: int) -> None:
    """cudaMemsetAsync."""
    to = bytes_at(target, size)
    streams.submit(lambda: to.fill(value & 0xFF), ptr)


# -- the pool ------------------------------------------------------------------------------------


class _Chunk:
    """A part of an allocation, in a list of its neighbours."""

    def __init__(self, mem: Memory, offset: int, size: int, stream: int) -> None:
        self.mem = mem
        self.offset = offset
        self.size = size
        self.stream = stream
        self.prev: _Chunk | None = None
        self.next: _Chunk | None = None

    def split(self, size: int) -> _Chunk | None:
        if self.size == size:
            return None
        rest = _Chunk(self.mem, self.offset + size, self.size - size, self.stream)
        self.size = size
        rest.prev, rest.next = self, self.next
        if self.next is not None:
            self.next.prev = rest
        self.next = rest
        return rest

    def merge(self) -> None:
        """Take the next one in."""
        assert self.next is not None
        self.size += self.next.size
        self.next = self.next.next
        if self.next is not None:
            self.next.prev = self


class PooledMemory(BaseMemory):
    """A chunk of a pool in use; it goes back when the object dies."""

    __slots__ = ("_chunk", "_pool")

    def __init__(self, chunk: _Chunk, pool: _DevicePool) -> None:
        super().__init__(chunk.mem.ptr + chunk.offset, chunk.size, chunk.mem.device_id)
        self._chunk = chunk
        self._pool = weakref.ref(pool)
        bytes_at(self.ptr, self.size).fill(POISON)

    def free(self) -> None:
        if self.ptr:
            self.ptr = 0
            pool = self._pool()
            if pool is not None:
                pool.free(self._chunk)

    def __del__(self) -> None:
        if hasattr(self, "_pool"):
            self.free()


class _DevicePool:
    """The pool of one device: free chunks by stream, best fit, split and merged."""

    def __init__(self, malloc: Callable[[int], MemoryPointer]) -> None:
        self.malloc = malloc
        self.spare: dict[int, list[_Chunk]] = {}
        self.in_use = 0
        self.total = 0
        self.limit = 0

    def get(self, size: int) -> MemoryPointer:
        size = -(-size // UNIT) * UNIT
        spare = self.spare.setdefault(streams.current_ptr(), [])
        fitting = [c for c in spare if c.size >= size]
        if fitting:
            streams.state(streams.current_ptr()).drain()  # a copy may still read what was there
            chunk = min(fitting, key=lambda c: c.size)
            spare.remove(chunk)
        else:
            chunk = _Chunk(self.fresh(size), 0, size, streams.current_ptr())
        rest = chunk.split(size)
        if rest is not None:
            spare.append(rest)
        self.in_use += size
        return MemoryPointer(PooledMemory(chunk, self), 0)

    def fresh(self, size: int) -> Memory:
        if self.limit and self.total + size > self.limit:
            raise OutOfMemoryError(size, self.total, self.limit)
        for attempt in range(3):
            try:
                found: Any = self.malloc(size).mem
            except CUDARuntimeError as error:
                if error.status != 2:
                    raise
                if attempt:
                    gc.collect()
                self.release()
            else:
                self.total += size
                return found  # type: ignore[no-any-return]
        raise OutOfMemoryError(size, self.total, self.limit)

    def free(self, chunk: _Chunk) -> None:
        spare = self.spare.setdefault(chunk.stream, [])
        self.in_use -= chunk.size
        if chunk.next in spare:
            spare.remove(chunk.next)
            chunk.merge()
        if chunk.prev in spare:
            chunk = chunk.prev
            chunk.merge()
        else:
            spare.append(chunk)

    def release(self, stream: int | None = None) -> None:
        """Give back the allocations of which every byte is free."""
        for ptr in list(self.spare) if stream is None else [stream]:
            whole = [c for c in self.spare.get(ptr, []) if c.prev is None and c.next is None]
            for chunk in whole:
                self.spare[ptr].remove(chunk)
                self.total -= chunk.size


def _malloc(size: int) -> MemoryPointer:
    return MemoryPointer(Memory(size), 0)


class MemoryPool:
    """A pool per device; its figures are those of the current one."""

    def __init__(self, allocator: Any = None) -> None:
        self._allocator = _malloc if allocator is None else allocator
        self._pools: dict[int, _DevicePool] = {}

    @property
    def _pool(self) -> _DevicePool:
        return self._pools.setdefault(machine().device, _DevicePool(self._allocator))

    def malloc(self, size: int) -> MemoryPointer:
        return self._pool.get(size) if size else MemoryPointer(Memory(0), 0)

    def free_all_blocks(self, stream: Any = None) -> None:
        self._pool.release(None if stream is None else stream.ptr)

    def n_free_blocks(self) -> int:
        return sum(map(len, self._pool.spare.values()))

    def used_bytes(self) -> int:
        return self._pool.in_use

    def total_bytes(self) -> int:
        return self._pool.total

    def free_bytes(self) -> int:
        return self._pool.total - self._pool.in_use

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        if size is not None and fraction is not None:
            raise ValueError("size and fraction cannot be specified at one time")
        if fraction is not None:
            if not 0 <= fraction <= 1:
                raise ValueError(f"memory limit fraction out of range: {fraction}")
            size = int(fraction * machine().memory)
        self._pool.limit = size or 0

    def get_limit(self) -> int:
        return self._pool.limit


# -- which allocator is in use -------------------------------------------------------------------

_thread = threading.local()


class _Default:
    """The pool that CuPy begins with, and the allocator that is set."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.pool = MemoryPool()
        self.allocator: Callable[[int], MemoryPointer] = self.pool.malloc
        _thread.allocator = None


def get_allocator() -> Callable[[int], MemoryPointer]:
    found: Callable[[int], MemoryPointer] | None = getattr(_thread, "allocator", None)
    return DEFAULT.allocator if found is None else found


def set_allocator(allocator: Any = None) -> None:
    if getattr(_thread, "allocator", None) is not None:
        raise ValueError(
            "Can't change the global allocator inside `using_allocator` context manager"
        )
    DEFAULT.allocator = _malloc if allocator is None else allocator


@contextlib.contextmanager
def using_allocator(allocator: Any = None) -> Iterator[None]:
    before = getattr(_thread, "allocator", None)
    _thread.allocator = _malloc if allocator is None else allocator
    try:
        yield
    finally:
        _thread.allocator = before


def alloc(size: int) -> MemoryPointer:
    """Memory from the allocator in use."""
    found = get_allocator()(size)
    if not isinstance(found, MemoryPointer):
        raise TypeError(f"Cannot convert {type(found).__name__} to cupy.cuda.memory.MemoryPointer")
    return found


DEFAULT = _Default()
