"""Clipping in two steps: the norm of any tensors, then gradients scaled by a norm that is known."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import tensorgrad as tg

Tensors = tg.Tensor | Iterable[tg.Tensor]


def get_total_norm(
    tensors: Tensors, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Any:
    """(Σ |x|^p)^(1/p) over all elements of all tensors, in float64 and off the tape; inf: the
    largest.

    With `error_if_nonfinite` a norm that is infinite or NaN raises `GradientError`.

    >>> get_total_norm([tg.ones((2, 2)), tg.zeros((3,))])
    tensor(2.)
    """
    given = [tensors] if isinstance(tensors, tg.Tensor) else tensors
    parts = [tg.ravel(x.detach()).astype("float64") for x in given]
    p = float(norm_type)
    norms = [tg.norm(x, ord=p) for x in parts if x.size]
    found = tg.norm(tg.stack(norms), ord=p) if norms else tg.zeros((), dtype="float64")
    if error_if_nonfinite and not math.isfinite(found.item()):
        raise tg.GradientError(
            f"get_total_norm: got a norm of {found.item()}, expected a finite one; "
            "try a smaller learning rate"
        )
    return found


def clip_grads_with_norm_(parameters: Tensors, max_norm: float, total_norm: Any) -> None:
    """Scale the gradients of parameters by min(1, max_norm / (total_norm + 1e-6)), in place."""
    params = [parameters] if isinstance(parameters, tg.Tensor) else parameters
    norm = total_norm if isinstance(total_norm, tg.Tensor) else tg.tensor(float(total_norm))
    factor = tg.minimum(max_norm / (norm.detach().astype("float64") + 1e-6), 1.0)
    with tg.no_grad():
        for param in params:
            if param.grad is not None:
                gradient = param.grad.detach()
                gradient[...] = gradient * factor.astype(gradient.dtype)
