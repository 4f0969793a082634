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
from tensorgrad.core.tape import Array
from tensorgrad.core.tensor import Payload, Tensor, make

if TYPE_CHECKING:
    from tensorgrad.core.primitive import Params, Primitive


class Dual(Payload):
    """A value and its tangent (None: zero): bare arrays until somebody asks for the tensors."""

    __slots__ = ("_inner", "_tangent", "moved", "value")

    value: Array | None
    moved: Array | None
    _inner: Tensor | None
    _tangent: Tensor | None

    def __init__(self, level: int, inner: Tensor, tangent: Tensor | None) -> None:
        self.level, self._inner, self._tangent = level, inner, tangent
        self.value = self.moved = None
        if tangent is not None and not (inner.level or tangent.level):
            self.value, self.moved = inner.data, tangent.data

    def bare(self) -> bool:
        """Whether `value` and `moved` are all there is: no tape, no level below."""
        x, t = self._inner, self._tangent
        if x is None or t is None or self.value is None:
            return self.value is not None
        still = x.node is None and t.node is None
        return still and x.data is self.value and t.data is self.moved

    @property
    def inner(self) -> Tensor:
        if self._inner is None:
            self._inner, self._tangent = make(self.value), make(self.moved)
        return self._inner

    @inner.setter
    def inner(self, tensor: Tensor) -> None:
        self._tangent, self._inner, self.value = self.tangent, tensor, None

    @property
    def tangent(self) -> Tensor | None:
        """How the value moves."""
        if self._inner is None:
            self._inner, self._tangent = make(self.value), make(self.moved)
        return self._tangent

    @tangent.setter
    def tangent(self, tensor: Tensor | None) -> None:
        self._inner, self._tangent, self.value = self.inner, tensor, None

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.value if self._inner is None else self._inner).shape  # type: ignore[union-attr]

    @property
    def dtype(self) -> Any:
        return (self.value if self._inner is None else self._inner).dtype  # type: ignore[union-attr]

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


def moving(level: int, value: Array, tangent: Array) -> Tensor:
    """A tensor of `level` with this value and tangent, both of level 0 and not recorded."""
    payload = object.__new__(Dual)
    payload.level, payload.value, payload.moved = level, value, tangent
    payload._inner = payload._tangent = None
    tensor = object.__new__(Tensor)
    tensor.data, tensor.node, tensor.level = payload, None, level
    return tensor


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
    level = 0
    for t in inputs:
        if t.level > level:
            level, payload = t.level, t.data
    if level > _config.level.get():
        raise GradientError(
            f"{op.name}: got a value that left the jvp or vmap which made it, expected it to be "
            "used inside; try returning it from the function instead of storing it"
        )
    found = None
    if type(payload) is Dual:
        mask, bit = 0, 1
        for t in inputs:
            if t.level == level:
                mask += bit
            bit += bit
        found = op.steps[mask](inputs, params, level)
    if found is None:
        found = payload.apply(op, inputs, params, level)
    for t in inputs:
        if t.node is not None:
            outs = [found] if op.nout == 1 else list(found)
            return op.attach(inputs, outs, params) if any(o.level == level for o in outs) else found
    return found
