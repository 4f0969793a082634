"""A training step of a small classifier: forward, cross-entropy, backward, Adam, in float32.

NumPy's part is the bare matrix products of the step, the bar that no tape can beat with the same
BLAS. Losses and gradients are compared with PyTorch's before the clock starts. What the peers run
is in `nets.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmarks import nets
from benchmarks.race import Race

CASES = [((64, 64, 64, 10), 64), ((784, 128, 128, 10), 64), ((784, 512, 512, 10), 128)]


def samples(sizes: tuple[int, ...], batch: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((batch, sizes[0]), dtype=np.float32)
    return x, rng.integers(0, sizes[-1], batch)


def stepper(net: nets.Net | None, x: Any, labels: Any) -> Callable[[], Any] | None:
    """Steps on one batch that is prepared outside the clock."""
    if net is None:
        return None
    step, placed, targets = net.step, net.place(x), net.place(labels)
    return lambda: step(placed, targets)


@pytest.mark.parametrize(("sizes", "batch"), CASES, ids=["small", "medium", "large"])
def test_step(race: Race, sizes: tuple[int, ...], batch: int) -> None:
    x, labels = samples(sizes, batch)
    weights = nets.initial(sizes)
    nets.agree(nets.ours(weights), nets.with_torch(weights), x, labels)
    nets.agree(nets.ours(weights), nets.with_jax(weights), x, labels)
    bare, flops = nets.products(sizes, batch)
    race(
        f"step {'-'.join(map(str, sizes))}, batch {batch}",
        stepper(nets.ours(weights), x, labels),
        {
            "torch": stepper(nets.with_torch(weights), x, labels),
            "jax": stepper(nets.with_jax(weights), x, labels),
        },
        floor=bare,
        flops=flops,
    )
