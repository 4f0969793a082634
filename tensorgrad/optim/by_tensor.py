"""Optimizers whose update looks at each parameter as a whole, written in public operations.

Parameters of one shape lie side by side in the bucket and are updated together, as a stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby
from typing import Any

import tensorgrad as tg
from tensorgrad.optim.bucket import Bucket
from tensorgrad.optim.memory import WRITES, of, quiet
from tensorgrad.optim.optimizer import Group, Optimizer
from tensorgrad.optim.slot import Slot

Array = Any
Shapes = dict[str, tuple[int, ...]]
MOST = 1 << 18  # elements of a stack: what an update makes on the way stays in a cache


class Stack:
    """Neighbours in a bucket that share a shape and an order of axes, as arrays (n, *shape)."""

    def __init__(self, slots: Sequence[Slot], arrays: Sequence[Array], width: int) -> None:
        first, last = slots[0], slots[-1]
        self.start, self.stop, self.count = first.start, last.stop, len(slots)
        self.shape, self.by_columns, self.width = first.param.shape, first.by_columns, width
        self.stride = slots[1].start - first.start if self.count > 1 else last.stop - first.start
        own = {name: [slot.own[name] for slot in slots] for name in first.own}
        for name, parts in own.items():
            held = tg.stack([tg.Tensor(part) for part in parts]).data
            own[name] = held
            for k, slot in enumerate(slots):
                slot.own[name] = held[k, ...]
        shaped = [self.of(array) for array in arrays]
        self.held = [tg.Tensor(array) for array in (*shaped, *own.values())]

    def of(self, flat: Array) -> Array:
        """These parameters' part of a flat array; complex ones' with an axis for the two parts."""
        count, width, shape = self.count, self.width, self.shape
        size = self.stop - self.start - (count - 1) * self.stride
        part = flat[self.start * width : (self.start + count * self.stride) * width]
        rows = part.reshape(count, self.stride * width)[:, : size * width]
        if width == 2:
            # The order of the other axes is the memory's: no rule for complex parameters looks.
            return rows.reshape(count, *shape, 2)
        if self.by_columns:
            return rows.reshape(count, *shape[::-1]).swapaxes(1, 2)
        return rows.reshape(count, *shape)

    def given(self, grads: Array, start: int, stop: int) -> tuple[Any, Any, list[Any]]:
        """Parameters, gradients and states of what lies between two elements of the bucket."""
        grad, held = self.of(grads), self.held
        low = max(0, -(-(start - self.start) // self.stride))
        high = min(self.count, -(-(stop - self.start) // self.stride))
        if high - low < self.count:
            grad, held = grad[low:high], [tg.Tensor(one.data[low:high]) for one in held]
        return held[0], tg.Tensor(grad), held[1:]


class TensorBucket(Bucket):
    """A bucket that runs the update on one stack after the other."""

    def __init__(
        self,
        params: Sequence[tg.Tensor],
        state_names: Sequence[str],
        own: Callable[[tg.Tensor], Shapes],
    ) -> None:
        places: dict[tuple[int, ...], list[tg.Tensor]] = {}
        for param in params:
            places.setdefault(param.shape, []).append(param)
        super().__init__([param for alike in places.values() for param in alike], state_names)
        for slot in self.slots:
            shapes, dtype = own(slot.param).items(), self._scalars.dtype
            device = slot.param.device
            slot.own = {n: tg.zeros(shape, dtype=dtype, device=device).data for n, shape in shapes}
        arrays = [self._arrays[0], *self._arrays[2:]]
        self._stacks = [Stack(slots, arrays, self.width) for slots in _alike(self.slots)]

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
            for stack in self._stacks:
                if stack.start < stop and start < stack.stop:
                    # The gradients' view is not kept: `clear` counts who holds one.
                    kernel(*stack.given(self._arrays[1], start, stop), *numbers)
        if self._low is not None:
            low = self._low[start:stop]
            of(low).assign(low, self.flat[start:stop])
        self._seen = WRITES.latest


def _alike(slots: Iterable[Slot]) -> Iterator[list[Slot]]:
    """Neighbours that are updated together; empty parameters are left out."""
    for _, group in groupby(slots, lambda slot: (slot.param.shape, slot.by_columns)):
        found = list(group)
        most = max(1, MOST // max(1, found[0].param.size))
        for k in range(0, len(found) if found[0].param.size else 0, most):
            yield found[k : k + most]


class ByTensor(Optimizer):
    """Base of the optimizers whose update is no elementwise formula.

    `rule` takes and returns stacks, the parameters of one shape with an axis in front for them:
    rule(param, grad, *state, *scalars) -> (param, *state), in the dtype in which they are updated.
    `own(group, param)` gives the shapes of states that have another one than the parameter; they
    follow the others.

    >>> import tensorgrad as tg
    >>> class Normalized(ByTensor):
    ...     @staticmethod
    ...     def rule(param, grad, lr):
    ...         return (param - lr * grad / tg.norm(grad, axis=-1, keepdims=True),)
    ...     def scalars(self, group, step):
    ...         return (group["lr"],)
    >>> w = tg.nn.Parameter([3.0, 4.0])
    >>> (w * w).sum().backward()
    >>> Normalized([w], {"lr": 5.0}).step()
    >>> w.tolist()
    [0.0, 0.0]
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


def norms(stack: Any) -> Any:
    """The 2-norm of each parameter, over all its elements, with the axes kept."""
    count = stack.shape[0]
    found = tg.norm(tg.reshape(stack, (count, -1)), axis=1)
    return tg.reshape(found, (count,) + (1,) * (stack.ndim - 1))


def by_rows(stack: Any) -> Any:
    """The same with rows one after the other in memory, so that sums have one order.

    Then a state resumes bit for bit also where a matrix has come to lie the other way.
    """
    return tg.reshape(tg.ravel(stack), stack.shape)
