"""Where a net decides, and how each of its layers bends the plane."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.data import circle, gauss, spiral, xor
from tensorgrad.examples import _fit, _show

POINTS, BATCH, RATE = 400, 32, 1e-2
CASES: dict[str, tuple[Any, tuple[int, ...], int]] = {
    "gauss": (gauss, (2,), 20),
    "circle": (circle, (4, 2), 60),
    "xor": (xor, (4, 2), 60),
    "spiral": (spiral, (24, 24, 2), 250),
}
"""Name -> the data, the widths of the hidden layers, the epochs."""


def network(widths: tuple[int, ...]) -> Any:
    """Tanh layers of these widths on two inputs, and one logit; a line without any."""
    sizes = (2, *widths)
    found = [
        nn.Sequential(nn.Linear(inputs, outputs), nn.Tanh())
        for inputs, outputs in zip(sizes, widths)
    ]
    return nn.Sequential(*found, nn.Linear(sizes[-1], 1))


def loss(logits: Any, y: Any) -> Any:
    """Binary cross-entropy of (N, 1) logits and classes 0 and 1."""
    return nn.functional.binary_cross_entropy_with_logits(logits[:, 0], y.astype(np.float32))


def best(make: Any, x: Any, y: Any, epochs: int, device: str, starts: int = 3) -> tuple[Any, float]:
    """The best of some starts, for a narrow net can be caught; (net, its accuracy)."""
    found: tuple[Any, float] = (None, -1.0)
    for _ in range(starts):
        net = make().to(device)
        optimizer = tg.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.05)
        cosine = tg.optim.Cosine(_fit.steps((x,), epochs, BATCH))
        _fit.fit(net, loss, (x, y), optimizer, epochs, BATCH, cosine, device=device)
        right = float(((_fit.outputs(net, x, device)[:, 0] > 0) == y).mean())
        if right > found[1]:
            found = net, right
        if right > 0.99:
            break
    return found


def main(out: Path | None = None, device: str = "cpu") -> None:
    """Train on each set of points, print accuracies and save a picture of every layer."""
    tg.manual_seed(0)
    rows, drawn = [], []
    for name, (make, widths, epochs) in CASES.items():
        start = time.perf_counter()
        data = make(POINTS)
        x = data.x.astype(np.float32)
        straight = best(partial(network, ()), x, data.y, 20, device, 1)[1]
        net, right = best(partial(network, widths), x, data.y, epochs, device)
        seconds = time.perf_counter() - start
        shape = "-".join(map(str, (2, *widths, 1)))
        rows.append((name, f"{straight:.1%}", shape, f"{right:.1%}", f"{seconds:.1f}"))
        drawn.append((name, shape, net, x, data.y))
    _show.table(
        f"{POINTS} points of the plane",
        ("data", "a straight line", "network", "its accuracy", "seconds"),
        rows,
    )
    _show.save(picture(drawn, device), "bends", out)


def picture(drawn: list[Any], device: str) -> Any:
    """One row a set: the decision, then the grid and the points behind each hidden layer."""
    depth = max(len(net) for _, _, net, _, _ in drawn)
    figure, panels = _show.axes(len(drawn), depth, (3.1 * depth, 3.0 * len(drawn)))
    for row, (name, shape, net, x, y) in zip(panels.reshape(-1, depth), drawn):
        decision(row[0], net, x, y, device)
        row[0].set_title(f"{name}, {shape}", fontsize=10)
        for k, ax in enumerate(row[1:], 1):
            if k < len(net):
                warp(ax, net[:k], x, y, device)
                plane = ", its main plane" if net[k - 1][0].out_features > 2 else ""
                ax.set_title(f"behind hidden layer {k}{plane}", fontsize=10)
            else:
                ax.set_axis_off()
    return figure


def decision(ax: Any, net: Any, x: Any, y: Any, device: str) -> None:
    """The probability of class 1 over the plane, the boundary and the points."""
    reach = 1.1 * np.abs(x).max()
    line = np.linspace(-reach, reach, 121, dtype=np.float32)
    plane = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    logit = _fit.outputs(net, plane, device).reshape(121, 121)
    p = 0.5 + 0.5 * np.tanh(logit / 2)
    ax.contourf(line, line, p, np.linspace(0, 1, 21), cmap=_show.blend(), alpha=0.4)
    ax.contour(line, line, p, [0.5], colors="0.2", linewidths=1.2)
    dots(ax, x, y)
    ax.set_aspect("equal")


def warp(ax: Any, layers: Any, x: Any, y: Any, device: str) -> None:
    """Lines of the plane and the points behind `layers`; of more than two units, the main plane."""
    reach = np.abs(x).max()
    across, along = np.linspace(-reach, reach, 13), np.linspace(-reach, reach, 60)
    upright = np.stack(np.meshgrid(across, along, indexing="ij"), -1)
    lines = np.concatenate([upright, upright[..., ::-1]]).astype(np.float32)
    points = _fit.outputs(layers, x, device)
    bent = _fit.outputs(layers, lines.reshape(-1, 2), device)
    if points.shape[1] > 2:
        mean = points.mean(0)
        axes = np.linalg.svd(points - mean, full_matrices=False)[2][:2].T
        points, bent = (points - mean) @ axes, (bent - mean) @ axes
    for line in bent.reshape(-1, len(along), 2):
        ax.plot(*line.T, color="0.7", linewidth=0.6, zorder=0)
    dots(ax, points, y)
    ax.locator_params(nbins=5)
    ax.grid(False)


def dots(ax: Any, points: Any, y: Any) -> None:
    """The points, their class a colour."""
    for label, colour in ((0, _show.BLUE), (1, _show.ORANGE)):
        ax.scatter(*points[y == label].T, s=9, color=colour, edgecolors="white", linewidths=0.3)
