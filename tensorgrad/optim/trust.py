"""Rates by the norm of each parameter, for large batches: LARS and LAMB."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import tensorgrad as tg
from tensorgrad.optim.by_tensor import ByTensor, norms
from tensorgrad.optim.formulas import lerp
from tensorgrad.optim.optimizer import Group
from tensorgrad.optim.params import pair


@tg.fuse
def _rate(weight: Any, update: Any, lr: Any, trust: Any) -> Any:
    """lr · trust · weight / update, or lr where one of the norms is 0."""
    return lr * tg.where((weight > 0) & (update > 0), trust * weight / update, 1.0)


@tg.fuse
def _velocity(
    param: Any, grad: Any, velocity: Any, rate: Any, momentum: Any, weight_decay: Any
) -> Any:
    velocity = momentum * velocity + rate * (grad + weight_decay * param)
    return param - velocity, velocity


def _lars(
    param: Any, grad: Any, velocity: Any, lr: Any, momentum: Any, weight_decay: Any, trust: Any
) -> tuple[Any, ...]:
    weight = norms(param)
    rate = _rate(weight, norms(grad) + weight_decay * weight, lr, trust)
    found: tuple[Any, ...] = _velocity(param, grad, velocity, rate, momentum, weight_decay)
    return found


class LARS(ByTensor):
    """v ← momentum v + lr λ (g + weight_decay θ), θ ← θ - v, with a λ for each parameter tensor.

    λ = trust_coefficient ‖θ‖ / (‖g‖ + weight_decay ‖θ‖), 1 where either of the two is 0. Biases
    and norms, best without decay, make a group of their own (`decay_groups`). You, Gitman,
    Ginsburg, "Large batch training of convolutional networks", 2017.
    """

    rule = staticmethod(_lars)
    state_names = ("momentum_buffer",)
    not_negative = ("lr", "momentum", "weight_decay", "trust_coefficient")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 1e-3,
        *,
        maximize: bool = False,
        max_grad_norm: float | None = None,
    ) -> None:
        named = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        more = {"trust_coefficient": trust_coefficient, "maximize": maximize}
        super().__init__(params, {**named, **more}, max_grad_norm)

    def scalars(self, group: Group, step: int) -> Sequence[float]:
        names = "lr", "momentum", "weight_decay", "trust_coefficient"
        return [group[name] for name in names]


@tg.fuse
def _direction(
    param: Any,
    grad: Any,
    exp_avg: Any,
    exp_avg_sq: Any,
    gain: Any,
    c1: Any,
    beta2: Any,
    c2: Any,
    eps: Any,
    weight_decay: Any,
) -> Any:
    first = lerp(exp_avg, grad, c1)
    second = beta2 * exp_avg_sq + c2 * (grad * grad)
    return gain * (first / (tg.sqrt(second) + eps)) + weight_decay * param, first, second


@tg.fuse
def _as_long(weight: Any, update: Any, lr: Any) -> Any:
    """lr · weight / update, or lr where one of the norms is 0."""
    return lr * tg.where((weight > 0) & (update > 0), weight / update, 1.0)


@tg.fuse
def _moved(param: Any, update: Any, rate: Any) -> Any:
    return param - rate * update


def _lamb(
    param: Any, grad: Any, exp_avg: Any, exp_avg_sq: Any, lr: Any, *scalars: Any
) -> tuple[Any, ...]:
    update, first, second = _direction(param, grad, exp_avg, exp_avg_sq, *scalars)
    rate = _as_long(norms(param), norms(update), lr)
    return _moved(param, update, rate), first, second


class LAMB(ByTensor):
    """Adam's step u = m̂ / (√v̂ + eps) + weight_decay θ, scaled to each parameter tensor's norm.

    θ ← θ - lr ‖θ‖/‖u‖ u, the ratio 1 where one of the norms is 0. You et al., "Large batch
    optimization for deep learning: training BERT in 76 minutes", 2020.
    """

    rule = staticmethod(_lamb)
    state_names = ("exp_avg", "exp_avg_sq")
    not_negative = ("lr", "eps", "weight_decay")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        max_grad_norm: float | None = None,
    ) -> None:
        betas = pair(self._name, betas=betas)
        named = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**named, "maximize": maximize}, max_grad_norm)

    def scalars(self, group: Group, step: int) -> Sequence[float]:
        beta1, beta2 = group["betas"]
        root = (1 - beta2**step) ** 0.5
        means = root / (1 - beta1**step), 1 - beta1, beta2, 1 - beta2, group["eps"] * root
        return group["lr"], *means, group["weight_decay"]
