"""Streams, events and graphs: work runs at once, is recorded while a stream captures, and copies
between pinned memory and a device wait until something on their stream comes after them.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .machine import CUDARuntimeError, machine

Work = Callable[[], Any]
LEGACY, PER_THREAD = 1, 2


class Capture:
    """What a capture has recorded, over all the streams that joined it."""

    def __init__(self, origin: State) -> None:
        self.work: list[Work] = []
        self.origin = origin
        self.joined = {origin}
        self.loose: set[State] = set()  # joined streams with work that nothing waits for
        self.invalid = False

    def add(self, work: Work, stream: State) -> None:
        self.work.append(work)
        if stream is not self.origin:
            self.loose.add(stream)


class State:
    """One cudaStream_t."""

    def __init__(self, ptr: int, device: int, blocking: bool, priority: int = 0) -> None:
        self.ptr = ptr
        self.device = device
        self.blocking = blocking
        self.priority = priority
        self.pending: list[Work] = []  # asynchronous copies that nothing has waited for
        self.capture: Capture | None = None

    def drain(self) -> None:
        pending, self.pending = self.pending, []
        for work in pending:
            work()


def state(ptr: int) -> State:
    """The stream behind a handle; 0 and 1 are the legacy stream of the current device."""
    streams: dict[int, State] = machine().streams
    if ptr in (0, LEGACY, PER_THREAD):
        device = machine().device
        return streams.setdefault(-1 - device, State(0, device, True))
    try:
        return streams[ptr]
    except KeyError:
        raise CUDARuntimeError(400) from None


def _others(found: State) -> list[State]:
    """The streams that the legacy stream waits for."""
    return [s for s in machine().streams.values() if s.blocking and s.device == found.device]


def _order(found: State) -> None:
    """Finish what must come before new work on a stream."""
    if found.ptr == 0:
        for other in _others(found):
            if other.capture is not None:
                other.capture.invalid = True
                raise CUDARuntimeError(906)
            other.drain()
    elif found.blocking:
        state(0).drain()
    found.drain()


def submit(work: Work, ptr: int | None = None) -> None:
    """Run work on a stream (the current one), or record it where the stream captures."""
    found = state(current_ptr() if ptr is None else ptr)
    if found.device != machine().device:
        raise CUDARuntimeError(400)
    if found.capture is not None:
        found.capture.add(work, found)
        return
    _order(found)
    with np.errstate(all="ignore"):
        work()


def defer(work: Work, ptr: int) -> None:
    """Put an asynchronous copy on a stream."""
    found = state(ptr)
    if found.ptr == 0:
        submit(work, ptr)
    else:
        found.pending.append(work)


def ready() -> None:
    """Finish what precedes new work on the current stream, unless that captures."""
    found = state(current_ptr())
    if found.capture is None:
        _order(found)


def capturing(ptr: int | None = None) -> bool:
    """Whether a stream (the current one) captures."""
    return state(current_ptr() if ptr is None else ptr).capture is not None


def no_sync(what: str = "synchronous API calls") -> None:
    """CuPy's own guard of what a capturing stream must not do."""
    if capturing():
        raise RuntimeError(f"the current stream is capturing, so {what} are disallowed")


def no_library(name: str) -> None:
    """CuPy's guard in front of a library of NVIDIA."""
    if capturing():
        raise NotImplementedError(
            f"calling {name} API during stream capture is currently unsupported"
        )


def unsupported() -> None:
    """What CUDA itself says where a capturing stream is synchronized: the capture is lost."""
    found = state(current_ptr())
    if found.capture is not None:
        found.capture.invalid = True
        raise CUDARuntimeError(900)


def wait(ptr: int) -> None:
    """cudaStreamSynchronize."""
    found = state(ptr)
    if found.capture is not None:
        found.capture.invalid = True
        raise CUDARuntimeError(900)
    _order(found)


def wait_device() -> None:
    """cudaDeviceSynchronize."""
    device = machine().device
    here = [s for s in machine().streams.values() if s.device == device]
    for found in here:
        if found.capture is not None:
            found.capture.invalid = True
            raise CUDARuntimeError(900)
    for found in here:
        found.drain()


# -- the current stream of a thread and device ---------------------------------------------------


def _stack() -> dict[int, list[Any]]:
    local = machine().local
    if not hasattr(local, "streams"):
        local.streams = {}
        local.entered = []
    found: dict[int, list[Any]] = local.streams
    return found


def get_current_stream(device_id: int = -1) -> Any:
    """The current stream of a device, the null stream to begin with."""
    device = machine().device if device_id == -1 else device_id
    machine().valid(device)
    return _stack().setdefault(device, [Stream.null])[-1]


def current_ptr() -> int:
    return int(get_current_stream().ptr)


class Event:
    """A point of a stream."""

    def __init__(
        self, block: bool = False, disable_timing: bool = False, interprocess: bool = False
    ) -> None:
        if interprocess and not disable_timing:
            raise ValueError("Timing must be disabled for interprocess events")
        machine().check()
        self.ptr = next(machine().tickets)
        self._timed = not disable_timing
        self._time: float | None = None
        self._capture: Capture | None = None
        self._stream: State | None = None

    def _plain(self) -> None:
        if self._capture is not None:
            raise CUDARuntimeError(907)

    @property
    def done(self) -> bool:
        self._plain()
        return self._stream is None or not self._stream.pending

    def record(self, stream: Any = None) -> None:
        found = state(current_ptr() if stream is None else stream.ptr)
        self._stream, self._capture = found, found.capture
        self._time = time.perf_counter()

    def synchronize(self) -> None:
        self._plain()
        if self._stream is not None:
            self._stream.drain()


