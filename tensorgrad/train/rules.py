"""The rules between options: what has no meaning beside the others is refused, not ignored.

Each rule takes the values of all options and gives None, or the option that is wrong and the text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tensorgrad.train.choices import FULL_BATCH, UPDATES

Values = Mapping[str, Any]
Wrong = tuple[str, str] | None


def rate_of(every: Values) -> float:
    """The learning rate: the one given, or the optimizer's own."""
    given = every["lr"]
    return float(UPDATES[every["optimizer"]].lr if given is None else given)


def _split(every: Values) -> Wrong:
    split = every["split"]
    if len(split) == 3 and abs(sum(split) - 1) < 1e-9:
        return None
    return "split", f"got {split}, expected three shares of sum 1; try 0.7,0.15,0.15"


def _piecewise(every: Values) -> Wrong:
    if every["schedule"] != "piecewise":
        return None
    at, rates = every["boundaries"] or (), every["rates"] or ()
    if at and len(at) == len(rates) and list(at) == sorted(set(at)):
        return None
    return (
        "boundaries",
        f"got boundaries {at} and rates {rates}, expected as many of each, boundaries ascending; "
        "try boundaries 10-20 and rates 0.0003,0.0001",
    )


def _decoupled_l2(every: Values) -> Wrong:
    if not UPDATES[every["optimizer"]].decoupled or not every["l2"]:
        return None
    return (
        "l2",
        f"got {every['l2']} beside optimizer {every['optimizer']}, which decays the weights apart "
        "from the gradient, expected 0; try weight_decay, or optimizer adam",
    )


def _full_batch(every: Values) -> Wrong:
    if every["optimizer"] not in FULL_BATCH:
        return None
    for name in ("dropout", "l1", "max_norm"):
        if every[name]:
            return (
                name,
                f"got {every[name]} beside optimizer {every['optimizer']}, whose line search needs "
                "one smooth loss, expected none; try l2, or optimizer adam",
            )
    return None


def _scaled_search(every: Values) -> Wrong:
    if every["amp"] != "float16" or every["optimizer"] not in FULL_BATCH:
        return None
    return (
        "amp",
        f"got float16 beside optimizer {every['optimizer']}, which cannot leave out a step that "
        "overflows, expected bfloat16 or none; try bfloat16, or optimizer adam",
    )


def _linear_net(every: Values) -> Wrong:
    if every["layers"] or not every["dropout"]:
        return None
    return (
        "dropout",
        f"got {every['dropout']} without hidden layers, expected 0; try layers 128-64",
    )


def _rate_order(every: Values) -> Wrong:
    rate = rate_of(every)
    if (every["end_lr"] or 0) <= rate:
        return None
    return "end_lr", f"got {every['end_lr']}, expected at most lr {rate:g}; try 0"


TOGETHER: tuple[Callable[[Values], Wrong], ...] = (
    _split,
    _piecewise,
    _decoupled_l2,
    _full_batch,
    _scaled_search,
    _linear_net,
    _rate_order,
)
