"""The memory of GPUs: one arena for each, which hands out again what dead arrays leave.

A program that repeats a step asks for the same sizes again and again. Free blocks are kept by
stream and size, so from the second step on an array costs no call of CUDA. What a stream was using
goes back to that stream alone: its next user comes behind the last one in the stream's own order.

While a graph is captured, arrays come from a `Region`. What a region was given is not handed out
again while it is open, since every replay writes to the addresses of the capture.
"""

from __future__ import annotations

import gc
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from threading import get_ident
from typing import Any

from tensorgrad.backend.cuda import device
from tensorgrad.backend.cuda.errors import (
    CaptureError,
    OutOfMemoryError,
    Place,
    calling_place,
    size_text,
    spelled,
)

LARGE = 2**20
"""Bytes from which the line that made a block is remembered, which costs about 0.5 us."""

COARSE = 2 * 2**20
"""Bytes of which every block beyond 32 MiB is a multiple."""

LISTED = 10
"""Arrays that an out-of-memory error lists."""

PER_THREAD = 2
"""The address that stands for a default stream of each thread's own."""

Key = tuple[int, int]  # a stream, and the size of a block
Spare = dict[Key, list[Any]]


def rounded(size: int) -> int:
    """The size of the block for an array: a multiple of 512 bytes, at most an eighth or 511 more.

    >>> [rounded(n) for n in (1, 513, 8193, 100_000_000)]
    [512, 1024, 9216, 100663296]
    """
    step = min(max(1 << (max(size, 16) - 1).bit_length() - 4, 512), COARSE)
    return -(-size // step) * step


class Block:
    """The memory of one live array; when the array dies it goes back to where it came from."""

    LARGE = LARGE  # an attribute outlives the module when the process ends
    __slots__ = ("_arena", "_home", "_key", "_place")

    def __init__(self, arena: Arena, home: Arena | Region, key: Key, place: int) -> None:
        self._arena = arena
        self._home = home
        self._key = key
        self._place = place

    def __del__(self) -> None:
        size = self._key[1]
        self._arena.used -= size
        if size >= self.LARGE:
            self._arena.large.pop(self._place, None)
        # The arena holds it: in a cycle of dead arrays it would be finalized along with this block.
        raw = self._arena.live.pop(self._place)
        spare = self._home.spare
        found = spare.get(self._key)
        if found is None:
            spare[self._key] = [raw]
        else:
            found.append(raw)


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes of one device.

    Attributes:
        used, peak: in live arrays, now and at most since the last reset.
        reserved: taken from the driver: in arrays, kept for the next ones, or held by graphs.
        free, total: of the device, as the driver says.
    """

    used: int
    peak: int
    reserved: int
    free: int
    total: int


class Arena:
    """The memory of one device, to be used while that device is the current one."""

    def __init__(self, index: int) -> None:
        library = device.cupy()
        self.index = index
        self.spare: Spare = {}
        self.large: dict[int, tuple[int, Place]] = {}
        self.live: dict[int, Any] = {}
        self.used = 0
        self.peak = 0
        self.capturing = 0
        self.closing: list[Region] = []
        self._pool = library.cuda.MemoryPool()
        self._pointer = library.cuda.MemoryPointer
        self._memory = library.cuda.UnownedMemory
        self._full = library.cuda.memory.OutOfMemoryError
        self._stream = library.cuda.get_current_stream

    def malloc(self, size: int) -> Any:
        """Memory for an array of so many bytes; raises `OutOfMemoryError`."""
        return self.give(size, self)

    def give(self, size: int, home: Arena | Region) -> Any:
        """A block from the free ones of `home`, or a new one, that will go back there."""
        if size <= 0:
            return self._pool.malloc(0)
        size = rounded(size)
        stream = self._stream().ptr
        key = (stream if stream != PER_THREAD else -get_ident(), size)
        spare = home.spare.get(key)
        try:
            raw = spare.pop() if spare else self._fresh(size)
        except IndexError:  # another thread took the last one
            raw = self._fresh(size)
        self.used += size
        if self.used > self.peak:
            self.peak = self.used
        if size >= LARGE:
            self.large[raw.ptr] = (size, calling_place())
        self.live[raw.ptr] = raw
        block = Block(self, home, key, raw.ptr)
        return self._pointer(self._memory(raw.ptr, size, block, self.index), 0)

    def _fresh(self, size: int) -> Any:
        try:
            return self._pool.malloc(size)
        except self._full:
            pass
        if not self.capturing:  # to give memory back would wait for the stream that captures
            gc.collect()
            self.trim()
            try:
                return self._pool.malloc(size)
            except self._full:
                pass
        raise OutOfMemoryError(self.refusal(size))

    def trim(self) -> int:
        """Give free memory back to the driver; returns its bytes. Not while a graph is captured."""
        if self.capturing:
            return 0
        with device.using(self.index):
            before = self._pool.total_bytes()
            while self.closing:
                self.closing.pop().close()
            self.spare.clear()
            self._pool.free_all_blocks()
            return int(before - self._pool.total_bytes())

    def usage(self) -> Usage:
        """What is used, kept and free."""
        with device.using(self.index):
            free, total = device.cupy().cuda.runtime.memGetInfo()
            return Usage(self.used, self.peak, self._pool.total_bytes(), free, total)

    def limit(self, size: int | None) -> None:
        """Take at most so many bytes from the driver; None for all there are."""
        with device.using(self.index):
            self._pool.set_limit(size=size or 0)

    def refusal(self, size: int) -> str:
        """What an out-of-memory error says."""
        now, name = self.usage(), device.name_of(self.index)
        held = now.reserved - now.used
        text = (
            f"memory: got a request for {size_text(size)} on {name} with {size_text(now.free)} "
            f"free of {size_text(now.total)} ({size_text(now.used)} in arrays here, "
            f"{size_text(held)} held for graphs and other streams), expected room for it; "
            "try a smaller batch, tg.checkpoint, or del of what is not needed"
        )
        listing = "\n".join(self.listing())
        return f"{text}\nThe largest live arrays:\n{listing}" if listing else text

    def listing(self, most: int = LISTED) -> Iterator[str]:
        """The largest live arrays, alike ones in a line: bytes, what they are, who made them."""
        labels = _labels()
        alike: Counter[tuple[int, str]] = Counter()
        for address, (size, place) in list(self.large.items()):
            what, origin = labels.get(address, ("an array", ""))
            made = spelled(place)
            alike[
                size, f"{what}, made at {made}" + f" for {origin}" * (origin not in ("", made))
            ] += 1
        rows = sorted(alike.items(), key=lambda row: -row[0][0] * row[1])[:most]
        rest = self.used
        for (size, text), count in rows:
            rest -= count * size
            times = f"{count} of {size_text(size)}: " if count > 1 else ""
            yield f"{size_text(count * size):>12}  {times}{text}"
        if rows and rest > 0:
            yield f"{size_text(rest):>12}  in others"


class Region:
    """The memory of one captured graph: given to nothing else until it is closed."""

    def __init__(self, arena: Arena) -> None:
        self.spare: Spare = {}
        self._arena = arena

    def malloc(self, size: int) -> Any:
        """Memory for an array of so many bytes; raises `OutOfMemoryError`.

        Raises `CaptureError` on another device: its work would not be part of the graph.
        """
        here, home = device.current(), self._arena.index
        if here != home:
            raise CaptureError(
                f"capture: got work on {device.name_of(here)} at {spelled(calling_place())}, "
                f"expected all of a step on {device.name_of(home)}; try one captured step a device"
            )
        return self._arena.give(size, self)

    def close(self) -> None:
        """Let other arrays have the memory, once the device is done with the graph.

        Arrays of the region that still live stay as they are. While another graph is captured the
        device cannot be waited for; then this happens when memory is next given back.
        """
        arena = self._arena
        if self.spare is arena.spare:
            return
        if arena.capturing:
            arena.closing.append(self)
            return
        with device.using(arena.index):
            device.cupy().cuda.runtime.deviceSynchronize()
            here = device.stream_pointer()
        spare, self.spare = self.spare, arena.spare
        for (_, size), blocks in spare.items():
            arena.spare.setdefault((here, size), []).extend(blocks)


Label = tuple[str, str]  # what an array is; the line that recorded it, if one did


def _labels() -> dict[int, Label]:
    """Tensors and saved values by the address of their memory.

    The classes are those of the floor above, and looked up by name; nothing is kept for this while
    a program runs.
    """
    tensor = getattr(sys.modules.get("tensorgrad.core.tensor"), "Tensor", None)
    node = getattr(sys.modules.get("tensorgrad.core.tape"), "Node", None)
    saved: dict[int, Label] = {}
    named: dict[int, Label] = {}
    if tensor is None or node is None:
        return named
    for thing in gc.get_objects():
        kind = type(thing)
        if issubclass(kind, node):
            for array in vars(node)["saved"].__get__(thing) or ():  # as it lies, packed or not
                _label(saved, array, "saved by", thing)
        elif issubclass(kind, tensor):
            _label(named, thing.data, "of", thing.node)
            gradient = getattr(thing.node, "grad", None)
            if gradient is not None:
                _label(named, gradient.data, "the gradient of", thing.node)
    return saved | named


def _label(found: dict[int, Label], array: Any, how: str, node: Any) -> None:
    if isinstance(array, device.cupy().ndarray):  # NumPy refuses `data` of a bfloat16 array
        memory = array.data.mem
        what = f"{array.dtype}{array.shape}"
        if node is not None:
            what += f" {how} {'a leaf' if node.primitive is None else node.primitive.name}"
        found[int(memory.ptr)] = what, "" if node is None else node.origin


_ARENAS: dict[int, Arena] = {}


def arena(k: int) -> Arena:
    """The arena of device k."""
    found = _ARENAS.get(k)
    if found is None:
        with device.using(k):
            found = _ARENAS.setdefault(k, Arena(k))
    return found


def malloc(size: int) -> Any:
    """Memory on the current device: what CuPy calls for every array."""
    k = device.current()
    return (_ARENAS.get(k) or arena(k)).malloc(size)


def install() -> None:
    """Let CuPy take all memory from the arenas.

    A program that gave CuPy an allocator of its own keeps it, and TG_ARENA=0 keeps CuPy's.
    """
    library = device.cupy()
    plain = library.get_default_memory_pool().malloc
    if os.environ.get("TG_ARENA") != "0" and library.cuda.get_allocator() == plain:
        library.cuda.set_allocator(malloc)


def installed() -> bool:
    """Whether CuPy takes its memory here."""
    return bool(device.cupy().cuda.get_allocator() is malloc)
