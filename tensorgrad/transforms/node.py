"""A function's results as outputs of one node of the tape."""

from __future__ import annotations

from collections.abc import Sequence

from tensorgrad import dtypes
from tensorgrad.core import tape
from tensorgrad.core.primitive import Params, Primitive, pick
from tensorgrad.core.tape import Array, Node, next_seq, user_place
from tensorgrad.core.tensor import Tensor, make


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
