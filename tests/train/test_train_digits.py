"""The main job: digits in two epochs; with --full the promised figures, PyTorch beside them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import train
from tensorgrad.data import Batches, load, split_dataset
from tensorgrad.train.network import Architecture, initialise

SEEDS = 20
BEST_MEAN, WORST = 0.97, 0.95
GAP = 0.004  # of the mean accuracy to PyTorch's
SECONDS = 15.0


def test_two_epochs_of_digits(tmp_path: Path) -> None:
    found = train.run(train.Config(epochs=2, out=str(tmp_path / "run")))
    assert found.summary["test_rows"] == 269
    assert found.summary["test_accuracy"] > 0.8
    assert found.confusion is not None
    assert found.confusion.sum() == 269
    assert [record["samples_per_second"] > 0 for record in found.history] == [True, True]
    shapes = [value.shape for value in found.net.state_dict().values()]
    assert shapes == [(128, 64), (128,), (64, 128), (64,), (10, 64), (10,)]


def peer(seed: int) -> float:
    """The test accuracy of the same net, weights, splits, order and stopping in PyTorch."""
    torch = pytest.importorskip("torch")
    config = train.Config(seed=seed)
    parts = split_dataset(load("digits"), config.split, seed)
    plan = Architecture(64, config.layers, 10, config.activation, config.dropout, config.dtype)
    generator = tg.Generator(seed)
    start = plan.build(generator)
    initialise(start, config, generator)
    nn = torch.nn
    net = nn.Sequential(
        nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
    )
    with torch.no_grad():
        for param, value in zip(net.parameters(), start.state_dict().values()):
            param.copy_(torch.from_numpy(value.numpy()))
    optimizer, loss = torch.optim.Adam(net.parameters(), lr=config.lr), nn.CrossEntropyLoss()
    batches = Batches((parts[0].x, parts[0].y), config.batch_size, rng=seed)
    x, y = torch.from_numpy(parts[1].x), torch.from_numpy(parts[1].y)
    lowest, stale, best = np.inf, 0, None
    for epoch in range(config.epochs):
        for rows, labels in batches.at(epoch):
            optimizer.zero_grad()
            loss(net(torch.from_numpy(rows)), torch.from_numpy(labels)).backward()
            optimizer.step()
        with torch.no_grad():
            value = loss(net(x), y).item()
        stale = 0 if value < lowest else stale + 1
        if stale == 0:
            lowest, best = value, {k: v.clone() for k, v in net.state_dict().items()}
        elif stale >= config.patience:
            break
    net.load_state_dict(best)
    with torch.no_grad():
        found = net(torch.from_numpy(parts[2].x)).argmax(1).numpy()
    return float((found == parts[2].y).mean())


def test_the_promised_figures(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if not request.config.getoption("--full"):
        pytest.skip("trains 20 networks; pytest --full")
    accuracies: list[float] = []
    for seed in range(SEEDS):
        begun = time.perf_counter()
        found = train.run(train.Config(seed=seed, out=str(tmp_path / str(seed))))
        assert time.perf_counter() - begun < SECONDS
        accuracies.append(found.summary["test_accuracy"])
    print(f"mean {np.mean(accuracies):.4f}, worst {min(accuracies):.4f}")
    assert np.mean(accuracies) >= BEST_MEAN
    assert min(accuracies) >= WORST
    theirs: Any = [peer(seed) for seed in range(SEEDS)]
    print(f"PyTorch: mean {np.mean(theirs):.4f}, worst {min(theirs):.4f}")
    assert abs(np.mean(accuracies) - np.mean(theirs)) <= GAP
