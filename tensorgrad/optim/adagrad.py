"""Rates by the size of past gradients: Adagrad, RMSprop and Adadelta."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import tensorgrad as tg
from tensorgrad.optim.optimizer import Group, Optimizer, need_between


@tg.fuse
def adagrad(
    param: Any, grad: Any, total: Any, rate: Any, start: Any, eps: Any, weight_decay: Any
) -> Any:
    """`start` is added to the sum of squares: what it begins with, then 0."""
    grad = grad + weight_decay * param
    total = total + start + grad * grad
    return param - rate * (grad / (tg.sqrt(total) + eps)), total


class Adagrad(Optimizer):
    """s ← s + g², θ ← θ - lr / (1 + (t-1) lr_decay) · g / (√s + eps), s first an initial value.

    g includes weight_decay θ. Duchi, Hazan, Singer, "Adaptive subgradient methods", 2011.
    """

    rule = staticmethod(adagrad)
    state_names = ("sum",)
    not_negative = ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
        max_grad_norm: float | None = None,
    ) -> None:
        named = {"lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay, "eps": eps}
        more = {"initial_accumulator_value": initial_accumulator_value, "maximize": maximize}
        super().__init__(params, {**named, **more}, max_grad_norm)

    def scalars(self, group: Group, step: int) -> Sequence[float]:
        rate = group["lr"] / (1 + (step - 1) * group["lr_decay"])
        start = group["initial_accumulator_value"] if step == 1 else 0.0
        return rate, start, group["eps"], group["weight_decay"]


def _scaled(grad: Any, mean: Any, alpha: Any, rest: Any, eps: Any) -> tuple[Any, Any]:
    """g over the root of its mean square, and that; rest = 1 - alpha."""
    mean = alpha * mean + rest * (grad * grad)
    return grad / (tg.sqrt(mean) + eps), mean


def _centered(
    grad: Any, mean: Any, first: Any, alpha: Any, rest: Any, eps: Any
) -> tuple[Any, Any, Any]:
    """The same with the variance of g in place of its mean square."""
    mean = alpha * mean + rest * (grad * grad)
    first = first + rest * (grad - first)
    return grad / (tg.sqrt(mean - first * first) + eps), mean, first


@tg.fuse
def rmsprop(
    param: Any, grad: Any, mean: Any, lr: Any, alpha: Any, rest: Any, eps: Any, weight_decay: Any
) -> Any:
    """Along the scaled gradient."""
    step, mean = _scaled(grad + weight_decay * param, mean, alpha, rest, eps)
    return param - lr * step, mean


@tg.fuse
def rmsprop_momentum(
    param: Any,
    grad: Any,
    mean: Any,
    velocity: Any,
    lr: Any,
    alpha: Any,
    rest: Any,
    eps: Any,
    weight_decay: Any,
    momentum: Any,
) -> Any:
    """The scaled gradient goes into a velocity."""
    step, mean = _scaled(grad + weight_decay * param, mean, alpha, rest, eps)
    velocity = momentum * velocity + step
    return param - lr * velocity, mean, velocity


@tg.fuse
def rmsprop_centered(
    param: Any,
    grad: Any,
    mean: Any,
    first: Any,
    lr: Any,
    alpha: Any,
    rest: Any,
    eps: Any,
    weight_decay: Any,
) -> Any:
    """Along the gradient scaled by its deviation."""
    step, mean, first = _centered(grad + weight_decay * param, mean, first, alpha, rest, eps)
    return param - lr * step, mean, first


@tg.fuse
def rmsprop_centered_momentum(
    param: Any,
    grad: Any,
    mean: Any,
    velocity: Any,
    first: Any,
    lr: Any,
    alpha: Any,
    rest: Any,
    eps: Any,
    weight_decay: Any,
    momentum: Any,
) -> Any:
    """Both."""
    step, mean, first = _centered(grad + weight_decay * param, mean, first, alpha, rest, eps)
    velocity = momentum * velocity + step
    return param - lr * velocity, mean, velocity, first


_VARIANTS: dict[tuple[bool, bool], tuple[Any, Sequence[str]]] = {  # centered, with momentum
    (False, False): (rmsprop, ("square_avg",)),
    (False, True): (rmsprop_momentum, ("square_avg", "momentum_buffer")),
    (True, False): (rmsprop_centered, ("square_avg", "grad_avg")),
    (True, True): (rmsprop_centered_momentum, ("square_avg", "momentum_buffer", "grad_avg")),
}


class RMSprop(Optimizer):
    """s ← alpha s + (1-alpha) g², θ ← θ - lr g / (√s + eps); g includes weight_decay θ.

    With `centered` the square of g's own running mean is taken from s; with `momentum` the quotient
    goes into v ← momentum v + quotient, and θ ← θ - lr v. Tieleman, Hinton 2012; Graves 2013.
    """

    not_negative = ("lr", "alpha", "eps", "weight_decay", "momentum")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
        max_grad_norm: float | None = None,
    ) -> None:
        named = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay}
        more = {"momentum": momentum, "centered": centered, "maximize": maximize}
        super().__init__(params, {**named, **more}, max_grad_norm)

    def variant(self, group: Group) -> tuple[Any, Sequence[str]]:
        return _VARIANTS[bool(group["centered"]), group["momentum"] > 0]

    def scalars(self, group: Group, step: int) -> Sequence[float]:
        alpha, momentum = group["alpha"], group["momentum"]
        common = group["lr"], alpha, 1 - alpha, group["eps"], group["weight_decay"]
        return (*common, momentum) if momentum > 0 else common


@tg.fuse
def adadelta(
    param: Any,
    grad: Any,
    mean: Any,
    moved: Any,
    lr: Any,
    rho: Any,
    rest: Any,
    eps: Any,
    weight_decay: Any,
) -> Any:
    """rest = 1 - rho."""
    grad = grad + weight_decay * param
    mean = rho * mean + rest * (grad * grad)
    delta = tg.sqrt(moved + eps) / tg.sqrt(mean + eps) * grad
    return param - lr * delta, mean, rho * moved + rest * (delta * delta)


class Adadelta(Optimizer):
    """s ← rho s + (1-rho) g², Δ = g √((d + eps)/(s + eps)), d ← rho d + (1-rho) Δ², θ ← θ - lr Δ.

    g includes weight_decay θ. Zeiler, "ADADELTA: an adaptive learning rate method", 2012.
    """

    rule = staticmethod(adadelta)
    state_names = ("square_avg", "acc_delta")
    not_negative = ("lr", "eps", "weight_decay")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        max_grad_norm: float | None = None,
    ) -> None:
        named = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**named, "maximize": maximize}, max_grad_norm)

    def check(self, group: Group) -> None:
        super().check(group)
        if group["rho"] != 1:
            need_between("Adadelta", 0, 1, rho=group["rho"])

    def scalars(self, group: Group, step: int) -> Sequence[float]:
        rho = group["rho"]
        return group["lr"], rho, 1 - rho, group["eps"], group["weight_decay"]
