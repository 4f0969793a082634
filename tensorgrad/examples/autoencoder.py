"""An autoencoder of digits: two numbers an image, drawn as a map, beside PCA."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.data import load_digits, stratified_split
from tensorgrad.examples import _fit, _show
from tensorgrad.models import Autoencoder

EPOCHS, BATCH, RATE = 120, 64, 3e-3
WIDTHS = (64, 128, 64, 2)


def loss(logits: Any, x: Any) -> Any:
    """The mean squared error of sigmoid(logits), as pixels are, from 0 to 1."""
    return nn.functional.mse_loss(tg.sigmoid(logits), x)


def principal(train: Any, x: Any) -> tuple[Any, Any]:
    """Codes along the two principal axes of `train`, and the images rebuilt from them."""
    mean = train.mean(0)
    axes = np.linalg.svd(train - mean, full_matrices=False)[2][:2]
    code = (x - mean) @ axes.T
    return code, mean + code @ axes


def neighbours_agree(code: Any, labels: Any) -> float:
    """The part of the points whose nearest other point is of the same digit."""
    distance = ((code[:, None] - code[None]) ** 2).sum(-1)
    np.fill_diagonal(distance, np.inf)
    return float((labels[distance.argmin(1)] == labels).mean())


def main(out: Path | None = None, device: str = "cpu") -> None:
    """Train, print the errors of both and save a picture of both maps."""
    start = time.perf_counter()
    tg.manual_seed(0)
    data = load_digits()
    train, test = stratified_split(data.y, (0.8, 0.2), 0)
    net = Autoencoder(WIDTHS, nn.Tanh).to(device)
    optimizer = tg.optim.AdamW(net.parameters(), lr=RATE, weight_decay=1e-3)
    schedule = tg.optim.OneCycle(_fit.steps((train,), EPOCHS, BATCH))
    x = data.x[train]
    _fit.fit(net, loss, (x, x), optimizer, EPOCHS, BATCH, schedule, device=device)
    x, labels = data.x[test], data.y[test]
    seconds = time.perf_counter() - start
    code = _fit.outputs(net.encoder, x, device)
    rebuilt = 0.5 + 0.5 * np.tanh(_fit.outputs(net, x, device) / 2)
    flat, flat_rebuilt = principal(data.x[train], x)
    _show.table(
        f"{len(x)} digits not trained on, from two numbers each; {seconds:.1f} s",
        ("", "error a pixel", "nearest point is the same digit"),
        [
            (name, f"{np.sqrt(((made - x) ** 2).mean()):.4f}", f"{neighbours_agree(c, labels):.1%}")
            for name, c, made in (
                ("two principal axes", flat, flat_rebuilt),
                ("autoencoder", code, rebuilt),
            )
        ],
    )
    _show.save(picture(flat, code, labels, (x, flat_rebuilt, rebuilt)), "autoencoder", out)


def picture(flat: Any, code: Any, labels: Any, images: tuple[Any, ...]) -> Any:
    """Both maps, each point its digit; below, one image of each digit and both copies."""
    figure, (left, right, first, second) = _show.axes(2, 2, (11, 6.4), (4, 1))
    for ax, points, title, number in (
        (left, flat, "Two principal axes", "along the {} axis"),
        (right, code, "The code of the autoencoder", "{} number of the code"),
    ):
        for digit in range(10):
            ax.scatter(*points[labels == digit].T, s=28, marker=f"${digit}$", color=f"C{digit}",
                       linewidths=0.2)  # fmt: skip
        ax.set(title=title, xlabel=number.format("first"), ylabel=number.format("second"))
    shown = [np.flatnonzero(labels == digit)[0] for digit in range(10)]
    for ax, rebuilt, title in (
        (first, images[1], "Images, and rebuilt from two principal axes"),
        (second, images[2], "Images, and rebuilt by the autoencoder"),
    ):
        lines = [np.hstack([np.pad(made[k].reshape(8, 8), 1) for k in shown])
                 for made in (images[0], rebuilt)]  # fmt: skip
        ax.imshow(np.vstack(lines), cmap="gray_r", vmin=0, vmax=1)
        ax.set_title(title, fontsize=10)
        ax.set_axis_off()
    return figure
