"""Flat vectors of nested containers, optimizers on them, fixed points."""

from collections.abc import Callable
from functools import partial
from typing import Any

from tensorgrad.compat.autograd.misc.flatten import flatten


def const_graph(fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[..., Any]:
    """fun with its first arguments given; autograd keeps its graph, here each call records it."""
    return partial(fun, *args, **kwargs)


__all__ = ["const_graph", "flatten"]
