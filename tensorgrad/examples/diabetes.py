"""Regression on scikit-learn's diabetes data: nets beside a straight line."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.examples import _fit, _show

FOLDS, NETS, EPOCHS, BATCH, RATE, DECAY = 5, 5, 30, 32, 5e-3, 0.3


def load() -> tuple[Any, Any, list[str]]:
    """Ten standard measures of 442 patients, the disease's progress a year on, and the names.

    Efron, Hastie, Johnstone, Tibshirani, "Least angle regression", Annals of Statistics, 2004.
    Raises `DataError` where scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_diabetes  # an extra
    except ImportError as cause:
        raise tg.DataError(
            "diabetes: got no scikit-learn, expected it to be installed; "
            "try pip install 'tensorgrad[train]'"
        ) from cause
    bunch = load_diabetes(scaled=False)
    return bunch.data, bunch.target, list(bunch.feature_names)


class Net(nn.Module):
    """A linear model plus what a small hidden layer adds to it."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.line = nn.Linear(features, 1)
        self.bend = nn.Sequential(
            nn.Linear(features, 16), nn.SiLU(), nn.Dropout(0.2), nn.Linear(16, 1)
        )

    def forward(self, x: Any) -> Any:
        return (self.line(x) + self.bend(x))[:, 0]


def least_squares(x: Any, y: Any, new: Any, device: str = "cpu") -> Any:
    """The straight line, y standard: its mean is 0."""
    return new @ np.linalg.lstsq(x, y, rcond=None)[0]


def networks(x: Any, y: Any, new: Any, device: str = "cpu") -> Any:
    """The mean of some nets that Huber's loss trained."""
    made = []
    for _ in range(NETS):
        net = Net(x.shape[1]).to(device)
        optimizer = tg.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
        cosine = tg.optim.Cosine(_fit.steps((x,), EPOCHS, BATCH))
        loss = nn.functional.huber_loss
        _fit.fit(net, loss, (x, y), optimizer, EPOCHS, BATCH, cosine, device=device)
        made.append(_fit.outputs(net, new, device))
    return np.mean(made, 0)


def held_out(model: Any, x: Any, y: Any, device: str) -> Any:
    """What a model says of every patient, each time fitted on the other folds."""
    fold = np.random.default_rng(0).permutation(len(x)) % FOLDS
    found = np.empty(len(x))
    for k in range(FOLDS):
        train = fold != k
        mean, spread = x[train].mean(0), x[train].std(0)
        centre, scale = y[train].mean(), y[train].std()
        z = ((x - mean) / spread).astype(np.float32)
        target = ((y[train] - centre) / scale).astype(np.float32)
        found[~train] = centre + scale * model(z[train], target, z[~train], device)
    return found


def main(out: Path | None = None, device: str = "cpu") -> None:
    """Cross-validate both, print their errors and save a picture of what they say."""
    tg.manual_seed(0)
    x, y, names = load()
    rows = [("the mean", *errors(np.full(len(y), y.mean()), y), "")]
    found = {}
    for name, model in (("least squares", least_squares), ("networks", networks)):
        start = time.perf_counter()
        found[name] = held_out(model, x, y, device)
        seconds = time.perf_counter() - start
        rows.append((name, *errors(found[name], y), f"{seconds:.1f}"))
    _show.table(
        f"{len(x)} patients, {len(names)} measures, {FOLDS} folds",
        ("model", "root mean squared error", "mean absolute", "R²", "seconds"),
        rows,
    )
    _show.save(picture(found, y), "diabetes", out)


def errors(found: Any, y: Any) -> tuple[str, str, str]:
    """Root mean squared, mean absolute, and the part of the variance that is explained."""
    error = found - y
    explained = 1 - (error**2).mean() / y.var()
    return f"{np.sqrt((error**2).mean()):.2f}", f"{np.abs(error).mean():.2f}", f"{explained:.3f}"


def picture(found: dict[str, Any], y: Any) -> Any:
    """What came, over what each model predicted of patients that it was not fitted on."""
    figure, panels = _show.axes(1, len(found), (9.5, 4.6))
    for ax, (name, said) in zip(panels, found.items()):
        ax.scatter(said, y, s=12, color=_show.BLUE, alpha=0.6)
        ax.plot([25, 346], [25, 346], color=_show.ORANGE, label="predicted = measured")
        ax.set(title=name, xlabel="predicted", xlim=(0, 350))
    panels[0].set_ylabel("progress of the disease, measured")
    panels[0].legend(frameon=False, loc="lower right")
    return figure
