"""Learning-rate schedules: pure functions of the step, and the object that applies them.

A schedule maps the number of steps done to a factor of the initial rate: schedule(0) is that of
the first step. It holds no state, so a resumed run needs the step alone. What a step is, an update
or an epoch, is decided by where `Scheduler.step` is called.

>>> import tensorgrad as tg
>>> half = tg.optim.Exponential(0.5)
>>> [half(step) for step in range(3)]
[1.0, 0.5, 0.25]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tensorgrad.optim.optimizer import Optimizer, need_between

Schedule = Callable[[int], float]


@dataclass(frozen=True)
class Constant:
    """1, or another factor at every step."""

    factor: float = 1.0

    def __call__(self, step: int) -> float:
        return self.factor


@dataclass(frozen=True)
class Exponential:
    """gamma^(step / steps): a factor of `gamma` every `steps` steps, smoothly."""

    gamma: float
    steps: float = 1

    def __post_init__(self) -> None:
        need_between("Exponential", 0, gamma=self.gamma)
        _need_steps("Exponential", self.steps)

    def __call__(self, step: int) -> float:
        return float(self.gamma ** (step / self.steps))


@dataclass(frozen=True)
class Step:
    """gamma^⌊step / steps⌋: a factor of `gamma` every `steps` steps, at once."""

    steps: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        need_between("Step", 0, gamma=self.gamma)
        _need_steps("Step", self.steps)

    def __call__(self, step: int) -> float:
        return float(self.gamma ** (step // self.steps))


@dataclass(frozen=True)
class InverseTime:
    """1 / (1 + rate · step / steps)."""

    rate: float
    steps: float = 1

    def __post_init__(self) -> None:
        need_between("InverseTime", 0, rate=self.rate)
        _need_steps("InverseTime", self.steps)

    def __call__(self, step: int) -> float:
        return 1 / (1 + self.rate * step / self.steps)


@dataclass(frozen=True)
class Polynomial:
    """end + (1 - end)(1 - step/steps)^power, then `end`; power 1 is a straight line.

    With `cycle` the length grows to the next multiple of `steps` instead of stopping at `end`:
    every `steps` steps the rate jumps up and falls again.
    """

    steps: int
    power: float = 1.0
    end: float = 0.0
    cycle: bool = False

    def __post_init__(self) -> None:
        _need_steps("Polynomial", self.steps)
        need_between("Polynomial", 0, power=self.power)

    def __call__(self, step: int) -> float:
        length = self.steps * max(1, math.ceil(step / self.steps)) if self.cycle else self.steps
        left = max(0.0, 1 - step / length)
        return float(self.end + (1 - self.end) * left**self.power)


@dataclass(frozen=True)
class Cosine:
    """end + (1 - end)(1 + cos(π step/steps))/2, then `end`.

    With `restarts` it begins again after `steps` steps, each time `growth` times as long.
    Loshchilov, Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017.
    """

    steps: int
    end: float = 0.0
    restarts: bool = False
    growth: float = 1.0

    def __post_init__(self) -> None:
        _need_steps("Cosine", self.steps)
        need_between("Cosine", 1, growth=self.growth)

    def __call__(self, step: int) -> float:
        length, at = float(self.steps), float(min(step, self.steps))
        if self.restarts:
            at = float(step)
            while at >= length:
                at, length = at - length, length * self.growth
        return self.end + (1 - self.end) * (1 + math.cos(math.pi * at / length)) / 2


@dataclass(frozen=True)
class OneCycle:
    """Up along a cosine from 1/div over the part `rise` of the steps, then down to 1/div/final_div.

    The rate of the optimizer is the highest. Smith, Topin, "Super-convergence", 2018.
    """

    steps: int
    rise: float = 0.3
    div: float = 25.0
    final_div: float = 1e4

    def __post_init__(self) -> None:
        _need_steps("OneCycle", self.steps)
        need_between("OneCycle", 0, 1, rise=self.rise)
        need_between("OneCycle", 1, div=self.div)
        need_between("OneCycle", 1, final_div=self.final_div)

    def __call__(self, step: int) -> float:
        first, top, last = 1 / self.div, self.rise * self.steps - 1, self.steps - 1
        if step < top:
            return _mixed(first, 1.0, step / top)
        return _mixed(1.0, first / self.final_div, min(1.0, (step - top) / (last - top)))


def _mixed(start: float, end: float, at: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * at))


@dataclass(frozen=True)
class Piecewise:
    """factors[k] from step boundaries[k-1] up to boundaries[k].

    There is one factor more than boundaries: that of the steps before the first.
    """

    boundaries: Sequence[int]
    factors: Sequence[float]

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.boundaries, self.boundaries[1:]))
        if not rising or len(self.factors) != len(self.boundaries) + 1:
            raise ValueError(
                f"Piecewise: got boundaries={list(self.boundaries)}, factors={list(self.factors)}, "
                f"expected rising boundaries and one factor more; try Piecewise([100], [1, 0.1])"
            )

    def __call__(self, step: int) -> float:
        return float(self.factors[sum(step >= bound for bound in self.boundaries)])


@dataclass(frozen=True)
class WarmUp:
    """A straight rise over `steps` steps in front of a schedule, which then starts at its step 0.

    The factor of step k is (k + 1) / (steps + 1) of schedule(0): no step is without effect.
    """

    schedule: Schedule
    steps: int

    def __post_init__(self) -> None:
        need_between("WarmUp", 0, steps=self.steps)

    def __call__(self, step: int) -> float:
        if step < self.steps:
            return self.schedule(0) * (step + 1) / (self.steps + 1)
        return self.schedule(step - self.steps)


class Scheduler:
    """Sets the rate of every group of an optimizer to its initial rate times schedule(step).

    The initial rate is the group's "lr" when the first scheduler is made (kept as "initial_lr").
    Call `step()` after the optimizer's.

    >>> import tensorgrad as tg
    >>> opt = tg.optim.SGD([tg.nn.Parameter([1.0])], lr=0.1)
    >>> scheduler = Scheduler(opt, tg.optim.Polynomial(steps=2))
    >>> scheduler.step()
    >>> scheduler.get_last_lr()
    [0.05]
    """

    def __init__(self, optimizer: Optimizer, schedule: Schedule) -> None:
        self.optimizer, self.schedule, self.step_count = optimizer, schedule, 0
        self._apply()

    def step(self) -> None:
        """Go one step on."""
        self.step_count += 1
        self._apply()

    def _apply(self) -> None:
        factor = self.schedule(self.step_count)
        for group in self.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = group["initial_lr"] * factor

    def get_last_lr(self) -> list[float]:
        """The rate of every group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """The number of steps done; all else is the schedule's or the optimizer's."""
        return {"step_count": self.step_count}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`; load the optimizer's first."""
        self.step_count = int(state_dict["step_count"])
        self._apply()


def _need_steps(op: str, steps: float) -> None:
    if not 0 < steps < math.inf:
        raise ValueError(f"{op}: got steps={steps}, expected steps > 0; try steps=100")
