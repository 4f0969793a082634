"""The GPUs of this machine: which there are, streams and events, copies from and to the host.

Nothing here is imported before a GPU is asked for, and CuPy only when it is used.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache as once
from importlib import import_module
from typing import Any

import numpy as np

from tensorgrad._errors import DeviceError, need

Array = Any

_NAME = re.compile(r"cuda(?::(\d+))?\Z")
_DRIVERS = {12: "525", 13: "580"}
OLD_DRIVER, NO_DEVICE = 35, 100
_FIXES = {
    3: "a fresh process: the driver is shutting down, or the process was forked after CUDA started",
    46: "`nvidia-smi` to see which process holds the GPU",
    802: "a restart of the machine's nvidia-fabricmanager",
    803: "a restart of the machine: the driver's library and its kernel module differ",
    804: "a newer driver: this one does not run libraries of a later CUDA on this GPU",
}


@once
def cupy() -> Any:
    """CuPy; raises `DeviceError` where it is missing or cannot be loaded."""
    try:
        return import_module("cupy")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("cupy", "cupy_backends"):
            raise
        raise DeviceError(
            "cuda: got no CuPy, expected it beside tensorgrad; "
            "try pip install 'tensorgrad[cuda13]' (or cuda12 for an older driver)"
        ) from None
    except ImportError as error:
        raise DeviceError(
            f"cuda: got {_first_line(error)!r} from import cupy, expected it to load; try "
            "pip uninstall cupy cupy-cuda12x cupy-cuda13x && pip install 'tensorgrad[cuda13]'"
        ) from error


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip("= ")]
    return lines[0].strip() if lines else type(error).__name__


def count() -> int:
    """How many GPUs there are; raises `DeviceError` if none, saying what is missing."""
    library = cupy()
    try:
        found = int(library.cuda.runtime.getDeviceCount())
    except library.cuda.runtime.CUDARuntimeError as error:
        raise _refused(library.cuda.runtime, error) from None
    if not found:
        raise DeviceError(_no_device())
    return found


def is_available() -> bool:
    """True if arrays can be made on a GPU here."""
    try:
        return count() > 0
    except DeviceError:
        return False


def _refused(runtime: Any, error: Any) -> DeviceError:
    """Why the runtime found no GPU, and what mends it."""
    status = int(getattr(error, "status", 0))
    if status == NO_DEVICE:
        return DeviceError(_no_device())
    if status != OLD_DRIVER:
        fix = _FIXES.get(status, "`nvidia-smi`, which should list a GPU")
        return DeviceError(f"cuda: got {error}, expected a GPU that works; try {fix}")
    driver, wanted = runtime.driverGetVersion(), runtime.runtimeGetVersion()
    major = wanted // 1000
    if not driver:
        return DeviceError(
            f"cuda: got no NVIDIA driver, expected one for CUDA {major} or later; try installing "
            "it from https://www.nvidia.com/drivers (in a container: docker run --gpus all), "
            "or device='cpu'"
        )
    fix = f"driver {_DRIVERS.get(major, 'of that CUDA')} or later"
    if driver // 1000 < major and driver // 1000 in _DRIVERS:
        older = driver // 1000
        fix = f"pip uninstall cupy-cuda{major}x && pip install 'tensorgrad[cuda{older}]', or {fix}"
    return DeviceError(
        f"cuda: got a driver for CUDA {version_text(driver)}, expected one for CUDA {major} "
        f"or later; try {fix}"
    )


def _no_device() -> str:
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    got = "no GPU" if hidden is None else f"no GPU under CUDA_VISIBLE_DEVICES={hidden!r}"
    fix = "device='cpu'" if hidden is None else "unset CUDA_VISIBLE_DEVICES, or device='cpu'"
    return f"cuda: got {got}, expected one that `nvidia-smi` lists; try {fix}"


def version_text(number: int) -> str:
    """CUDA's version as it is spelled.

    >>> version_text(13020)
    '13.2'
    """
    return f"{number // 1000}.{number % 1000 // 10}"


def index(name: Any) -> int:
    """The index of the device of that name, `cuda` being the current one.

    Raises `DeviceError` for another name, for an index that does not exist, and without a GPU.
    """
    found = _NAME.match(str(name))
    if found is None:
        raise DeviceError(
            f"device: got {str(name)!r}, expected cuda or cuda:N; try device='cuda:0'"
        )
    there = count()
    if found[1] is None:
        return current()
    need(
        int(found[1]) < there,
        "device",
        name=str(name),
        want="cuda:0" if there == 1 else f"one of cuda:0 to cuda:{there - 1}",
        fix="device='cuda:0'" + _hidden(),
        error=DeviceError,
    )
    return int(found[1])


def _hidden() -> str:
    """A reminder that the environment may hide GPUs."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if hidden is None else f" (CUDA_VISIBLE_DEVICES={hidden!r} hides the others)"


