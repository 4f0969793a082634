"""Nested containers of arrays: dicts, lists, tuples, named tuples and dataclasses, by `optree`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad.core.tensor import Tensor

NAMESPACE = "tensorgrad"
_LEAVES = (Tensor, np.ndarray, np.generic, float, int, complex, bool)

Rebuild = Callable[[list[Any]], Any]


def flatten(tree: Any) -> tuple[list[Any], Rebuild]:
    """The leaves of a nested container, and the function that puts others in their places.

    >>> leaves, rebuild = flatten({"w": 1.0, "b": [2.0, 3.0]})
    >>> leaves
    [2.0, 3.0, 1.0]
    >>> rebuild([20.0, 30.0, 10.0])
    {'w': 10.0, 'b': [20.0, 30.0]}
    """
    if isinstance(tree, _LEAVES):
        return [tree], lambda leaves: leaves[0]
    import optree  # late: a lone array needs none of it

    while True:
        leaves, spec = optree.tree_flatten(tree, none_is_leaf=False, namespace=NAMESPACE)
        fresh = {type(x) for x in leaves if dataclasses.is_dataclass(x)}
        if not fresh:
            return list(leaves), spec.unflatten
        for cls in fresh:
            _register(cls)


def _register(cls: type) -> None:
    """Teach optree a dataclass: its fields are its children."""
    import optree

    names = [field.name for field in dataclasses.fields(cls)]

    def take(x: Any) -> tuple[list[Any], None, list[str]]:
        return [getattr(x, name) for name in names], None, names

    def give(_: Any, children: Any) -> Any:
        made: Any = object.__new__(cls)
        for name, child in zip(names, children):
            object.__setattr__(made, name, child)
        return made

    optree.register_pytree_node(cls, take, give, namespace=NAMESPACE)


def map_leaves(f: Callable[[Any], Any], tree: Any) -> Any:
    """The same container with `f` of every leaf."""
    leaves, rebuild = flatten(tree)
    return rebuild([f(x) for x in leaves])
