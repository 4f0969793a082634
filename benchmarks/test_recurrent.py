"""Recurrent layers over sequences, forwards and backwards into their weights, in float32.

The floor is what the products of the passes take NumPy, as bare matrices that lie ready: those of
all steps at once, and those of the states step by step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import tensorgrad as tg
from benchmarks.race import Race, Run, ahead, importable


class Case(NamedTuple):
    """The layer's name, its gates, and layers, units (and features), steps and sequences."""

    kind: str
    gates: int
    layers: int = 2
    units: int = 128
    steps: int = 64
    rows: int = 16


CASES = {
    "LSTM 2x128": Case("LSTM", 4),
    "GRU 2x128": Case("GRU", 3),
    "RNN 2x128": Case("RNN", 1),
    "LSTM 1x512": Case("LSTM", 4, 1, 512, 32, 32),
    "LSTM 1x16, 8 steps": Case("LSTM", 4, 1, 16, 8, 4),
}


def trained(net: Any, x: Any, zero: Any) -> Run:
    def run() -> None:
        zero()
        net(x)[0].sum().backward()

    return run


def with_torch(case: Case, ours: Any, x: np.ndarray[Any, Any]) -> Run | None:
    """PyTorch's layer with the same weights; its output is compared."""
    if not importable("torch"):
        return None
    import torch

    torch.set_num_threads(1)
    net = getattr(torch.nn, case.kind)(case.units, case.units, case.layers)
    net.load_state_dict({k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})
    given = torch.tensor(x)
    want, got = net(given)[0].detach().numpy(), ours(tg.tensor(x))[0].detach().numpy()
    np.testing.assert_allclose(got, want, atol=1e-5)
    return trained(net, given, lambda: net.zero_grad(set_to_none=True))


def products(case: Case, rng: np.random.Generator) -> Run:
    """Of each layer two products of all steps forwards or for weights, and two for each step."""
    units, wide = case.units, case.units * case.gates
    shapes = ((case.steps * case.rows, units), (units, wide), (case.rows, units), (case.rows, wide))
    x, w, h, g = (rng.standard_normal(s, dtype=np.float32) for s in shapes)
    ct = rng.standard_normal((len(x), wide), dtype=np.float32)
    back = w.T.copy()

    def run() -> None:
        for layer in range(case.layers):
            np.matmul(x, w)
            for _ in range(case.steps):
                np.matmul(h, w)
                np.matmul(g, back)
            np.matmul(ct.T, x)
            np.matmul(ct.T, x)
            if layer:
                np.matmul(ct, back)

    return run


@pytest.mark.parametrize("name", CASES)
def test_recurrent(race: Race, name: str) -> None:
    case, rng = CASES[name], np.random.default_rng(0)
    net = getattr(tg.nn, case.kind)(case.units, case.units, case.layers)
    x = rng.standard_normal((case.steps, case.rows, case.units), dtype=np.float32)
    run = trained(net, tg.tensor(x), net.zero_grad)
    passes = 6 * case.layers - 1  # the first layer's input needs no gradient
    flops = 2 * case.steps * case.rows * case.units**2 * case.gates * passes
    peers = {"torch": with_torch(case, net, x)}
    race(name, run, peers, floor=products(case, rng), flops=flops, goal=ahead(1.0, "torch"))
