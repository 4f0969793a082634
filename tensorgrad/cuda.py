"""NVIDIA GPUs: which there are, their streams and memory, and whole steps as one graph.

def train_step(x, y):
    optimizer.zero_grad()
    loss = tg.cross_entropy(net(x), y)
    loss.backward()
    optimizer.step()
    return loss

step = tg.cuda.capture(train_step, (x, y))
for x, y in batches:
    loss = step(x, y)
    scheduler.step()
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tensorgrad.backend.cuda import arena, graph
from tensorgrad.backend.cuda import device as _device
from tensorgrad.backend.cuda.arena import Usage
from tensorgrad.backend.cuda.device import (
    Event,
    Properties,
    Stream,
    current_stream,
    is_available,
    synchronize,
)
from tensorgrad.backend.cuda.errors import (
    CaptureError,
    CompileError,
    OutOfMemoryError,
    size_text,
)
from tensorgrad.backend.cuda.tuner import tune
from tensorgrad.core.replay import Recording
from tensorgrad.core.tensor import Tensor

__all__ = [
    "CaptureError",
    "CompileError",
    "Event",
    "OutOfMemoryError",
    "Properties",
    "Step",
    "Stream",
    "capture",
    "current_device",
    "current_stream",
    "device",
    "device_count",
    "empty_cache",
    "get_device_properties",
    "is_available",
    "max_memory_allocated",
    "memory_allocated",
    "memory_reserved",
    "memory_summary",
    "reset_peak_memory_stats",
    "set_memory_limit",
    "stream",
    "synchronize",
    "tune",
]


def device_count() -> int:
    """How many GPUs there are; 0 where there is none that works."""
    return _device.count() if is_available() else 0


def current_device() -> int:
    """The index of this thread's current device."""
    _device.count()
    return _device.current()


def device(name: Any) -> Any:
    """`with tg.cuda.device("cuda:1"):` makes a device the current one of this thread."""
    return _device.using(_device.index(name))


def get_device_properties(name: Any = None) -> Properties:
    """Name, compute capability, processors and memory of a device (the current one)."""
    return _device.properties(_index(name))


def stream(wanted: Stream) -> Stream:
    """`with tg.cuda.stream(s):` gives the work inside to a stream."""
    return wanted


# -- memory ------------------------------------------------------------------------------------


def _index(name: Any) -> int:
    return current_device() if name is None else _device.index(name)


def _usage(name: Any) -> Usage:
    return arena.arena(_index(name)).usage()


def memory_allocated(device: Any = None) -> int:
    """Bytes in live arrays of a device (the current one)."""
    return _usage(device).used


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes that live arrays took since the last reset."""
    return _usage(device).peak


def memory_reserved(device: Any = None) -> int:
    """Bytes taken from the driver: in arrays, kept for the next ones, or held by graphs."""
    return _usage(device).reserved


def reset_peak_memory_stats(device: Any = None) -> None:
    """Count `max_memory_allocated` from now on."""
    found = arena.arena(_index(device))
    found.peak = found.used


def empty_cache(device: Any = None) -> int:
    """Give memory that no array uses back to the driver; returns its bytes."""
    return arena.arena(_index(device)).trim()


def set_memory_limit(size: int | None, device: Any = None) -> None:
    """Take at most so many bytes of a device; None for all there are."""
    arena.arena(_index(device)).limit(size)


def memory_summary(device: Any = None) -> str:
    """What the memory of a device is used for, as a table, with the largest live arrays."""
    index = _index(device)
    found = arena.arena(index)
    now = found.usage()
    rows = {
        "in live arrays": now.used,
        "at most so far": now.peak,
        "kept for new arrays and graphs": now.reserved - now.used,
        "taken from the driver": now.reserved,
        "free on the device": now.free,
        "on the device": now.total,
    }
    lines = [f"cuda:{index}", *(f"{size_text(size):>12}  {what}" for what, size in rows.items())]
    largest = list(found.listing())
    return "\n".join([*lines, *(["The largest live arrays:", *largest] if largest else [])])


# -- graphs ------------------------------------------------------------------------------------


class Step:
    """A captured step: called with new inputs it runs as one graph and gives its results.

    The results are the same tensors at each call, off the tape, and the next call writes to them:
    `loss.copy()` is what can be kept. Gradients of parameters are likewise those of the capture.
    Several steps may be captured; each has memory of its own until it is closed or collected.
    """

    def __init__(self, captured: graph.Captured, outputs: Any) -> None:
        self.outputs = outputs
        self._captured = captured

    def __call__(self, *inputs: Any) -> Any:
        """Replay with new inputs, of the shapes and dtypes of the capture."""
        self._captured(*[_bare(given) for given in inputs])
        return self.outputs

    def __enter__(self) -> Step:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the graph and its memory back."""
        self.outputs = None
        self._captured.close()


def capture(step: Callable[..., Any], inputs: Sequence[Any] = ()) -> Step:
    """Record `step(*inputs)` as one CUDA graph, replayed by calling what this returns.

    The step runs twice on the example inputs before it is recorded, which counts like any other
    run, and only what it gives the device is recorded: Python code in it does not run again. So an
    `if`, a count or a print in it stays what it was. Three things do go on as if it ran: random
    draws and dropout take new numbers at each call, an optimizer's step counts its updates and
    reads the rates that its groups have then, and its `grad_norm` is that of the last call. A
    schedule is stepped outside, between the calls.

    Arrays that the step reads or writes without taking them as inputs have to stay alive: values
    assigned to a parameter's `data` are copied to where the graph reads, other arrays are not.

    Args:
        step: a function of tensors; what it returns (a tensor, or nested tuples, lists and dicts
            of them) are the results.
        inputs: example tensors or arrays of the device; those that require a gradient do so in the
            step.

    Raises:
        CaptureError: the step read a number on the host, or made a call that no graph can hold;
            the line is named.
        OutOfMemoryError: there was no room for it.
    """
    _device.count()
    arena.install()
    from tensorgrad.backend.cuda.numbers import Numbers  # late: it imports CuPy

    wanted = [isinstance(given, Tensor) and given.requires_grad for given in inputs]

    def run(*arrays: Any) -> Any:
        given = [Tensor(a, requires_grad=w) for a, w in zip(arrays, wanted)]
        return _constant(step(*given))

    recording = Recording(Numbers)
    captured = graph.capture(run, [_bare(given) for given in inputs], recording)
    return Step(captured, captured.outputs)


def _bare(given: Any) -> Any:
    """The array of a tensor; anything else as it is."""
    return given.detach().data if isinstance(given, Tensor) else given


def _constant(found: Any) -> Any:
    """The results of a step off the tape."""
    if isinstance(found, Tensor):
        return found.detach()
    if isinstance(found, dict):
        return {name: _constant(value) for name, value in found.items()}
    if isinstance(found, list | tuple):
        values = [_constant(value) for value in found]
        return type(found)(*values) if hasattr(found, "_fields") else type(found)(values)
    return found
