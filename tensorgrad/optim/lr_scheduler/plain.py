"""Schedulers of one rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from tensorgrad.optim.lr_scheduler.base import LRScheduler, for_each, need, need_optimizer
from tensorgrad.optim.optimizer import Optimizer

Factor = Callable[[int], float]


class _Multiplied(LRScheduler):
    """Rates times a factor at each step."""

    def _factor(self) -> float:
        """What the rates are multiplied by at step `last_epoch`."""
        raise NotImplementedError

    def get_lr(self) -> list[float]:
        factor = self._factor()
        return [group["lr"] * factor for group in self._groups()]

    def _start_lr(self) -> list[float]:
        factor = self._factor()
        return [rate * factor for rate in self.base_lrs]


class _Given(LRScheduler):
    """Functions of the step given by the user, one for all groups or one for each."""

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Factor | list[Factor], last_epoch: int = -1
    ) -> None:
        name = type(self).__name__
        need_optimizer(name, optimizer)
        self.lr_lambdas = for_each(name, "lr_lambda", optimizer, lr_lambda)
        for found in self.lr_lambdas:
            if not callable(found):
                raise TypeError(
                    f"{name}: got lr_lambda={found!r}, expected a function of the step; "
                    f"try lambda step: 0.95**step"
                )
        super().__init__(optimizer, last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """All but the functions, which the run that resumes gives again."""
        return {key: value for key, value in super().state_dict().items() if key != "lr_lambdas"}


class LambdaLR(_Given):
    """Each group's initial rate times lr_lambda(step), such as a schedule of this package."""

    def get_lr(self) -> list[float]:
        step = self.last_epoch
        return [rate * float(f(step)) for f, rate in zip(self.lr_lambdas, self.base_lrs)]


class MultiplicativeLR(_Given):
    """The present rate times lr_lambda(step), from step 1 on."""

    def get_lr(self) -> list[float]:
        if self._initial:
            return [group["lr"] for group in self._groups()]
        step = self.last_epoch
        return [group["lr"] * float(f(step)) for f, group in zip(self.lr_lambdas, self._groups())]


class StepLR(_Multiplied):
    """Times `gamma` every `step_size` steps."""

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        need("StepLR", step_size >= 1, f"step_size={step_size}", "step_size >= 1", "step_size=10")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self) -> float:
        return self.gamma if self.last_epoch > 0 == self.last_epoch % self.step_size else 1.0


class MultiStepLR(_Multiplied):
    """Times `gamma` at each of the milestones."""

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self) -> float:
        return float(self.gamma ** self.milestones.count(self.last_epoch))


class ConstantLR(_Multiplied):
    """Times `factor` until step `total_iters`."""

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        need("ConstantLR", 0 < factor <= 1, f"factor={factor}", "0 < factor <= 1", "factor=0.5")
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def _factor(self) -> float:
        if self.last_epoch == 0:
            return self.factor
        return 1 / self.factor if self.last_epoch == self.total_iters else 1.0


class LinearLR(_Multiplied):
    """A straight line from `start_factor` to `end_factor` over `total_iters` steps."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        first, last = f"start_factor={start_factor}", f"end_factor={end_factor}"
        need("LinearLR", 0 < start_factor <= 1, first, "0 < start_factor <= 1", "start_factor=0.1")
        need("LinearLR", 0 <= end_factor <= 1, last, "0 <= end_factor <= 1", "end_factor=1.0")
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _factor(self) -> float:
        step, rise = self.last_epoch, self.end_factor - self.start_factor
        if step == 0:
            return self.start_factor
        if self._initial or step > self.total_iters:
            return 1.0
        return 1 + rise / (self.total_iters * self.start_factor + (step - 1) * rise)


class ExponentialLR(_Multiplied):
    """Times `gamma` at every step."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self) -> float:
        return 1.0 if self._initial or self.last_epoch == 0 else self.gamma


class PolynomialLR(_Multiplied):
    """Times (1 - step/total_iters)^power until it is 0; with `cycle` take `optim.Polynomial`."""

    def __init__(
        self,
        optimizer: Optimizer,
        total_iters: int = 5,
        power: float = 1.0,
        last_epoch: int = -1,
    ) -> None:
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def _factor(self) -> float:
        step, length = self.last_epoch, self.total_iters
        if self._initial or step == 0 or step > length:
            return 1.0
        return float(((1 - step / length) / (1 - (step - 1) / length)) ** self.power)


class CosineAnnealingLR(LRScheduler):
    """eta_min + (initial - eta_min)(1 + cos(π step/T_max))/2, down and up again beyond T_max."""

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        need("CosineAnnealingLR", T_max >= 1, f"T_max={T_max}", "T_max >= 1", "T_max=100")
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        step, length, end = self.last_epoch, self.T_max, self.eta_min
        now = [group["lr"] for group in self._groups()]
        if self._initial:
            return now
        if (step - 1 - length) % (2 * length) == 0:
            rise = (1 - math.cos(math.pi / length)) / 2
            return [rate + (base - end) * rise for rate, base in zip(now, self.base_lrs)]
        ratio = _height(step, length) / _height(step - 1, length)
        return [ratio * (rate - end) + end for rate in now]

    def _start_lr(self) -> list[float]:
        return list(self.base_lrs)


def _height(step: float, length: float) -> float:
    return 1 + math.cos(math.pi * step / length)


class CosineAnnealingWarmRestarts(LRScheduler):
    """The cosine down to eta_min over T_0 steps, again and again, each T_mult times as long.

    `step(epoch)` goes to any place, also between two steps. Loshchilov, Hutter, "SGDR", 2017.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        name = "CosineAnnealingWarmRestarts"
        whole = isinstance(T_0, int) and T_0 >= 1
        need(name, whole, f"T_0={T_0}", "a whole T_0 >= 1", "T_0=10")
        whole = isinstance(T_mult, int) and T_mult >= 1
        need(name, whole, f"T_mult={T_mult}", "a whole T_mult >= 1", "T_mult=2")
        self.T_0, self.T_i, self.T_mult, self.eta_min = T_0, T_0, T_mult, eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        height = _height(self.T_cur, self.T_i) / 2
        return [self.eta_min + (rate - self.eta_min) * height for rate in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """Go one step on, or to a place of one's own choice."""
        if epoch is None and self.last_epoch < 0:
            epoch = 0
        if epoch is None:
            epoch = self.last_epoch + 1
            self.T_cur += 1
        else:
            need("CosineAnnealingWarmRestarts.step", epoch >= 0, f"{epoch}", "epoch >= 0", "0")
            self.T_cur, self.T_i = epoch, self.T_0
        while self.T_cur >= self.T_i:
            self.T_cur -= self.T_i
            self.T_i *= self.T_mult
        self.last_epoch = math.floor(epoch)
        self._set(self.get_lr())
