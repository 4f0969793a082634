"""Several labels for one image: even, prime, with a loop, five or up."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.data import load_digits, stratified_split
from tensorgrad.examples import _fit, _show

EPOCHS, BATCH, RATE = 40, 32, 3e-3

LABELS: dict[str, tuple[int, ...]] = {
    "even": (0, 2, 4, 6, 8),
    "prime": (2, 3, 5, 7),
    "has a loop": (0, 6, 8, 9),
    "five or up": (5, 6, 7, 8, 9),
}
"""Label -> the digits that carry it; 1 carries none, 8 three of them."""


def network() -> Any:
    """64 pixels, two hidden layers, one logit a label."""
    return nn.Sequential(
        nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(64, len(LABELS)),
    )  # fmt: skip


def main(out: Path | None = None, device: str = "cpu") -> None:
    """Train a linear model and a net, print their scores and save a picture of some answers."""
    start = time.perf_counter()
    tg.manual_seed(0)
    data = load_digits()
    train, test = stratified_split(data.y, (0.8, 0.2), 0)
    y = np.stack([np.isin(data.y, digits) for digits in LABELS.values()], 1).astype(np.float32)
    loss = nn.functional.binary_cross_entropy_with_logits
    straight = _fit.linear(data.x[train], y[train], loss, len(LABELS), device)
    net = network().to(device)
    optimizer = tg.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.01)
    schedule = tg.optim.Cosine(_fit.steps((train,), EPOCHS, BATCH))
    rows = data.x[train], y[train]
    _fit.fit(net, loss, rows, optimizer, EPOCHS, BATCH, schedule, device=device)
    x, wanted = data.x[test], y[test] > 0.5
    logits = _fit.outputs(net, x, device)
    models = {"linear": _fit.outputs(straight, x, device), "network": logits}
    seconds = time.perf_counter() - start
    _show.table(
        f"{len(LABELS)} labels, {len(test)} digits held out; {seconds:.1f} s",
        ("model", *LABELS, "all right", "F1"),
        [(name, *scores(found > 0, wanted)) for name, found in models.items()],
    )
    _show.save(picture(x, wanted, 0.5 + 0.5 * np.tanh(logits / 2), data.y[test]), "multilabel", out)


def scores(found: Any, wanted: Any) -> list[str]:
    """Accuracy label by label, of all labels at once, and F1 over every answer."""
    right = found == wanted
    f1 = 2 * (found & wanted).sum() / (found.sum() + wanted.sum())
    return [f"{one:.1%}" for one in (*right.mean(0), right.all(1).mean())] + [f"{f1:.3f}"]


def picture(x: Any, wanted: Any, p: Any, digits: Any) -> Any:
    """The hardest image of each digit and the probability of each label, orange where right."""
    doubt = np.abs(wanted - p).max(1)
    figure, panels = _show.axes(2, 10, (13, 3.6), (1.3, 1))
    for digit, (image, bars) in enumerate(zip(panels[:10], panels[10:])):
        k = np.where(digits == digit, doubt, -1).argmax()
        image.imshow(x[k].reshape(8, 8), cmap="gray_r")
        image.set_axis_off()
        image.set_title(str(digit))
        colours = [_show.ORANGE if right else "0.7" for right in wanted[k]]
        bars.barh(range(len(LABELS)), p[k], color=colours)
        bars.set(xlim=(0, 1), xticks=[0, 1], yticks=range(len(LABELS)))
        bars.set_yticklabels(list(LABELS) if digit == 0 else [])
        bars.invert_yaxis()
        bars.set_axisbelow(True)
    figure.suptitle(
        "The hardest of each digit: the probability of each label, orange where it holds"
    )
    return figure
