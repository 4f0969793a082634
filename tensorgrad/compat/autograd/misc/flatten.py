"""Nested containers as one vector, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad.compat.autograd.values import split


def flatten(value: Any) -> tuple[Any, Callable[[Any], Any]]:
    """(the leaves of a container as one vector, what makes such a container of a vector).

    Dicts go by their sorted keys. Both ways are differentiable.

    >>> flat, unflatten = flatten({"w": np.array([[1.0, 2.0]]), "b": 3.0})
    >>> flat
    array([3., 1., 2.])
    >>> unflatten(flat * 2)
    {'w': array([[2., 4.]]), 'b': np.float64(6.0)}
    """
    leaves, rebuild = split(value)
    shapes = [np.shape(x) for x in leaves]
    real = [not np.iscomplexobj(x) for x in leaves]
    ends = np.cumsum([int(np.prod(s)) for s in shapes], dtype=int).tolist()

    def unflatten(vector: Any) -> Any:
        parts, start = [], 0
        for shape, end, is_real in zip(shapes, ends, real):
            part = vector[start] if not shape else np.reshape(vector[start:end], shape)
            parts.append(np.real(part) if is_real and np.iscomplexobj(part) else part)
            start = end
        return rebuild(parts)

    flat = np.concatenate([np.ravel(x) for x in leaves]) if leaves else np.array([])
    return flat, unflatten


def flatten_func(func: Callable[..., Any], example: Any) -> tuple[Any, Any, Any]:
    """(func from vector to vector, unflatten, the example as a vector)."""
    flat, unflatten = flatten(example)

    def flat_func(vector: Any, *args: Any) -> Any:
        return flatten(func(unflatten(vector), *args))[0]

    return flat_func, unflatten, flat
