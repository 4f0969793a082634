"""A hidden layer's activations as features: linear models on pixels and on them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.data import load_digits, stratified_split
from tensorgrad.examples import _fit, _show

EPOCHS, BATCH, RATE, HIDDEN = 30, 32, 3e-3, 64

QUESTIONS: dict[str, tuple[int, ...]] = {
    "even": (0, 2, 4, 6, 8),
    "prime": (2, 3, 5, 7),
    "has a loop": (0, 6, 8, 9),
}
"""Questions that the net was never asked -> the digits whose answer is yes."""


def network() -> Any:
    """64 pixels, a hidden layer with ReLU, ten logits."""
    return nn.Sequential(
        nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10)
    )


def main(out: Path | None = None, device: str = "cpu") -> None:
    """Train on which digit it is, ask linear models more, print and save a picture."""
    start = time.perf_counter()
    tg.manual_seed(0)
    data = load_digits()
    train, test = stratified_split(data.y, (0.8, 0.2), 0)
    net = network().to(device)
    hidden = net[:-1]
    sources = {"pixels": data.x, "untrained layer": _fit.outputs(hidden, data.x, device)}
    optimizer = tg.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.01)
    loss = nn.functional.cross_entropy
    schedule = tg.optim.Cosine(_fit.steps((train,), EPOCHS, BATCH))
    rows = data.x[train], data.y[train]
    _fit.fit(net, loss, rows, optimizer, EPOCHS, BATCH, schedule, device=device)
    sources["trained layer"] = _fit.outputs(hidden, data.x, device)
    answers = {"which digit": data.y}
    for question, yes in QUESTIONS.items():
        answers[question] = np.isin(data.y, yes).astype(np.int64)
    table = []
    for source, x in sources.items():
        scores = [score(x, y, train, test, device) for y in answers.values()]
        table.append((source, *(f"{one:.1%}" for one in scores)))
    seconds = time.perf_counter() - start
    _show.table(
        f"Test accuracy of a linear model on features; {seconds:.1f} s",
        ("features", *answers),
        table,
    )
    _show.save(picture(sources, data.y, train, test), "features", out)


def score(x: Any, y: Any, train: Any, test: Any, device: str) -> float:
    """Test accuracy of a linear model on the columns of x, which training made standard."""
    mean, spread = x[train].mean(0), x[train].std(0) + 1e-2
    x = ((x - mean) / spread).astype(np.float32)
    loss = nn.functional.cross_entropy
    model = _fit.linear(x[train], y[train], loss, int(y.max()) + 1, device)
    return _fit.accuracy(model, x[test], y[test], device)


def parting(x: Any, y: Any) -> Any:
    """The two axes along which the digits lie apart most, in units of their own spread (Fisher)."""
    means = np.stack([x[y == digit].mean(0) for digit in range(10)])
    within = np.cov((x - means[y]).T) + 1e-2 * np.var(x) * np.eye(x.shape[1])
    white = np.linalg.inv(np.linalg.cholesky(within)).T
    return white @ np.linalg.svd((means - means.mean(0)) @ white, full_matrices=False)[2][:2].T


def picture(sources: dict[str, Any], y: Any, train: Any, test: Any) -> Any:
    """The test digits along the two axes that part those of the training most."""
    figure, panels = _show.axes(1, len(sources), (4.4 * len(sources), 4.3))
    for ax, (name, x) in zip(panels, sources.items()):
        points = x[test] @ parting(x[train], y[train])
        for digit in range(10):
            ax.scatter(*points[y[test] == digit].T, s=12, color=f"C{digit}", label=str(digit))
        ax.set_title(name)
        ax.set(xticks=[], yticks=[])
    figure.suptitle("Test digits along the two axes that part those of the training most")
    panels[-1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
