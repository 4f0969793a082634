"""Module: registration, walking, modes, state, hooks, text."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import nn


class Block(nn.Module):
    """A module with one of everything."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(np.ones(3, np.float32))
        self.inner = nn.Linear(3, 3)
        self.register_buffer("mean", tg.zeros((3,), dtype="float32"))
        self.register_buffer("cache", tg.zeros((2,)), persistent=False)
        self.register_buffer("absent", None)
        self.plain = tg.ones((3,))
        self.label = "block"

    def forward(self, input: Any) -> Any:
        return self.inner(input) * self.scale + self.mean


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight

    def forward(self, input: Any) -> Any:
        return self.second(self.first(input))


def values(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: np.array(value.numpy()) for name, value in state.items()}


# -- registration --------------------------------------------------------------------------------


def test_attributes_register_by_type() -> None:
    block = Block()
    names = [name for name, _ in block.named_parameters()]
    assert names == ["scale", "inner.weight", "inner.bias"]
    assert [name for name, _ in block.named_buffers()] == ["mean", "cache"]
    assert [name for name, _ in block.named_modules()] == ["", "inner"]
    assert list(block.children()) == [block.inner]
    assert len(list(block.parameters(recurse=False))) == 1
    assert len(list(block.parameters())) == 3
    assert len(list(block.buffers())) == 2
    assert list(block.modules()) == [block, block.inner]
    assert "plain" not in block.state_dict()


def test_assignment_before_init_shows_the_right_code() -> None:
    class Wrong(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.Linear(2, 2)

    with pytest.raises(AttributeError, match=r"super\(\).__init__\(\)") as caught:
        Wrong()
    assert "class Wrong(nn.Module):" in str(caught.value)
    assert "self.layer = ..." in str(caught.value)


def test_plain_attributes_before_init_are_allowed() -> None:
    class Early(nn.Module):
        def __init__(self) -> None:
            self.size = 2
            super().__init__()

    assert Early().size == 2


def test_replacing_by_another_kind_raises() -> None:
    block = Block()
    with pytest.raises(TypeError, match=r"Block.scale: got Tensor, expected an nn.Parameter"):
        block.scale = tg.ones((3,))  # type: ignore[assignment]
    with pytest.raises(TypeError, match=r"expected an nn\.Module"):
        block.inner = 3  # type: ignore[assignment]
    with pytest.raises(TypeError, match="expected a tensor"):
        block.mean = 3
    block.scale = nn.Parameter(np.zeros(2))
    block.mean = tg.ones((3,))
    assert "mean" in block.state_dict()
    block.inner = None  # type: ignore[assignment]
    assert [name for name, _ in block.named_parameters()] == ["scale"]


def test_registration_refuses_bad_names() -> None:
    block = Block()
    for name in ("", "a.b"):
        with pytest.raises(KeyError, match="empty or has a dot"):
            block.register_buffer(name, tg.zeros((1,)))
    with pytest.raises(KeyError, match="already uses"):
        block.register_parameter("forward", None)
    with pytest.raises(KeyError, match="already uses"):
        block.register_buffer("scale", tg.zeros((1,)))
    with pytest.raises(TypeError, match="got Tensor, expected Parameter"):
        block.register_parameter("extra", tg.zeros((1,)))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="got int, expected Module"):
        block.add_module("extra", 3)  # type: ignore[arg-type]


def test_deleting_unregisters() -> None:
    block = Block()
    del block.scale, block.inner
    assert list(block.parameters()) == []
    assert not hasattr(block, "scale")


def test_none_parameter_keeps_its_name() -> None:
    layer = nn.Linear(2, 2, bias=False)
    assert layer.bias is None
    with pytest.raises(TypeError, match=r"expected an nn\.Parameter or None"):
        layer.bias = tg.zeros((2,))  # type: ignore[assignment]
    layer.bias = nn.Parameter(np.zeros(2, np.float32))
    assert list(layer.state_dict()) == ["weight", "bias"]


def test_tied_parameters_are_listed_once_and_saved_twice() -> None:
    net = Tied()
    assert [name for name, _ in net.named_parameters()] == ["first.weight"]
    assert list(net.state_dict()) == ["first.weight", "second.weight"]


def test_parameter_dtype_and_repr() -> None:
    assert nn.Parameter([1.0]).dtype == np.float32
    assert nn.Parameter(np.ones(1)).dtype == np.float64
    assert repr(nn.Parameter([1.0])).startswith("Parameter containing:\ntensor(")
    assert not nn.Parameter([1], requires_grad=False).requires_grad
    with pytest.raises(tg.DTypeError):
        nn.Parameter(np.arange(3))
    source = tg.ones((2,))
    assert nn.Parameter(source).data is source.data


# -- modes ---------------------------------------------------------------------------------------


def test_train_eval_zero_grad_requires_grad_apply() -> None:
    block = Block()
    assert block.training
    assert block.eval() is block
    assert not block.inner.training
    assert block.train().inner.training
    block(tg.ones((2, 3), dtype="float32")).sum().backward()
    assert block.scale.grad is not None
    block.zero_grad()
    assert all(p.grad is None for p in block.parameters())
    block.requires_grad_(False)
    assert not any(p.requires_grad for p in block.parameters())
    assert not block(tg.ones((2, 3), dtype="float32")).requires_grad
    assert block.requires_grad_().scale.requires_grad
    order: list[str] = []
    block.apply(lambda module: order.append(type(module).__name__))
    assert order == ["Linear", "Block"]