def name_of(k: int) -> str:
    """The name of a device by its index."""
    return f"cuda:{k}"


def current() -> int:
    """The index of this thread's current device."""
    return cupy().cuda.runtime.getDevice()  # type: ignore[no-any-return]


def using(k: int) -> Any:
    """A context in which device k is the current one."""
    return cupy().cuda.Device(k)


@dataclass(frozen=True, slots=True)
class Properties:
    """What a GPU is; memory in bytes."""

    name: str
    capability: str
    processors: int
    memory: int
    shared_per_block: int
    shared_on_request: int
    l2: int


@once
def properties(k: int) -> Properties:
    """The properties of device k."""
    found = cupy().cuda.runtime.getDeviceProperties(k)
    name = found["name"]
    return Properties(
        name=name.decode() if isinstance(name, bytes) else str(name),
        capability=f"{found['major']}{found['minor']}",
        processors=found["multiProcessorCount"],
        memory=found["totalGlobalMem"],
        shared_per_block=found["sharedMemPerBlock"],
        shared_on_request=found.get("sharedMemPerBlockOptin", found["sharedMemPerBlock"]),
        l2=found["l2CacheSize"],
    )


# -- streams and events ------------------------------------------------------------------------


def stream_pointer() -> int:
    """The address of the current stream.

    It is asked of CuPy each time: a copy kept here would be stale as soon as the program entered
    a stream of CuPy's own.
    """
    return cupy().cuda.get_current_stream().ptr  # type: ignore[no-any-return]


