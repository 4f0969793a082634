"""Gradient descent: plain, with momentum, with Nesterov's, and averaged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import tensorgrad as tg
from tensorgrad.optim.optimizer import Group, Optimizer


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


_VELOCITY = ("momentum_buffer",)


class SGD(Optimizer):
    """Gradient descent: θ ← θ - lr g, where g includes weight_decay θ.

    With `momentum`: v ← momentum v + (1 - dampening) g, the first v being g, and θ ← θ - lr v; with
    `nesterov` besides θ ← θ - lr (g + momentum v). `Momentum` and `NAG` are these two by name.
    Raises `ValueError` for `nesterov` without momentum or with dampening.
    """

    rule = staticmethod(sgd)
    not_negative = ("lr", "momentum", "weight_decay")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        max_grad_norm: float | None = None,
    ) -> None:
        named = {"lr": lr, "momentum": momentum, "dampening": dampening}
        more = {"weight_decay": weight_decay, "nesterov": nesterov, "maximize": maximize}
        super().__init__(params, {**named, **more}, max_grad_norm)

    def variant(self, group: Group) -> tuple[Any, Sequence[str]]:
        if not group["momentum"]:
            return sgd, ()
        return (nag if group["nesterov"] else momentum), _VELOCITY

    def check(self, group: Group) -> None:
        super().check(group)
        if group.get("nesterov") and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError(
                f"SGD: got nesterov=True with momentum={group['momentum']}, "
                f"dampening={group['dampening']}, expected momentum > 0 and dampening 0; "
                f"try momentum=0.9"
            )

    def scalars(self, group: Group, step: int) -> Sequence[float]:
        lr, decay, rule = group["lr"], group["weight_decay"], self.variant(group)[0]
        if rule is sgd:
            return lr, decay
        if rule is nag:
            return lr, group["momentum"], decay
        return lr, group["momentum"], 1.0 if step == 1 else 1.0 - group["dampening"], decay


class Momentum(SGD):
    """Descent with momentum: v ← momentum v + (1 - dampening) g, θ ← θ - lr v.

    g includes weight_decay θ, and the first v is g, undamped, as PyTorch has it. Polyak 1964.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.9,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        max_grad_norm: float | None = None,
    ) -> None:
        named = {"lr": lr, "momentum": momentum, "dampening": dampening}
        more = {"weight_decay": weight_decay, "maximize": maximize}
        Optimizer.__init__(self, params, {**named, **more}, max_grad_norm)

    def variant(self, group: Group) -> tuple[Any, Sequence[str]]:
        return momentum, _VELOCITY


class NAG(SGD):
    """Nesterov's accelerated gradient: v ← momentum v + g, θ ← θ - lr (g + momentum v).

    g includes weight_decay θ. Nesterov 1983, in the form of Sutskever et al. 2013 that PyTorch has.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        max_grad_norm: float | None = None,
    ) -> None:
        named = {"lr": lr, "momentum": momentum}
        more = {"weight_decay": weight_decay, "maximize": maximize}
        Optimizer.__init__(self, params, {**named, **more}, max_grad_norm)

    def variant(self, group: Group) -> tuple[Any, Sequence[str]]:
        return nag, _VELOCITY


@tg.fuse
def asgd(
    param: Any, grad: Any, ax: Any, eta: Any, shrink: Any, share: Any, weight_decay: Any
) -> Any:
    """shrink = 1 - lambd eta; ax moves by its share towards the new parameter."""
    param = param * shrink - eta * (grad + weight_decay * param)
    return param, tg.where(share == 1, param, ax + share * (param - ax))


class ASGD(Optimizer):
    """Averaged descent: θ ← θ (1 - lambd η) - η g, ax ← ax + μ (θ - ax), g with weight_decay θ.

    At step t, η = lr / (1 + lambd lr (t-1))^alpha and μ = 1 / max(1, t-1-t0); the state "ax" is the
    average. A new lr counts at once (PyTorch's η follows a step later). Polyak, Juditsky,
    "Acceleration of stochastic approximation by averaging", 1992.
    """

    rule = staticmethod(asgd)
    state_names = ("ax",)
    not_negative = ("lr", "lambd", "weight_decay")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        max_grad_norm: float | None = None,
    ) -> None:
        named = {"lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0}
        more = {"weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, {**named, **more}, max_grad_norm)

    def scalars(self, group: Group, step: int) -> Sequence[float]:
        lambd, before = group["lambd"], step - 1
        eta = group["lr"] / (1 + lambd * group["lr"] * before) ** group["alpha"]
        share = 1 / max(1, before - group["t0"])
        return eta, 1 - lambd * eta, share, group["weight_decay"]
