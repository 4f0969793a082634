"""A step of a program as one CUDA graph: captured once, replayed at the cost of one launch.

What a graph holds are addresses. So a captured step reads its inputs from arrays of its own, which
a replay fills first, and leaves its results in arrays of its own; whatever else it wrote or read in
the capture (parameters, gradients, optimizer state) it writes and reads again in each replay.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from typing import Any, Protocol

from tensorgrad._errors import DeviceError, DTypeError, ShapeError, describe, need
from tensorgrad.backend.cuda import arena, device
from tensorgrad.backend.cuda.errors import CaptureError, OutOfMemoryError, raising_line

Array = Any

WARM_UP = 2
"""Runs before the capture: the first compiles and plans, the second has all its memory at hand."""

_MEMORY, _UNJOINED = 2, 904  # cudaErrorMemoryAllocation, cudaErrorStreamCaptureUnjoined

_BUSY: ContextVar[bool] = ContextVar("capturing", default=False)


class Recording(Protocol):
    """What a step does on the host before each replay: `core/replay.py`."""

    def active(self) -> Any:
        """A context in which the step registers it."""
        ...

    def before(self) -> None:
        """Do it."""
        ...


class _Nothing:
    """A step that does nothing on the host."""

    def active(self) -> Any:
        return nullcontext()

    def before(self) -> None:
        pass


class Captured:
    """A captured step: `captured(*inputs)` replays it and gives the captured results.

    The results are the same arrays at each replay, so a caller that keeps one copies it. Replays
    belong to the stream that is current when they are asked for, and must not overlap.
    """

    def __init__(
        self,
        graph: Any,
        region: arena.Region,
        inputs: tuple[Array, ...],
        outputs: Any,
        k: int,
        recording: Recording,
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.device = k
        self._graph = graph
        self._region = region
        self._recording = recording

    def __call__(self, *inputs: Any) -> Any:
        """Fill the inputs (arrays of the device, or of NumPy), replay, and give the results.

        Raises ShapeError, DTypeError and DeviceError unless they are as they were in the capture,
        and CaptureError once it is closed and inside another capture; then nothing has changed.
        """
        if self._graph is None:
            raise CaptureError(
                "capture: got a captured step that was closed, expected an open one; "
                "try capturing again"
            )
        _refuse_inside("a captured step called inside a capture", "the function itself")
        _check(self.inputs, inputs)
        with device.using(self.device):
            self._recording.before()
            for target, given in zip(self.inputs, inputs):
                _fill(target, given)
            self._graph.launch()
        return self.outputs

    def close(self) -> None:
        """Give the graph and its memory back; results that are still held keep their values."""
        if self._graph is not None:
            self._region.close()  # waits for the last replay
            self._graph = self.outputs = None
            self.inputs = ()
            self._recording = _Nothing()

    def __del__(self) -> None:
        if getattr(self, "_graph", None) is not None and not sys.is_finalizing():
            self.close()


def _check(targets: Sequence[Array], inputs: Sequence[Any]) -> None:
    if len(inputs) != len(targets):
        raise ShapeError(
            f"capture: got {len(inputs)} inputs, expected {len(targets)} as in the capture; "
            "try capturing again"
        )
    for place, (target, given) in enumerate(zip(targets, inputs)):
        for kind, what in ((ShapeError, "shape"), (DTypeError, "dtype")):
            if getattr(given, what, None) != getattr(target, what):
                raise kind(
                    f"capture: got {describe(given)} for input {place}, expected "
                    f"{describe(target)} as in the capture; try capturing again for it"
                )
        if isinstance(given, device.cupy().ndarray):
            need(
                given.data.device_id == target.data.device_id,
                "capture",
                input=device.name_of(given.data.device_id),
                want=device.name_of(target.data.device_id) + " as in the capture",
                fix=f"x.to('{device.name_of(target.data.device_id)}')",
                error=DeviceError,
            )


def _fill(target: Array, given: Any) -> None:
    """Copy a new input, from the host or from the device, in the order of the current stream."""
    if given is target:
        return
    if isinstance(given, device.cupy().ndarray):
        target[...] = given
    else:
        device.upload(target, given)


def capture(
    step: Callable[..., Any], inputs: Sequence[Array] = (), recording: Recording | None = None
) -> Captured:
    """Capture `step(*inputs)` on the device of its inputs, the current one if there are none.

    The step runs `WARM_UP` times on copies of the inputs, which counts like any other run: state
    that it updates has advanced by so many steps. Then it is recorded, without being run, in the
    block `recording.active()`; `recording.before()` is called in front of every replay.

    Raises:
        CaptureError: the step read a number on the host, or made another call that a graph cannot
            hold; the line is named.
        OutOfMemoryError: there was no room for it.
        DeviceError: the inputs lie on several devices, or on the host.
    Whatever is raised, the stream is out of the capture and the memory free again.
    """
    _refuse_inside("a capture inside another one", "capturing the outer step alone")
    k = _device_of(inputs)
    home = arena.arena(k)
    if home.capturing:
        raise CaptureError(
            f"capture: got a capture on {device.name_of(k)} where another thread captures, "
            "expected one at a time; try a lock around the two"
        )
    recording = _Nothing() if recording is None else recording
    region = arena.Region(home)
    busy = _BUSY.set(True)
    try:
        with device.using(k):
            own, graph, outputs = _recorded(step, inputs, home, region, recording)
    except BaseException:
        region.close()
        raise
    finally:
        _BUSY.reset(busy)
    return Captured(graph, region, own, outputs, k, recording)


def _refuse_inside(got: str, fix: str) -> None:
    if _BUSY.get():
        raise CaptureError(f"capture: got {got}, expected one at a time; try {fix}")


def _device_of(inputs: Sequence[Any]) -> int:
    """The one device that all inputs lie on."""
    kind = device.cupy().ndarray
    found: list[Any] = [x.data.device_id if isinstance(x, kind) else None for x in inputs]
    if not found:
        return device.current()
    if None in found or len(set(found)) > 1:
        names = ["the host" if k is None else device.name_of(k) for k in found]
        raise DeviceError(
            f"capture: got inputs on {', '.join(names)}, expected all on one GPU; "
            "try x.to('cuda:0')"
        )
    return int(found[0])


def _recorded(
    step: Callable[..., Any],
    inputs: Sequence[Array],
    home: arena.Arena,
    region: arena.Region,
    recording: Recording,
) -> tuple[tuple[Array, ...], Any, Any]:
    """The inputs' own arrays, the graph and the results, which all lie in the region."""
    library = device.cupy()
    here = library.cuda.get_current_stream()
    stream = library.cuda.Stream(non_blocking=True)
    stream.wait_event(here.record())
    with stream, library.cuda.using_allocator(region.malloc):
        try:
            own = tuple([_copied(given) for given in inputs])
            for _ in range(WARM_UP):
                step(*own)
            gc.collect()  # what dies in the capture might call CUDA then
        finally:
            stream.synchronize()
        with _capturing(stream, home) as taken, recording.active():
            outputs = step(*own)
        graph = taken.pop()
    here.wait_event(stream.record())
    return own, graph, outputs


