"""Schedulers one after the other, and at once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from tensorgrad.optim.lr_scheduler.base import LRScheduler, need
from tensorgrad.optim.lr_scheduler.plateau import ReduceLROnPlateau
from tensorgrad.optim.optimizer import Optimizer


class _Several(LRScheduler):
    """Schedulers of one optimizer."""

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[Any]) -> None:
        name = type(self).__name__
        for scheduler in schedulers:
            if isinstance(scheduler, ReduceLROnPlateau) or not isinstance(scheduler, LRScheduler):
                raise TypeError(
                    f"{name}: got {type(scheduler).__name__}, expected schedulers whose step takes "
                    f"nothing; try stepping it by itself"
                )
            need(
                name,
                scheduler.optimizer is optimizer,
                f"a {type(scheduler).__name__} of another optimizer",
                "schedulers of one",
                "one optimizer for all",
            )
        self.optimizer, self._schedulers = optimizer, list(schedulers)

    def state_dict(self) -> dict[str, Any]:
        """The state, and those of the schedulers in it."""
        found = super().state_dict()
        return {**found, "_schedulers": [held.state_dict() for held in self._schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        own = self._schedulers
        super().load_state_dict(state_dict)
        self._schedulers = own
        for scheduler, state in zip(own, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(state)

    def _undo(self) -> None:
        for scheduler in self._schedulers:
            scheduler._undo()


class SequentialLR(_Several):
    """schedulers[k] from step milestones[k-1] up to milestones[k], each from its own step 0."""

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        super().__init__(optimizer, schedulers)
        need(
            "SequentialLR",
            len(schedulers) == len(milestones) + 1,
            f"{len(schedulers)} schedulers and {len(milestones)} milestones",
            "one milestone between each two schedulers",
            "SequentialLR(opt, [first, then], [10])",
        )
        self._milestones, self.last_epoch = list(milestones), last_epoch + 1
        for group in self._groups():
            group["lr"] = group["initial_lr"]
        self._undo()
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first._begin()
        self._last_lr = first.get_last_lr()

    def step(self) -> None:
        """Go one step on."""
        self.last_epoch += 1
        index = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[index]
        if index and self._milestones[index - 1] == self.last_epoch:
            scheduler._restart()
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()


class ChainedScheduler(_Several):
    """All schedulers at each step, one working on from what the other made of the rates."""

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        got = f"{len(schedulers)} schedulers"
        need("ChainedScheduler", bool(schedulers), got, "at least one", "[StepLR(opt, 10)]")
        super().__init__(optimizer or schedulers[0].optimizer, schedulers)
        self._last_lr = [group["lr"] for group in self._groups()]

    def step(self) -> None:
        """Go one step on."""
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = [group["lr"] for group in self._groups()]
