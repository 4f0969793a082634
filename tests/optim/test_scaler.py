"""GradScaler: PyTorch's scales and steps, and steps that overflow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from place import here

import tensorgrad as tg
from tensorgrad import nn, optim

MAKERS: dict[str, Any] = {
    "SGD": lambda p: optim.SGD(p, 0.05, weight_decay=0.01),
    "Momentum": lambda p: optim.Momentum(p, 0.05, 0.9),
    "AdamW": lambda p: optim.AdamW(p, 0.01),
    "limited": lambda p: optim.Adam(p, 0.01, max_grad_norm=0.1),
    "LAMB": lambda p: optim.LAMB(p, 0.01),
    "Adafactor": lambda p: optim.Adafactor(p, eps=(1e-2, 1e-3)),
}


def values(net: Any) -> list[Any]:
    return [here(p).astype("f8").copy() for p in net.parameters()]


def step(net: Any, opt: Any, x: Any, scaler: Any = None) -> None:
    opt.zero_grad()
    loss = (net(x) ** 2).mean()
    if scaler is None:
        loss.backward()
        opt.step()
    else:
        scaler.scale(loss).backward()
        scaler.step(opt)
        scaler.update()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MAKERS)
def test_scaled_steps_are_the_plain_ones(rng: np.random.Generator, name: str, dtype: str) -> None:
    """A power of two changes no digit."""
    seed, found = int(rng.integers(2**31)), []
    x = tg.tensor(rng.standard_normal((6, 4)), dtype=dtype)
    for scaler in (None, optim.GradScaler(2.0**10)):
        tg.manual_seed(seed)
        net = nn.Linear(4, 3, dtype=dtype)
        opt = MAKERS[name](net.parameters())
        for _ in range(5):
            step(net, opt, x, scaler)
        found.append(values(net))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6 if dtype == "float32" else 1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", MAKERS)
def test_overflow_changes_nothing(rng: np.random.Generator, name: str, dtype: str) -> None:
    net = nn.Linear(4, 3).to(dtype)
    opt, scaler = MAKERS[name](net.parameters()), optim.GradScaler(2.0**20)
    x = tg.tensor(rng.standard_normal((6, 4))).astype(dtype)
    step(net, opt, x, scaler)
    before, held = values(net), opt.state_dict()["state"]
    for bad in (np.inf, np.nan):
        opt.zero_grad()
        scaler.scale((net(x) ** 2).sum()).backward()
        net.bias.grad[0] = bad
        scaler.step(opt)
        scaler.update()
    for a, b in zip(values(net), before, strict=True):
        np.testing.assert_array_equal(a, b)
    for number, state in opt.state_dict()["state"].items():
        for key, value in state.items():
            if key != "step":
                np.testing.assert_array_equal(
                    here(value.astype("float64")), here(held[number][key].astype("float64"))
                )
    assert scaler.skipped == 2
    assert scaler.get_scale() == 2.0**18


def test_float16_finds_its_scale(rng: np.random.Generator) -> None:
    """2**40 is too much for the gradients of float16: steps are skipped until it fits."""
    tg.manual_seed(1)
    net, x = nn.Linear(4, 3), tg.tensor(rng.standard_normal((8, 4)), dtype="float32")
    opt, scaler = optim.SGD(net.parameters(), 0.1), optim.GradScaler(2.0**40)
    losses, moved = [], []
    for k in range(60):
        opt.zero_grad()
        with tg.autocast("float16"):
            loss = (net(x) ** 2).mean()
        before, scale, skipped = values(net), scaler.get_scale(), scaler.skipped
        scaler.scale(loss).backward()
        scaler.step(opt)
        scaler.update()
        now = any(not np.array_equal(a, b) for a, b in zip(values(net), before, strict=True))
        assert now == (scaler.skipped == skipped) == (scaler.get_scale() == scale)
        assert now or scaler.get_scale() == scale / 2
        losses.append(loss.item())
        moved.append(now)
        assert k or not now
    assert 5 < scaler.skipped < 40
    assert losses[-1] < losses[0] / 2
    assert scaler.get_scale() == 2.0 ** (40 - scaler.skipped)


def test_pytorch_has_the_same_scales(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    options = {"init_scale": 1024.0, "growth_factor": 3.0, "backoff_factor": 0.25}
    ours = optim.GradScaler(**options, growth_interval=3)
    theirs = torch.amp.GradScaler("cpu", **options, growth_interval=3)
    first = rng.standard_normal(3)
    w = nn.Parameter(tg.tensor(first, dtype="float32"))
    v = torch.nn.Parameter(torch.tensor(first, dtype=torch.float32))
    mine, its = optim.Adam([w], lr=0.1), torch.optim.Adam([v], lr=0.1)
    for k in range(25):
        factor = float("inf") if rng.random() < 0.25 else 1.0
        mine.zero_grad(), its.zero_grad()
        ours.scale((w * w).sum() * factor).backward()
        theirs.scale((v * v).sum() * factor).backward()
        if k % 3 == 0:
            ours.unscale_(mine), theirs.unscale_(its)
            tg.optim.clip_grad_norm_([w], 0.5)
            torch.nn.utils.clip_grad_norm_([v], 0.5)
        ours.step(mine), theirs.step(its)
        ours.update(), theirs.update()
        assert ours.get_scale() == theirs.get_scale()
        if w.device == "cpu":  # on a GPU a skipped step counts as an update
            np.testing.assert_allclose(here(w), v.detach().numpy(), rtol=1e-5, atol=1e-6)
    state, other = ours.state_dict(), theirs.state_dict()
    assert state == other
    again = optim.GradScaler()
    again.load_state_dict(other)
    assert again.state_dict() == other


def test_unscaled_gradients_can_be_clipped_and_still_overflow() -> None:
    w = nn.Parameter([1.0, 2.0])
    opt, scaler = optim.SGD([w], lr=0.5), optim.GradScaler(8.0)
    scaler.scale((w * w).sum()).backward()
    scaler.unscale_(opt)
    np.testing.assert_array_equal(here(w.grad), [2.0, 4.0])
    optim.clip_grad_value_([w], 1.0)
    scaler.step(opt)
    scaler.update()
    np.testing.assert_array_equal(here(w), [0.5, 1.5])
    opt.zero_grad()
    scaler.scale((w * w).sum() * np.inf).backward()
    scaler.unscale_(opt)
    optim.clip_grad_value_([w], 1.0)  # finite from here on
    scaler.step(opt)
    scaler.update()
    np.testing.assert_array_equal(here(w), [0.5, 1.5])
    assert scaler.skipped == 1
    assert scaler.get_scale() == 4.0


def test_two_optimizers_share_a_scale() -> None:
    a, b = nn.Parameter([1.0]), nn.Parameter([1.0])
    one, two, scaler = optim.SGD([a], lr=0.1), optim.SGD([b], lr=0.1), optim.GradScaler(4.0)
    first, second = scaler.scale([a.sum() * np.inf, b.sum()])
    first.backward(), second.backward()
    scaler.step(one), scaler.step(two)
    scaler.update()
    np.testing.assert_allclose([here(a)[0], here(b)[0]], [1.0, 0.9])
    assert scaler.get_scale() == 2.0
    assert scaler.skipped == 1


def test_a_scale_does_not_leave_float32() -> None:
    w = nn.Parameter([1.0])
    opt, scaler = optim.SGD([w], lr=0.1), optim.GradScaler(2.0**126, growth_interval=1)
    for _ in range(4):
        opt.zero_grad()
        scaler.scale(w.sum()).backward()
        scaler.step(opt)
        scaler.update()
    assert scaler.get_scale() == 2.0**127
    assert scaler.skipped == 0


def test_switched_off_it_does_nothing() -> None:
    w = nn.Parameter([1.0])
    opt, scaler = optim.SGD([w], lr=0.5), optim.GradScaler(enabled=False)
    loss = w.sum()
    assert scaler.scale(loss) is loss
    loss.backward()
    scaler.unscale_(opt)
    scaler.step(opt)
    scaler.update()
    assert here(w)[0] == 0.5
    assert scaler.get_scale() == 1.0
    assert scaler.state_dict() == {}
    assert not scaler.is_enabled()
    scaler.load_state_dict({})


def test_what_is_set_and_what_is_told() -> None:
    scaler = optim.GradScaler(4.0, 3.0, 0.25, 7)
    scaler.update(16.0)
    told = scaler.get_growth_factor(), scaler.get_backoff_factor(), scaler.get_growth_interval()
    assert told == (3.0, 0.25, 7)
    assert repr(scaler) == "GradScaler(scale=16, skipped=0)"


def test_misuse_is_refused() -> None:
    w = nn.Parameter([1.0])
    opt, scaler = optim.SGD([w], lr=0.1), optim.GradScaler(4.0)
    with pytest.raises(RuntimeError, match=r"GradScaler: got update\(\) before a step, expected"):
        scaler.update()
    for name in ("step", "unscale_"):
        with pytest.raises(RuntimeError) as caught:
            getattr(scaler, name)(opt)
        assert str(caught.value) == (
            f"GradScaler.{name}: got SGD before a loss was scaled, expected gradients of a scaled "
            "loss; try scaler.scale(loss).backward() first"
        )
    loss = scaler.scale(w.sum())
    for name in ("step", "unscale_"):
        with pytest.raises(RuntimeError) as caught:
            getattr(scaler, name)(opt)
        assert str(caught.value) == (
            f"GradScaler.{name}: got SGD none of whose parameters has a gradient, expected one at "
            "least; try scaler.scale(loss).backward() first"
        )
    loss.backward()
    scaler.unscale_(opt)
    with pytest.raises(RuntimeError, match="unscale_: got SGD that was unscaled already"):
        scaler.unscale_(opt)
    scaler.step(opt)
    with pytest.raises(RuntimeError, match="unscale_: got SGD that was stepped already"):
        scaler.unscale_(opt)
    with pytest.raises(RuntimeError, match="step: got SGD that was stepped already, expected once"):
        scaler.step(opt)
    scaler.update()
    with pytest.raises(TypeError, match="scale: got float, expected a loss"):
        scaler.scale(1.0)
    scaler.scale(w.sum()).backward()
    with pytest.raises(TypeError, match="LBFGS: got a GradScaler, expected none"):
        scaler.step(optim.LBFGS([w]))
    with pytest.raises(ValueError, match=r"GradScaler: got growth_factor=1\.0, expected one"):
        optim.GradScaler(growth_factor=1.0)
    with pytest.raises(ValueError, match="GradScaler: got backoff_factor=1"):
        optim.GradScaler(backoff_factor=1.0)
    with pytest.raises(ValueError, match="GradScaler: got init_scale=0"):
        optim.GradScaler(0.0)
    with pytest.raises(ValueError, match="GradScaler: got a state without growth_factor"):
        scaler.load_state_dict({"scale": 1.0})
