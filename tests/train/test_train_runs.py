"""Runs on tables, arrays and images: they learn, and write what they promise."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import train
from tensorgrad.data import Batches
from tensorgrad.io import load_file
from tensorgrad.train.choices import ACTIVATIONS, INITS
from tensorgrad.train.configfile import read_toml
from tensorgrad.train.objective import objective
from tensorgrad.train.predictions import predict_file

Fit = Callable[..., train.Result]


def test_classification_of_a_table(blobs: Path, fit_drawn: Fit) -> None:
    found = fit_drawn(data=str(blobs), target="kind", epochs=30, lr=0.02)
    assert found.summary["test_accuracy"] == 1.0
    assert found.summary["reason"] in ("epochs", "patience")
    assert found.confusion is not None
    assert found.confusion.tolist() == [[6, 0, 0], [0, 6, 0], [0, 0, 6]]
    assert sorted(path.name for path in found.folder.iterdir()) == [
        "config.toml",
        "curves.svg",
        "metrics.jsonl",
        "model.safetensors",
        "state.safetensors",
    ]
    lines = (found.folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == found.history
    assert set(found.history[0]) == {
        "epoch",
        "loss",
        "accuracy",
        "val_loss",
        "val_accuracy",
        "best",
        "lr",
        "grad_norm",
        "seconds",
        "samples_per_second",
    }
    assert list(found.history[0]["grad_norm"]) == ["linear1", "linear2"]
    config = train.Config(**read_toml(found.folder / "config.toml"))
    assert (config.data, config.target, config.layers) == (str(blobs), "kind", (8,))
    assert ElementTree.parse(found.folder / "curves.svg").getroot().tag.endswith("svg")


def test_the_best_weights_are_kept(blobs: Path, fit: Fit) -> None:
    found = fit(data=str(blobs), target="kind", epochs=40, lr=0.3, patience=3)
    losses = [record["val_loss"] for record in found.history]
    best = found.summary["best_epoch"]
    assert losses[best - 1] == min(losses) == found.summary["val_loss"]
    assert [r["epoch"] for r in found.history if r["best"]][-1] == best
    if found.summary["reason"] == "patience":
        assert len(losses) == best + 3
    saved = load_file(found.folder / "model.safetensors")
    for name, value in found.net.state_dict().items():
        np.testing.assert_array_equal(saved[name], value.numpy())


def test_regression_of_a_table(tmp_path: Path, rng: np.random.Generator, fit: Fit) -> None:
    x = rng.normal(size=(200, 2)) * [1, 1000]
    y = 5e4 + 300 * x[:, 0] - 2 * x[:, 1]
    path = tmp_path / "line.csv"
    rows = "\n".join(f"{a!r},{b!r},{c!r}" for (a, b), c in zip(x.tolist(), y.tolist()))
    path.write_text(f"a,b,price\n{rows}\n")
    found = fit(data=str(path), target="price", layers=(), epochs=60, lr=0.02)
    assert found.summary["test_r2"] > 0.999
    assert found.summary["test_rmse"] < 0.05 * y.std()
    assert found.confusion is None
    predictions = predict_file(str(found.folder), str(path))
    assert predictions.header == ["price"]
    got = np.array(predictions.rows, float)[:, 0]
    assert np.abs(got - y).mean() < 0.05 * y.std()


@pytest.mark.parametrize("loss", ["mse", "rmse", "mae", "huber"])
def test_losses_of_a_regression(tmp_path: Path, rng: Any, fit: Fit, loss: str) -> None:
    x = rng.normal(size=(100, 3))
    np.savez(tmp_path / "d.npz", x=x, y=np.stack([x[:, 0], x[:, 1] - x[:, 2]], 1))
    found = fit(data=str(tmp_path / "d.npz"), layers=(), loss=loss, lr=0.03, epochs=40)
    assert found.summary["test_r2"] > 0.98
    assert predict_file(str(found.folder), str(tmp_path / "d.npz")).header == ["value_0", "value_1"]


@pytest.mark.parametrize(
    ("task", "loss"),
    [
        ("classification", "hinge"),
        ("binary", "bce"),
        ("binary", "bce_probabilities"),
        ("binary", "hinge"),
    ],
)
def test_losses_of_two_classes(tmp_path: Path, rng: Any, fit: Fit, task: str, loss: str) -> None:
    x = rng.normal(size=(120, 2))
    path = tmp_path / "d.npz"
    np.savez(path, x=x, y=(x[:, 0] > x[:, 1]).astype(int), classes=np.array(["no", "yes"]))
    found = fit(data=str(path), task=task, loss=loss, epochs=40, lr=0.02)
    assert found.summary["test_accuracy"] > 0.8
    table = predict_file(str(found.folder), str(path))
    assert table.header == ["label", "probability_no", "probability_yes"]
    right = [row[0] == ("yes" if a > b else "no") for row, (a, b) in zip(table.rows, x)]
    assert np.mean(right) > 0.9
    total = np.array([row[1:] for row in table.rows], float).sum(1)
    np.testing.assert_allclose(total, 1, atol=2e-6)


def test_multilabel(tmp_path: Path, rng: Any, fit: Fit) -> None:
    x = rng.normal(size=(150, 2))
    path = tmp_path / "d.npz"
    np.savez(path, x=x, y=(x > 0).astype(int))
    found = fit(data=str(path), epochs=60, lr=0.03)
    assert found.summary["test_accuracy"] > 0.85
    table = predict_file(str(found.folder), str(path))
    assert table.header == ["0", "1", "probability_0", "probability_1"]
    assert {cell for row in table.rows for cell in row[:2]} == {"0", "1"}


def idx(array: np.ndarray[Any, Any]) -> bytes:
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def test_a_folder_of_images(tmp_path: Path, rng: np.random.Generator, fit: Fit) -> None:
    for part, rows in (("train", 90), ("t10k", 30)):
        y = np.arange(rows) % 3
        x = np.zeros((rows, 4, 4))
        x[np.arange(rows), y] = 200
        x += rng.integers(0, 40, x.shape)
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(x)))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(y))
    found = fit(data=str(tmp_path), epochs=20, lr=0.01)
    assert found.summary["test_rows"] == 30
    assert found.summary["test_accuracy"] == 1.0
    table = predict_file(str(found.folder), str(tmp_path))
    assert [row[0] for row in table.rows] == [str(k % 3) for k in range(30)]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(blobs: Path, fit: Fit, activation: str) -> None:
    found = fit(data=str(blobs), target="kind", activation=activation, layers=(6, 5))
    assert np.isfinite(found.summary["test_loss"])
    net, plan, _ = train.load_model(found.folder / "model.safetensors")
    assert str(plan) == "2-6-5-3"
    x = np.zeros((2, 2), np.float32)
    np.testing.assert_array_equal(train.predict(net, x), train.predict(found.net, x))
    hidden = predict_file(str(found.folder), str(blobs), layer=2)
    assert hidden.header == [f"unit_{k}" for k in range(5)]


@pytest.mark.parametrize("init", INITS)
def test_every_init(blobs: Path, fit: Fit, init: str) -> None:
    found = fit(data=str(blobs), target="kind", init=init, epochs=1)
    equal = [text for text in found.summary["warnings"] if "learns the same" in text]
    assert bool(equal) == (init in ("zeros", "constant"))


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "sgd", "lr": 0.1},
        {"optimizer": "momentum", "lr": 0.05, "momentum": 0.8},
        {"optimizer": "nag", "lr": 0.05, "weight_decay": 1e-3},
        {"optimizer": "adamw", "lr": 0.02, "beta1": 0.8},
        {"lr": 0.02, "l2": 1e-3},
        {"lr": 0.02, "l1": 1e-3},
        {"lr": 0.02, "max_norm": 0.5},
        {"lr": 0.02, "clip_norm": 0.1},
        {"lr": 0.02, "dropout": 0.2},
        {"lr": 0.02, "dtype": "float64"},
        {"lr": 0.02, "amp": "bfloat16"},
        {"lr": 0.02, "schedule": "exponential", "decay": 0.9, "decay_epochs": 5},
        {"lr": 0.02, "schedule": "step", "warmup": 2},
        {"lr": 0.02, "schedule": "piecewise", "boundaries": (5, 10), "rates": (0.01, 0.005)},
        {"lr": 0.02, "schedule": "inverse_time"},
        {"lr": 0.02, "schedule": "polynomial", "period": 5, "cycle": True, "end_lr": 1e-3},
        {"lr": 0.02, "schedule": "cosine", "warmup": 3},
        {"lr": 0.02, "schedule": "cosine", "period": 4},
        {"lr": 0.02, "schedule": "plateau", "decay_epochs": 2},
    ],
    ids=str,
)
def test_every_rule(blobs: Path, fit: Fit, options: dict[str, Any]) -> None:
    found = fit(data=str(blobs), target="kind", epochs=25, patience=0, **options)
    assert found.summary["epochs"] == 25
    assert found.summary["test_accuracy"] > 0.8
    weights = load_file(found.folder / "model.safetensors")
    if "max_norm" in options:
        assert np.linalg.norm(weights["linear1.weight"], axis=1).max() < 0.5 + 1e-6
    assert weights["linear1.weight"].dtype == options.get("dtype", "float32")


def test_l1_leaves_zeros(blobs: Path, fit: Fit) -> None:
    found = fit(data=str(blobs), target="kind", epochs=30, lr=0.02, l1=0.1, batch_size=8)
    assert (load_file(found.folder / "model.safetensors")["linear1.weight"] == 0).mean() > 0.1


def test_rates_follow_the_schedule(blobs: Path, fit: Fit) -> None:
    found = fit(
        data=str(blobs), target="kind", epochs=6, schedule="step", decay=0.1, decay_epochs=2
    )
    rates = [record["lr"] for record in found.history]
    np.testing.assert_allclose(rates, [1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])


def test_fewer_rows_than_a_batch(blobs: Path, fit: Fit) -> None:
    found = fit(data=str(blobs), target="kind", batch_size=5000, epochs=2)
    assert found.summary["epochs"] == 2


def test_the_seed_sets_everything(blobs: Path, fit: Fit) -> None:
    options: dict[str, Any] = {"data": str(blobs), "target": "kind", "dropout": 0.3}
    tg.manual_seed(1)
    first = fit(**options, seed=5)
    tg.manual_seed(2)
    again = fit(**options, seed=5)
    other = fit(**options, seed=6)
    assert untimed(first.history) == untimed(again.history) != untimed(other.history)


def untimed(history: list[train.loop.Record]) -> list[dict[str, Any]]:
    return [
        {k: v for k, v in record.items() if k not in ("seconds", "samples_per_second")}
        for record in history
    ]


def test_a_loss_that_is_no_number_names_the_step(blobs: Path, fit: Fit) -> None:
    with pytest.raises(train.DivergedError) as caught:
        fit(data=str(blobs), target="kind", optimizer="sgd", lr=1e30, activation="linear")
    text = str(caught.value)
    assert "at step" in text
    assert text.endswith("expected a finite number; try --lr 1e+29, or --clip-norm 1")


def test_a_loss_of_another_task(blobs: Path, fit: Fit) -> None:
    with pytest.raises(train.ConfigError) as caught:
        fit(data=str(blobs), target="kind", loss="mse")
    assert str(caught.value) == (
        "loss: got 'mse' for a classification task, expected one of cross_entropy, hinge; "
        "try --loss cross_entropy, or another --task"
    )


def test_a_loss_and_a_callback_of_ones_own(rng: np.random.Generator) -> None:
    """`Loop` takes any module, any loss and any callback; nothing is written."""
    x = rng.normal(size=(90, 2)).astype("float32")
    y = (x @ [[2.0], [-1.0]]).astype("float32")
    config = train.Config(layers=(), lr=0.05, epochs=50, batch_size=10)
    goal = replace(
        objective("regression", config), loss=lambda out, t: np.log(np.cosh(out - t)).mean()
    )
    seen: list[float] = []

    class Stop(train.Callback):
        def on_epoch(self, loop: train.Loop, record: dict[str, Any]) -> None:
            seen.append(record["val_loss"])
            if record["val_loss"] < 1e-3:
                loop.stop("good enough")

    batches = Batches((x[:60], y[:60]), config.batch_size, rng=1)
    parts = goal.part(x[:60], y[:60]), goal.part(x[60:], y[60:])
    net = tg.nn.Linear(2, 1)
    loop = train.Loop(net, goal, train.Recipe(config, len(batches)), batches, *parts, [Stop()])
    assert loop.run() == "good enough"
    assert seen == [record["val_loss"] for record in loop.history]
    np.testing.assert_allclose(net.weight.detach().numpy(), [[2.0, -1.0]], atol=0.2)


def test_memory_stays_flat_and_the_collector_idle(blobs: Path, fit: Fit) -> None:
    import gc

    fit(data=str(blobs), target="kind", epochs=1)
    gc.collect()
    gc.disable()
    try:
        fit(data=str(blobs), target="kind", epochs=20, patience=0)
        after = gc.collect()
        fit(data=str(blobs), target="kind", epochs=60, patience=0)
        assert gc.collect() < after + 500, "garbage grows with the number of steps"
    finally:
        gc.enable()
