"""Gradient descent, plain, with momentum, and with Nesterov's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import tensorgrad as tg
from tensorgrad.optim.optimizer import Group, Optimizer, need_between


@tg.fuse
def sgd(param: Any, grad: Any, lr: Any, weight_decay: Any) -> Any:
    """param - lr (grad + weight_decay param)."""
    return param - lr * (grad + weight_decay * param)


@tg.fuse
def momentum(
    param: Any, grad: Any, velocity: Any, lr: Any, momentum: Any, gain: Any, weight_decay: Any
) -> Any:
    """v ← momentum v + gain g; param - lr v."""
    velocity = momentum * velocity + gain * (grad + weight_decay * param)
    return param - lr * velocity, velocity


@tg.fuse
def nag(param: Any, grad: Any, velocity: Any, lr: Any, momentum: Any, weight_decay: Any) -> Any:
    """v ← momentum v + g; param - lr (g + momentum v)."""
    grad = grad + weight_decay * param
    velocity = momentum * velocity + grad
    return param - lr * (grad + momentum * velocity), velocity


class SGD(Optimizer):
    """Gradient descent: θ ← θ - lr (g + weight_decay θ).

    Raises `TypeError` for `momentum=` and `nesterov=`, which are classes of their own here.
    """

    rule = staticmethod(sgd)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        *,
        max_grad_norm: float | None = None,
        **unknown: Any,
    ) -> None:
        if unknown:
            name, value = next(iter(unknown.items()))
            fix = "optim.NAG" if unknown.get("nesterov") else "optim.Momentum"
            known = {"momentum", "nesterov", "dampening"}
            shown = f"{fix}(params, lr, momentum=0.9)" if name in known else "SGD(params, lr)"
            raise TypeError(f"SGD: got {name}={value!r}, expected lr, weight_decay; try {shown}")
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay}, max_grad_norm)

    def check(self, group: Group) -> None:
        need_between("SGD", 0, lr=group["lr"])
        need_between("SGD", 0, weight_decay=group["weight_decay"])

    def scalars(self, group: Group, step: int) -> Sequence[float]:
        return group["lr"], group["weight_decay"]


class Momentum(Optimizer):
    """Descent with momentum: v ← momentum v + (1 - dampening) g, θ ← θ - lr v.

    g includes weight_decay θ, and the first v is g, undamped, as PyTorch has it. Polyak 1964.
    """

    rule = staticmethod(momentum)
    state_names = ("momentum_buffer",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.9,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        *,
        max_grad_norm: float | None = None,
    ) -> None:
        named = {"lr": lr, "momentum": momentum, "dampening": dampening}
        super().__init__(params, {**named, "weight_decay": weight_decay}, max_grad_norm)

    def check(self, group: Group) -> None:
        for name in ("lr", "momentum", "weight_decay"):
            need_between("Momentum", 0, **{name: group[name]})

    def scalars(self, group: Group, step: int) -> Sequence[float]:
        gain = 1.0 if step == 1 else 1.0 - group["dampening"]
        return group["lr"], group["momentum"], gain, group["weight_decay"]


class NAG(Optimizer):
    """Nesterov's accelerated gradient: v ← momentum v + g, θ ← θ - lr (g + momentum v).

    g includes weight_decay θ. Nesterov 1983, in the form of Sutskever et al. 2013 that PyTorch has.
    """

    rule = staticmethod(nag)
    state_names = ("momentum_buffer",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        *,
        max_grad_norm: float | None = None,
    ) -> None:
        named = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, named, max_grad_norm)

    def check(self, group: Group) -> None:
        for name in ("lr", "momentum", "weight_decay"):
            need_between("NAG", 0, **{name: group[name]})

    def scalars(self, group: Group, step: int) -> Sequence[float]:
        return group["lr"], group["momentum"], group["weight_decay"]
