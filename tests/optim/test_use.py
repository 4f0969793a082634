"""What a training script does beside stepping: hooks, names, rates that are tensors, freezing."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import nn, optim


def pulled(value: float = 1.0) -> Any:
    """A weight with a gradient of 1."""
    w = nn.Parameter([value])
    w.sum().backward()
    return w


def test_hooks_around_a_step() -> None:
    w, seen = pulled(), []
    opt = optim.SGD([w], lr=0.25)
    first = opt.register_step_pre_hook(lambda *given: seen.append(given))
    opt.register_step_post_hook(lambda *given: seen.append(w.item()))
    opt.step()
    assert seen == [(opt, (), {}), 0.75]
    first.remove()
    copy.deepcopy(opt).step()  # a copy has none
    assert len(seen) == 2
    pickle.loads(pickle.dumps(opt))
    opt.step()
    assert seen[2:] == [0.5]


def test_hooks_of_scaled_steps_that_happen() -> None:
    w, seen = nn.Parameter([1.0]), []
    opt, scaler = optim.SGD([w], lr=0.25), optim.GradScaler(2.0)
    opt.register_step_post_hook(lambda *given: seen.append(w.item()))
    for slope in (1.0, np.inf, 1.0):
        opt.zero_grad()
        scaler.scale((w * slope).sum()).backward()
        scaler.step(opt)
        scaler.update()
    assert list(dict.fromkeys(seen)) == [0.75, 0.5]  # a GPU's host does not know which happen


def test_a_hook_may_replace_the_arguments() -> None:
    w = nn.Parameter([2.0])
    opt = optim.LBFGS([w], line_search_fn="strong_wolfe")

    def closure() -> Any:
        opt.zero_grad()
        loss = ((w - 1) ** 2).sum()
        loss.backward()
        return loss

    opt.register_step_pre_hook(lambda opt, args, kwargs: ((closure,), {}))
    assert opt.step().item() == 1.0
    assert w.item() == pytest.approx(1.0)


def test_the_rate_may_be_a_tensor() -> None:
    w = pulled()
    opt = optim.SGD([w], lr=tg.tensor(0.5))
    assert opt.param_groups[0]["lr"] == 0.5
    opt.step()
    rate = tg.tensor(0.25)
    opt.param_groups[0]["lr"] = rate
    opt.step()
    assert w.item() == 0.25
    rate.data[...] = 1.0
    opt.step()
    assert w.item() == -0.75


def test_parameters_with_names() -> None:
    net = nn.Linear(2, 1)
    opt = optim.Adam(net.named_parameters())
    assert opt.param_groups[0]["param_names"] == ["weight", "bias"]
    assert opt.param_groups[0]["params"] == list(net.parameters())
    opt.load_state_dict(pickle.loads(pickle.dumps(opt.state_dict())))
    optim.LBFGS(net.named_parameters())
    with pytest.raises(TypeError, match=r"Adam: got one group, expected a list of them; try \[gr"):
        optim.Adam({"params": net.parameters()})


def test_gradients_set_to_zero_still_count() -> None:
    w, v = pulled(), nn.Parameter([1.0])
    opt = optim.SGD([w, v], lr=0.5, momentum=0.5)
    opt.step()
    opt.zero_grad(set_to_none=False)
    assert w.grad.tolist() == [0.0]
    assert v.grad is None
    opt.step()
    assert w.item() == 0.25
    assert w.grad.data is w.node.into or w.grad.tolist() == [0.0]
    opt.zero_grad()
    assert w.grad is None


def test_state_by_parameter() -> None:
    w = pulled()
    opt = optim.Adam([w, nn.Parameter([1.0])])
    assert opt.state == {}
    opt.step()
    assert list(opt.state) == [w]
    assert opt.state[w]["step"] == 1
    assert opt.state[w]["exp_avg"].item() == pytest.approx(0.1)
    opt.state[w]["exp_avg"].data[...] = 0.5
    assert opt.state_dict()["state"][0]["exp_avg"].item() == 0.5


@pytest.mark.parametrize("kind", [optim.AdamW, optim.NAG, optim.LAMB, optim.Adafactor])
def test_frozen_midway_and_thawed(kind: Any, rng: np.random.Generator) -> None:
    """A frozen weight stays, the others go on, and its state waits for it."""
    net, x = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), rng.standard_normal((5, 3))
    opt, first = kind(net.parameters(), lr=0.01), net[0].weight
    for step in range(9):
        first.requires_grad = not 3 <= step < 6
        before = first.detach().numpy().copy()
        opt.zero_grad()
        (net(tg.asarray(x.astype("f4"))) ** 2).sum().backward()
        opt.step()
        assert np.array_equal(first.detach().numpy(), before) == (3 <= step < 6)
    assert opt.state[first]["step"] == 6
    assert opt.state[net[1].weight]["step"] == 9


def test_averages_of_many_at_once(rng: np.random.Generator) -> None:
    net = nn.Linear(3, 2)
    one = optim.AveragedModel(net, avg_fn=optim.get_ema_avg_fn(0.75))
    many = optim.AveragedModel(net, multi_avg_fn=optim.get_ema_multi_avg_fn(0.75))
    mean = optim.AveragedModel(net, multi_avg_fn=optim.get_swa_multi_avg_fn())
    plain = optim.AveragedModel(net)
    for _ in range(4):
        for param in net.parameters():
            param.data = tg.asarray(rng.standard_normal(param.shape).astype("f4")).data
        for average in (one, many, mean, plain):
            average.update_parameters(net)
    for same, other in ((one, many), (mean, plain)):
        for p, q in zip(same.parameters(), other.parameters()):
            assert np.array_equal(p.detach().numpy(), q.detach().numpy())
    with pytest.raises(ValueError, match="got avg_fn and multi_avg_fn, expected one of them"):
        optim.AveragedModel(net, avg_fn=min, multi_avg_fn=min)


def test_cycles_that_go_on() -> None:
    """Made for a later step, a schedule is where it would be had it come there by itself."""
    makers: dict[str, Any] = {
        "CyclicLR": lambda opt, k: optim.CyclicLR(opt, 0.1, 1.0, 3, last_epoch=k),
        "Warm": lambda opt, k: optim.CosineAnnealingWarmRestarts(opt, 2, 2, last_epoch=k),
    }
    for make in makers.values():
        opt = optim.SGD([nn.Parameter([1.0])], lr=0.5, momentum=0.9)
        walker = make(opt, -1)
        for step in range(20):
            later = optim.SGD([nn.Parameter([1.0])], lr=0.5, momentum=0.9)
            later.load_state_dict(opt.state_dict())
            if step:
                make(later, step - 1)
            assert later.param_groups[0]["lr"] == pytest.approx(opt.param_groups[0]["lr"])
            walker.step()


def test_a_mean_without_memory_is_the_gradient() -> None:
    """beta1 = 0: nothing of a large gradient before stays in the digits of a small one."""
    for kind in (optim.Adam, optim.Adamax, optim.NAdam, optim.LAMB):
        w = nn.Parameter(tg.tensor([1.0, 2.0], dtype="float32"))
        opt = kind([w], betas=(0.0, 0.5))
        for size in (1e4, 1e-4):
            w.grad = tg.tensor([size, size], dtype="float32")
            opt.step()
        assert opt.state[w]["exp_avg"].tolist() == w.grad.tolist()
