"""A training step of a small classifier: forward, cross-entropy, backward, Adam, in float32.

The floor is the bare matrix products of the step by NumPy, in the quicker of two layouts of the
weights: the bar that no tape can beat with the same BLAS. Beside it stand PyTorch's products,
beneath what each side spends outside them. Losses and gradients are compared with the peers' before
the clock starts. What they run is in `nets.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmarks import nets
from benchmarks.race import Goal, Race, Row, best, share, shown

CASES: dict[str, tuple[tuple[int, ...], int, tuple[Goal, ...]]] = {
    "small": ((64, 64, 64, 10), 64, (best(1.35), share(100e-6))),
    "medium": ((784, 128, 128, 10), 64, (best(1.2), share(100e-6))),
    "large": ((784, 512, 512, 10), 128, (best(1.0),)),
    "wide": ((1024, 1024, 1024, 10), 256, (best(0.85),)),
}


def samples(sizes: tuple[int, ...], batch: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((batch, sizes[0]), dtype=np.float32)
    return x, rng.integers(0, sizes[-1], batch)


def stepper(net: nets.Net, x: Any, labels: Any) -> Callable[[], Any]:
    """Steps on one batch that is prepared outside the clock."""
    step, placed, targets = net.step, net.place(x), net.place(labels)
    return lambda: step(placed, targets)


def shares(row: Row) -> str:
    """What each side spends outside its products."""
    torch, products = row.peers["torch"], row.beside["torch.mm"]
    text = f"outside its products: ours {shown(max(row.ours - (row.floor or 0.0), 0.0))}"
    return text + (f", torch {shown(max(torch - products, 0.0))}" if torch and products else "")


@pytest.mark.parametrize("name", CASES)
def test_step(race: Race, name: str) -> None:
    sizes, batch, goals = CASES[name]
    x, labels = samples(sizes, batch)
    weights = nets.initial(sizes)
    makers = {"torch": nets.with_torch, "jax": nets.with_jax}
    for make in makers.values():
        nets.agree(nets.ours(weights), make(weights), x, labels)
    others = {name: make(weights) for name, make in makers.items()}
    bare, flops = nets.products(sizes, batch)
    turned, _ = nets.products(sizes, batch, turned=True)
    race(
        f"step {'-'.join(map(str, sizes))} @ {batch}",
        stepper(nets.ours(weights), x, labels),
        {name: net and stepper(net, x, labels) for name, net in others.items()},
        floor=(bare, turned),
        beside={"torch.mm": nets.products_with_torch(sizes, batch)},
        flops=flops,
        goal=goals,
        note=shares,
    )
