"""What the optimizers do with memory of any device: placing, writing on record, finding kernels.

It is their only door to what lies below the public names.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from typing import Any

import tensorgrad as tg
from tensorgrad.backend.base import bounds, of, of_type, on
from tensorgrad.core.replay import Recording, current
from tensorgrad.core.tape import WRITES, storage

__all__ = [
    "LINE", "WRITES", "Recording", "aligned", "bounds", "copy", "extent", "kernel", "multiply",
    "of", "on", "on_device", "placed", "quiet", "recording", "storage", "write",
]  # fmt: skip

Array = Any
LINE = 64  # bytes


def write(target: Array, value: Any) -> None:
    """Copy a value into an array, on record: a backward that still needs the old one raises."""
    WRITES.note(target, bounds(target))
    of(target).assign(target, value)


def copy(target: Array, value: Any) -> None:
    """Copy a tensor or an array of any device, or a number, into an array, cast to its dtype."""
    given: Any = tg.asarray(value)
    of(target).assign(target, given.detach().to(of(target).device).data)


def multiply(target: Array, factor: Any) -> None:
    """target ← factor · target, on record; a number, or what `limited` of a device has found."""
    WRITES.note(target, bounds(target))
    with quiet(target):
        kernel(target, "rescale" if isinstance(factor, dict) else "scale")(target, factor)


recording = current.get
"""The captured step that is being recorded, if there is one."""


def quiet(array: Array) -> Any:
    """A context in which arithmetic on such arrays does not warn."""
    return of(array).quiet()


def on_device(array: Array) -> bool:
    """Whether an array lives elsewhere than in the memory of the host."""
    return _elsewhere(type(array))  # type: ignore[arg-type]


@cache
def _elsewhere(kind: type) -> bool:
    return of_type(kind).device != "cpu"


def placed(array: Array) -> Any:
    """A context in which work goes to where an array lives."""
    return tg.cuda.device(of(array).device) if on_device(array) else nullcontext()


def kernel(array: Array, name: str) -> Callable[..., Any]:
    """The kernel of that name for such arrays."""
    return of(array).kernel(name)


def extent(array: Array) -> tuple[int, int]:
    """The first byte of an array in memory, and the byte after its last."""
    return bounds(array)


def aligned(count: int, dtype: Any, device: str) -> Array:
    """A flat array of zeros that starts at a cache line."""
    size = count * dtype.itemsize
    memory = tg.zeros((size + LINE,), dtype="uint8", device=device).data
    start = -bounds(memory)[0] % LINE
    return memory[start : start + size].view(dtype)
