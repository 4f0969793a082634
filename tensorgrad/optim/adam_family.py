"""Adamax, NAdam and RAdam: Adam with another norm, another momentum, another start."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import tensorgrad as tg
from tensorgrad.optim.formulas import lerp
from tensorgrad.optim.optimizer import Group, Optimizer
from tensorgrad.optim.params import pair


@tg.fuse
def adamax(
    param: Any,
    grad: Any,
    exp_avg: Any,
    exp_inf: Any,
    rate: Any,
    c1: Any,
    beta2: Any,
    eps: Any,
    weight_decay: Any,
) -> Any:
    """The decaying largest |g| stands for the root of the mean square."""
    grad = grad + weight_decay * param
    first = lerp(exp_avg, grad, c1)
    largest = tg.maximum(beta2 * exp_inf, abs(grad) + eps)
    return param - rate * (first / largest), first, largest


class Adamax(Optimizer):
    """m ← β₁ m + (1-β₁) g, u ← max(β₂ u, |g| + eps), θ ← θ - lr m / ((1-β₁ᵗ) u).

    g includes weight_decay θ. Kingma, Ba, "Adam", 2015, section 7.
    """

    rule = staticmethod(adamax)
    state_names = ("exp_avg", "exp_inf")
    not_negative = ("lr", "eps", "weight_decay")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
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
        rate = group["lr"] / (1 - beta1**step)
        return rate, 1 - beta1, beta2, group["eps"], group["weight_decay"]


@tg.fuse
def nadam(
    param: Any,
    grad: Any,
    exp_avg: Any,
    exp_avg_sq: Any,
    now: Any,
    ahead: Any,
    c1: Any,
    beta2: Any,
    c2: Any,
    eps: Any,
    shrink: Any,
    weight_decay: Any,
) -> Any:
    """Adam that steps along a mix of the gradient and the mean that is ahead of it."""
    grad = grad + weight_decay * param
    first = lerp(exp_avg, grad, c1)
    second = beta2 * exp_avg_sq + c2 * (grad * grad)
    step = (now * grad + ahead * first) / (tg.sqrt(second) + eps)
    return param * shrink - step, first, second


class NAdam(Optimizer):
    """Adam with Nesterov's momentum: θ ← θ - lr (a g + b m) / (√v̂ + eps).

    a = (1-μₜ) / (1 - Πμ), b = μₜ₊₁ / (1 - μₜ₊₁ Πμ), the product over the steps so far, and μₜ = β₁
    (1 - 0.96^(t momentum_decay) / 2). The decay is as in `Adam`. Dozat, "Incorporating Nesterov
    momentum into Adam", 2016. The product is that of the present β₁ at every step.
    """

    rule = staticmethod(nadam)
    state_names = ("exp_avg", "exp_avg_sq")
    not_negative = ("lr", "eps", "weight_decay", "momentum_decay")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        max_grad_norm: float | None = None,
    ) -> None:
        betas = pair(self._name, betas=betas)
        named = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        more = {"momentum_decay": momentum_decay, "maximize": maximize}
        more["decoupled_weight_decay"] = decoupled_weight_decay
        self._products: dict[tuple[float, float], array[float]] = {}
        super().__init__(params, {**named, **more}, max_grad_norm)

    def scalars(self, group: Group, step: int) -> Sequence[float]:
        (beta1, beta2), slowing = group["betas"], group["momentum_decay"]
        root = (1 - beta2**step) ** 0.5
        rate, product = group["lr"] * root, self._product(beta1, slowing, step)
        mu, following = _mu(beta1, slowing, step), _mu(beta1, slowing, step + 1)
        now = rate * (1 - mu) / (1 - product)
        ahead = rate * following / (1 - product * following)
        means = 1 - beta1, beta2, 1 - beta2, group["eps"] * root
        return now, ahead, *means, *_decays(group)

    def _product(self, beta1: float, slowing: float, step: int) -> float:
        """μ₁ ⋯ μₜ; it is kept until it has become zero, and is zero from then on."""
        kept = self._products.setdefault((beta1, slowing), array("d", [1.0]))
        while len(kept) <= step and kept[-1]:
            kept.append(kept[-1] * _mu(beta1, slowing, len(kept)))
        return kept[min(step, len(kept) - 1)]


def _mu(beta1: float, slowing: float, step: int) -> float:
    return float(beta1 * (1 - 0.5 * 0.96 ** (step * slowing)))


def _decays(group: Group) -> tuple[float, float]:
    """What scales the parameter, and the decay that is a part of the gradient."""
    decay = group["weight_decay"]
    return (1 - group["lr"] * decay, 0.0) if group["decoupled_weight_decay"] else (1.0, decay)


@tg.fuse
def radam(
    param: Any,
    grad: Any,
    exp_avg: Any,
    exp_avg_sq: Any,
    plain: Any,
    adaptive: Any,
    c1: Any,
    beta2: Any,
    c2: Any,
    eps: Any,
    shrink: Any,
    weight_decay: Any,
) -> Any:
    """Steps by `adaptive` m/√v, and by `plain` m as long as `adaptive` is 0."""
    grad = grad + weight_decay * param
    first = lerp(exp_avg, grad, c1)
    second = beta2 * exp_avg_sq + c2 * (grad * grad)
    rate = tg.where(adaptive > 0, adaptive / (tg.sqrt(second) + eps), plain)
    return param * shrink - rate * first, first, second


class RAdam(Optimizer):
    """Adam whose variance is rectified: it is momentum until enough steps tell the variance.

    ρ∞ = 2/(1-β₂) - 1, ρₜ = ρ∞ - 2tβ₂ᵗ/(1-β₂ᵗ). For ρₜ > 5 the step is lr r m̂ / (√v + eps) √(1-β₂ᵗ),
    r² = (ρₜ-4)(ρₜ-2)ρ∞ / ((ρ∞-4)(ρ∞-2)ρₜ), before lr m̂. The decay is as in `Adam`. Liu et al., "On
    the variance of the adaptive learning rate and beyond", 2020.
    """

    rule = staticmethod(radam)
    state_names = ("exp_avg", "exp_avg_sq")
    not_negative = ("lr", "eps", "weight_decay")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        max_grad_norm: float | None = None,
    ) -> None:
        betas = pair(self._name, betas=betas)
        named = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        more = {"decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize}
        super().__init__(params, {**named, **more}, max_grad_norm)

    def scalars(self, group: Group, step: int) -> Sequence[float]:
        beta1, beta2 = group["betas"]
        left = 1 - beta2**step
        plain = group["lr"] / (1 - beta1**step)
        most = 2 / (1 - beta2) - 1
        length = most - 2 * step * beta2**step / left
        adaptive = 0.0
        if length > 5:
            squared = (length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length)
            adaptive = plain * (squared * left) ** 0.5
        return plain, adaptive, 1 - beta1, beta2, 1 - beta2, group["eps"], *_decays(group)
