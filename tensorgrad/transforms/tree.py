"""Nested containers of arrays: dicts, lists, tuples, named tuples and dataclasses, by `optree`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad._errors import describe
from tensorgrad.core.tensor import Tensor

NAMESPACE = "tensorgrad"
_LEAVES = (Tensor, np.ndarray, np.generic, float, int, complex, bool)

_PLAIN = frozenset({Tensor, np.ndarray, float})
"""The usual ones, which a look at the type finds."""

Rebuild = Callable[[list[Any]], Any]


def _only(leaves: list[Any]) -> Any:
    return leaves[0]


def flatten(tree: Any) -> tuple[list[Any], Rebuild]:
    """The leaves of a nested container, and the function that puts others in their places.

    >>> leaves, rebuild = flatten({"w": 1.0, "b": [2.0, 3.0]})
    >>> leaves
    [2.0, 3.0, 1.0]
    >>> rebuild([20.0, 30.0, 10.0])
    {'w': 10.0, 'b': [20.0, 30.0]}
    """
    kind = type(tree)
    if kind in _PLAIN or isinstance(tree, _LEAVES):
        return [tree], _only
    if kind is tuple or kind is list:
        for x in tree:
            if type(x) not in _PLAIN and not isinstance(x, _LEAVES):
                break
        else:
            return list(tree), kind
    import optree  # late: arrays, and tuples and lists of them, need none of it

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


def paths(tree: Any, name: str) -> list[str]:
    """What a program would write for every leaf of a container of that name.

    >>> paths({"w": [1.0, 2.0]}, "p")
    ["p['w'][0]", "p['w'][1]"]
    """
    import optree  # late: only messages ask

    flatten(tree)  # so that dataclasses are known
    return [p.codify(name) for p in optree.tree_accessors(tree, namespace=NAMESPACE)]


def spread(prefix: Any, tree: Any, name: str) -> list[int | None]:
    """A number per leaf of `tree`, from one for all or a container of them that begins like it.

    None says that the leaves below have no number.

    >>> spread({"w": None, "x": 0}, {"w": [1.0, 2.0], "x": 3.0}, "in_axes")
    [None, None, 0]
    """
    if prefix is None or type(prefix) is int:
        return [prefix] * len(flatten(tree)[0])
    import optree  # late: one number for all needs none of it

    flatten(prefix), flatten(tree)  # so that dataclasses are known
    try:
        pairs = [
            optree.tree_flatten_one_level(t, none_is_leaf=True, namespace=NAMESPACE)
            for t in (prefix, tree)
        ]
        same = type(prefix) is type(tree) and pairs[0][2] == pairs[1][2]
    except ValueError:  # a leaf
        same = False
    if not same:
        raise TypeError(
            f"vmap: got {name}={prefix!r} for {_outline(tree)}, expected a number, None, or the "
            f"same container of them; try {name}=0"
        )
    return [axis for p, t in zip(pairs[0][0], pairs[1][0]) for axis in spread(p, t, name)]


def _outline(tree: Any) -> str:
    """What a container is, in a few words."""
    if isinstance(tree, _LEAVES):
        return describe(tree)
    return f"a {type(tree).__name__} of {len(tree) if hasattr(tree, '__len__') else 'values'}"
