"""Modules as functions of their parameters: per-example gradients, ensembles, every transform."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from place import here

import tensorgrad as tg
from tensorgrad import nn


def make() -> Any:
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()


def values(module: Any) -> dict[str, Any]:
    return {name: p.detach() for name, p in module.named_parameters()}


def close(a: Any, b: Any) -> None:
    np.testing.assert_allclose(here(a), here(b), rtol=1e-10, atol=1e-12)


class Counts(nn.Module):
    """A module that replaces a buffer with each call."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", tg.zeros(()))
        self.scale = nn.Parameter(np.ones(1))

    def forward(self, input: Any) -> Any:
        self.seen = self.seen + 1
        return input * self.scale


def test_gradients_are_those_of_backward(rng: np.random.Generator) -> None:
    net, x = make(), tg.asarray(rng.standard_normal((5, 2)))
    (net(x) ** 2).sum().backward()
    found = tg.grad(lambda p: (nn.functional_call(net, p, (x,)) ** 2).sum())(values(net))
    for name, param in net.named_parameters():
        close(found[name], param.grad)


def test_gradients_of_each_example(rng: np.random.Generator) -> None:
    net, x = make(), tg.asarray(rng.standard_normal((5, 2)))
    y = tg.asarray(rng.standard_normal((5, 1)))

    def loss(p: Any, x: Any, y: Any) -> Any:
        return ((nn.functional_call(net, p, x) - y) ** 2).sum()

    found = tg.vmap(tg.grad(loss), (None, 0, 0))(values(net), x, y)
    for k in range(5):
        for name, one in tg.grad(loss)(values(net), x[k], y[k]).items():
            close(found[name][k], one)


def test_ensemble(rng: np.random.Generator) -> None:
    nets, x = [make() for _ in range(3)], tg.asarray(rng.standard_normal((4, 2)))
    params, buffers = nn.stack_module_state(nets)
    assert all(p.requires_grad for p in params.values())
    run = tg.vmap(lambda p, b, x: nn.functional_call(nets[0], (p, b), x), (0, 0, None))
    out = run(params, buffers, x)
    for k, net in enumerate(nets):
        close(out[k], net(x))
    out.sum().backward()
    nets[1](x).sum().backward()
    close(params["2.weight"].grad[1], nets[1][2].weight.grad)
    with pytest.raises(tg.ShapeError, match="got 0 modules"):
        nn.stack_module_state([])
    with pytest.raises(tg.ShapeError, match="of 2 classes"):
        nn.stack_module_state([nn.ReLU(), nn.Tanh()])


def test_jvp_and_second_order(rng: np.random.Generator) -> None:
    net, x = make(), tg.asarray(rng.standard_normal((4, 2)))
    p = values(net)
    t = {name: tg.asarray(rng.standard_normal(v.shape)) for name, v in p.items()}
    f = lambda p: (nn.functional_call(net, p, x) ** 2).sum()  # noqa: E731
    _, slope = tg.jvp(f, (p,), (t,))
    g = tg.grad(f)(p)
    close(slope, sum((g[name] * t[name]).sum() for name in p))
    step = {name: p[name] + 1e-6 * t[name] for name in p}
    back = {name: p[name] - 1e-6 * t[name] for name in p}
    inner = lambda q: sum((v * t[n]).sum() for n, v in tg.grad(f)(q).items())  # noqa: E731
    second = tg.grad(inner)(p)
    change, product = 0.0, 0.0
    for name in p:
        change = change + ((tg.grad(f)(step)[name] - tg.grad(f)(back)[name]) * t[name]).sum() / 2e-6
        product = product + (second[name] * t[name]).sum()
    np.testing.assert_allclose(here(change), here(product), rtol=1e-6, atol=1e-6)


def test_the_module_is_as_it_was() -> None:
    net = make()
    before = dict(net.named_parameters())
    other = {name: p * 0 for name, p in values(net).items()}
    assert here(nn.functional_call(net, other, tg.ones((1, 2)))).tolist() == [[0.0]]
    with pytest.raises(tg.TensorgradError):
        nn.functional_call(net, other, tg.ones((1, 5)))
    assert all(net.get_parameter(name) is p for name, p in before.items())


def test_a_replaced_buffer_comes_back_in_the_dict() -> None:
    module, buffers = Counts(), {"seen": tg.ones(())}
    nn.functional_call(module, [{"scale": tg.ones((1,)) * 2}, buffers], tg.ones((1,)))
    assert here(buffers["seen"]) == 2.0
    assert here(module.seen) == 0.0
    nn.functional_call(module, {}, tg.ones((1,)))
    assert here(module.seen) == 0.0


def test_tied_weights() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x: Any) -> Any:
            return self.b(self.a(x))

    net, x = Tied().double(), tg.ones((1, 2))
    two = {"a.weight": 2 * tg.eye(2)}
    assert here(nn.functional_call(net, two, x)).tolist() == [[4.0, 4.0]]
    alone = nn.functional_call(net, two, x, tie_weights=False)
    close(alone, 2 * net.b(x))
    with pytest.raises(tg.ShapeError, match="different values for one tied weight"):
        nn.functional_call(net, two | {"b.weight": tg.eye(2)}, x)


def test_names_that_do_not_fit() -> None:
    net, x = make(), tg.ones((1, 2))
    with pytest.raises(KeyError, match=r"unknown: 1\.weight"):
        nn.functional_call(net, {"1.weight": x}, x)
    with pytest.raises(KeyError, match=r"missing: 0\.bias, 2\.weight, 2\.bias"):
        nn.functional_call(net, {"0.weight": net[0].weight}, x, strict=True)
    with pytest.raises(KeyError, match=r"given twice: 0\.bias"):
        nn.functional_call(net, ({"0.bias": net[0].bias}, {"0.bias": net[0].bias}), x)
