"""Flat buckets: parameters of one dtype side by side in one array, so that one kernel updates all.

Every parameter's `data` becomes a view of the bucket, and backward writes its gradient straight
into the bucket of gradients (`Leaf.into`). Slices start at multiples of 64 bytes, a cache line. A
matrix that lies in memory column by column keeps that order.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter, gt
from typing import Any

import tensorgrad as tg
from tensorgrad.backend.base import bounds, of
from tensorgrad.core.tape import WRITES, storage

Array = Any
LINE = 64  # bytes
_REFERENCES = 4  # to a gradient's view: its slot, two tables of the bucket, and who counts
_steps = attrgetter("steps")


def write(target: Array, value: Any) -> None:
    """Copy a value into an array, on record: a backward that still needs the old one raises."""
    WRITES.note(target, bounds(target))
    of(target).assign(target, value)


def multiply(target: Array, factor: float) -> None:
    """target ← factor · target, on record."""
    WRITES.note(target, bounds(target))
    with quiet(target):
        kernel(target, "scale")(target, factor)


def quiet(array: Array) -> Any:
    """A context in which arithmetic on such arrays does not warn."""
    return of(array).quiet()


def on_device(array: Array) -> bool:
    """Whether an array lives elsewhere than in the memory of the host."""
    return of(array).device != "cpu"


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


class Slot:
    """One parameter's place in a bucket, and how many updates it has had."""

    __slots__ = ("buffer", "by_columns", "leaf", "param", "start", "steps", "stop", "view")

    def __init__(self, param: tg.Tensor, start: int) -> None:
        self.param, self.start, self.stop = param, start, start + param.size
        self.leaf: Any = None
        self.view: Array = None
        self.buffer: Array = None
        self.steps = 0
        flags = param.data.flags
        self.by_columns = param.ndim == 2 and flags.f_contiguous and not flags.c_contiguous

    def of(self, flat: Array) -> Array:
        """This parameter's part of a flat array, in its shape."""
        part, shape = flat[self.start : self.stop], self.param.shape
        return part.reshape(shape[::-1]).T if self.by_columns else part.reshape(shape)

    def take(self, gradient: tg.Tensor) -> None:
        """Copy a gradient that did not come straight from backward."""
        if gradient.level:
            raise tg.GradientError(
                "step: got a gradient inside jvp or vmap, expected a plain one; "
                "try the step after it"
            )
        self.buffer[...] = gradient.data

    def adopt(self) -> bool:
        """Bring a value home that was assigned to `param.data`; False if its dtype has changed."""
        param = self.param
        if param.data is not self.view:
            if param.dtype != self.view.dtype or param.device != tg.Tensor(self.view).device:
                return False
            if param.shape != self.view.shape:
                raise tg.ShapeError(
                    f"step: got a parameter of shape {param.shape} that had {self.view.shape} "
                    f"when the optimizer was made, expected it unchanged; try a new optimizer"
                )
            write(self.view, param.data)
            param.data = self.view
        self.leaf = param.node
        if self.leaf is not None:
            self.leaf.into = self.buffer
        return True


class Scalars:
    """The numbers of an update as 0-d arrays, written only when they change."""

    def __init__(self, dtype: Any, device: str) -> None:
        self._dtype, self._device = dtype, device
        self._values: list[float] = []
        self.arrays: list[Array] = []

    def set(self, values: Sequence[float]) -> list[Array]:
        """The arrays, holding these values."""
        if len(self.arrays) != len(values):
            self.arrays = [
                tg.zeros((), dtype=self._dtype, device=self._device).data for _ in values
            ]
            self._values = [0.0] * len(values)
        held, arrays = self._values, self.arrays
        for k, value in enumerate(values):
            if value != held[k]:
                arrays[k][()] = held[k] = value
        return arrays


