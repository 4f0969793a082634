"""Where a run computes: its device, the rows that lie there, and the numbers read from it.

A GPU is fed without waiting for it. The rows are copied to it once, batches are gathered there, and
what each step measures stays there until many steps are read at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.data import Batches
from tensorgrad.train.objective import Objective, Part

Array = np.ndarray[Any, Any]

CPU = "cpu"
SHARE = 4  # of a GPU's memory, what the rows may take; beyond it each batch is copied
STEPS = 256  # whose numbers are read at once; more of them would tell late of a run that diverged


@contextmanager
def computing(asked: str | None) -> Iterator[str]:
    """New arrays lie on a device (None: the default one) in this block, which gives its full name.

    Raises `DeviceError` if it is not there.
    """
    name: str = tg.empty((0,), device=asked).device
    with ExitStack() as entered:
        entered.enter_context(tg.device(name))
        if name != CPU:
            entered.enter_context(tg.cuda.device(name))
        yield name


def device_of(net: nn.Module) -> str:
    """The device of a network's parameters."""
    first = next(net.parameters(), None)
    return CPU if first is None else first.device


def on(x: Any, device: str) -> tg.Tensor:
    """An array as a tensor of a device; a tensor stays what it is."""
    if isinstance(x, tg.Tensor):
        return x
    return tg.Tensor(x) if device == CPU else tg.tensor(x, device=device)


def bare(x: tg.Tensor) -> Any:
    """A tensor as NumPy's array where that is no copy, as on the CPU."""
    return x.numpy() if x.device == CPU else x


class Feed:
    """The batches of a run, and the part that is evaluated each epoch, on a device.

    resident: whether the rows lie there, which they do unless they would take more of its memory
    than one part in `SHARE`
    """

    def __init__(self, batches: Batches, watched: Part, device: str) -> None:
        self.batches, self.watched, self.device = batches, watched, device
        self.resident = False
        arrays = (*batches.arrays, watched.x, watched.y)
        if device != CPU:
            most = tg.cuda.get_device_properties(device).memory // SHARE
            self.resident = sum(array.nbytes for array in arrays) <= most
        if self.resident:
            self._x, self._y, x, y = (on(array, device) for array in arrays)
            self.watched = replace(watched, x=x, y=y)

    def at(self, epoch: int, start: int) -> Iterator[tuple[tg.Tensor, tg.Tensor]]:
        """The batches of an epoch from batch number `start` on, as `Batches.at` has them."""
        return self._gathered(epoch, start) if self.resident else self._copied(epoch, start)

    def _gathered(self, epoch: int, start: int) -> Iterator[tuple[tg.Tensor, tg.Tensor]]:
        order, size = on(self.batches.order(epoch), self.device), self.batches.batch_size
        for batch in range(start, len(self.batches)):
            chosen = order[batch * size : (batch + 1) * size]
            yield tg.take(self._x, chosen, 0), tg.take(self._y, chosen, 0)

    def _copied(self, epoch: int, start: int) -> Iterator[tuple[tg.Tensor, tg.Tensor]]:
        copied = tg.Tensor if self.device == CPU else partial(on, device=self.device)
        for x, y in self.batches.at(epoch, start):
            yield copied(x), copied(y)


class Seen(NamedTuple):
    """What is measured at one step: numbers, or on a GPU tensors that hold them.

    squares: the squared gradient norm of each measured layer, in their order; none at most steps
    """

    step: int
    rows: int
    loss: Any
    points: Any
    squares: tuple[Any, ...]


def measure(
    step: int, objective: Objective, loss: Any, outputs: Any, y: Any, layers: Sequence[Any]
) -> Seen:
    """The numbers of a step whose backward pass has run; on a GPU they are not waited for."""
    array, labels = outputs.data, y.data
    squares = tuple([_square(layer.weight) for layer in layers]) if layers else ()
    if isinstance(array, np.ndarray):
        return Seen(step, len(labels), loss.item(), objective.points(array, labels), squares)
    points = objective.points(outputs.detach(), y)
    return Seen(step, len(labels), loss.detach(), points, squares)


def _square(weight: Any) -> Any:
    gradient = weight.grad
    if gradient is None:
        return tg.zeros((), device=weight.device)
    flat = bare(gradient).reshape(-1)
    return flat @ flat if isinstance(flat, np.ndarray) else (flat * flat).sum()


def read(seen: Sequence[Seen]) -> list[Seen]:
    """The same with numbers: one copy to the host for all that are alike."""
    losses = _numbers([one.loss for one in seen])
    points = _numbers([one.points for one in seen])
    squares = iter(_numbers([square for one in seen for square in one.squares]))
    return [
        Seen(one.step, one.rows, loss, point, tuple(next(squares) for _ in one.squares))
        for one, loss, point in zip(seen, losses, points)
    ]


def _numbers(held: Sequence[Any]) -> list[float]:
    if not held or not isinstance(held[0], tg.Tensor):
        return [float(one) for one in held]
    return [float(one) for one in tg.stack(list(held)).numpy()]
