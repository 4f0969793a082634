"""`scan`: a loop of known length, checkpointed so that backward holds O(sqrt n) states."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tensorgrad import _config, dtypes
from tensorgrad._errors import need
from tensorgrad.core.primitive import operand
from tensorgrad.core.tensor import Tensor, make
from tensorgrad.ops.create import zeros
from tensorgrad.ops.join import concatenate, stack
from tensorgrad.transforms.checkpoint import checkpoint
from tensorgrad.transforms.reverse import like
from tensorgrad.transforms.tree import Rebuild, flatten
from tensorgrad.transforms.vector import source_of


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """(the last carry, the stacked ys) of `carry, y = f(carry, x)` over the first axis of xs.

    `init`, `xs` and what f returns may be nested containers; without xs f receives None `length`
    times. `reverse` walks from the last x to the first; ys keep the order of xs. The carry keeps
    its structure and shapes. In backward the loop is computed again in stretches of sqrt(n) steps,
    so that memory holds O(sqrt n) states: f must give the same result when it is run again. Under
    `jvp` and `vmap` too, unless f captured a value of theirs instead of taking it from init or xs:
    then all steps are kept. Raises `ShapeError` for xs of different lengths and for a carry that
    changes its shapes.

    >>> import numpy as np, tensorgrad as tg
    >>> tg.scan(lambda total, x: (total + x, total), 0.0, np.array([1.0, 2.0, 3.0]))
    (6.0, array([0., 1., 3.]))
    """
    leaves, rebuild = flatten(init)
    given, take = flatten(xs)
    carry, arrays = [operand(x) for x in leaves], [operand(x) for x in given]
    count = _length(arrays, length)
    loop = _Loop(f, rebuild, take, reverse)
    if count:
        carry, ys = loop.run(carry, arrays, count)
    else:
        ys = loop.empty(carry, arrays)
    source = source_of([*leaves, *given])
    return rebuild([like(x, source) for x in carry]), loop.form([like(y, source) for y in ys])


def _length(arrays: list[Tensor], length: int | None) -> int:
    need(
        arrays or length is not None,
        "scan",
        xs=None,
        want="arrays to walk along, or a length",
        fix="length=n",
        error=TypeError,
    )
    for x in arrays:
        need(x.ndim, "scan", xs=x, want="an axis to walk along", fix="length=n, without xs")
    found = {len(x) for x in arrays} | ({length} if length is not None else set())
    need(
        len(found) == 1,
        "scan",
        lengths=sorted(found),
        want="one length",
        fix="xs whose first axes are equal, and no other length",
    )
    return int(found.pop())


class _Loop:
    """One use of scan: how its containers are put together, and its steps."""

    form: Rebuild

    def __init__(self, f: Any, rebuild: Rebuild, take: Rebuild, reverse: bool) -> None:
        self.f, self.rebuild, self.take, self.reverse = f, rebuild, take, reverse

    def run(
        self, carry: list[Tensor], arrays: list[Tensor], count: int
    ) -> tuple[list[Tensor], list[Tensor]]:
        size = math.isqrt(count - 1) + 1
        steps = checkpoint(self.steps)
        chunks = []
        starts = range(0, count, size)
        for start in reversed(starts) if self.reverse else starts:
            stop = min(start + size, count)
            parts: Any = [x[start:stop] for x in arrays]
            carry, ys = steps(carry, parts, count=stop - start)
            carry = constants(carry)
            chunks.append(ys)
        if self.reverse:
            chunks.reverse()
        columns = zip(*chunks)
        return carry, [c[0] if len(c) == 1 else concatenate(list(c)) for c in columns]

    def steps(self, carry: list[Any], parts: list[Any], *, count: int) -> tuple[Any, Any]:
        """Some steps: the carry after them, and what each gave, stacked."""
        given = []
        order = range(count)
        for k in reversed(order) if self.reverse else order:
            carry, ys = self.step(carry, [x[k] for x in parts])
            given.append(ys)
        if self.reverse:
            given.reverse()
        return carry, [stack(list(column)) for column in zip(*given)]

    def step(self, carry: list[Any], parts: list[Any]) -> tuple[list[Tensor], list[Tensor]]:
        found = self.f(self.rebuild(carry), self.take(parts))
        need(
            isinstance(found, tuple) and len(found) == 2,
            "scan",
            returned=found,
            want="a pair (carry, y) from the function",
            fix="return carry, None",
            error=TypeError,
        )
        ys, self.form = flatten(found[1])
        return advanced("scan", found[0], carry), [operand(y) for y in ys]

    def empty(self, carry: list[Any], arrays: list[Any]) -> list[Any]:
        """What no steps give; the function is asked once for shapes, on zeros."""
        with _config.no_grad():
            _, ys = self.step(carry, [zeros(x.shape[1:], dtype=x.dtype) for x in arrays])
        return [zeros((0, *y.shape), dtype=y.dtype) for y in ys]


def advanced(op: str, tree: Any, before: list[Tensor]) -> list[Tensor]:
    """The arrays of a state that one step made; raises `ShapeError` if it is laid out anew."""
    leaves, _ = flatten(tree)
    after = [operand(x) for x in leaves]
    shapes = [x.shape for x in before]
    need(
        [x.shape for x in after] == shapes,
        op,
        returned=[x.shape for x in after],
        want=f"a state of the shapes {shapes} that it was given",
        fix="an initial state of the shapes that a step returns",
    )
    return after


def constants(state: list[Tensor]) -> list[Tensor]:
    """The same arrays, whole numbers off the tape: no derivative goes through them."""
    return [x if dtypes.is_inexact(x.dtype) else make(x.data, None, x.level) for x in state]
