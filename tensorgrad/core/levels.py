"""Levels: the stack of interpreters above plain arrays.

A tensor of level k > 0 holds a payload that an interpreter made: a `Dual` carries a tangent, a
`Batched` hides a batch axis. An operation is taken by the interpreter of its highest input, which
calls the operation again one level lower. Every use of a transform takes a level of its own, so
nested uses never confuse each other's tangents or axes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tensorgrad import _config
from tensorgrad._errors import GradientError
from tensorgrad.backend import base
from tensorgrad.core.tensor import Payload, Tensor, make

if TYPE_CHECKING:
    from tensorgrad.core.primitive import Params, Primitive


class Dual(Payload):
    """A value and its tangent (None: zero)."""

    __slots__ = ("tangent",)

    def __init__(self, level: int, inner: Tensor, tangent: Tensor | None) -> None:
        self.level, self.inner, self.tangent = level, inner, tangent

    @staticmethod
    def apply(op: Primitive, inputs: tuple[Tensor, ...], params: Params, level: int) -> Any:
        """Run the operation on the values, its rule on the tangents."""
        duals = [t.data if t.level == level else None for t in inputs]
        primals = tuple([t if d is None else d.inner for t, d in zip(inputs, duals)])
        tangents = [None if d is None else d.tangent for d in duals]
        out = op.bind(*primals, **params)
        if not op.differentiable or all(t is None for t in tangents):
            return out
        with base.of(primals[0].value()).quiet():
            tangent = op.jvp(primals, tangents, out, params)
        if op.nout == 1:
            return dual(level, out, tangent)
        return tuple([dual(level, o, t) for o, t in zip(out, tangent or (None,) * op.nout)])


def dual(level: int, value: Tensor, tangent: Tensor | None) -> Tensor:
    """A tensor of `level` with this value and tangent; a value alone where the tangent is zero."""
    return value if tangent is None else make(Dual(level, value, tangent), None, level)


class Batched(Payload):
    """A value with a batch on axis 0 that the program does not see."""

    __slots__ = ()

    readable = False

    def __init__(self, level: int, inner: Tensor) -> None:
        self.level, self.inner = level, inner

    @property
    def shape(self) -> tuple[int, ...]:
        return self.inner.shape[1:]

    def constant(self) -> Tensor:
        return make(Batched(self.level, self.inner.detach()), None, self.level)

    @staticmethod
    def apply(op: Primitive, inputs: tuple[Tensor, ...], params: Params, level: int) -> Any:
        """Run the operation's batching rule one level lower."""
        batched = tuple([t.level == level for t in inputs])
        values = tuple([t.data.inner if b else t for t, b in zip(inputs, batched)])
        out = op.batch(values, batched, **params)
        if op.nout == 1:
            return make(Batched(level, out), None, level)
        return tuple([make(Batched(level, o), None, level) for o in out])


def interpret(op: Primitive, inputs: tuple[Tensor, ...], params: Params) -> Any:
    """Hand an operation to the interpreter of its highest level, and record it there."""
    level = max(t.level for t in inputs)
    if level > _config.level.get():
        raise GradientError(
            f"{op.name}: got a value that left the jvp or vmap which made it, expected it to be "
            "used inside; try returning it from the function instead of storing it"
        )
    payload = next(t.data for t in inputs if t.level == level)
    found = payload.apply(op, inputs, params, level)
    outs = [found] if op.nout == 1 else list(found)
    if any(t.node is not None for t in inputs) and any(o.level == level for o in outs):
        return op.attach(inputs, outs, params)
    return found
