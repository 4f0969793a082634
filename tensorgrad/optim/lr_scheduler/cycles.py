"""Rates that rise and fall, with the momentum the other way round: CyclicLR and OneCycleLR."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tensorgrad.optim.lr_scheduler.base import LRScheduler, for_each, need, need_optimizer
from tensorgrad.optim.optimizer import Group, Optimizer


def _has_beta(op: str, optimizer: Optimizer) -> bool:
    """Whether the momentum of an optimizer is its first beta; `ValueError` if it has none."""
    known = "betas" in optimizer.defaults or "momentum" in optimizer.defaults
    name = type(optimizer).__name__
    need(op, known, f"{name} without momentum or betas", "some to cycle", "cycle_momentum=False")
    return "betas" in optimizer.defaults


def _give_momentum(group: Group, momentum: float) -> None:
    if "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
    else:
        group["momentum"] = momentum


class CyclicLR(LRScheduler):
    """Straight up from base_lr to max_lr in `step_size_up` steps and down in `step_size_down`.

    `mode` "triangular" keeps the height, "triangular2" halves it every cycle, "exp_range" scales it
    by gamma^step; `scale_fn` of the cycle (from 1) or the step scales it otherwise. The momentum
    goes down as the rate goes up. Smith, "Cyclical learning rates", 2017.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | list[float],
        max_lr: float | list[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.8,
        max_momentum: float | list[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        name = "CyclicLR"
        need_optimizer(name, optimizer)
        modes = ("triangular", "triangular2", "exp_range")
        need(name, mode in modes, f"mode={mode!r}", " or ".join(modes), "mode='triangular'")
        need(name, step_size_up > 0, f"step_size_up={step_size_up}", "> 0", "step_size_up=2000")
        self.optimizer, self.mode, self.gamma = optimizer, mode, gamma
        self.step_size_up = float(step_size_up)
        self.step_size_down = float(step_size_up if step_size_down is None else step_size_down)
        self.scale_fn, self.scale_mode = scale_fn, scale_mode
        self.cycle_momentum = cycle_momentum
        lows = for_each(name, "base_lr", optimizer, base_lr)
        self.max_lrs = for_each(name, "max_lr", optimizer, max_lr)
        self.base_momentums = for_each(name, "base_momentum", optimizer, base_momentum)
        self.max_momentums = for_each(name, "max_momentum", optimizer, max_momentum)
        if cycle_momentum:
            _has_beta(name, optimizer)
        for group, low in zip(self._groups(), lows) if last_epoch == -1 else ():
            group["lr"] = low
        self._lows = lows
        super().__init__(optimizer, last_epoch)

    def _begin(self) -> None:
        self.base_lrs = self._lows
        super()._begin()

    def get_lr(self) -> list[float]:
        length = self.step_size_up + self.step_size_down
        cycle = math.floor(1 + self.last_epoch / length)
        at, top = 1 + self.last_epoch / length - cycle, self.step_size_up / length
        height = at / top if at <= top else (at - 1) / (top - 1)
        height *= self._scale(cycle)
        if self.cycle_momentum:
            ends = zip(self.base_momentums, self.max_momentums)
            for group, (low, high) in zip(self._groups(), ends):
                _give_momentum(group, high - (high - low) * height)
        return [low + (high - low) * height for low, high in zip(self.base_lrs, self.max_lrs)]

    def _scale(self, cycle: int) -> float:
        if self.scale_fn is not None:
            return self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.mode == "exp_range":
            return float(self.gamma**self.last_epoch)
        return float(0.5 ** (cycle - 1)) if self.mode == "triangular2" else 1.0

    def state_dict(self) -> dict[str, Any]:
        """All but `scale_fn`, which the run that resumes gives again."""
        return {key: value for key, value in super().state_dict().items() if key != "scale_fn"}


class OneCycleLR(LRScheduler):
    """From max_lr/div_factor up to max_lr, then down to the first rate / final_div_factor.

    The rise takes `pct_start` of `total_steps` (or epochs · steps_per_epoch), along a cosine or a
    line; with `three_phase` the way down mirrors it and the rest goes to the end. The momentum goes
    the other way. More steps than that raise `ValueError`. Smith, Topin, "Super-convergence", 2018.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        name = "OneCycleLR"
        self.optimizer = need_optimizer(name, optimizer)
        if total_steps is None:
            total_steps = (epochs or 0) * (steps_per_epoch or 0)
        need(name, total_steps > 0, f"{total_steps} steps in all", "some", "total_steps=1000")
        need(name, 0 <= pct_start <= 1, f"pct_start={pct_start}", "a part of 1", "pct_start=0.3")
        known = anneal_strategy in _WAYS
        need(name, known, f"anneal_strategy={anneal_strategy!r}", "'cos' or 'linear'", "'cos'")
        self.total_steps, self.pct_start = total_steps, pct_start
        self.anneal_strategy, self.three_phase = anneal_strategy, three_phase
        self.cycle_momentum = cycle_momentum and (_has_beta(name, optimizer) or True)
        highs = for_each(name, "max_lr", optimizer, max_lr)
        ends = (
            for_each(name, "max_momentum", optimizer, max_momentum),
            for_each(name, "base_momentum", optimizer, base_momentum),
        )
        for k, group in enumerate(self._groups()) if last_epoch == -1 else ():
            first = highs[k] / div_factor
            group.update(initial_lr=first, max_lr=highs[k], min_lr=first / final_div_factor)
            if cycle_momentum:
                group.update(max_momentum=ends[0][k], base_momentum=ends[1][k])
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        step, total = self.last_epoch, self.total_steps
        got, fix = f"step {step}", f"total_steps={step}"
        need("OneCycleLR", step <= total, got, f"at most total_steps={total}", fix)
        return [self._rate(group, step) for group in self._groups()]

    def _rate(self, group: Group, step: int) -> float:
        """The rate of a group; its momentum is set."""
        mix, phases, start = _WAYS[self.anneal_strategy], self._phases(), 0.0
        while step > phases[0][0] and len(phases) > 1:
            start = phases.pop(0)[0]
        end, rates, momenta = phases[0]
        at = (step - start) / (end - start)
        if self.cycle_momentum:
            _give_momentum(group, mix(group[momenta[0]], group[momenta[1]], at))
        return mix(group[rates[0]], group[rates[1]], at)

    def _phases(self) -> list[tuple[float, tuple[str, str], tuple[str, str]]]:
        """Each phase's last step, and between what it goes."""
        top, total = self.pct_start * self.total_steps - 1, self.total_steps
        up = ("initial_lr", "max_lr"), ("max_momentum", "base_momentum")
        if not self.three_phase:
            down = ("max_lr", "min_lr"), ("base_momentum", "max_momentum")
            return [(top, *up), (float(total - 1), *down)]
        back = ("max_lr", "initial_lr"), ("base_momentum", "max_momentum")
        rest = ("initial_lr", "min_lr"), ("max_momentum", "max_momentum")
        middle = 2 * self.pct_start * total - 2
        return [(top, *up), (middle, *back), (float(total - 1), *rest)]


_WAYS: dict[str, Callable[[float, float, float], float]] = {
    "cos": lambda start, end, at: end + (start - end) / 2 * (1 + math.cos(math.pi * at)),
    "linear": lambda start, end, at: (end - start) * at + start,
}
