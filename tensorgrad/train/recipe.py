"""How the weights are moved: optimizer, rate, clipping, L1, L2 and max-norm, from a `Config`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import tensorgrad as tg
from tensorgrad import nn, optim
from tensorgrad.train.choices import FULL_BATCH, UPDATES
from tensorgrad.train.config import Config
from tensorgrad.train.network import linear_layers
from tensorgrad.train.optimizers import Mover, made, penalty
from tensorgrad.train.options import ConfigError

if TYPE_CHECKING:
    from tensorgrad.train.loop import Progress

Schedule = Callable[[int], float]
_AS_IS = nullcontext()  # a sixth of what an autocast that is off costs


class Recipe:
    """The rules of one step and of the end of an epoch; it holds no state of its own.

    steps: optimizer steps in an epoch, the unit in which the schedule counts. An optimizer that
    takes the full batch raises `ConfigError` for more than one.
    """

    def __init__(self, config: Config, steps: int) -> None:
        self.config = config
        self.searches = config.optimizer in FULL_BATCH  # along a line, with a closure
        if self.searches and steps > 1:
            raise ConfigError(
                f"batch_size: got {config.batch_size}, which makes {steps} steps an epoch, beside "
                f"optimizer {config.optimizer}, expected the full batch, since a step compares "
                f"losses of the same rows; try --batch-size {config.batch_size * steps}"
            )
        self.epochs, self.patience = config.epochs, config.patience
        self._rate = config.rate
        bare = _SCHEDULES[config.schedule](config, steps)
        self._schedule = optim.WarmUp(bare, config.warmup * steps) if config.warmup else bare

    def optimizer(self, net: nn.Module) -> Mover:
        """The optimizer of the configuration."""
        return made(net, self.config)

    def scaler(self) -> optim.GradScaler | None:
        """What scales the loss, for float16 alone."""
        return optim.GradScaler() if self.config.amp == "float16" else None

    @property
    def shrinks(self) -> bool:
        """Whether `after_step` moves weights whatever the update did."""
        return bool(self.config.l1)

    @property
    def clips(self) -> bool:
        """Whether the gradient is limited, or cannot be."""
        takes = "clip_norm" in UPDATES[self.config.optimizer].takes
        return self.config.clip_norm is not None or not takes

    def casts(self) -> AbstractContextManager[Any]:
        """The block in which a step computes its loss."""
        return _AS_IS if self.config.amp is None else tg.autocast(self.config.amp)

    def penalty(self, net: nn.Module) -> Any:
        """What is added to the loss of a step, None for nothing."""
        return penalty(net, self.config)

    def set_rate(self, optimizer: Mover, step: int, factor: float) -> None:
        """Set the rate of step number `step`, from 0; `factor` is what the plateau rule made."""
        rate = self._rate * self._schedule(step) * factor
        for group in optimizer.param_groups:
            group["lr"] = rate

    @staticmethod
    def rate(optimizer: Mover) -> float:
        """The rate of the last step."""
        return float(optimizer.param_groups[0]["lr"])

    def after_step(self, net: nn.Module, optimizer: Mover) -> None:
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


def _descent(config: Config, steps: int) -> int:
    """The steps of one descent or cycle: the period, or all after the warm-up."""
    return (config.period or max(1, config.epochs - config.warmup)) * steps


def _every(config: Config, steps: int, default: int) -> int:
    return (config.decay_epochs or default) * steps


def _piecewise(config: Config, steps: int) -> Schedule:
    rates = (config.rate, *(config.rates or ()))
    at = [boundary * steps for boundary in config.boundaries or ()]
    return optim.Piecewise(at, [rate / config.rate for rate in rates])


def _cosine(config: Config, steps: int) -> Schedule:
    end = (config.end_lr or 0.0) / config.rate
    return optim.Cosine(_descent(config, steps), end, restarts=config.period is not None)


def _polynomial(config: Config, steps: int) -> Schedule:
    end, power = (config.end_lr or 0.0) / config.rate, config.power or 1.0
    return optim.Polynomial(_descent(config, steps), power, end, config.cycle)


_SCHEDULES: dict[str, Callable[[Config, int], Schedule]] = {
    "constant": lambda config, steps: optim.Constant(),
    "exponential": lambda c, n: optim.Exponential(c.decay or 0.5, _every(c, n, 10)),
    "step": lambda c, n: optim.Step(_every(c, n, 10), c.decay or 0.5),
    "piecewise": _piecewise,
    "inverse_time": lambda c, n: optim.InverseTime(c.decay or 1.0, _every(c, n, 10)),
    "polynomial": _polynomial,
    "cosine": _cosine,
    "one_cycle": lambda c, n: optim.OneCycle(_descent(c, n)),
    "plateau": lambda config, steps: optim.Constant(),
}
