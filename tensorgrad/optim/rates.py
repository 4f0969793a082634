"""The range test: which learning rate to begin with."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import tensorgrad as tg
from tensorgrad.optim.memory import write
from tensorgrad.optim.optimizer import Optimizer, need_between


class RateTest(NamedTuple):
    """What `find_rate` saw: rates, smoothed losses, and the rate where the loss falls fastest."""

    rates: list[float]
    losses: list[float]
    best: float


def find_rate(
    optimizer: Optimizer,
    loss: Callable[[], Any],
    low: float = 1e-7,
    high: float = 10.0,
    steps: int = 100,
    smoothing: float = 0.9,
    diverged: float = 4.0,
) -> RateTest:
    """Train with rates that rise evenly in their logarithm, and see what the loss does.

    `loss()` gives the loss of the next batch. Losses are averaged exponentially; the test ends when
    their mean is `diverged` times the least, or no number. Parameters, state and rates are put back
    at the end; the buffers of a network are not. Smith, "Cyclical learning rates for training
    neural networks", 2017, section 3.3. Raises `ValueError` for a loss that is no number at the
    first step.
    """
    if not 0 < low < high:
        raise ValueError(
            f"find_rate: got low={low}, high={high}, expected 0 < low < high; try low=1e-7, high=10"
        )
    need_between("find_rate", 0, 1, smoothing=smoothing)
    need_between("find_rate", 3, steps=steps)
    groups = optimizer.param_groups
    params = [param for group in groups for param in group["params"]]
    values, state = [tg.tensor(param.detach()) for param in params], optimizer.state_dict()
    rates: list[float] = []
    losses: list[float] = []
    mean = 0.0
    try:
        for k in range(steps):
            rate = low * (high / low) ** (k / (steps - 1))
            value = _trained(optimizer, loss, rate)
            mean = smoothing * mean + (1 - smoothing) * value
            found = mean / (1 - smoothing ** (k + 1))
            if not math.isfinite(found) or (k > 2 and found > diverged * min(losses)):
                break
            rates.append(rate)
            losses.append(found)
    finally:
        for param, before in zip(params, values):
            write(param.data, before.data)
        optimizer.load_state_dict(state)
        optimizer.zero_grad()
    if len(rates) < 3:
        raise ValueError(
            f"find_rate: got a loss that is no number or explodes after {len(rates)} steps, "
            f"expected at least 3; try a smaller low"
        )
    falls = [b - a for a, b in pairwise(losses)]
    return RateTest(rates, losses, rates[falls.index(min(falls))])


def _trained(optimizer: Optimizer, loss: Callable[[], Any], rate: float) -> float:
    """The loss before a step with this rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    found = loss()
    found.backward()
    optimizer.step()
    return float(found.item())
