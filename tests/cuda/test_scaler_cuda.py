"""Scaled steps on a GPU: captured ones are the eager ones, and overflow is left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ops_tools import gpus, here

import tensorgrad as tg
from tensorgrad import nn, optim

MAKERS: dict[str, Any] = {
    "SGD": lambda p: optim.SGD(p, 0.05),
    "Momentum": lambda p: optim.Momentum(p, 0.05, 0.9),
    "limited": lambda p: optim.Momentum(p, 0.05, 0.9, max_grad_norm=0.5),
    "LARS": lambda p: optim.LARS(p, 0.1),
}


WARM_UP = 2  # runs of a step before it is recorded


def trained(name: str, device: str, before: int, rows: Any, start: Any) -> Any:
    """Scales, skipped steps and the weights after some steps in float16.

    The first `before` of them are on the first rows; on a GPU that is what a capture does.
    """
    net = nn.Linear(4, 3).to(device)
    net.weight.data[...] = tg.tensor(start, dtype="float32", device=device).data
    net.bias.data[...] = 0
    opt = MAKERS[name](net.parameters())
    scaler = optim.GradScaler(2.0**12, growth_interval=3)

    run: Any

    def step(x: Any) -> Any:
        opt.zero_grad()
        with tg.autocast("float16"):
            loss = (net(x) ** 2).mean()
        scaler.scale(loss).backward()
        scaler.step(opt)
        scaler.update()
        return loss

    given = [tg.tensor(x, dtype="float32", device=device) for x in rows]
    if before and device != "cpu":
        run = tg.cuda.capture(step, (given[0],))
    else:
        run = step
        for _ in range(before):
            step(given[0])
    scales = []
    for x in given:
        run(x)
        scales.append(scaler.get_scale())
    return scales, scaler.skipped, [here(p) for p in net.parameters()]


@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("name", MAKERS)
def test_a_step_on_the_device_is_the_host_s(rng: Any, name: str, captured: bool) -> None:
    rows, start = rng.standard_normal((9, 5, 4)), rng.standard_normal((3, 4))
    rows[4] = 500 * rng.choice([-1.0, 1.0], (5, 4))  # too much for the scaled gradients
    before = WARM_UP if captured else 0
    with gpus():
        want = trained(name, "cpu", before, rows, start)
        found = trained(name, "cuda", before, rows, start)
    assert want[1] >= 1
    assert found[:2] == want[:2]
    for a, b in zip(found[2], want[2], strict=True):
        np.testing.assert_allclose(a, b, rtol=5e-3, atol=5e-3)
