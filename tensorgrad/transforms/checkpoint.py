"""`checkpoint`: a function recorded as one node, computed again in backward (Chen et al., 2016)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tensorgrad import _config, dtypes
from tensorgrad.core import tape
from tensorgrad.core.fused import alias, replay
from tensorgrad.core.primitive import Params, Primitive, Wanted, operand, pick
from tensorgrad.core.tape import Array, Node, captured, next_seq, user_place
from tensorgrad.core.tensor import Tensor, make, rebuilt
from tensorgrad.transforms.reverse import like
from tensorgrad.transforms.tree import flatten


class Segment(Primitive):
    """A function as a primitive: parents are its arguments, then the tensors it captured."""

    def __init__(self, f: Callable[..., Any]) -> None:
        super().__init__(
            f"checkpoint({getattr(f, '__name__', 'f')})", nin=-1, nout=-1, spec=f, batch=f, vjp=f
        )
        self.f = f

    def positions(self, mask: int) -> tuple[int, ...]:
        raise AssertionError("a segment saves its arguments itself")

    def vjp(self, node: Node, cts: list[Any], wanted: Wanted) -> Iterable[tuple[int, Tensor]]:
        """Run the function again on the tape, and walk that."""
        params: Params = node.params or {}
        inputs = [rebuilt(x, p) for x, p in zip(node.saved or (), node.parents)]

        def run(twins: list[Tensor]) -> list[Tensor]:
            found, _ = flatten(self.f(*params["rebuild"](twins), **params["options"]))
            return [operand(y) for y in found]

        extra: Any = node.parents[len(inputs) :]
        return replay(run, inputs, cts, wanted, extra)


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """f with nothing saved but its arguments: backward runs it once more (time for memory).

    Arguments may be nested containers; tensors that f captured keep their gradients. f must give
    the same result when it is run again.

    >>> import numpy as np, tensorgrad as tg
    >>> tg.grad(lambda x: tg.checkpoint(lambda y: np.sin(y) ** 2)(x))(0.5)
    0.8414709848078965
    """
    segment = Segment(f)

    @functools.wraps(f)
    def run(*args: Any, **options: Any) -> Any:
        leaves, rebuild = flatten(args)
        inputs = [operand(x) for x in leaves]
        if not _config.is_recording() or any(x.level for x in inputs):
            return f(*args, **options)
        since = next_seq()
        twins = [x if x.node is None else alias(x) for x in inputs]
        found, shape = flatten(f(*rebuild(twins), **options))
        outs = [operand(y) for y in found]
        if any(y.level for y in outs):  # f captured a value of a jvp or vmap around it
            return f(*args, **options)
        own = [t.node for t in twins if t.node is not None]
        extra = captured([y.node for y in outs], own, since)
        if extra or any(x.node is not None for x in inputs):
            params = {"rebuild": rebuild, "options": options}
            outs = recorded(segment, inputs, extra, outs, params)
        source = leaves[0] if leaves else None
        return shape([like(y, source) for y in outs])

    return run


def recorded(
    primitive: Primitive,
    inputs: Sequence[Tensor],
    extra: Sequence[Node],
    outs: Sequence[Tensor],
    params: Params,
    kept: Sequence[Array] = (),
) -> list[Tensor]:
    """The results of a function as outputs of one node, which saves its arguments and `kept`.

    Its parents are those of the arguments, then `extra`, the nodes that the function captured.
    """
    node = Node()
    node.primitive = primitive
    node.parents = parents = (*[x.node for x in inputs], *extra)
    node.mask = sum(1 << k for k, p in enumerate(parents) if p is not None)
    node.params = params | {"nout": len(outs)}
    node.saved = (*[x.data for x in inputs], *kept)
    node.seq = next_seq()
    node.shape, node.dtype = outs[0].shape, outs[0].dtype
    node.code, node.offset = user_place()
    if tape.ON_RECORD:
        tape.recorded(node)
    return [
        make(y.data, pick(node, k, y) if dtypes.is_inexact(y.dtype) else None, y.level)
        for k, y in enumerate(outs)
    ]
