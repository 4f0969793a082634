"""`while_loop`: a loop that ends when its state says so, checkpointed as it goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tensorgrad import _config
from tensorgrad._errors import need
from tensorgrad.backend import base
from tensorgrad.core.primitive import operand
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops.elementwise import where
from tensorgrad.transforms.checkpoint import checkpoint
from tensorgrad.transforms.reverse import like
from tensorgrad.transforms.scan import advanced, constants
from tensorgrad.transforms.tree import Rebuild, flatten
from tensorgrad.transforms.vector import source_of


def while_loop(cond: Callable[[Any], Any], body: Callable[[Any], Any], init: Any) -> Any:
    """The state after `while cond(state): state = body(state)`.

    The state may be a nested container and keeps its structure and shapes. Stretches of 1, 2, 3 ...
    steps are computed again in backward, so that memory holds O(sqrt n) states for n steps: body
    must give the same result when it is run again. Inside jvp and vmap all steps are kept. Under
    vmap, where each example may end at another step, body runs until the last one has ended and
    leaves those that have where they are; it must be differentiable there too. Raises `ShapeError`
    for a state that changes its shapes and for a condition that is not one element.

    >>> import tensorgrad as tg
    >>> tg.grad(lambda x: tg.while_loop(lambda y: y < 100, lambda y: y * y, x))(3.0)
    17496.0
    """
    leaves, rebuild = flatten(init)
    state = [operand(x) for x in leaves]

    def steps(state: list[Tensor], *, count: int) -> list[Tensor]:
        for _ in range(count):
            test = _tested(cond, rebuild, state)
            if not _any(test):
                break
            after = advanced("while_loop", body(rebuild(state)), state)
            if test.level:
                after = [where(test, new, old) for new, old in zip(after, state)]
            state = after
        return state

    stretch, count = checkpoint(steps), 1
    while _any(_tested(cond, rebuild, state)):
        state = constants(stretch(state, count=count))
        count += 1
    source = source_of(leaves)
    return rebuild([like(x, source) for x in state])


def _tested(cond: Callable[[Any], Any], rebuild: Rebuild, state: list[Tensor]) -> Tensor:
    """The condition as a constant; of a level above 0 only where a batch is hidden in it."""
    with _config.no_grad():
        test = operand(cond(rebuild([x.detach() for x in state]))).detach()
    need(
        test.size == 1,
        "while_loop",
        test=test,
        want="one element",
        fix=".any() or .all()",
        error=ValueError,
    )
    return test.reshape(())


def _any(test: Tensor) -> bool:
    """Whether the condition holds, for one example of a batch at least."""
    array = test.value()
    return bool(base.of(array).to_numpy(array).any())
