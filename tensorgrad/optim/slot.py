"""A parameter's place in a bucket, and the numbers of an update as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorgrad as tg
from tensorgrad.optim.memory import of, on, placed, write

Array = Any


class Slot:
    """One parameter's place in a bucket, and how many updates it has had."""

    __slots__ = ("buffer", "by_columns", "leaf", "own", "param", "start", "steps", "stop", "view")

    def __init__(self, param: tg.Tensor, start: int) -> None:
        self.param, self.start, self.stop = param, start, start + param.size
        self.leaf: Any = None
        self.view: Array = None
        self.buffer: Array = None
        self.steps = 0
        self.own: dict[str, Array] = {}  # state of another shape than the parameter's
        flags = param.data.flags
        self.by_columns = param.ndim == 2 and flags.f_contiguous and not flags.c_contiguous

    def of(self, flat: Array) -> Array:
        """This parameter's part of a flat array, in its shape."""
        shape = self.param.shape
        with placed(flat):
            part = flat[self.start : self.stop]
            return part.reshape(shape[::-1]).T if self.by_columns else part.reshape(shape)

    def take(self, gradient: tg.Tensor) -> None:
        """Copy a gradient that did not come straight from backward."""
        if gradient.level:
            raise tg.GradientError(
                "step: got a gradient inside jvp or vmap, expected a plain one; "
                "try the step after it"
            )
        of(self.buffer).assign(self.buffer, gradient.data)

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
        self.dtype, self._device = dtype, device
        self._values: list[float] = []
        self._store: Any = None
        self.arrays: list[Array] = []

    def set(self, values: Sequence[float]) -> list[Array]:
        """The arrays, holding these values; on a GPU that is at most one launch."""
        held, arrays = self._values, self.arrays
        if len(arrays) != len(values):
            held, arrays = self._place(len(values))
        if self._store is not None:
            self._store.put(values)
            return arrays
        for k, value in enumerate(values):
            if value != held[k]:
                arrays[k][()] = held[k] = float(value)
        return arrays

    def _place(self, count: int) -> tuple[list[float], list[Array]]:
        self._values = [0.0] * count
        if self._device == "cpu":
            self.arrays = [tg.zeros((), dtype=self.dtype).data for _ in range(count)]
        else:
            self._store = on(self._device).kernel("numbers")()
            self.arrays = [self._store.place(self.dtype.name) for _ in range(count)]
        return self._values, self.arrays
