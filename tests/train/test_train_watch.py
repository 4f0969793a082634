"""Warnings: equal weights, vanishing and exploding gradients, over- and underfitting."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tensorgrad import train
from tensorgrad.train.watch import gradient_warnings, verdict

Fit = Callable[..., train.Result]


def record(epoch: int, *norms: float) -> dict[str, Any]:
    return {"epoch": epoch, "grad_norm": {f"linear{k}": n for k, n in enumerate(norms, 1)}}


@pytest.mark.parametrize(
    ("history", "keys"),
    [
        ([record(1, 1.0, 2.0, 1.5)], []),
        ([record(1, 0.0, 0.0)], []),
        ([record(1, 1e-5, 0.1, 1.0)], ["vanishing linear1"]),
        ([record(1, 0.0, 0.5)], ["vanishing linear1"]),
        ([record(1, 10.0, 2000.0)], ["exploding linear2"]),
        ([record(1, 1e-3, 1e-3), record(2, 3.0, 0.5)], ["exploding linear1"]),
    ],
)
def test_gradients_are_named_by_layer(history: list[dict[str, Any]], keys: list[str]) -> None:
    assert [key for key, _ in gradient_warnings(history)] == keys


@pytest.mark.parametrize(
    ("values", "starts"),
    [
        (("accuracy", 1.0, 0.98, 0.1), None),
        (("accuracy", 0.9, 0.85, 0.1), None),
        (("accuracy", 1.0, 0.7, 0.1), "overfitting: training accuracy 100.00 %, validation"),
        (("accuracy", 0.3, 0.28, 0.1), "underfitting: training accuracy 30.00 %, validation"),
        (("accuracy", 0.95, 0.94, 0.9), "underfitting"),
        (("r2", 0.99, 0.5, 0.0), "overfitting: training r2 0.9900"),
        (("r2", 0.2, 0.1, 0.0), "underfitting"),
    ],
)
def test_the_fit(values: tuple[str, float, float, float], starts: str | None) -> None:
    found = verdict(*values, best_epoch=7)
    assert found is None if starts is None else (found or "").startswith(starts)


def warned(found: train.Result, word: str) -> list[str]:
    return [text for text in found.summary["warnings"] if text.startswith(word)]


def test_zero_weights(blobs: Path, fit: Fit, capsys: pytest.CaptureFixture[str]) -> None:
    fit(data=str(blobs), target="kind", init="zeros", epochs=2)
    assert (
        "warning: all weights of linear1 are zero: every unit of it learns the same; "
        "try --init auto\n"
    ) in capsys.readouterr().err


def test_a_linear_model_may_start_at_zero(blobs: Path, fit: Fit) -> None:
    found = fit(data=str(blobs), target="kind", init="zeros", layers=(), epochs=40, lr=0.1)
    assert found.summary["test_accuracy"] == 1.0
    assert found.summary["warnings"] == []


def test_a_deep_sigmoid_net_vanishes_and_underfits(blobs: Path, fit: Fit) -> None:
    deep = fit(data=str(blobs), target="kind", layers=(8,) * 8, activation="sigmoid")
    assert any("linear1" in text for text in warned(deep, "vanishing"))
    assert warned(deep, "underfitting")


def test_large_weights_explode(tmp_path: Path, rng: np.random.Generator, fit: Fit) -> None:
    x = rng.normal(size=(80, 5))
    np.savez(tmp_path / "d.npz", x=x, y=x.sum(1))
    found = fit(data=str(tmp_path / "d.npz"), layers=(80, 80, 80), init="normal", lr=1e-9)
    assert [text.split()[3] for text in warned(found, "exploding")] == [
        "linear1",
        "linear2",
        "linear3",
        "linear4",
    ]


def test_noise_overfits(tmp_path: Path, rng: np.random.Generator, fit: Fit) -> None:
    # more features than rows: one epoch knows every row by heart
    np.savez(tmp_path / "d.npz", x=rng.normal(size=(200, 300)), y=np.arange(200) % 2)
    data = str(tmp_path / "d.npz")
    found = fit(data=data, layers=(64,), lr=0.01, batch_size=4, split=(0.4, 0.4, 0.2))
    assert warned(found, "overfitting")


def test_a_good_fit_is_not_warned_about(blobs: Path, fit: Fit) -> None:
    found = fit(data=str(blobs), target="kind", epochs=40, lr=0.02)
    assert found.summary["warnings"] == []
