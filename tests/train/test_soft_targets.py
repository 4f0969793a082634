"""Targets that are the probabilities of the classes: read, split, trained on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import train
from tensorgrad.data import load, split_dataset
from tensorgrad.train import job
from tensorgrad.train.objective import objective, shaped

Array = np.ndarray[Any, Any]


def mixed(rng: np.random.Generator, rows: int = 120) -> tuple[Array, Array]:
    """Points between three corners, and how much each has of them."""
    corners = 5 * np.stack([np.cos([0, 2, 4]), np.sin([0, 2, 4])], 1)
    y = rng.dirichlet([0.3, 0.3, 0.3], rows).round(6)
    y[:, -1] = 1 - y[:, :-1].sum(1)
    return y @ corners + 0.1 * rng.normal(size=(rows, 2)), np.maximum(y, 0)


@pytest.fixture
def soft(tmp_path: Path, rng: np.random.Generator) -> Path:
    x, y = mixed(rng)
    path = tmp_path / "soft.npz"
    np.savez(path, x=x, y=y, classes=np.array(["red", "green", "blue"]))
    return path


def test_a_table_and_arrays(soft: Path, tmp_path: Path) -> None:
    data = load(soft, task="classification")
    assert (data.y.shape, data.y.dtype, data.outputs) == ((120, 3), np.float64, 3)
    assert data.classes == ("red", "green", "blue")
    assert load(soft).task == "regression"
    table = tmp_path / "soft.csv"
    rows = [",".join(f"{v:.4f}" for v in (*a, *b)) for a, b in zip(data.x, data.y)]
    table.write_text("\n".join(["u,v,red,green,blue", *rows]) + "\n")
    read = load(table, "red,green,blue", "classification")
    assert read.classes == data.classes
    np.testing.assert_allclose(read.y, data.y, atol=1e-4)
    hard = load(table, "red,green,blue")
    assert (hard.task, hard.y.dtype) == ("regression", np.float64)


def test_parts_have_the_likeliest_classes_in_proportion(soft: Path) -> None:
    data = load(soft, task="classification")
    shares = np.bincount(data.y.argmax(1), minlength=3) / len(data)
    for part in split_dataset(data, (0.5, 0.25, 0.25), 0):
        counts = np.bincount(part.y.argmax(1), minlength=3)
        assert (abs(counts - len(part) * shares) < 1.5).all()


def test_loss_and_score(rng: np.random.Generator) -> None:
    x, y = mixed(rng, 20)
    x = rng.normal(size=(20, 3))
    log = x - np.log(np.exp(x).sum(1, keepdims=True))
    for smoothing in (0.0, 0.2):
        goal = objective("classification", train.Config(label_smoothing=smoothing))
        t = shaped("classification", y, "float64")
        expected = -((1 - smoothing) * t + smoothing / 3) * log
        assert goal.loss(tg.tensor(x), tg.tensor(t)).item() == pytest.approx(expected.sum(1).mean())
    hits = np.count_nonzero(x.argmax(1) == y.argmax(1))
    assert goal.points(x, t) == goal.points(tg.tensor(x), tg.tensor(t)) == hits
    assert goal.score(hits, goal.part(x, t).spread) == hits / 20


@pytest.mark.parametrize("amp", [None, "float16"])
def test_a_run(
    soft: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, amp: str | None
) -> None:
    monkeypatch.setattr(job, "draw_curves", lambda history, path: None)
    config = train.Config(
        data=str(soft), task="classification", layers=(16,), epochs=60, lr=0.03, amp=amp,
        label_smoothing=None if amp else 0.05, out=str(tmp_path / "run"),
    )  # fmt: skip
    found = train.run(config)
    y = load(soft, task="classification").y
    entropy = -(y * np.log(np.maximum(y, 1e-12))).sum(1).mean()
    assert found.summary["test_accuracy"] > 0.8
    assert found.summary["val_loss"] < 2.5 * entropy + 0.2 < 2 * math.log(3)
    assert found.confusion is not None
    assert found.confusion.sum() == found.summary["test_rows"]
    again = train.resume(found.folder)
    assert again.summary["test_loss"] == found.summary["test_loss"]


def test_hard_test_labels_beside_soft_ones(tmp_path: Path, rng: np.random.Generator) -> None:
    x, y = mixed(rng)
    path = tmp_path / "both.npz"
    np.savez(
        path, x_train=x[:90], y_train=y[:90], x_test=x[90:], y_test=y[90:].argmax(1),
        classes=np.array(["a", "b", "c"]),
    )  # fmt: skip
    data = load(path, task="classification")
    assert data.test is not None
    assert (data.y.shape, data.test.y.dtype) == ((90, 3), np.int64)
    np.testing.assert_array_equal(data.test.y, y[90:].argmax(1))


def test_a_loss_that_wants_one_class(soft: Path) -> None:
    with pytest.raises(train.ConfigError) as caught:
        train.run(train.Config(data=str(soft), task="classification", loss="hinge"))
    assert str(caught.value) == (
        "loss: got 'hinge' for targets that are class probabilities, expected cross_entropy; "
        "try --loss cross_entropy"
    )
