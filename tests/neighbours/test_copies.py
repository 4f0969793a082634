"""`copy`, `deepcopy`, `pickle` of tensors, parameters, modules, optimizers, in every protocol."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import nn, optim

WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f"pickle {k}": lambda x, k=k: pickle.loads(pickle.dumps(x, protocol=k))
        for k in range(2, pickle.HIGHEST_PROTOCOL + 1)
    },
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16", "complex128", "int8", "bool"])
def test_tensors(way: str, dtype: str, rng: np.random.Generator) -> None:
    x = tg.asarray(rng.uniform(0, 4, (3, 4))).astype(dtype)
    for value in (x, x[1:, ::-2], x.T, x[0, 0], x[:0]):
        twin = WAYS[way](value)
        assert type(twin) is type(value)
        assert (twin.dtype, twin.shape) == (value.dtype, value.shape)
        assert not twin.requires_grad
        np.testing.assert_array_equal(twin.numpy(), value.numpy())
        assert not np.shares_memory(twin.numpy(), value.numpy())


@pytest.mark.parametrize("way", WAYS)
def test_leaves_and_recorded_values(way: str, rng: np.random.Generator) -> None:
    x = tg.tensor(rng.standard_normal(3), requires_grad=True)
    y = x * 2
    twin = WAYS[way](x)
    assert twin.requires_grad
    assert twin.is_leaf == (way != "copy")  # that is the operation `copy`, as NumPy has it
    if way == "copy":
        (twin.sum() + WAYS[way](y).sum()).backward()
        assert x.grad.tolist() == [3.0] * 3
    else:
        (twin**2).sum().backward()
        np.testing.assert_allclose(twin.grad.numpy(), 2 * x.detach().numpy())
        assert x.grad is None
        with pytest.raises(tg.GradientError, match=r"got a tensor made by multiply.*x\.detach"):
            WAYS[way](y)
    twin = WAYS[way](y.detach())
    np.testing.assert_array_equal(twin.numpy(), y.detach().numpy())
    parameter = nn.Parameter([1.0, 2.0])
    again = WAYS[way](parameter)
    assert type(again) is nn.Parameter
    assert again.tolist() == [1.0, 2.0]
    assert not WAYS[way](nn.Parameter([1.0], requires_grad=False)).requires_grad


def net() -> Any:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def loss(model: Any, x: Any) -> Any:
    return (model(x) ** 2).sum()


@pytest.mark.parametrize("way", [w for w in WAYS if w != "copy"])
@pytest.mark.parametrize("make", [
    lambda p: optim.SGD(p, lr=0.05), lambda p: optim.Momentum(p, lr=0.05),
    lambda p: optim.Adam(p, lr=0.05),
])  # fmt: skip
def test_a_model_and_its_optimizer_go_on_as_one(
    way: str, make: Any, rng: np.random.Generator
) -> None:
    """Copied together in the middle of a training, both go on to the same weights."""
    x = tg.asarray(rng.standard_normal((8, 3)).astype("f4"))
    model = net()
    pair = (model, make(list(model.parameters())))

    def train(pair: Any, steps: int) -> Any:
        for _ in range(steps):
            pair[1].zero_grad()
            loss(pair[0], x).backward()
            pair[1].step()
        return {name: value.numpy().copy() for name, value in pair[0].state_dict().items()}

    train(pair, 3)
    before = train(pair, 0)
    twin = WAYS[way](pair)
    want = train(pair, 4)
    for name, value in train(twin, 0).items():
        np.testing.assert_array_equal(value, before[name])
    for name, value in train(twin, 4).items():
        np.testing.assert_allclose(value, want[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_modules_with_ties_and_buffers(rng: np.random.Generator) -> None:
    model = net()
    model[2].weight = nn.Parameter(rng.standard_normal((1, 4)).astype("f4"))
    model.add_module("again", model[0])
    model.register_buffer("mean", tg.asarray(rng.standard_normal(3)))
    for way in WAYS.values():
        twin = way(model)
        assert twin[0] is twin.again
        np.testing.assert_array_equal(twin.mean.numpy(), model.mean.numpy())
        for name, value in twin.state_dict().items():
            np.testing.assert_array_equal(value.numpy(), model.state_dict()[name].numpy())


def test_containers_and_generators(rng: np.random.Generator) -> None:
    x = tg.tensor(rng.standard_normal(3), requires_grad=True)
    for name, way in WAYS.items():
        twice = way({"a": [x, x], "b": (x.detach(), 1.0)})
        assert twice["a"][0] is twice["a"][1], name
        source = tg.Generator(3)
        source.take("normal", 5)
        assert way(source).get_state() == source.get_state(), name
