"""A convolutional net reads handwritten digits; --seeds 10 for the spread."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.data import load_digits, stratified_split
from tensorgrad.examples import _fit, _show

EPOCHS, BATCH, RATE = 20, 64, 4e-3


def block(channels: int, out: int) -> list[Any]:
    """A 3 x 3 convolution that keeps the size, batch norm and ReLU."""
    return [
        nn.Conv2d(channels, out, 3, padding=1, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(),
    ]


def network() -> Any:
    """(N, 1, 8, 8) pixels to (N, 10) logits: 32 channels at 8 x 8, 64 at 4 x 4, 21,000 weights."""
    return nn.Sequential(
        *block(1, 32), nn.MaxPool2d(2),
        *block(32, 64), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 4, 10),
    )  # fmt: skip


def shifted(x: Any, rng: Any) -> Any:
    """Each image moved by at most one pixel along each axis; what comes in is 0."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    down, right = rng.integers(0, 3, (2, len(x)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (8, 8), (2, 3))
    return windows[np.arange(len(x)), :, down, right]


def run(seed: int, device: str = "cpu") -> tuple[Any, Any, Any, Any]:
    """Train on four fifths of the digits; (losses, test images, test labels, logits)."""
    tg.manual_seed(seed)
    data, rng = load_digits(), np.random.default_rng(seed)
    train, test = stratified_split(data.y, (0.8, 0.2), rng)
    x = data.x.reshape(-1, 1, 8, 8)
    net = network().to(device)
    optimizer = tg.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.01)
    schedule = tg.optim.OneCycle(_fit.steps((train,), EPOCHS, BATCH))
    losses = _fit.fit(
        net, nn.functional.cross_entropy, (x[train], data.y[train]), optimizer, EPOCHS, BATCH,
        schedule, lambda batch: shifted(batch, rng), device,
    )  # fmt: skip
    return losses, x[test], data.y[test], _fit.outputs(net, x[test], device)


def main(out: Path | None = None, device: str = "cpu", seeds: int = 1) -> None:
    """Train from each seed, print accuracies and save a picture of what was misread."""
    rows: list[tuple[Any, ...]] = []
    accuracies = []
    for seed in range(seeds):
        start = time.perf_counter()
        losses, x, y, logits = run(seed, device)
        seconds = time.perf_counter() - start
        accuracies.append((logits.argmax(1) == y).mean())
        rows.append((seed, f"{losses[-1]:.4f}", f"{accuracies[-1]:.2%}", f"{seconds:.1f}"))
    if seeds > 1:
        rows.append(("mean", "", f"{np.mean(accuracies):.2%}", ""))
        rows.append(("worst", "", f"{np.min(accuracies):.2%}", ""))
    _show.table(
        f"Digits, {len(y)} held out for the test, {EPOCHS} epochs",
        ("seed", "training loss", "test accuracy", "seconds"),
        rows,
    )
    _show.save(picture(x, y, logits), "cnn", out)


def picture(x: Any, y: Any, logits: Any) -> Any:
    """The twelve test images whose right digit got the least probability, and what was read."""
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    right = shifted[np.arange(len(y)), y] / shifted.sum(1)
    figure, panels = _show.axes(2, 6, (9, 3.8))
    for ax, k in zip(panels, np.argsort(right)):
        ax.imshow(x[k, 0], cmap="gray_r")
        ax.set_axis_off()
        read = logits[k].argmax()
        ax.set_title(f"{y[k]} read as {read}\np({y[k]}) = {right[k]:.2f}", fontsize=9,
                     color=_show.RED if read != y[k] else "0.3")  # fmt: skip
    figure.suptitle("The hardest digits of the test")
    return figure
