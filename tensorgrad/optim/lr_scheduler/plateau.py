"""A lower rate when nothing improves."""

from __future__ import annotations

import math
from typing import Any

from tensorgrad.optim.lr_scheduler.base import LRScheduler, for_each, need, need_optimizer
from tensorgrad.optim.optimizer import Optimizer


class ReduceLROnPlateau(LRScheduler):
    """Times `factor` when a measure has not improved for more than `patience` steps.

    Better, in `mode` "min", is below best (1 - threshold), or below best - threshold with
    threshold_mode="abs"; "max" the other way. After a change `cooldown` steps do not count.
    `step(metrics)` takes the measure, a number or a tensor of one.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        name = "ReduceLROnPlateau"
        need(name, 0 < factor < 1, f"factor={factor}", "0 < factor < 1", "factor=0.1")
        need(name, mode in ("min", "max"), f"mode={mode!r}", "'min' or 'max'", "mode='min'")
        kinds = ("rel", "abs")
        got = f"threshold_mode={threshold_mode!r}"
        need(name, threshold_mode in kinds, got, "'rel' or 'abs'", "threshold_mode='rel'")
        self.optimizer = need_optimizer(name, optimizer)
        self.min_lrs = for_each(name, "min_lr", optimizer, min_lr)
        self.mode, self.factor, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown, self.eps = cooldown, eps
        self.best = math.inf if mode == "min" else -math.inf
        self.cooldown_counter = self.num_bad_epochs = self.last_epoch = 0
        self._last_lr = [group["lr"] for group in self._groups()]

    def step(self, metrics: Any) -> None:  # type: ignore[override]
        """Take the measure of an epoch."""
        current = float(metrics.item() if hasattr(metrics, "item") else metrics)
        self.last_epoch += 1
        if self._is_better(current):
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._set(self._reduced())
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = [group["lr"] for group in self._groups()]

    def _reduced(self) -> list[float]:
        more = len(self._groups()) - len(self.min_lrs)  # groups added since
        least = self.min_lrs + self.min_lrs[-1:] * more
        found = []
        for group, bound in zip(self._groups(), least):
            rate = max(group["lr"] * self.factor, bound)
            found.append(rate if group["lr"] - rate > self.eps else group["lr"])
        return found

    def _is_better(self, current: float) -> bool:
        sign = 1.0 if self.mode == "max" else -1.0
        relative = self.threshold_mode == "rel"
        bound = self.best * (1 + sign * self.threshold) if relative else self.best
        if not relative:
            bound += sign * self.threshold
        return current > bound if self.mode == "max" else current < bound
