"""Linear layers that take in the activation behind them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import nn

Rng = np.random.Generator


def previous(tensor: Any) -> str:
    """The operation whose result the last one read."""
    name: str = tensor.node.parents[0].primitive.name
    return name


def case(rng: Rng, activation: nn.Module) -> tuple[Any, Any]:
    net = nn.Sequential(nn.Linear(4, 8), activation, nn.Linear(8, 2))
    x = tg.tensor(rng.standard_normal((5, 4)).astype("f4"))
    x.requires_grad = True
    return net, x


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.GELU("tanh"), nn.GELU(), nn.Tanh()], ids=str)
def test_sequential_joins_a_linear_and_what_follows(activation: nn.Module, rng: Rng) -> None:
    net, x = case(rng, activation)
    got = net(x)
    joined = {"ReLU()": "linear_relu", "GELU(approximate='tanh')": "linear_gelu"}
    assert (previous(got) == joined.get(repr(activation))) == (repr(activation) in joined)
    want = net[2](activation(net[0](x)))
    np.testing.assert_array_equal(got.detach().numpy(), want.detach().numpy())
    ct = tg.tensor(rng.standard_normal((5, 2)).astype("f4"))
    leaves = [x, *net.parameters()]
    for y in (got, want):
        y.backward(ct)
    total = [p.grad.detach().numpy() for p in leaves]
    for p in leaves:
        p.grad = None
    net(x).backward(ct)
    for both, p in zip(total, leaves):
        np.testing.assert_allclose(both, 2 * p.grad.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_a_hook_in_between_sees_what_it_would_see(rng: Rng) -> None:
    for place in (0, 1):
        net, x = case(rng, nn.GELU("tanh"))
        seen: list[Any] = []
        net[place].register_forward_hook(lambda module, given, out, seen=seen: seen.append(out))
        assert previous(net(x)).startswith("gelu")
        assert [out.shape for out in seen] == [(5, 8)]


def test_a_layer_without_bias_is_not_joined(rng: Rng) -> None:
    net = nn.Sequential(nn.Linear(4, 8, bias=False), nn.GELU("tanh"))
    y = net(tg.tensor(rng.standard_normal((5, 4)).astype("f4")))
    assert y.node.primitive.name.startswith("gelu")


def test_the_joined_layer_names_the_cast() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.GELU("tanh"))
    with pytest.raises(tg.DTypeError, match=r'Linear: got .* try x.astype\("float32"\)'):
        net(np.ones((1, 2)))
