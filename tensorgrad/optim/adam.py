"""Adam, and AdamW with its decay outside the gradient."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import tensorgrad as tg
from tensorgrad.optim.optimizer import Group, Optimizer, need_between


def _moved(
    param: Any,
    grad: Any,
    first: Any,
    second: Any,
    rate: Any,
    c1: Any,
    beta2: Any,
    c2: Any,
    eps: Any,
) -> Any:
    """The update that both share; c1 = 1 - beta1, c2 = 1 - beta2."""
    first = first + c1 * (grad - first)
    second = beta2 * second + c2 * (grad * grad)
    return param - rate * (first / (tg.sqrt(second) + eps)), first, second


@tg.fuse
def adam(
    param: Any,
    grad: Any,
    exp_avg: Any,
    exp_avg_sq: Any,
    rate: Any,
    c1: Any,
    beta2: Any,
    c2: Any,
    eps: Any,
    weight_decay: Any,
) -> Any:
    """Adam, the decay a part of the gradient."""
    grad = grad + weight_decay * param
    return _moved(param, grad, exp_avg, exp_avg_sq, rate, c1, beta2, c2, eps)


@tg.fuse
def adamw(
    param: Any,
    grad: Any,
    exp_avg: Any,
    exp_avg_sq: Any,
    rate: Any,
    c1: Any,
    beta2: Any,
    c2: Any,
    eps: Any,
    shrink: Any,
) -> Any:
    """Adam, the parameter first scaled by shrink = 1 - lr weight_decay."""
    return _moved(param * shrink, grad, exp_avg, exp_avg_sq, rate, c1, beta2, c2, eps)


class Adam(Optimizer):
    """m ← β₁ m + (1-β₁) g, v ← β₂ v + (1-β₂) g², θ ← θ - lr m̂ / (√v̂ + eps).

    m̂ and v̂ are divided by 1 - βᵗ; g includes weight_decay θ. Kingma, Ba, "Adam: a method for
    stochastic optimization", 2015; the bias corrections are folded into lr and eps as at the end of
    its section 2.
    """

    rule = staticmethod(adam)
    state_names = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        max_grad_norm: float | None = None,
    ) -> None:
        named = {"lr": lr, "betas": tuple(betas), "eps": eps}
        super().__init__(params, {**named, "weight_decay": weight_decay}, max_grad_norm)

    def check(self, group: Group) -> None:
        name = type(self).__name__
        for key in ("lr", "eps", "weight_decay"):
            need_between(name, 0, **{key: group[key]})
        beta1, beta2 = group["betas"]
        need_between(name, 0, 1, beta1=beta1)
        need_between(name, 0, 1, beta2=beta2)

    def scalars(self, group: Group, step: int) -> Sequence[float]:
        return *self._common(group, step), group["weight_decay"]

    @staticmethod
    def _common(group: Group, step: int) -> tuple[float, ...]:
        beta1, beta2 = group["betas"]
        root = (1 - beta2**step) ** 0.5
        rate = group["lr"] * root / (1 - beta1**step)
        return rate, 1 - beta1, beta2, 1 - beta2, group["eps"] * root


class AdamW(Adam):
    """Adam with decoupled decay: θ ← θ (1 - lr weight_decay) first, g as it is.

    Loshchilov, Hutter, "Decoupled weight decay regularization", 2019.
    """

    rule = staticmethod(adamw)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        max_grad_norm: float | None = None,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, max_grad_norm=max_grad_norm)

    def scalars(self, group: Group, step: int) -> Sequence[float]:
        return *self._common(group, step), 1 - group["lr"] * group["weight_decay"]
