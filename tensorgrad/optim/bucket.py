"""Flat buckets: parameters of one dtype side by side in one array, so that one kernel updates all.

Every parameter's `data` becomes a view of the bucket, and backward writes its gradient straight
into the bucket of gradients (`Leaf.into`). Slices start at multiples of 64 bytes, a cache line. A
matrix that lies in memory column by column keeps that order.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter, gt
from typing import Any

import tensorgrad as tg
from tensorgrad.optim.memory import (
    LINE,
    WRITES,
    Recording,
    aligned,
    bounds,
    of,
    on_device,
    recording,
    storage,
)
from tensorgrad.optim.slot import Scalars, Slot

Array = Any
MASTER = "master"
"""The state that a 16-bit parameter has besides: its value in float32, which updates move."""

_REFERENCES = 4  # to a gradient's view: its slot, two tables of the bucket, and who counts
_steps = attrgetter("steps")


class Bucket:
    """The parameters of one group that share a dtype and a device, with their state.

    Making one moves the parameters; `step` updates those that have a gradient.
    """

    def __init__(self, params: Sequence[tg.Tensor], state_names: Sequence[str]) -> None:
        dtype, device = params[0].dtype, params[0].device
        self.slots: list[Slot] = []
        self.names, self.size = tuple(state_names), 0
        line = max(1, LINE // dtype.itemsize)
        for param in params:
            self.slots.append(Slot(param, self.size))
            self.size += -(-param.size // line) * line
        flat, held = aligned(self.size, dtype, device), tg.dtypes.compute(dtype)
        self._low = flat if held != dtype else None
        names = state_names if self._low is None else (MASTER, *state_names)
        self.state = {name: aligned(self.size, held, device) for name in names}
        # A complex parameter is updated as its real and imaginary parts, as in PyTorch.
        self._real = tg.dtypes.real(dtype)
        self.width = dtype.itemsize // self._real.itemsize
        kept = [array.view(tg.dtypes.real(held)) for array in self.state.values()]
        self._arrays = (
            [*kept[:1], flat, *kept[1:]]
            if self._low is not None
            else [*(flat.view(self._real),) * 2, *kept]
        )
        self._scalars = Scalars(tg.dtypes.compute(self._real), device)
        self._first, self._itemsize = bounds(flat)[0] if self.size else 0, dtype.itemsize
        self._owner = storage(flat)
        for slot in self.slots:
            slot.view = slot.of(flat)
            of(flat).assign(slot.view, slot.param.data)
            slot.param.data = slot.view
        if self._low is not None:
            of(flat).assign(self.state[MASTER], flat)
        self._seen = WRITES.latest
        self._take_gradients(dtype, device)

    @property
    def copies(self) -> bool:
        """Whether the update writes the 16-bit parameters too, as its last output: on a GPU."""
        return self._low is not None and on_device(self._low)

    @property
    def flat(self) -> Array:
        """All the parameters, as real numbers."""
        return self._arrays[0]

    def kept(self, slot: Slot) -> dict[str, Array]:
        """What is kept beside a parameter, by name."""
        return {**{name: slot.of(flat) for name, flat in self.state.items()}, **slot.own}

    def put(self, values: Array) -> None:
        """Give all the parameters other values: a flat array like `flat`."""
        WRITES.note(self._owner, (self._first, self._first + self.size * self._itemsize))
        of(values).assign(self.flat, values)
        if self._low is not None:
            of(values).assign(self._low, values)
        self._seen = WRITES.latest

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
        grads, width = self._arrays[1], self.width
        if len(touched) == len(self.slots):
            return [grads]
        return [grads[start * width : stop * width] for start, stop in self._stretches(touched)]

    def gathered(self, touched: list[Slot]) -> Array:
        """A copy of all gradients in the dtype of the update, zero beside the touched slots."""
        flat, grads, width = self.flat, self._arrays[1], self.width
        found = tg.zeros(flat.size, dtype=flat.dtype, device=tg.Tensor(flat).device).data
        for start, stop in self._stretches(touched):
            part = slice(start * width, stop * width)
            of(found).assign(found[part], grads[part])
        return found

    def step(
        self,
        touched: list[Slot],
        kernel: Callable[..., Any],
        scalars: Callable[[int], Sequence[float]],
        behind: Sequence[Any] = (),
    ) -> None:
        """Run the update on the touched slots, neighbours with equal step counts together.

        `behind` is what the kernel takes behind the scalars: numbers, or what `limited` of a
        device has found. While a step is recorded the counts do not move: each replay moves them,
        and finds the scalars anew.
        """
        more: Sequence[Array] = ()
        if behind and isinstance(behind[0], dict):
            more, behind = [one[self._scalars.dtype.name] for one in behind], ()
        captured = recording()
        if captured is not None and on_device(self.flat):
            self._record(captured, touched, kernel, scalars, more)
            return
        self._renew()
        for start, stop, steps in self._spans(touched):
            values = (*scalars(steps), *behind) if behind else scalars(steps)
            numbers = self._scalars.set(values)
            self._update(start, stop, kernel, [*numbers, *more] if more else numbers)

    def _update(
        self, start: int, stop: int, kernel: Callable[..., Any], scalars: Sequence[Array]
    ) -> None:
        arrays = self._arrays
        if stop - start != self.size:
            width = self.width
            arrays = [array[start * width : stop * width] for array in arrays]
        first = self._first + start * self._itemsize
        WRITES.note(self._owner, (first, first + (stop - start) * self._itemsize))
        low = () if self._low is None else (self._low[start:stop],)
        kernel(*arrays, *scalars, out=(arrays[0], *arrays[2:], *(low if self.copies else ())))
        if low and not self.copies:
            of(low[0]).assign(low[0], arrays[0])
        self._seen = WRITES.latest

    def _renew(self) -> None:
        """Bring to the float32 values what others have written into 16-bit parameters since."""
        low = self._low
        if low is None or WRITES.since(low, self._seen, bounds(low)) is None:
            return
        master = tg.Tensor(self.state[MASTER])
        there = tg.Tensor(low)
        kept = tg.where(master.astype(low.dtype) == there, master, there.astype(master.dtype))
        of(low).assign(master.data, kept.data)
        self._seen = WRITES.latest

    # -- in a captured step --------------------------------------------------------------------

    def _record(
        self,
        captured: Recording,
        touched: list[Slot],
        kernel: Callable[..., Any],
        scalars: Callable[[int], Sequence[float]],
        more: Sequence[Array],
    ) -> None:
        captured.check(self._bring_home)
        for steps, group in groupby(touched, _steps):
            slots = list(group)
            whole = len(slots) == len(self.slots)
            stretches = [(0, self.size)] if whole else list(self._stretches(slots))
            captured.check(partial(_need_even, slots))
            # The graph has the addresses of the arrays: they live as long as it does.
            advance = partial(self._advance, slots, stretches, scalars, tuple(self._arrays))
            kinds = [self._scalars.dtype.name] * len(scalars(steps + 1))
            numbers = captured.numbers(advance, kinds)
            for start, stop in stretches:
                self._update(start, stop, kernel, (*numbers, *more))

    def _bring_home(self) -> None:
        """Before a replay: values that were assigned to `param.data` go where the graph reads."""
        for slot in self.slots:
            if slot.param.data is not slot.view and not slot.adopt():
                raise tg.cuda.CaptureError(
                    f"capture: got a parameter of {slot.param.dtype} on {slot.param.device}, "
                    f"expected it as it was in the capture; try capturing again"
                )
        self._renew()

    def _advance(
        self,
        slots: list[Slot],
        stretches: list[tuple[int, int]],
        scalars: Callable[[int], Sequence[float]],
        arrays: tuple[Array, ...],
    ) -> Sequence[float]:
        """Count an update that a replay is about to do, and give its scalars."""
        for slot in slots:
            slot.steps += 1
        first, size = self._first, self._itemsize
        for start, stop in stretches:
            WRITES.note(self._owner, (first + start * size, first + stop * size))
        self._seen = WRITES.latest
        return scalars(slots[0].steps)

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


def _need_even(slots: list[Slot]) -> None:
    """Raise unless slots that one kernel of a captured step updates have had as many updates."""
    counts = {slot.steps for slot in slots}
    if len(counts) > 1:
        raise tg.cuda.CaptureError(
            f"capture: got parameters with {sorted(counts)} updates, expected as many of each as "
            f"in the capture; try capturing again"
        )
