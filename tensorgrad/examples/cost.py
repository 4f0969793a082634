"""What a gradient costs: one reverse pass, or a forward pass for each parameter."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.examples import _show

WIDTH, ROWS, DEPTHS = 4, 1024, (1, 2, 4, 8, 16, 32)
BUDGET = 0.25  # seconds

x = np.random.default_rng(0).standard_normal((ROWS, WIDTH))


def loss(weights: Any, x: Any = x) -> Any:
    """Σ h² / 2, h the output of tanh layers one after the other."""
    h = x
    for weight in weights:
        h = np.tanh(h @ weight)
    return np.sum(h * h) / 2


def reverse(weights: Any, x: Any = x) -> Any:
    """The gradient by reverse mode: one pass forward, one back."""
    return tg.grad(loss)(weights, x)


def forward(weights: Any, x: Any = x, device: str = "cpu") -> Any:
    """The gradient by forward mode: one pass for every parameter, each along its own axis."""
    gradient = np.zeros((len(weights), WIDTH, WIDTH))
    for place in np.ndindex(gradient.shape):
        axis = np.zeros_like(gradient)
        axis[place] = 1.0
        tangents = [_show.placed(a, device) for a in axis]
        slope = tg.jvp(lambda weights: loss(weights, x), (weights,), (tangents,))[1]
        gradient[place] = float(slope)
    return gradient


def seconds(f: Callable[[], Any], device: str) -> float:
    """The quickest of ten runs, of as many as a quarter of a second holds; of two at least.

    The first compiles.
    """
    f()
    times: list[float] = []
    while not times or (len(times) < 9 and sum(times) < BUDGET):
        start = time.perf_counter()
        f()
        if device != "cpu":
            tg.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times)


def main(out: Path | None = None, device: str = "cpu") -> None:
    """Measure both as the network deepens, print a table and save a picture."""
    rng = np.random.default_rng(0)
    rows, measured = _show.placed(x, device), []
    for depth in DEPTHS:
        weights = [_show.placed(w, device) for w in rng.normal(0, 0.7, (depth, WIDTH, WIDTH))]
        ways: tuple[Callable[[], Any], ...] = (
            partial(loss, weights, rows),
            partial(reverse, weights, rows),
            partial(forward, weights, rows, device),
        )
        value, back, ahead = (seconds(way, device) for way in ways)
        measured.append((depth, depth * WIDTH**2, value, back, ahead))
    _show.table(
        f"Gradients of a network of {WIDTH}-unit layers, milliseconds",
        ("depth", "parameters", "loss", "reverse", "forward", "forward / reverse"),
        [
            (depth, n, *(f"{1e3 * t:.3f}" for t in (value, back, ahead)), f"{ahead / back:.0f}")
            for depth, n, value, back, ahead in measured
        ],
    )
    _show.save(picture(measured), "cost", out)


def picture(measured: list[tuple[int, int, float, float, float]]) -> Any:
    """Both costs over depth, in units of one evaluation of the loss."""
    figure, (ax,) = _show.axes(1, 1, (7, 4.5))
    depth, parameters, value, back, ahead = (np.array(c) for c in zip(*measured))
    ax.loglog(depth, ahead / value, "o-", color=_show.ORANGE, label="forward mode")
    ax.loglog(depth, back / value, "o-", color=_show.BLUE, label="reverse mode")
    ax.set_xticks(depth, [f"{d}\n{n}" for d, n in zip(depth, parameters)])
    ax.minorticks_off()
    ax.set(
        xlabel="depth\nparameters", ylabel="gradient / one evaluation of the loss",
        title="The cost of a gradient as the network deepens",
    )  # fmt: skip
    ax.legend(frameon=False)
    return figure