class Event:
    """A point in the work of a stream.

    Args:
        enable_timing: whether `elapsed_time` can be asked for.
    """

    def __init__(self, enable_timing: bool = True) -> None:
        count()
        self.native = cupy().cuda.Event(disable_timing=not enable_timing)

    def record(self, stream: Stream | None = None) -> Event:
        """Put the event behind the work given to a stream (the current one) so far."""
        self.native.record(None if stream is None else stream.native)
        return self

    def wait(self, stream: Stream | None = None) -> None:
        """Let the work given to a stream (the current one) from now on wait for the event."""
        here = cupy().cuda.get_current_stream() if stream is None else stream.native
        here.wait_event(self.native)

    def synchronize(self) -> None:
        """Wait on the host until the event is reached."""
        self.native.synchronize()
        _poll()

    def query(self) -> bool:
        """True once the event is reached."""
        return bool(self.native.done)

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds on the device from this event to a later one; both must be reached."""
        return float(cupy().cuda.get_elapsed_time(self.native, end_event.native))


class Stream:
    """A queue of work on one device; `with stream:` gives it what is asked for inside.

    An array that is made on one stream may be used on another once that waits for it (`wait_stream`
    or `wait_event`), and must live until that use is done: its memory goes back to the stream that
    made it.

    Args:
        device: a name such as `cuda:0`; the current one by default.
        native: a stream of CuPy's to wrap, instead of a new one.
    """

    def __init__(self, device: Any = None, *, native: Any = None) -> None:
        self.device = current() if device is None and count() else index(device)
        if native is None:
            with using(self.device):
                native = cupy().cuda.Stream(non_blocking=True)
        self.native = native
        self._local = threading.local()

    @property
    def cuda_stream(self) -> int:
        """The address that CUDA knows the stream by."""
        return int(self.native.ptr)

    def synchronize(self) -> None:
        """Wait on the host for the work given so far."""
        self.native.synchronize()
        _poll()

    def query(self) -> bool:
        """True if all the work given so far is done."""
        return bool(self.native.done)

    def record_event(self, event: Event | None = None) -> Event:
        """An event (a new one) behind the work given so far."""
        with using(self.device):
            return (Event(enable_timing=False) if event is None else event).record(self)

    def wait_event(self, event: Event) -> None:
        """Let the work given from now on wait for an event."""
        self.native.wait_event(event.native)

    def wait_stream(self, stream: Stream) -> None:
        """Let the work given from now on wait for what another stream was given so far."""
        self.wait_event(stream.record_event())

    def __enter__(self) -> Stream:
        with ExitStack() as entered:
            entered.enter_context(using(self.device))
            entered.enter_context(self.native)
            self._stack().append(entered.pop_all())
        return self

    def __exit__(self, *exc: Any) -> None:
        self._stack().pop().__exit__(*exc)

    def _stack(self) -> list[ExitStack]:
        found: list[ExitStack] | None = getattr(self._local, "stack", None)
        if found is None:
            found = self._local.stack = []
        return found

    def __repr__(self) -> str:
        return f"Stream({name_of(self.device)}, 0x{self.cuda_stream:x})"


def current_stream() -> Stream:
    """The stream that work goes to now."""
    count()
    return Stream(name_of(current()), native=cupy().cuda.get_current_stream())


def synchronize(device: Any = None) -> None:
    """Wait on the host for all the work of a device (the current one)."""
    with using(current() if device is None and count() else index(device)):
        cupy().cuda.runtime.deviceSynchronize()
    _poll()


def _poll() -> None:
    """Raise what kernels found wrong in the indices that they read, now that they are done."""
    faults = sys.modules.get("tensorgrad.backend.cuda.faults")
    if faults is not None:
        faults.faults().poll()


# -- copies ------------------------------------------------------------------------------------

_FLIGHT: deque[tuple[Any, Any]] = deque()
"""Host memory that the device may still read, with the event after which it does not."""


def pinned(shape: tuple[int, ...], dtype: Any) -> Any:
    """A NumPy array, not cleared, in memory that a device copies from and to by itself."""
    count()
    dtype = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64))
    memory = cupy().cuda.alloc_pinned_memory(max(size * dtype.itemsize, 1))
    return np.frombuffer(memory, np.uint8, size * dtype.itemsize).view(dtype).reshape(shape)


def upload(target: Array, host: Any) -> None:
    """Copy a NumPy array into a contiguous array of a device, in the order of its stream.

    From pinned memory the copy runs by itself, and `host` must not change until it is done; other
    memory has been read when this returns. Raises ValueError unless shape and dtype are equal.
    """
    if host.shape != target.shape or host.dtype != target.dtype:
        raise ValueError(
            f"upload: got {host.dtype}{host.shape}, expected {target.dtype}{target.shape} as the "
            "target; try reshape and astype"
        )
    if not target.size:
        return
    host = np.asarray(host, order="C")
    target.set(host, stream=cupy().cuda.get_current_stream())
    event = cupy().cuda.Event(disable_timing=True)
    event.record()
    _FLIGHT.append((event, host))
    while _FLIGHT and _FLIGHT[0][0].done:
        _FLIGHT.popleft()


class Download:
    """A copy to the host that runs by itself; `wait()` gives its NumPy array."""

    __slots__ = ("_event", "_host")

    def __init__(self, host: Any, event: Any) -> None:
        self._host = host
        self._event = event

    @property
    def done(self) -> bool:
        """True if `wait` would not wait."""
        return bool(self._event.done)

    def wait(self) -> Any:
        """The array, once it is there."""
        self._event.synchronize()
        return self._host


def download(array: Array) -> Download:
    """Begin to copy an array of a device to pinned memory."""
    host = pinned(array.shape, array.dtype)
    if array.size:
        stream = cupy().cuda.get_current_stream()
        array.get(stream=stream, out=host, blocking=False)
    event = cupy().cuda.Event(disable_timing=True)
    event.record()
    return Download(host, event)
