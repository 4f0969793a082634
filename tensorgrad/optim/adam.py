"""Adam, and AdamW with its decay outside the gradient."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import tensorgrad as tg
from tensorgrad.optim.formulas import lerp
from tensorgrad.optim.optimizer import Group, Optimizer
from tensorgrad.optim.params import pair


def _averages(grad: Any, first: Any, second: Any, c1: Any, beta2: Any, c2: Any) -> tuple[Any, Any]:
    """The running means of g and g²; c1 = 1 - beta1, c2 = 1 - beta2."""
    return lerp(first, grad, c1), beta2 * second + c2 * (grad * grad)


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
    first, second = _averages(grad, exp_avg, exp_avg_sq, c1, beta2, c2)
    return param - rate * (first / (tg.sqrt(second) + eps)), first, second


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
    first, second = _averages(grad, exp_avg, exp_avg_sq, c1, beta2, c2)
    return param * shrink - rate * (first / (tg.sqrt(second) + eps)), first, second


@tg.fuse
def amsgrad(
    param: Any,
    grad: Any,
    exp_avg: Any,
    exp_avg_sq: Any,
    largest: Any,
    rate: Any,
    c1: Any,
    beta2: Any,
    c2: Any,
    eps: Any,
    weight_decay: Any,
) -> Any:
    """Adam over the largest mean square so far."""
    grad = grad + weight_decay * param
    first, second = _averages(grad, exp_avg, exp_avg_sq, c1, beta2, c2)
    largest = tg.maximum(largest, second)
    return param - rate * (first / (tg.sqrt(largest) + eps)), first, second, largest


@tg.fuse
def amsgradw(
    param: Any,
    grad: Any,
    exp_avg: Any,
    exp_avg_sq: Any,
    largest: Any,
    rate: Any,
    c1: Any,
    beta2: Any,
    c2: Any,
    eps: Any,
    shrink: Any,
) -> Any:
    """AdamW over the largest mean square so far."""
    first, second = _averages(grad, exp_avg, exp_avg_sq, c1, beta2, c2)
    largest = tg.maximum(largest, second)
    return param * shrink - rate * (first / (tg.sqrt(largest) + eps)), first, second, largest


_MEANS = ("exp_avg", "exp_avg_sq")
_LARGEST = (*_MEANS, "max_exp_avg_sq")
_VARIANTS: dict[tuple[bool, bool], tuple[Any, Sequence[str]]] = {  # amsgrad, decoupled decay
    (False, False): (adam, _MEANS),
    (False, True): (adamw, _MEANS),
    (True, False): (amsgrad, _LARGEST),
    (True, True): (amsgradw, _LARGEST),
}


class Adam(Optimizer):
    """m ← β₁ m + (1-β₁) g, v ← β₂ v + (1-β₂) g², θ ← θ - lr m̂ / (√v̂ + eps).

    m̂ and v̂ are divided by 1 - βᵗ; g includes weight_decay θ, or with `decoupled_weight_decay` θ is
    first scaled by 1 - lr weight_decay. With `amsgrad` the largest v so far stands for v. Kingma,
    Ba, "Adam: a method for stochastic optimization", 2015; the bias corrections are folded into lr
    and eps as at the end of its section 2. Reddi et al., "On the convergence of Adam", 2018.
    """

    not_negative = ("lr", "eps", "weight_decay")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
        max_grad_norm: float | None = None,
    ) -> None:
        betas = pair(self._name, betas=betas)
        named = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        more = {"amsgrad": amsgrad, "maximize": maximize}
        more["decoupled_weight_decay"] = decoupled_weight_decay
        super().__init__(params, {**named, **more}, max_grad_norm)

    def variant(self, group: Group) -> tuple[Any, Sequence[str]]:
        return _VARIANTS[bool(group["amsgrad"]), bool(group["decoupled_weight_decay"])]

    def scalars(self, group: Group, step: int) -> Sequence[float]:
        beta1, beta2 = group["betas"]
        root = (1 - beta2**step) ** 0.5
        rate = group["lr"] * root / (1 - beta1**step)
        decay = group["weight_decay"]
        if group["decoupled_weight_decay"]:
            decay = 1 - group["lr"] * decay
        return rate, 1 - beta1, beta2, 1 - beta2, group["eps"] * root, decay


class AdamW(Adam):
    """Adam with decoupled decay: θ ← θ (1 - lr weight_decay) first, g as it is.

    Loshchilov, Hutter, "Decoupled weight decay regularization", 2019.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        max_grad_norm: float | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            decoupled_weight_decay=True,
            max_grad_norm=max_grad_norm,
        )
