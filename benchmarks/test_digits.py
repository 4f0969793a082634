"""One epoch of the digits network, 64-128-64-10 with Adam, over its 1,258 training images.

Batches are those of `tensorgrad train digits`, cut and shuffled outside the clock; the last is
smaller, and JAX compiles for both sizes before the clock starts. The loss at the end of the epoch
is compared with PyTorch's. NumPy's part is the bare matrix products of the steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from benchmarks import nets
from benchmarks.race import Race

SIZES = (64, 128, 64, 10)
BATCH = tg.train.Config().batch_size


def batches() -> list[tuple[Any, Any]]:
    pytest.importorskip("sklearn")
    digits = tg.data.load_digits()
    rows = tg.data.stratified_split(digits.y, (0.7, 0.15, 0.15))[0]
    order = np.random.default_rng(0).permutation(rows)
    chunks = [order[k : k + BATCH] for k in range(0, order.size, BATCH)]
    return [(digits.x[chunk], digits.y[chunk].astype(np.int64)) for chunk in chunks]


def epoch(net: nets.Net | None, data: list[tuple[Any, Any]]) -> Callable[[], Any] | None:
    if net is None:
        return None
    step = net.step
    placed = [(net.place(x), net.place(labels)) for x, labels in data]

    def run() -> Any:
        for x, labels in placed:
            loss = step(x, labels)
        return loss

    return run


def test_epoch(race: Race) -> None:
    data = batches()
    weights = nets.initial(SIZES)
    makers = {"torch": nets.with_torch, "jax": nets.with_jax}
    last = epoch(nets.ours(weights), data)().item()
    for make in makers.values():
        run = epoch(make(weights), data)
        assert run is None or run().item() == pytest.approx(last, rel=1e-3)
    full, flops = nets.products(SIZES, BATCH)
    rest, flops_of_rest = nets.products(SIZES, len(data[-1][0]))

    def bare() -> None:
        for _ in data[1:]:
            full()
        rest()

    race(
        f"digits epoch {'-'.join(map(str, SIZES))}, batch {BATCH}",
        epoch(nets.ours(weights), data),
        {name: epoch(make(weights), data) for name, make in makers.items()},
        floor=bare,
        flops=flops * (len(data) - 1) + flops_of_rest,
    )
