"""Fifty steps of every optimizer, against stored numbers of PyTorch 2.13 and PyTorch itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import nn, optim

Make = Callable[[Any], Any]

START = [1.0, -2.0, 0.5, 3.0]
STORED: dict[str, tuple[Make, list[float]]] = {
    "SGD": (
        lambda p: optim.SGD(p, 0.02, weight_decay=0.1),
        [1.2866469118962065, -0.5038966503747927, -0.5032172463140872, 1.2866519892931771],
    ),
    "Momentum": (
        lambda p: optim.Momentum(p, 0.01, 0.8, dampening=0.2, weight_decay=0.1),
        [1.2865841530838589, -0.5082939556044846, -0.5133798032768432, -0.5078023000889241],
    ),
    "NAG": (
        lambda p: optim.NAG(p, 0.01, 0.8, weight_decay=0.1),
        [1.286707982122794, -0.5041772264298034, -0.5032331128752177, -0.5074796636157608],
    ),
    "Adam": (
        lambda p: optim.Adam(p, 0.03, (0.8, 0.95), 1e-6, weight_decay=0.1),
        [1.2878772073552383, -0.6015472835360187, -0.5061047794179369, 1.7011795128134901],
    ),
    "AdamW": (
        lambda p: optim.AdamW(p, 0.03, (0.8, 0.95), 1e-6, weight_decay=0.1),
        [1.2949216991583872, -0.5154427369426721, -0.5048935817521655, 1.4837411194377046],
    ),
}


def hills(x: Any) -> Any:
    return (x**4 / 4 + tg.sin(3 * x)).sum()


@pytest.mark.parametrize("name", STORED)
def test_stored(name: str) -> None:
    make, want = STORED[name]
    x = nn.Parameter(np.array(START))
    opt = make([x])
    for _ in range(50):
        opt.zero_grad()
        hills(x).backward()
        opt.step()
    np.testing.assert_allclose(x.detach().numpy(), want, rtol=0, atol=1e-12)


def peers(torch: Any) -> dict[str, tuple[Make, Make]]:
    lib = torch.optim
    return {
        "SGD": (lambda p: optim.SGD(p, 0.05), lambda p: lib.SGD(p, 0.05)),
        "Momentum": (
            lambda p: optim.Momentum(p, 0.05, 0.9, 0.1, 0.01),
            lambda p: lib.SGD(p, 0.05, momentum=0.9, dampening=0.1, weight_decay=0.01),
        ),
        "NAG": (
            lambda p: optim.NAG(p, 0.05, 0.9, 0.01),
            lambda p: lib.SGD(p, 0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
        ),
        "Adam": (lambda p: optim.Adam(p, 0.01), lambda p: lib.Adam(p, 0.01)),
        "Adam decay": (
            lambda p: optim.Adam(p, 0.01, weight_decay=0.1),
            lambda p: lib.Adam(p, 0.01, weight_decay=0.1),
        ),
        "AdamW": (lambda p: optim.AdamW(p, 0.01), lambda p: lib.AdamW(p, 0.01)),
    }


@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-12), ("float32", 1e-6)])
def test_as_pytorch(dtype: str, bound: float, rng: np.random.Generator) -> None:
    """One network, one batch; a parameter without a gradient in some steps is skipped alike."""
    torch = pytest.importorskip("torch")
    x, y = rng.standard_normal((16, 6)).astype(dtype), rng.standard_normal((16, 3)).astype(dtype)
    for name, (ours, theirs) in peers(torch).items():
        net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)
        twin = torch.nn.Sequential(
            torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)
        ).to(getattr(torch, dtype))
        state = net.state_dict().items()
        twin.load_state_dict({key: torch.tensor(value.numpy()) for key, value in state})
        a, b = ours(net.parameters()), theirs(twin.parameters())
        for step in range(50):
            a.zero_grad()
            b.zero_grad()
            nn.functional.mse_loss(net(tg.asarray(x)), tg.asarray(y)).backward()
            torch.nn.functional.mse_loss(twin(torch.tensor(x)), torch.tensor(y)).backward()
            if step % 3 == 1:
                net[0].weight.grad = None
                twin[0].weight.grad = None
            a.step()
            b.step()
        for p, q in zip(net.parameters(), twin.parameters()):
            error = np.abs(p.detach().numpy() - q.detach().numpy()).max()
            assert error <= bound, (name, error)


def test_complex_as_pytorch(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    start = rng.standard_normal(5) + 1j * rng.standard_normal(5)
    goal = rng.standard_normal(5) + 1j * rng.standard_normal(5)
    p, q = nn.Parameter(start.copy()), torch.tensor(start, requires_grad=True)
    a, b = optim.Adam([p], 0.01), torch.optim.Adam([q], 0.01)
    for _ in range(20):
        p.grad, q.grad = tg.tensor(p.detach().numpy() - goal), q.detach() - torch.tensor(goal)
        a.step()
        b.step()
    np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_parameters_move(name: str) -> None:
    p = nn.Parameter(tg.tensor([1.0, -1.0], dtype=name))
    opt = optim.Adam([p], 0.125)
    p.grad = tg.tensor([1.0, -1.0], dtype=name)
    opt.step()
    assert p.dtype.name == name
    np.testing.assert_allclose(p.detach().numpy().astype("f8"), [0.875, -0.875], atol=2e-3)