class Bucket:
    """The parameters of one group that share a dtype and a device, with their state.

    Making one moves the parameters; `step` updates those that have a gradient.
    """

    def __init__(self, params: Sequence[tg.Tensor], state_names: Sequence[str]) -> None:
        dtype, device = params[0].dtype, params[0].device
        self.slots: list[Slot] = []
        self.size = 0
        line = max(1, LINE // dtype.itemsize)
        for param in params:
            self.slots.append(Slot(param, self.size))
            self.size += -(-param.size // line) * line
        flat, *states = (aligned(self.size, dtype, device) for _ in range(1 + len(state_names)))
        self.state: dict[str, Array] = dict(zip(state_names, states))
        # A complex parameter is updated as its real and imaginary parts, as in PyTorch.
        self._real = tg.dtypes.real(dtype)
        self._width = dtype.itemsize // self._real.itemsize
        self._arrays = [array.view(self._real) for array in (flat, flat, *states)]
        self._scalars = Scalars(tg.dtypes.compute(self._real), device)
        self._first, self._itemsize = bounds(flat)[0] if self.size else 0, dtype.itemsize
        self._owner = storage(flat)
        for slot in self.slots:
            slot.view = slot.of(flat)
            slot.view[...] = slot.param.data
            slot.param.data = slot.view
        self._take_gradients(dtype, device)

    def _take_gradients(self, dtype: Any, device: str) -> None:
        """New memory for the gradients, and where backward writes them."""
        grads = aligned(self.size, dtype, device)
        self._arrays[1] = grads.view(self._real)
        for slot in self.slots:
            slot.buffer = slot.of(grads)
            slot.adopt()
        self._memory = storage(grads)
        self._buffers = [slot.buffer for slot in self.slots]
        del grads
        self._settled()
        self._views = sys.getrefcount(self._memory)

    def _settled(self) -> None:
        """Remember where everything is: as long as nothing moves, a step only compares."""
        slots = self.slots
        self._homes: list[tuple[Any, ...]] = [(s.param, s.view, s.leaf, s.buffer) for s in slots]
        self._counts = [_REFERENCES + (s.leaf is not None) for s in slots]

    def clear(self) -> None:
        """Set the gradients to None.

        If anyone still holds one (a variable, a view, a graph that saved it), the memory is left to
        them and the bucket takes new: the next backward must not change it unseen.
        """
        for slot in self.slots:
            leaf: Any = slot.param.node
            if leaf is not None:
                leaf.grad = None
        count, buffers = sys.getrefcount, self._buffers
        if count(self._memory) > self._views or any(map(gt, map(count, buffers), self._counts)):
            self._take_gradients(buffers[0].dtype, tg.Tensor(buffers[0]).device)

    def settle(self) -> list[Slot] | None:
        """The slots that have a gradient, with values and gradients in the bucket.

        None if a parameter has another dtype or device than the bucket: it has to be built anew.
        """
        for param, view, leaf, buffer in self._homes:
            if param.data is not view or param.node is not leaf or leaf is None:
                return self._settle()
            gradient = leaf.grad
            if gradient is None or gradient.data is not buffer:
                return self._settle()
        return self.slots

    def _settle(self) -> list[Slot] | None:
        touched, moved = [], False
        for slot in self.slots:
            param = slot.param
            leaf: Any = param.node
            if param.data is not slot.view or leaf is not slot.leaf:
                if not slot.adopt():
                    return None
                moved = True
            gradient = None if leaf is None else leaf.grad
            if gradient is not None:
                if gradient.data is not slot.buffer:
                    slot.take(gradient)
                touched.append(slot)
        if moved:
            self._settled()
        return touched

    def gradients(self, touched: list[Slot]) -> list[Array]:
        """The gradients of these slots as flat real arrays, neighbours in one."""
        grads, width = self._arrays[1], self._width
        if len(touched) == len(self.slots):
            return [grads]
        return [grads[start * width : stop * width] for start, stop in self._stretches(touched)]

    def step(
        self,
        touched: list[Slot],
        kernel: Callable[..., Any],
        scalars: Callable[[int], Sequence[float]],
    ) -> None:
        """Run the update on the touched slots, neighbours with equal step counts together."""
        for start, stop, steps in self._spans(touched):
            arrays = self._arrays
            if stop - start != self.size:
                width = self._width
                arrays = [array[start * width : stop * width] for array in arrays]
            first = self._first + start * self._itemsize
            WRITES.note(self._owner, (first, first + (stop - start) * self._itemsize))
            out = (arrays[0], *arrays[2:])
            kernel(*arrays, *self._scalars.set(scalars(steps)), out=out)

    def _spans(self, touched: list[Slot]) -> list[tuple[int, int, int]]:
        """(start, stop, step count) of every stretch to update, the counts moved on by one."""
        steps, even = touched[0].steps + 1, True
        for slot in touched:
            slot.steps += 1
            even &= slot.steps == steps
        if even and len(touched) == len(self.slots):
            return [(0, self.size, steps)]
        return [
            (start, stop, steps)
            for steps, slots in groupby(touched, _steps)
            for start, stop in self._stretches(slots)
        ]

    def _stretches(self, slots: Iterable[Slot]) -> Iterator[tuple[int, int]]:
        """(start, stop) of slots between which only padding lies."""
        start = stop = -1
        for slot in slots:
            if start < 0 or slot.start - stop >= LINE // self._itemsize:
                if start >= 0:
                    yield start, stop
                start = slot.start
            stop = slot.stop
        if start >= 0:
            yield start, stop
