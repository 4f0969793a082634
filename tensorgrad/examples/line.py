"""A line fitted by full-batch descent, beside the least-squares solution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.examples import _show

RATE, SMALL = 0.01, 1e-5

x = np.arange(1.0, 21.0)
y = 0.6 * x + 3 + np.random.default_rng(0).normal(0, 1, x.size)
columns = np.column_stack([x, np.ones(x.size)])


def cost(theta: Any, columns: Any = columns, y: Any = y) -> Any:
    """(1/2m) ||X θ - y||², θ = (k, b), X with a column of ones."""
    return np.sum((columns @ theta - y) ** 2) / (2 * x.size)


def descend(device: str = "cpu") -> tuple[list[Any], Any]:
    """Every θ on the way and its cost, from (0, 0) until both slopes are below 1e-5."""
    step = tg.value_and_grad(cost)
    theta, *data = (_show.placed(a, device) for a in (np.zeros(2), columns, y))
    thetas, costs = [], []
    while True:
        value, gradient = step(theta, *data)
        thetas.append(np.asarray(theta))
        costs.append(float(value))
        if (np.abs(gradient) < SMALL).all():
            return thetas, np.array(costs)
        theta = theta - RATE * gradient


def main(out: Path | None = None, device: str = "cpu") -> None:
    """Print the descent and the least-squares solution and save a picture of both."""
    thetas, costs = descend(device)
    last = len(thetas) - 1
    shown = [k for k in (0, 1, 10, 100, 1000) if k < last] + [last]
    exact = np.linalg.lstsq(columns, y, rcond=None)[0]
    rows = [
        (str(k), f"{thetas[k][0]:.6f}", f"{thetas[k][1]:.6f}", f"{costs[k]:.6f}") for k in shown
    ]
    rows.append(("least squares", f"{exact[0]:.6f}", f"{exact[1]:.6f}", f"{cost(exact):.6f}"))
    _show.table(f"y = k x + b, step {RATE}", ("steps", "k", "b", "cost"), rows)
    _show.save(picture(thetas, costs - cost(exact), shown), "line", out)


def picture(thetas: list[Any], excess: Any, shown: list[int]) -> Any:
    """Left the data and the line after some steps, right the cost above its least value."""
    figure, (data, descent) = _show.axes(1, 2, (10, 4))
    data.scatter(x, y, color=_show.BLUE, s=22, zorder=3, label="data")
    for k in shown[1:]:
        strength = 0.2 + 0.8 * np.log1p(k) / np.log1p(shown[-1])
        data.plot(x, columns @ thetas[k], color=_show.ORANGE, alpha=strength,
                  label=f"after {k:,} step{'s' * (k > 1)}")  # fmt: skip
    data.set(xlabel="x", ylabel="y", title="Data and fit")
    data.legend(frameon=False)
    data.set_xticks([1, 5, 10, 15, 20])
    descent.loglog(np.arange(1, excess.size), excess[1:], color=_show.ORANGE)
    descent.set(xlabel="step", ylabel="cost - least cost", title="Descent")
    return figure
