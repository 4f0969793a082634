"""Optimizers whose update looks at each parameter as a whole, written in public operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import tensorgrad as tg
from tensorgrad.optim.bucket import Bucket
from tensorgrad.optim.memory import WRITES, of, quiet
from tensorgrad.optim.optimizer import Group, Optimizer
from tensorgrad.optim.slot import Slot

Array = Any
Shapes = dict[str, tuple[int, ...]]


class TensorBucket(Bucket):
    """A bucket that runs the update on one parameter after the other, in their shapes."""

    def __init__(
        self,
        params: Sequence[tg.Tensor],
        state_names: Sequence[str],
        own: Callable[[tg.Tensor], Shapes],
    ) -> None:
        super().__init__(params, state_names)
        for slot in self.slots:
            shapes, dtype = own(slot.param).items(), self._scalars.dtype
            device = slot.param.device
            slot.own = {n: tg.zeros(shape, dtype=dtype, device=device).data for n, shape in shapes}
        self._tensors: dict[int, list[Any]] = {}

    @property
    def copies(self) -> bool:
        return False

    def _update(
        self, start: int, stop: int, kernel: Callable[..., Any], scalars: Sequence[Array]
    ) -> None:
        first = self._first + start * self._itemsize
        WRITES.note(self._owner, (first, first + (stop - start) * self._itemsize))
        numbers = [tg.Tensor(number) for number in scalars]
        with tg.no_grad(), quiet(self.flat):
            for slot in self.slots:
                if start <= slot.start and slot.stop <= stop and slot.start < slot.stop:
                    kernel(*self._given(slot), *numbers)
        if self._low is not None:
            low = self._low[start:stop]
            of(low).assign(low, self.flat[start:stop])
        self._seen = WRITES.latest

    def _given(self, slot: Slot) -> tuple[Any, Any, list[Any]]:
        """The parameter, its gradient and its states, in their shapes."""
        held = self._tensors.get(slot.start)
        if held is None:
            flats = [self._arrays[0], *self._arrays[2:]]
            arrays = [*(self._shaped(slot, flat) for flat in flats), *slot.own.values()]
            held = self._tensors[slot.start] = [tg.Tensor(array) for array in arrays]
        # A gradient's view is not kept: `clear` counts who holds one.
        grad = slot.buffer if self.width == 1 else self._shaped(slot, self._arrays[1])
        return held[0], tg.Tensor(grad), held[1:]

    def _shaped(self, slot: Slot, flat: Array) -> Array:
        """A parameter's part of a flat array; a complex one's with an axis for its two parts."""
        if self.width == 1:
            return slot.of(flat)
        # The order of the other axes is the memory's: no rule for complex parameters looks at it.
        part = flat[slot.start * 2 : slot.stop * 2]
        return part.reshape(*slot.param.shape, 2)


class ByTensor(Optimizer):
    """Base of the optimizers whose update is no elementwise formula.

    `rule` takes and returns tensors, one parameter at a time: rule(param, grad, *state, *scalars)
    -> (param, *state), in the dtype in which the parameter is updated. `own(group, param)` gives
    the shapes of states that have another one than the parameter; they follow the others.
    """

    def own(self, group: Group, param: tg.Tensor) -> Shapes:
        """States that are not shaped like the parameter."""
        return {}

    def _bucket(self, group: Group, members: Sequence[tg.Tensor]) -> Bucket:
        return TensorBucket(members, self.variant(group)[1], lambda param: self.own(group, param))

    def _shapes(self, group: Group, param: tg.Tensor) -> Shapes:
        return {**super()._shapes(group, param), **self.own(group, param)}

    def _form(self, group: Group, more: int) -> Any:
        return _formed(self.variant(group)[0], bool(group.get("maximize")), more)

    def _kernel(self, bucket: Bucket, rule: Any) -> Callable[..., Any]:
        return rule  # type: ignore[no-any-return]


@cache
def _formed(rule: Any, ascent: bool, more: int) -> Callable[..., None]:
    """A rule as what updates tensors in place; more: 1 for a factor of the gradient at the end.

    2 for the factor and a flag: where that is not 0 nothing changes.
    """

    def run(param: Any, grad: Any, states: list[Any], *numbers: Any) -> None:
        if grad.dtype != param.dtype:
            grad = grad.astype(param.dtype)
        if ascent:
            grad = -grad
        count = len(numbers) - more
        if more:
            grad = grad * numbers[count]
        found = rule(param, grad, *states, *numbers[:count])
        for target, value in zip((param, *states), found, strict=True):
            if more == 2:
                value = tg.where(numbers[-1] == 0, value, target)
            of(target.data).assign(target.data, value.data)

    return run


def need_real(op: str, params: Sequence[tg.Tensor]) -> None:
    """Raise `DTypeError` for a complex parameter."""
    for param in params:
        if tg.dtypes.real(param.dtype) != param.dtype:
            raise tg.DTypeError(
                f"{op}: got a parameter of {param.dtype}, expected real ones; try optim.Adam"
            )


def norm(tensor: Any) -> Any:
    """The 2-norm of all elements."""
    return tg.norm(tensor if tensor.ndim == 1 else tg.ravel(tensor))


def by_rows(tensor: Any) -> Any:
    """The same with rows one after the other in memory, so that sums have one order.

    Then a state resumes bit for bit also where a matrix has come to lie the other way.
    """
    return tg.reshape(tg.ravel(tensor), tensor.shape)
