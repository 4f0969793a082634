"""How the weights are moved: optimizer, rate, clipping, L1, L2 and max-norm, from a `Config`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tensorgrad import nn, optim
from tensorgrad.train.config import Config
from tensorgrad.train.network import linear_layers

if TYPE_CHECKING:
    from tensorgrad.train.loop import Progress

Schedule = Callable[[int], float]


class Recipe:
    """The rules of one step and of the end of an epoch; it holds no state of its own.

    steps: optimizer steps in an epoch, the unit in which the schedule counts
    """

    def __init__(self, config: Config, steps: int) -> None:
        self.config = config
        self.epochs, self.patience = config.epochs, config.patience
        bare = _SCHEDULES[config.schedule](config, steps)
        self._schedule = optim.WarmUp(bare, config.warmup * steps) if config.warmup else bare

    def optimizer(self, net: nn.Module) -> optim.Optimizer:
        """The optimizer; with L2, the weights of the layers decay and nothing else does more."""
        groups: Any = list(net.parameters())
        if self.config.l2:
            weights = [layer.weight for _, layer in linear_layers(net)]
            ids = {id(weight) for weight in weights}
            decay = (self.config.weight_decay or 0.0) + self.config.l2
            rest = [param for param in groups if id(param) not in ids]
            groups = [{"params": weights, "weight_decay": decay}, {"params": rest}]
        return _OPTIMIZERS[self.config.optimizer](groups, self.config)

    def set_rate(self, optimizer: optim.Optimizer, step: int, factor: float) -> None:
        """Set the rate of step number `step`, from 0; `factor` is what the plateau rule made."""
        rate = self.config.lr * self._schedule(step) * factor
        for group in optimizer.param_groups:
            group["lr"] = rate

    @staticmethod
    def rate(optimizer: optim.Optimizer) -> float:
        """The rate of the last step."""
        return float(optimizer.param_groups[0]["lr"])

    def after_step(self, net: nn.Module, optimizer: optim.Optimizer) -> None:
        """After the update: the L1 step, which stops at zero, and the max-norm constraint."""
        if self.config.l1:
            weights = [layer.weight for _, layer in linear_layers(net)]
            optim.soft_threshold_(weights, self.rate(optimizer) * self.config.l1)
        if self.config.max_norm:
            weights = [layer.weight for _, layer in linear_layers(net)]
            optim.max_norm_(weights, self.config.max_norm)

    def watch(self, progress: Progress, score: float) -> None:
        """The plateau rule: a lower rate when the best score has not improved for some epochs."""
        if self.config.schedule != "plateau":
            return
        if score > progress.plateau_score:
            progress.plateau_score, progress.plateau_stale = score, 0
            return
        progress.plateau_stale += 1
        if progress.plateau_stale >= (self.config.decay_epochs or 10):
            progress.plateau_stale = 0
            progress.plateau_factor *= self.config.decay or 0.5


def _sgd(params: Any, config: Config) -> optim.Optimizer:
    decay = config.weight_decay or 0.0
    return optim.SGD(params, lr=config.lr, weight_decay=decay, max_grad_norm=config.clip_norm)


def _with_momentum(kind: Any) -> Callable[[Any, Config], optim.Optimizer]:
    def made(params: Any, config: Config) -> optim.Optimizer:
        found: optim.Optimizer = kind(
            params,
            lr=config.lr,
            momentum=0.9 if config.momentum is None else config.momentum,
            weight_decay=config.weight_decay or 0.0,
            max_grad_norm=config.clip_norm,
        )
        return found

    return made


def _with_betas(kind: Any, params: Any, config: Config, decay: float) -> optim.Optimizer:
    first, second = config.beta1, config.beta2
    found: optim.Optimizer = kind(
        params,
        lr=config.lr,
        betas=(0.9 if first is None else first, 0.999 if second is None else second),
        weight_decay=decay,
        max_grad_norm=config.clip_norm,
    )
    return found


def _adam(params: Any, config: Config) -> optim.Optimizer:
    return _with_betas(optim.Adam, params, config, config.weight_decay or 0.0)


def _adamw(params: Any, config: Config) -> optim.Optimizer:
    decay = 0.01 if config.weight_decay is None else config.weight_decay
    return _with_betas(optim.AdamW, params, config, decay)


_OPTIMIZERS: dict[str, Callable[[Any, Config], optim.Optimizer]] = {
    "sgd": _sgd,
    "momentum": _with_momentum(optim.Momentum),
    "nag": _with_momentum(optim.NAG),
    "adam": _adam,
    "adamw": _adamw,
}


def _descent(config: Config, steps: int) -> int:
    """The steps of one descent of polynomial and cosine: the period, or all after the warm-up."""
    return (config.period or max(1, config.epochs - config.warmup)) * steps


def _every(config: Config, steps: int, default: int) -> int:
    return (config.decay_epochs or default) * steps


def _piecewise(config: Config, steps: int) -> Schedule:
    rates = (config.lr, *(config.rates or ()))
    at = [boundary * steps for boundary in config.boundaries or ()]
    return optim.Piecewise(at, [rate / config.lr for rate in rates])


def _cosine(config: Config, steps: int) -> Schedule:
    end = (config.end_lr or 0.0) / config.lr
    return optim.Cosine(_descent(config, steps), end, restarts=config.period is not None)


def _polynomial(config: Config, steps: int) -> Schedule:
    end, power = (config.end_lr or 0.0) / config.lr, config.power or 1.0
    return optim.Polynomial(_descent(config, steps), power, end, config.cycle)


_SCHEDULES: dict[str, Callable[[Config, int], Schedule]] = {
    "constant": lambda config, steps: optim.Constant(),
    "exponential": lambda c, n: optim.Exponential(c.decay or 0.5, _every(c, n, 10)),
    "step": lambda c, n: optim.Step(_every(c, n, 10), c.decay or 0.5),
    "piecewise": _piecewise,
    "inverse_time": lambda c, n: optim.InverseTime(c.decay or 1.0, _every(c, n, 10)),
    "polynomial": _polynomial,
    "cosine": _cosine,
    "plateau": lambda config, steps: optim.Constant(),
}
