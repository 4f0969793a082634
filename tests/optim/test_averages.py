"""Averaged networks, groups without decay, regularisers and the range test."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import place
import pytest

import tensorgrad as tg
from tensorgrad import nn, optim


class Norm(nn.Module):
    """What a batch norm has that `update_bn` looks for."""

    def __init__(self) -> None:
        super().__init__()
        self.momentum: float | None = 0.1
        self.weight = nn.Parameter(np.ones((2, 2), "f4"))
        self.register_buffer("running_mean", tg.zeros(4, dtype="float32"))
        self.count = 0

    def reset_running_stats(self) -> None:
        self.running_mean, self.count = self.running_mean * 0, 0

    def forward(self, input: Any) -> Any:
        if self.training:
            self.count += 1
            share = 1 / self.count if self.momentum is None else self.momentum
            mean = tg.mean(input.detach(), 0)
            self.running_mean = self.running_mean + share * (mean - self.running_mean)
        return input - self.running_mean


def network() -> Any:
    return nn.Sequential(nn.Linear(3, 4), Norm(), nn.Linear(4, 2))


def moved(net: Any, rng: np.random.Generator) -> None:
    with tg.no_grad():
        for param in net.parameters():
            param[...] = rng.standard_normal(param.shape).astype("f4")
    net[1].running_mean = tg.tensor(rng.standard_normal(4).astype("f4"))


def values(net: Any) -> list[Any]:
    return [np.array(p.detach().numpy()) for p in net.parameters()]


@pytest.mark.parametrize("buffers", [False, True])
@pytest.mark.parametrize("decay", [None, 0.75])
def test_averages(decay: float | None, buffers: bool, rng: np.random.Generator) -> None:
    net = network()
    rule = None if decay is None else optim.get_ema_avg_fn(decay)
    average = optim.AveragedModel(net, avg_fn=rule, use_buffers=buffers)
    seen = []
    for _ in range(5):
        moved(net, rng)
        average.update_parameters(net)
        seen.append([*values(net), np.array(net[1].running_mean.numpy())])
    shares = [0.2] * 5 if decay is None else [decay**4, *(0.25 * decay**k for k in (3, 2, 1, 0))]
    want = [sum(share * part for share, part in zip(shares, parts)) for parts in zip(*seen)]
    if not buffers:
        want[-1] = seen[-1][-1]
    found = [*values(average.module), average.module[1].running_mean.numpy()]
    for one, other in zip(found, want, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert average.n_averaged.item() == 5
    assert average.state_dict()["module.0.weight"].shape == (4, 3)
    x = tg.asarray(rng.standard_normal((2, 3)).astype("f4"))
    assert average.eval()(x).shape == (2, 2)
    twin = optim.AveragedModel(network(), avg_fn=rule)
    twin.load_state_dict(average.state_dict())
    assert twin.n_averaged.item() == 5


def test_averages_as_pytorch(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    utils = torch.optim.swa_utils
    for here, there in (
        (None, None),
        (optim.get_ema_avg_fn(0.9), utils.get_ema_avg_fn(0.9)),
        (optim.get_swa_avg_fn(), utils.get_swa_avg_fn()),
    ):
        net, twin = nn.Linear(3, 2).to("float64"), torch.nn.Linear(3, 2).double()
        a, b = optim.AveragedModel(net, avg_fn=here), utils.AveragedModel(twin, avg_fn=there)
        for _ in range(7):
            for name, param in net.named_parameters():
                value = rng.standard_normal(param.shape)
                param.data[...] = place.array(value)
                twin.get_parameter(name).data.copy_(torch.tensor(value))
            a.update_parameters(net)
            b.update_parameters(twin)
        for p, q in zip(a.parameters(), b.parameters()):
            found, want = p.detach().numpy(), q.detach().numpy()
            np.testing.assert_allclose(found, want, rtol=1e-13, atol=1e-14)  # a mean may cancel
        assert a.state_dict().keys() == b.state_dict().keys()


def test_a_mean_goes_through_training(rng: np.random.Generator) -> None:
    """The weights lie in the buckets of an optimizer; those of the average do not."""
    net = network()
    opt = optim.AdamW(net.parameters(), 0.1)
    average = optim.AveragedModel(net)
    x = tg.asarray(rng.standard_normal((5, 3)).astype("f4"))
    seen = []
    for _ in range(4):
        opt.zero_grad()
        (net(x) ** 2).sum().backward()
        opt.step()
        average.update_parameters(net)
        seen.append(values(net)[0])
    np.testing.assert_allclose(values(average.module)[0], np.mean(seen, 0), rtol=1e-5, atol=1e-6)


def test_update_bn(rng: np.random.Generator) -> None:
    net = network().eval()
    batches = [tg.asarray(rng.standard_normal((6, 3)).astype("f4")) for _ in range(4)]
    optim.update_bn([(batch, 0) for batch in batches], net)
    want = np.mean([net[0](batch).detach().numpy().mean(0) for batch in batches], 0)
    np.testing.assert_allclose(net[1].running_mean.numpy(), want, rtol=1e-5, atol=1e-6)
    assert net[1].momentum == 0.1
    assert not net.training
    optim.update_bn(batches, nn.Linear(3, 2))


def test_a_model_that_does_not_fit() -> None:
    average = optim.AveragedModel(nn.Linear(3, 2))
    with pytest.raises(tg.ShapeError, match="update_parameters: got a model of other weights"):
        average.update_parameters(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="get_ema_avg_fn: got decay=2, expected 0 <= decay <= 1"):
        optim.get_ema_avg_fn(2)


def test_decay_groups() -> None:
    net = network()
    net[2].weight = net[1].weight  # a tied one counts where it is met first
    decayed, rest = optim.decay_groups(net, 0.1, lr=0.5)
    assert [id(p) for p in decayed["params"]] == [id(net[0].weight)]
    assert [id(p) for p in rest["params"]] == [
        id(p) for p in (net[0].bias, net[1].weight, net[2].bias)
    ]
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)
    assert decayed["lr"] == rest["lr"] == 0.5
    optim.AdamW([decayed, rest])
    assert len(optim.decay_groups(nn.Linear(2, 2, bias=False), 0.1)) == 1
    with pytest.raises(TypeError, match="decay_groups: got list, expected a module"):
        optim.decay_groups([net[0].weight], 0.1)
    with pytest.raises(ValueError, match="weight_decay=-1"):
        optim.decay_groups(net, -1)


def test_elastic(rng: np.random.Generator) -> None:
    w = nn.Parameter(rng.standard_normal((3, 4)))
    start = w.detach().numpy().copy()
    penalty = optim.elastic_penalty([w, w], l1=0.3, l2=0.5)
    assert penalty.item() == pytest.approx(2 * (0.3 * abs(start).sum() + 0.25 * (start**2).sum()))
    optim.elastic_penalty(w, l1=0.3, l2=0.5).backward()
    np.testing.assert_allclose(w.grad.numpy(), 0.3 * np.sign(start) + 0.5 * start)
    optim.elastic_(w, 0.3, 0.5)
    want = np.sign(start) * np.maximum(abs(start) - 0.3, 0) / 1.5
    np.testing.assert_allclose(w.detach().numpy(), want)
    with pytest.raises(ValueError, match="elastic_: got l2=-1"):
        optim.elastic_(w, 0.1, -1)
    with pytest.raises(ValueError, match="elastic_penalty: got l1=-1"):
        optim.elastic_penalty(w, -1)


@pytest.mark.parametrize("kind", [optim.SGD, optim.AdamW, optim.Adafactor])
def test_find_rate(kind: Any, rng: np.random.Generator) -> None:
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    x = tg.asarray(rng.standard_normal((32, 3)).astype("f4"))
    y = tg.asarray(rng.standard_normal((32, 1)).astype("f4"))
    opt = kind(net.parameters(), lr=0.01)

    def loss() -> Any:
        return nn.functional.mse_loss(net(x), y)

    loss().backward()
    opt.step()
    before, state = values(net), copy.deepcopy(opt.state_dict())
    found = optim.find_rate(opt, loss, 1e-5, 100.0, steps=60)
    assert 1e-5 < found.best < 100
    assert len(found.rates) == len(found.losses) > 10
    assert all(np.array_equal(a, b) for a, b in zip(values(net), before))
    assert opt.param_groups[0]["lr"] == 0.01
    after = opt.state_dict()
    for number, kept in state["state"].items():
        assert all(np.array_equal(kept[k], after["state"][number][k]) for k in kept)


def test_find_rate_refuses() -> None:
    w = nn.Parameter([1.0])
    opt = optim.SGD([w])
    with pytest.raises(
        ValueError, match=r"find_rate: got low=1, high=0\.1, expected 0 < low < high"
    ):
        optim.find_rate(opt, lambda: (w * w).sum(), 1, 0.1)
    with pytest.raises(ValueError, match="find_rate: got a loss that is no number"):
        optim.find_rate(opt, lambda: (w * float("nan")).sum())
    assert w.tolist() == [1.0]
