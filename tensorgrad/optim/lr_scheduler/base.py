"""What the schedulers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tensorgrad.optim.optimizer import Group, Optimizer


class LRScheduler:
    """Base of the schedulers: a subclass gives `get_lr()`, the rates at step `last_epoch`.

    The rates of the groups when the first scheduler is made are kept in them as "initial_lr". A
    scheduler may work on from the present rates, so that several can act on one optimizer. Call
    `step()` after the optimizer's.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = need_optimizer(type(self).__name__, optimizer)
        for k, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise ValueError(
                    f"{type(self).__name__}: got last_epoch={last_epoch} and no 'initial_lr' in "
                    f"group {k}, expected that of the run to go on with; "
                    f"try optimizer.load_state_dict(...) first"
                )
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch, self._initial = last_epoch, False
        self._last_lr: list[float] = []
        self._begin()

    def get_lr(self) -> list[float]:
        """The rate of every group at step `last_epoch`."""
        raise TypeError(f"{type(self).__name__}: expected the class to define get_lr(self)")

    def step(self) -> None:
        """Go one step on."""
        self.last_epoch += 1
        self._set(self.get_lr())

    def get_last_lr(self) -> list[float]:
        """The rate of every group, as the last step set it."""
        return list(self._last_lr)

    def state_dict(self) -> dict[str, Any]:
        """All numbers of the scheduler; the optimizer and its rates are not among them."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`; the rates come with the optimizer's own.

        Raises `ValueError` for that of another class; then nothing changes.
        """
        here = self.state_dict().keys()
        if here != state_dict.keys():
            raise ValueError(
                f"{type(self).__name__}: got a state of {sorted(state_dict)}, expected "
                f"{sorted(here)}; try the class that saved it"
            )
        self.__dict__.update(state_dict)

    # -- for schedulers and those that hold some -------------------------------------------------

    def _groups(self) -> list[Group]:
        return self.optimizer.param_groups

    def _begin(self) -> None:
        """The step to the first epoch."""
        self._initial = True
        self.step()
        self._initial = False

    def _restart(self) -> None:
        """Begin anew at step 0, as after a milestone of `SequentialLR`."""
        self.last_epoch = 0
        self._set(self._start_lr())

    def _start_lr(self) -> list[float]:
        return self.get_lr()

    def _undo(self) -> None:
        """Take a step back before a scheduler that holds this one begins."""
        self.last_epoch -= 1

    def _set(self, rates: Sequence[float]) -> None:
        for group, rate in zip(self._groups(), rates, strict=True):
            group["lr"] = rate
        self._last_lr = [group["lr"] for group in self._groups()]


def need_optimizer(op: str, optimizer: Any) -> Optimizer:
    """The optimizer, or `TypeError`."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"{op}: got {type(optimizer).__name__}, expected an optimizer; try optim.SGD(...)"
        )
    return optimizer


def for_each(op: str, name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """One value for every group, given as one for all or as a list."""
    count = len(need_optimizer(op, optimizer).param_groups)
    if not isinstance(value, list | tuple):
        return [value] * count
    if len(value) != count:
        raise ValueError(
            f"{op}: got {len(value)} values of {name}, expected one or {count}, as many as groups; "
            f"try {name}={[value[0] if value else None] * count}"
        )
    return list(value)


def need(op: str, fine: bool, got: str, rule: str, fix: str) -> None:
    """Raise `ValueError` unless a setting is fine."""
    if not fine:
        raise ValueError(f"{op}: got {got}, expected {rule}; try {fix}")