def get_elapsed_time(start_event: Event, end_event: Event) -> float:
    """Milliseconds between two events."""
    for event in (start_event, end_event):
        event._plain()
        if not event._timed or event._time is None:
            raise CUDARuntimeError(400)
        if not event.done:
            raise CUDARuntimeError(600)
    return 1e3 * (end_event._time - start_event._time)  # type: ignore[operator]


class _BaseStream:
    ptr: int
    device_id: int

    def __init__(self, ptr: int, device_id: int) -> None:
        self.ptr = ptr
        self.device_id = device_id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BaseStream) and self.ptr == other.ptr

    def __hash__(self) -> int:
        return self.ptr

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.ptr} (device {self.device_id})>"

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.ptr

    def _here(self) -> int:
        current = machine().device
        device = current if self.device_id == -1 else self.device_id
        if device != current:
            raise RuntimeError(
                f"The device that the stream is created on ({device})"
                f" does not match with the current device ({current})"
            )
        return device

    def __enter__(self) -> Any:
        device = self._here()
        get_current_stream()
        _stack()[device].append(self)
        machine().local.entered.append(device)
        return self

    def __exit__(self, *exc: object) -> None:
        _stack()[machine().local.entered.pop()].pop()

    def use(self) -> Any:
        device = self._here()
        get_current_stream()
        _stack()[device][-1] = self
        return self

    @property
    def done(self) -> bool:
        return not state(self.ptr).pending

    @property
    def is_non_blocking(self) -> bool:
        return not state(self.ptr).blocking

    @property
    def priority(self) -> int:
        return state(self.ptr).priority

    def synchronize(self) -> None:
        wait(self.ptr)

    def record(self, event: Event | None = None) -> Event:
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        found = state(self.ptr)
        if event._capture is not None:  # the stream joins the capture
            found.capture = capture = event._capture
            if event._stream is not None and found in capture.joined:
                capture.loose.discard(event._stream)
            elif found is not capture.origin:
                capture.joined.add(found)
                capture.loose.add(found)
        elif found.capture is not None and event._stream is not None:
            if event._stream.capture is not found.capture:
                found.capture.invalid = True
                raise CUDARuntimeError(905)
        elif event._stream is not None:
            event._stream.drain()

    def add_callback(self, callback: Any, arg: Any) -> None:
        if state(self.ptr).capture is not None:
            raise CUDARuntimeError(900)
        submit(lambda: callback(self, 0, arg), self.ptr)

    def launch_host_func(self, callback: Any, arg: Any) -> None:
        submit(lambda: callback(arg), self.ptr)

    def begin_capture(self, mode: int | None = None) -> None:
        if self.ptr in (0, LEGACY):
            raise RuntimeError("cannot capture on the default (legacy) stream")
        found = state(self.ptr)
        if found.capture is not None:
            raise CUDARuntimeError(900)
        found.drain()
        found.capture = Capture(found)

    def end_capture(self) -> Graph:
        found = state(self.ptr)
        capture = found.capture
        if capture is None or capture.origin is not found:
            raise CUDARuntimeError(1)
        for joined in capture.joined:
            joined.capture = None
        if capture.invalid:
            raise CUDARuntimeError(901)
        if capture.loose:
            raise CUDARuntimeError(904)
        return Graph(capture.work)

    def is_capturing(self) -> bool:
        return state(self.ptr).capture is not None


class Stream(_BaseStream):
    """A stream of the current device."""

    null: Any = None
    ptds: Any = None

    def __init__(
        self,
        null: bool = False,
        non_blocking: bool = False,
        ptds: bool = False,
        priority: int | None = None,
    ) -> None:
        if null or ptds:
            super().__init__(0 if null else PER_THREAD, -1)
            return
        device = machine().device
        ptr = 0x1000 * next(machine().tickets)
        machine().streams[ptr] = State(ptr, device, not non_blocking, priority or 0)
        super().__init__(ptr, device)

    @classmethod
    def from_external(cls, obj: Any) -> Stream:
        version, ptr = obj.__cuda_stream__()
        if version != 0:
            raise ValueError(f"__cuda_stream__() returned unsupported version {version}")
        found = cls.__new__(cls)
        _BaseStream.__init__(found, ptr, machine().device)
        return found


class ExternalStream(_BaseStream):
    """A stream by its handle."""

    def __init__(self, ptr: int, device_id: int = -1) -> None:
        warnings.warn(
            "ExternalStream is deprecated. Use Stream.from_external() instead",
            DeprecationWarning,
            stacklevel=2,
        )
        super().__init__(ptr, device_id)


Stream.null = Stream(null=True)
Stream.ptds = Stream(ptds=True)


class Graph:
    """Recorded work, with the addresses that it had when it was recorded."""

    def __init__(self, work: list[Work]) -> None:
        self._work = work

    def launch(self, stream: Any = None) -> None:
        ptr = current_ptr() if stream is None else stream.ptr
        if state(ptr).capture is not None:
            raise CUDARuntimeError(900)
        submit(self._replay, ptr)

    def _replay(self) -> None:
        for work in self._work:
            work()

    def upload(self, stream: Any = None) -> None:
        state(current_ptr() if stream is None else stream.ptr)

    def debug_dot_str(self, flags: int = 0) -> str:
        nodes = "".join(f'"{k}";' for k in range(len(self._work)))
        return f"digraph dot {{ {nodes} }}"
