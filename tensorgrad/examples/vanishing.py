"""Gradients that vanish with depth, and what keeps them alive."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.data import load_digits, stratified_split
from tensorgrad.examples import _fit, _show

DEPTH, WIDTH = 20, 64
EPOCHS, BATCH, RATE = 10, 32, 1e-3


class Net(nn.Module):
    """A linear layer, `depth` hidden blocks, and ten logits.

    `start` fills the weights of the blocks, whose biases are 0; with `residual` each block is added
    to its input.
    """

    def __init__(
        self, activation: Any, start: Callable[[Any], Any], depth: int, norm: bool = False,
        residual: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.first, self.last = nn.Linear(64, WIDTH), nn.Linear(WIDTH, 10)
        self.blocks = nn.ModuleList()
        self.residual = residual
        for _ in range(depth):
            linear = nn.Linear(WIDTH, WIDTH)
            start(linear.weight)
            nn.init.zeros_(linear.bias)
            parts: list[Any] = [linear, nn.LayerNorm(WIDTH)] if norm else [linear]
            self.blocks.append(nn.Sequential(*parts, activation()))

    def forward(self, x: Any) -> Any:
        h = self.first(x)
        for block in self.blocks:
            h = h + block(h) if self.residual else block(h)
        return self.last(h)


small = partial(nn.init.normal_, std=0.05)
he = partial(nn.init.kaiming_normal_, nonlinearity="relu")
xavier = nn.init.xavier_normal_

large = partial(nn.init.normal_, std=0.4)

NETS: dict[str, Callable[[int], Any]] = {
    "sigmoid, Xavier": partial(Net, nn.Sigmoid, xavier),
    "tanh, too small": partial(Net, nn.Tanh, small),
    "ReLU, too large": partial(Net, nn.ReLU, large),
    "tanh, Xavier": partial(Net, nn.Tanh, xavier),
    "ReLU, He": partial(Net, nn.ReLU, he),
    "sigmoid, residual": partial(Net, nn.Sigmoid, xavier, residual=True),
    "too small, residual": partial(Net, nn.Tanh, small, residual=True),
    "too large, layer norm": partial(Net, nn.ReLU, large, norm=True),
}
"""Name -> a net of a depth: three that are ill, and cures."""


def norms(net: Any, x: Any, y: Any, device: str) -> Any:
    """The norm of the loss's gradient in the weights of each block, from the input on."""
    nn.functional.cross_entropy(net(_fit.on(x, device)), _fit.on(y, device)).backward()
    weights = [block[0].weight for block in net.blocks]
    return np.array([float(np.linalg.norm(weight.grad.numpy())) for weight in weights])


def main(out: Path | None = None, device: str = "cpu") -> None:
    """Measure and train each net, print a table and save a picture of the gradients by depth."""
    data = load_digits()
    train, test = stratified_split(data.y, (0.8, 0.2), 0)
    x, y = data.x[train], data.y[train]
    rows, measured = [], {}
    for name, make in NETS.items():
        tg.manual_seed(0)
        net = make(DEPTH).to(device)
        measured[name] = found = norms(net, x[:256], y[:256], device)
        optimizer = tg.optim.Adam(net.parameters(), lr=RATE)
        loss = nn.functional.cross_entropy
        after = _fit.fit(net, loss, (x, y), optimizer, EPOCHS, BATCH, device=device)[-1]
        right = _fit.accuracy(net, data.x[test], data.y[test], device)
        rows.append((
            name, f"{found[0]:.1e}", f"{found[-1]:.1e}", f"{after:.3f}", f"{right:.1%}",
        ))  # fmt: skip
    _show.table(
        f"{DEPTH} hidden layers of {WIDTH} units on digits, Adam, {EPOCHS} epochs",
        ("net", "first gradient", "last", "loss", "test accuracy"),
        rows,
    )
    _show.save(picture(measured), "vanishing", out)


def picture(measured: dict[str, Any]) -> Any:
    """The gradient's norm over the layers before the first step, the ill left, the cured right."""
    figure, panels = _show.axes(1, 2, (11, 4.6))
    names = list(measured)
    low = min(found.min() for found in measured.values())
    high = max(found.max() for found in measured.values())
    for ax, part, title in zip(panels, (names[:3], names[3:]), ("Vanishing, exploding", "Cured")):
        for name in part:
            depth = np.arange(1, len(measured[name]) + 1)
            ax.semilogy(depth, measured[name], "o-", markersize=3.5, label=name)
        ax.set(
            xlabel="hidden layer, from the input", ylabel="norm of its weights' gradient",
            title=title, ylim=(low / 3, high * 3), xticks=[1, 5, 10, 15, 20],
        )  # fmt: skip
        ax.legend(frameon=False)
    return figure