def test_a_held_gradient_survives_the_next_backward(rng: np.random.Generator) -> None:
    net = nn.Linear(3, 2)
    opt = tg.optim.SGD(net.parameters(), lr=0.0)
    for clear in (net.zero_grad, opt.zero_grad):
        net(tg.asarray(rng.standard_normal((4, 3)).astype("f4"))).sum().backward()
        held = net.weight.grad
        assert held is not None
        before = np.array(held.numpy())
        clear()
        net(tg.asarray(rng.standard_normal((4, 3)).astype("f4"))).sum().backward()
        assert np.array_equal(held.numpy(), before)
        held = None
        clear()


def test_to_casts_in_place() -> None:
    block = Block()
    block.register_buffer("count", tg.asarray(np.array([3])))
    scale, calls = block.scale, []
    scale.register_hook(lambda g: calls.append(1))
    block(tg.ones((2, 3), dtype="float32")).sum().backward()
    assert block.to("float64") is block
    assert block.scale is scale
    assert scale.dtype == np.float64
    assert scale.grad is not None
    assert scale.grad.dtype == np.float64
    assert block.mean.dtype == np.float64
    assert block.count.dtype == np.int64
    block(tg.ones((2, 3))).sum().backward()
    assert len(calls) == 2
    assert block.to("cpu", "float32").scale.dtype == np.float32
    assert block.to("cpu").to(device="cpu", dtype=np.float64).scale.dtype == np.float64
    with pytest.raises(tg.DTypeError, match="expected a floating dtype"):
        block.to("int64")
    with pytest.raises(tg.DeviceError):
        block.to("nowhere")


# -- state ---------------------------------------------------------------------------------------


def test_state_dict_shares_memory_and_round_trips(rng: np.random.Generator) -> None:
    one, two = Block(), Block()
    state = one.state_dict()
    assert list(state) == ["scale", "mean", "inner.weight", "inner.bias"]
    assert state["inner.weight"].data is one.inner.weight.data
    assert not state["scale"].requires_grad
    weight = two.inner.weight
    array = weight.data
    report = two.load_state_dict(state)
    assert report == ([], [])
    assert two.inner.weight is weight
    assert weight.data is array
    x = tg.asarray(rng.standard_normal((4, 3)).astype("f4"))
    assert np.array_equal(one(x).detach().numpy(), two(x).detach().numpy())
    two.load_state_dict({name: value.astype("f8") for name, value in values(state).items()})
    assert weight.dtype == np.float32


def test_load_reports_everything_at_once() -> None:
    block = Block()
    before = values(block.state_dict())
    bad = {
        "scale": np.ones(4),
        "inner.weight": np.ones((3, 3)) * 1j,
        "mean": np.ones(3),
        "other": np.ones(1),
    }
    with pytest.raises(tg.ShapeError) as caught:
        block.load_state_dict(bad)
    text = str(caught.value)
    for part in ("missing: inner.bias", "unexpected: other", "scale (got float64(4,), expected"):
        assert part in text
    assert "inner.weight (got complex128(3, 3)" in text
    for name, value in values(block.state_dict()).items():
        assert np.array_equal(value, before[name])
    with pytest.raises(tg.ShapeError, match="misshapen"):
        block.load_state_dict(bad, strict=False)
    with pytest.raises(tg.ShapeError, match="strict=False"):
        block.load_state_dict({})
    report = block.load_state_dict({"mean": np.ones(3), "x": np.ones(1)}, strict=False)
    assert report.unexpected_keys == ["x"]
    assert len(report.missing_keys) == 3
    assert block.mean.tolist() == [1.0, 1.0, 1.0]


def test_copies_and_pickles(rng: np.random.Generator) -> None:
    net = nn.Sequential(Block(), nn.ReLU(), Tied())
    tg.optim.Adam(net.parameters())  # its views must not tie the copies together
    x = tg.asarray(rng.standard_normal((4, 3)).astype("f4"))
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert np.array_equal(twin(x).detach().numpy(), net(x).detach().numpy())
        assert twin[2].first.weight is twin[2].second.weight
        assert len(list(twin.parameters())) == len(list(net.parameters()))
        with tg.no_grad():
            twin[0].scale[...] = 5.0
        assert net[0].scale.tolist() == [1.0, 1.0, 1.0]


# -- hooks ---------------------------------------------------------------------------------------


def test_hooks_replace_and_are_removed() -> None:
    layer = nn.Identity()
    first = layer.register_forward_pre_hook(lambda module, args: args[0] + 1)
    second = layer.register_forward_hook(lambda module, args, out: out * args[0])
    silent = layer.register_forward_hook(lambda module, args, out: None)
    assert layer(2) == 9
    first.remove()
    first.remove()
    assert layer(2) == 4
    second.remove()
    silent.remove()
    assert layer(2) == 2
    with layer.register_forward_pre_hook(lambda module, args: (args[0] * 10,)):
        assert layer(2) == 20
    assert layer(2) == 2


def test_a_module_without_forward_says_so() -> None:
    with pytest.raises(TypeError, match="expected the class to define forward"):
        nn.Module()(1)


# -- text ----------------------------------------------------------------------------------------


def test_repr() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Tanh()]))
    assert repr(net) == (
        "Sequential(\n"
        "  (0): Linear(in_features=2, out_features=3, bias=True)\n"
        "  (1): ModuleList(\n"
        "    (0-1): 2 x ReLU()\n"
        "    (2): Tanh()\n"
        "  )\n"
        ")"
    )
    assert repr(nn.Sequential()) == "Sequential()"
    assert repr(nn.ModuleList()) == "ModuleList()"
