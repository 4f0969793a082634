"""Small data sets and short runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tensorgrad import train
from tensorgrad.train import job


@pytest.fixture
def blobs(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A CSV file of three well separated classes, 120 rows."""
    label = np.arange(120) % 3
    x = rng.normal(size=(120, 2)) + 5 * np.stack([np.cos(2 * label), np.sin(2 * label)], 1)
    lines = [f"{a:.6f},{b:.6f},{'abc'[k]}" for (a, b), k in zip(x, label)]
    path = tmp_path / "blobs.csv"
    path.write_text("\n".join(["u,v,kind", *lines]) + "\n")
    return path


@pytest.fixture
def fit_drawn(tmp_path: Path) -> Callable[..., train.Result]:
    """A run with a few small settings, in a folder of its own."""
    count = [0]

    def run(report: train.Reporter | None = None, **options: Any) -> train.Result:
        count[0] += 1
        options = {"layers": (8,), "epochs": 3, "out": str(tmp_path / f"run{count[0]}"), **options}
        return train.run(train.Config(**options), report)

    return run


@pytest.fixture
def fit(
    fit_drawn: Callable[..., train.Result], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., train.Result]:
    """The same without curves.svg, which takes longer than a small run."""
    monkeypatch.setattr(job, "draw_curves", lambda history, path: None)
    return fit_drawn
