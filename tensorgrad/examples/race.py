"""Every optimizer on one net, each at the best of its rates."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.data import Batches, load_digits
from tensorgrad.examples import _fit, _show

EPOCHS, BATCH = 10, 32
GOAL = 0.05  # the training loss that ends the race

o = tg.optim
FAST, MIDDLE, SLOW = (0.03, 0.1, 0.3, 1.0), (0.003, 0.01, 0.03, 0.1), (0.0003, 0.001, 0.003, 0.01)
RACERS: dict[str, tuple[Callable[..., Any], tuple[float, ...]]] = {
    "SGD": (o.SGD, FAST),
    "Momentum": (o.Momentum, MIDDLE),
    "NAG": (o.NAG, MIDDLE),
    "Adagrad": (o.Adagrad, MIDDLE),
    "RMSprop": (o.RMSprop, SLOW),
    "Adadelta": (o.Adadelta, (0.3, 1.0, 3.0, 10.0)),
    "Adam": (o.Adam, MIDDLE),
    "AdamW": (o.AdamW, MIDDLE),
    "Adamax": (o.Adamax, MIDDLE),
    "NAdam": (o.NAdam, MIDDLE),
    "RAdam": (o.RAdam, MIDDLE),
    "Adafactor": (o.Adafactor, MIDDLE),
    "Lion": (o.Lion, SLOW),
    "LAMB": (o.LAMB, SLOW),
    "LARS": (o.LARS, (1.0, 3.0, 10.0, 30.0)),
    "Muon": (o.Muon, SLOW),
    "Rprop, all rows": (o.Rprop, SLOW),
    "L-BFGS, all rows": (partial(o.LBFGS, max_iter=5, line_search_fn="strong_wolfe"), (1.0,)),
}
"""Name -> the optimizer and the rates it tries; the last two see all rows at every step.

L-BFGS passes over them five times a step or more.
"""


def network(device: str) -> Any:
    """64-64-64-10 with tanh, the same weights for every racer; no biases, for Muon takes none."""
    tg.manual_seed(0)
    return nn.Sequential(
        nn.Linear(64, 64, bias=False), nn.Tanh(),
        nn.Linear(64, 64, bias=False), nn.Tanh(),
        nn.Linear(64, 10, bias=False),
    ).to(device)  # fmt: skip


def run(make: Any, rate: float, whole: bool, data: Any, device: str) -> tuple[Any, float]:
    """The loss over all rows after each epoch, and the milliseconds of a step."""
    net = network(device)
    optimizer = make(net.parameters(), lr=rate)
    rows = Batches((data.x, data.y), len(data) if whole else BATCH, rng=0)
    everything = _fit.on(data.x, device), _fit.on(data.y, device)
    losses, spent, taken = [], 0.0, 0
    for _ in range(EPOCHS):
        start = time.perf_counter()
        for x, y in rows:
            optimizer.step(partial(closure, net, optimizer, _fit.on(x, device), _fit.on(y, device)))
            taken += 1
        spent += time.perf_counter() - start
        with tg.no_grad():
            losses.append(float(nn.functional.cross_entropy(net(everything[0]), everything[1])))
    return np.array(losses), 1e3 * spent / taken


def closure(net: Any, optimizer: Any, x: Any, y: Any) -> Any:
    """The loss of a batch, its gradients taken."""
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(net(x), y)
    loss.backward()
    return loss


def main(out: Path | None = None, device: str = "cpu") -> None:
    """Let each run, print them by their last loss and save a picture of the losses."""
    data = load_digits()
    found = {}
    for name, (make, rates) in RACERS.items():
        whole = name.endswith("all rows")
        runs = [(rate, *run(make, rate, whole, data, device)) for rate in rates]
        found[name] = min(runs, key=lambda one: np.nan_to_num(one[1][-1], nan=np.inf))
    order = sorted(found, key=lambda name: float(found[name][1][-1]))
    rows = []
    for name in order:
        rate, losses, each = found[name]
        there = np.flatnonzero(losses < GOAL)
        rows.append((name, f"{rate:g}", f"{losses[0]:.4f}", f"{losses[-1]:.2e}",
                     there[0] + 1 if there.size else "-", f"{each:.2f}"))  # fmt: skip
    _show.table(
        f"Training loss on digits, {EPOCHS} epochs of {BATCH} rows a step",
        ("optimizer", "rate", "after 1", f"after {EPOCHS}", f"epochs to {GOAL}", "ms a step"),
        rows,
    )
    _show.save(picture(found, order), "race", out)


def picture(found: dict[str, Any], order: list[str]) -> Any:
    """The losses over the epochs, cut below the second best; three panels of equal strength."""
    figure, panels = _show.axes(1, 3, (13, 4.6))
    low, high = min(found[order[1]][1]), max(found[name][1][0] for name in order)
    for k, ax in enumerate(panels):
        for name in order[k::3]:
            rate, losses, _ = found[name]
            epochs = np.arange(1, len(losses) + 1)
            ax.semilogy(epochs, losses, "o-", markersize=3, label=f"{name} ({rate:g})")
        ax.set(xlabel="epoch", ylim=(low / 2, high * 2))
        ax.legend(frameon=False, fontsize=9)
    panels[0].set_ylabel("training loss")
    figure.suptitle("Each optimizer at the best of its rates, which the brackets hold")
    return figure
