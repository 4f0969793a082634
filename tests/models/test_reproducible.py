"""A seed gives the same bits run after run, on one thread or several, with dropout and clipping."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import models, nn

F = nn.functional
STEPS = 5

MAKE: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "MLP": (lambda: models.MLP([64, 512, 512, 5], dropout=0.5), (256, 64)),
    "Autoencoder": (lambda: models.Autoencoder([64, 32, 2]), (64, 64)),
    "LeNet": (lambda: nn.Sequential(nn.Dropout2d(0.2), models.LeNet()), (32, 1, 28, 28)),
    "ResNet-18": (
        lambda: models.ResNet(models.BasicBlock, [2, 2, 2, 2], 5, width=8),
        (8, 3, 32, 32),
    ),
    "ResNet-50": (
        lambda: models.ResNet(models.Bottleneck, [1, 1, 1, 1], 5, width=8),
        (8, 3, 32, 32),
    ),
    "GPT-2": (lambda: models.GPT2(11, 32, 64, 2, 4, dropout=0.1), (16, 32)),
    "LSTM": (lambda: models.LSTMLanguageModel(11, 32, 64, dropout=0.3), (16, 32)),
}


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = tg.get_num_threads()
    yield
    tg.set_num_threads(before)


def bits(name: str) -> str:
    """A digest of the losses of some steps and of all that the net then holds."""
    make, shape = MAKE[name]
    tg.manual_seed(3)
    rng, net = np.random.default_rng(3), make()
    optimizer = tg.optim.AdamW(net.parameters(), lr=1e-3)
    found = hashlib.sha256()
    for _ in range(STEPS):
        if name in ("GPT-2", "LSTM"):
            x, labels = rng.integers(0, 11, (2, *shape))
        else:
            x, labels = rng.standard_normal(shape).astype("f4"), rng.integers(0, 5, shape[0])
        out = net(tg.asarray(x))
        out = out[0] if isinstance(out, tuple) else out
        if name == "Autoencoder":
            loss = F.mse_loss(out, tg.asarray(x))
        else:
            loss = F.cross_entropy(out.reshape(-1, out.shape[-1]), tg.asarray(labels.ravel()))
        optimizer.zero_grad()
        loss.backward()
        tg.optim.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        found.update(loss.detach().numpy().tobytes())
    for value in net.state_dict().values():
        found.update(value.numpy().tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("name", MAKE)
def test_threads_and_runs_give_the_same_bits(name: str) -> None:
    runs = set()
    for count in (1, 3, 3):
        tg.set_num_threads(count)
        runs.add(bits(name))
    assert len(runs) == 1


@pytest.mark.cpu_only("the other process computes on the CPU")
def test_processes_give_the_same_bits() -> None:
    """Whatever their threads, and the order in which they hash."""
    tg.set_num_threads(2)
    here = [f"{name} {bits(name)}" for name in MAKE]
    environment = {**os.environ, "TG_NUM_THREADS": "1", "PYTHONHASHSEED": "1"}
    there = subprocess.run(
        [sys.executable, __file__], env=environment, capture_output=True, text=True, check=True
    )
    assert there.stdout.splitlines() == here


if __name__ == "__main__":
    for each in MAKE:
        print(each, bits(each))
