"""All parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tensorgrad as tg


def parameters_to_vector(parameters: Iterable[tg.Tensor]) -> Any:
    """The elements of all parameters, one behind the other; differentiable.

    >>> parameters_to_vector([tg.ones((2, 1)), tg.zeros((1,))]).tolist()
    [1.0, 1.0, 0.0]
    """
    parts = [tg.reshape(param, (-1,)) for param in parameters]
    if not parts:
        raise ValueError(
            "parameters_to_vector: got no parameters, expected at least one; try net.parameters()"
        )
    return tg.concatenate(parts)


def vector_to_parameters(vec: tg.Tensor, parameters: Iterable[tg.Tensor]) -> None:
    """Write the elements of a vector into parameters, in order; raises `ShapeError` for a length
    that is not theirs.
    """
    params = list(parameters)
    total = sum(param.size for param in params)
    if tuple(vec.shape) != (total,):
        raise tg.ShapeError(
            f"vector_to_parameters: got a vector of shape {tuple(vec.shape)}, expected ({total},) "
            "as the parameters have elements; try parameters_to_vector(parameters)"
        )
    start = 0
    with tg.no_grad():
        for param in params:
            param.detach()[...] = tg.reshape(
                vec.detach()[start : start + param.size], tuple(param.shape)
            )
            start += param.size
