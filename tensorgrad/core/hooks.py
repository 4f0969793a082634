"""Hooks on recorded values: what sees, and may replace, cotangents on their way through a node.

A node that has hooks has a `Hooked` primitive in place of its own; others know nothing of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tensorgrad._errors import GradientError, need
from tensorgrad.core.tape import Node, Pick

if TYPE_CHECKING:
    from tensorgrad.core.tensor import Tensor

Hook = Callable[[Any], Any]
StepHook = Callable[[tuple[Any, ...], tuple[Any, ...]], Any]
Hooks = dict[int, Hook]
Make = Callable[[Any], "Tensor"]

_number = itertools.count().__next__


class Hooked:
    """A primitive whose node has hooks; in all else it is that primitive.

    before: get the output's cotangent and may replace it
    after: get the cotangents of the inputs and of the outputs, and may replace those of the inputs
    """

    def __init__(self, bare: Any, make: Make) -> None:
        self.bare, self._make = bare, make
        self.before: Hooks = {}
        self.after: dict[int, StepHook] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.bare, name)

    def pull(self, node: Node, ct: Any, wanted: Any, into: Any) -> Iterable[tuple[int, Any]]:
        """The primitive's own, between the hooks; arrays become tensors for them."""
        make = self._make
        into.free = None  # a hook may keep the cotangent
        if self.before:
            ct = replaced(self.before, make(ct), node.shape).data
        found = self.bare.pull(node, ct, wanted, into)
        if not self.after:
            return found  # type: ignore[no-any-return]
        pairs = [(k, make(g)) for k, g in found]
        cts = [None if c is None else make(c) for c in (ct if isinstance(ct, list) else [ct])]
        return [(k, g.data) for k, g in self._stepped(node, pairs, cts)]

    def vjp(self, node: Node, ct: Any, wanted: Any) -> Iterable[tuple[int, Any]]:
        """The same on tensors."""
        if self.before:
            ct = replaced(self.before, ct, node.shape)
        pairs = list(self.bare.vjp(node, ct, wanted))
        cts = ct if isinstance(ct, list) else [ct]
        return self._stepped(node, pairs, cts) if self.after else pairs

    def _stepped(
        self, node: Node, pairs: list[tuple[int, Any]], cts: Sequence[Any]
    ) -> list[tuple[int, Any]]:
        """The cotangents of the inputs after the hooks on the step."""
        inputs: list[Any] = [None] * len(node.parents)
        for k, g in pairs:
            inputs[k] = g
        for hook in list(self.after.values()):
            given = hook(tuple(inputs), tuple(cts))
            if given is None:
                continue
            fits = isinstance(given, tuple | list) and len(given) == len(inputs) and all(
                (g is None) == (old is None)
                and (g is None or (g.shape, g.dtype) == (old.shape, old.dtype))
                for g, old in zip(given, inputs)
            )  # fmt: skip
            need(fits, "register_node_hook", returned=given, error=GradientError,
                 want="None, or a cotangent of the same shape and dtype for each that it got",
                 fix="returning the tuple that it got")  # fmt: skip
            inputs = list(given)
        return [(k, inputs[k]) for k, _ in pairs]


def replaced(hooks: Hooks, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A cotangent after the hooks on it."""
    for hook in list(hooks.values()):
        given = hook(value)
        if given is None:
            continue
        need(
            isinstance(given, type(value)) and (given.shape, given.dtype) == (shape, value.dtype),
            "register_hook",
            returned=given,
            want=f"None or a tensor of shape {shape} and {value.dtype}",
            fix="returning the gradient itself",
            error=GradientError,
        )
        value = given
    return value


class RemovableHandle:
    """Takes a hook out: by `remove()`, by a call, or at the end of a `with` block.

    >>> import tensorgrad as tg
    >>> w = tg.nn.Parameter([1.0])
    >>> with w.register_hook(lambda g: 2 * g):
    ...     w.sum().backward()
    >>> w.grad
    tensor([2.], dtype=float32)
    """

    __slots__ = ("_hooks", "id")

    def __init__(self, hooks: dict[int, Any], hook: Any, prepend: bool = False) -> None:
        """Enter a hook into a table, behind those that are there or before them."""
        self._hooks, self.id = hooks, _number()
        others = dict(hooks) if prepend else {}
        if prepend:
            hooks.clear()
        hooks[self.id] = hook
        hooks.update(others)

    def remove(self) -> None:
        """Take the hook out; a second call does nothing."""
        self._hooks.pop(self.id, None)

    def __call__(self) -> None:
        self.remove()

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def table(node: Any, make: Make) -> Hooks:
    """Where the hooks on the cotangent of one recorded value are, made if there are none yet."""
    primitive = node.primitive
    if type(primitive) is Pick:
        if primitive.hooks is None:  # one that all outputs of this number share
            node.primitive = primitive = Pick(primitive.index)
            primitive.hooks = {}
        return primitive.hooks
    return of_node(node, make).before


def of_node(node: Any, make: Make) -> Hooked:
    """The hooked primitive of a node; of one output of several, that of the whole operation."""
    if type(node.primitive) is Pick:
        return of_node(node.parents[0], make)
    if type(node.primitive) is not Hooked:
        node.primitive = Hooked(node.primitive, make)
    return node.primitive
