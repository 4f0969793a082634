"""The optimizer of a run, by its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from tensorgrad import nn, optim
from tensorgrad.train.choices import UPDATES
from tensorgrad.train.config import Config
from tensorgrad.train.network import linear_layers

Group = dict[str, Any]


class Mover(Protocol):
    """What a run asks of its optimizer."""

    @property
    def param_groups(self) -> list[Group]: ...

    def zero_grad(self) -> None: ...

    def step(self, closure: Callable[[], Any] | None = None) -> Any: ...

    def step_unless(self, inverse: Any, flag: Any = 0.0) -> Any: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None: ...


def made(net: nn.Module, config: Config) -> Mover:
    """The optimizer of a network; with L2, the weights of the layers decay by it too.

    An optimizer without a decay of its own leaves L2 to `penalty`.
    """
    settings = _settings(config)
    if config.optimizer == "muon":
        return Muon(net, config, settings)
    groups: Any = list(net.parameters())
    if config.l2 and "weight_decay" in UPDATES[config.optimizer].takes:
        weights = [layer.weight for _, layer in linear_layers(net)]
        ids = {id(weight) for weight in weights}
        decay = (config.weight_decay or 0.0) + config.l2
        rest = [param for param in groups if id(param) not in ids]
        groups = [{"params": weights, "weight_decay": decay}, {"params": rest}]
    found: Mover = getattr(optim, UPDATES[config.optimizer].kind)(groups, **settings)
    return found


def penalty(net: nn.Module, config: Config) -> Any:
    """l2/2 Σw² to be added to the loss where the optimizer does not take L2, else None."""
    if not config.l2 or "weight_decay" in UPDATES[config.optimizer].takes:
        return None
    return optim.elastic_penalty([one.weight for _, one in linear_layers(net)], l2=config.l2)


def _settings(config: Config) -> Group:
    """The options that were given, as keywords of the optimizer's class; its own for the rest."""
    update = UPDATES[config.optimizer]
    found: Group = {"lr": config.rate, **_ALWAYS.get(config.optimizer, {})}
    for option, keyword in _KEYWORDS.items():
        value = getattr(config, option)
        if value is not None and option in update.takes:
            found[_OTHERWISE.get((config.optimizer, option), keyword)] = value
    if config.beta1 is not None or config.beta2 is not None:
        kind = getattr(optim, update.kind)
        own = inspect.signature(kind).parameters["betas"].default
        given = (config.beta1, config.beta2)
        found["betas"] = tuple(b if a is None else a for a, b in zip(given, own))
    return found


_KEYWORDS = {
    "momentum": "momentum",
    "rho": "rho",
    "weight_decay": "weight_decay",
    "clip_norm": "max_grad_norm",
}
_OTHERWISE = {("rmsprop", "rho"): "alpha"}
_ALWAYS: dict[str, Group] = {
    "lbfgs": {"line_search_fn": "strong_wolfe"},
    "muon": {"adjust_lr_fn": "match_rms_adamw"},  # so that one rate serves both of its parts
}


class Muon:
    """Muon for the matrices of a network, AdamW without decay for its biases and the rest."""

    def __init__(self, net: nn.Module, config: Config, settings: Group) -> None:
        settings = dict(settings)
        self._most = settings.pop("max_grad_norm", None)
        self._params = list(net.parameters())
        matrices = [param for param in self._params if param.ndim == 2]
        rest = [param for param in self._params if param.ndim != 2]
        self._parts: list[optim.Optimizer] = [optim.Muon(matrices, **settings)]
        if rest:
            self._parts.append(optim.AdamW(rest, lr=config.rate, weight_decay=0.0))

    @property
    def param_groups(self) -> list[Group]:
        """The groups of both."""
        return [group for part in self._parts for group in part.param_groups]

    def zero_grad(self) -> None:
        """Set every gradient to None."""
        for part in self._parts:
            part.zero_grad()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all; the limit is on the norm of all gradients together."""
        found = None if closure is None else closure()
        self._limit()
        for part in self._parts:
            part.step()
        return found

    def step_unless(self, inverse: Any, flag: Any = 0.0) -> Any:
        """Update all for `GradScaler.step`, whose `unscale_` was called: `inverse` is 1.

        The flag is then that of all gradients, so that both parts move or none does.
        """
        self._limit()
        found = [part.step_unless(inverse, flag) for part in self._parts]
        return found[0]

    def _limit(self) -> None:
        if self._most is not None:
            optim.clip_grad_norm_(self._params, self._most)

    def state_dict(self) -> dict[str, Any]:
        """The states of both."""
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; `ValueError` for another optimizer's."""
        given = state_dict.get("parts", ())
        if len(given) != len(self._parts):
            raise ValueError(
                f"Muon: got {len(given)} states, expected {len(self._parts)}; "
                "try the optimizer that saved it"
            )
        for part, state in zip(self._parts, given):
            part.load_state_dict(state)
