"""Clipping of gradients, between `backward` and the optimizer's step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import tensorgrad as tg
from tensorgrad.optim.memory import multiply, write
from tensorgrad.optim.norm import Limit, limit, limited
from tensorgrad.optim.optimizer import need_between

Params = tg.Tensor | Iterable[tg.Tensor]


def grad_norm(parameters: Params, norm_type: float = 2.0) -> Any:
    """The norm of all gradients together, (Σ |g|^p)^(1/p), a tensor off the tape; inf: the largest.

    A float64, found so that float32 gradients neither overflow nor lose digits.
    """
    if not norm_type > 0:
        raise ValueError(f"grad_norm: got norm_type={norm_type}, expected > 0; try 2.0")
    gradients = [gradient for _, gradient in _with_gradients(parameters)]
    if _plain(gradients, norm_type):
        return _norm_of(limited([gradient.data for gradient in gradients], math.inf), gradients)
    sizes = [tg.absolute(gradient.detach()).astype("float64") for gradient in gradients]
    if not sizes:
        return tg.zeros((), dtype="float64")
    norms = [tg.norm(tg.ravel(size), ord=norm_type) for size in sizes]
    return tg.norm(tg.stack(norms), ord=norm_type)


def _plain(gradients: list[Any], norm_type: float) -> bool:
    return norm_type == 2 and not any(gradient.level for gradient in gradients)


def _norm_of(found: Limit, gradients: list[Any]) -> Any:
    if not isinstance(found.norm, float):
        return tg.Tensor(found.norm)
    return tg.tensor(found.norm, device=gradients[0].device if gradients else None)


def clip_grad_norm_(
    parameters: Params,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Any:
    """Scale all gradients by min(1, max_norm / (norm + 1e-6)), in place; returns the norm before.

    Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks", 2013. With
    `error_if_nonfinite` a norm that is infinite or NaN raises `GradientError`. On a GPU the 2-norm
    stays there, and nothing waits for it.
    """
    need_between("clip_grad_norm_", 0, max_norm=max_norm)
    pairs = _with_gradients(parameters)
    gradients = [gradient for _, gradient in pairs]
    if _plain(gradients, norm_type):
        found = limited([gradient.data for gradient in gradients], max_norm)
        norm, factor = _norm_of(found, gradients), found.factor
    else:
        norm = grad_norm([param for param, _ in pairs], norm_type)
        factor = _factor(max_norm, norm)
    if error_if_nonfinite and not math.isfinite(norm.item()):
        raise tg.GradientError(
            f"clip_grad_norm_: got a gradient norm of {norm.item()}, expected a finite one; "
            f"try a smaller learning rate"
        )
    for gradient in gradients if factor != 1 else ():
        multiply(gradient.data, factor)
    return norm


def _factor(max_norm: float, norm: Any) -> Any:
    """What gradients of this norm are multiplied by, for `multiply`; found where the norm is."""
    if norm.device == "cpu":
        return limit(max_norm, norm.item())
    ratio = max_norm / (norm + 1e-6)
    factor = tg.where(ratio > 1, 1.0, ratio)
    return {name: factor.astype(name).data for name in ("float32", "float64")}


def clip_grad_value_(parameters: Params, clip_value: float) -> None:
    """Keep every element of every gradient within ±clip_value, in place."""
    need_between("clip_grad_value_", 0, clip_value=clip_value)
    for _, gradient in _with_gradients(parameters):
        write(gradient.data, tg.clip(gradient.detach(), -clip_value, clip_value).data)


def _with_gradients(parameters: Params) -> list[tuple[tg.Tensor, Any]]:
    if isinstance(parameters, tg.nn.Module):
        kind = type(parameters).__name__
        raise TypeError(f"clip: got {kind}, expected its parameters; try model.parameters()")
    params = [parameters] if isinstance(parameters, tg.Tensor) else parameters
    pairs = [(param, param.grad) for param in params]
    return [(param, gradient) for param, gradient in pairs if gradient is not None]