def _copied(given: Any) -> Array:
    """An input's own array, in C order."""
    library = device.cupy()
    made = library.empty(given.shape, given.dtype)
    _fill(made, given)
    return made


@contextmanager
def _capturing(stream: Any, home: arena.Arena) -> Iterator[list[Any]]:
    """Captures what is given to a stream in the block; the list holds the graph afterwards."""
    taken: list[Any] = []
    status = device.cupy().cuda.runtime.CUDARuntimeError
    home.capturing += 1
    try:
        stream.begin_capture(device.cupy().cuda.runtime.streamCaptureModeRelaxed)
        try:
            yield taken
        except BaseException as error:
            with suppress(Exception):  # an invalid capture ends with an error of its own
                stream.end_capture()
            told = _told(error)
            if told is None:
                raise
            raise told from error
        try:
            taken.append(stream.end_capture())
        except status as error:
            if error.status == _MEMORY:
                raise OutOfMemoryError(home.refusal(0)) from error
            raise CaptureError(
                f"capture: got {error} at its end, expected {_ending(error)}"
            ) from error
    finally:
        home.capturing -= 1


def _ending(error: Any) -> str:
    """What a step must do for its capture to end well, and what to try."""
    if error.status == _UNJOINED:
        return "a step that waits for every stream it uses; try tg.cuda.Stream.wait_stream"
    return "no call that a graph cannot hold, even one whose error is caught; try without it"


def _told(error: BaseException) -> CaptureError | None:
    """The error to raise for one that a capture caused; None for the step's own errors."""
    if isinstance(error, CaptureError | OutOfMemoryError):
        return None
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, RuntimeError) and "captur" in str(cause).lower():
            return CaptureError(
                f"capture: got {type(cause).__name__} ({cause}) at {raising_line(error)}, "
                "expected work for the device alone; try taking what reads numbers on the host "
                "(.item(), float(x), print, `if x > 0`) out of the step, or tg.where"
            )
        cause = cause.__cause__ or cause.__context__
    return None
