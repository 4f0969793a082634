"""Module: names and prefixes, parts by name, casts, what state_dict and load_state_dict take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from place import here, shares

import tensorgrad as tg
from tensorgrad import nn


def net() -> Any:
    """Two layers, the first one twice, and a buffer."""
    first = nn.Linear(2, 2)
    found = nn.Sequential(first, nn.Sequential(first, nn.Linear(2, 1)))
    found.register_buffer("count", tg.asarray(np.array([3])))
    return found


def test_names_with_prefix_and_duplicates() -> None:
    module = net()
    assert [n for n, _ in module.named_modules()] == ["", "0", "1", "1.1"]
    assert [n for n, _ in module.named_modules(prefix="a")] == ["a", "a.0", "a.1", "a.1.1"]
    every = [n for n, _ in module.named_modules(remove_duplicate=False)]
    assert every == ["", "0", "1", "1.0", "1.1"]
    names = [n for n, _ in module.named_parameters("a")]
    assert names == ["a.0.weight", "a.0.bias", "a.1.1.weight", "a.1.1.bias"]
    assert "1.0.weight" in dict(module.named_parameters(remove_duplicate=False))
    assert [n for n, _ in module.named_buffers("b", recurse=False)] == ["b.count"]
    assert list(module.named_parameters(recurse=False)) == []


def test_parts_by_name() -> None:
    module = net()
    assert module.get_submodule("") is module
    assert module.get_submodule("1.1") is module[1][1]
    assert module.get_parameter("1.1.weight") is module[1][1].weight
    assert module.get_buffer("count") is module.count
    module.set_submodule("1.1", nn.Tanh())
    assert isinstance(module[1][1], nn.Tanh)
    module.register_module("extra", nn.ReLU())
    assert isinstance(module.extra, nn.ReLU)
    with pytest.raises(AttributeError, match=r"1\.x\.y: .*no part 'x'.* one of: 0, 1"):
        module.get_submodule("1.x.y")
    with pytest.raises(AttributeError, match=r"no parameter 'count'.* one of: none"):
        module.get_parameter("count")
    with pytest.raises(AttributeError, match="no buffer 'weight'"):
        module.get_buffer("0.weight")


def test_casts() -> None:
    module = net()
    for cast, name in (
        (module.double, "float64"),
        (module.half, "float16"),
        (module.bfloat16, "bfloat16"),
        (module.float, "float32"),
    ):
        assert cast() is module
        assert {p.dtype.name for p in module.parameters()} == {name}
        assert module.count.dtype == np.int64


@pytest.mark.cpu_only("it expects devices of the CPU alone")
def test_moves() -> None:
    module = net()
    assert module.cpu() is module
    with pytest.raises(tg.DeviceError):
        module.cuda("nowhere")


def test_state_dict_takes_a_destination_and_keeps_the_tape() -> None:
    module, found = nn.Linear(2, 1), {"other": tg.zeros((1,))}
    assert module.state_dict(destination=found, prefix="a.") is found
    assert list(found) == ["other", "a.weight", "a.bias"]
    kept = module.state_dict(keep_vars=True)
    assert kept["weight"] is module.weight
    assert not module.state_dict()["weight"].requires_grad


def test_assign_takes_the_place(rng: np.random.Generator) -> None:
    module = net()
    module[0].weight.requires_grad = False
    values = {n: tg.asarray(here(v).astype("f8")) for n, v in module.state_dict().items()}
    values["count"] = tg.asarray(np.array([7]))
    module.load_state_dict(values, assign=True)
    assert module[0].weight.dtype == np.float64
    assert not module[0].weight.requires_grad
    assert module[1][1].weight.requires_grad
    assert module[0].weight is module[1][0].weight
    assert isinstance(module[0].weight, nn.Parameter)
    assert shares(module[1][1].bias, values["1.1.bias"])
    assert module.count is values["count"]
    with pytest.raises(tg.ShapeError, match=r"misshapen: 1\.1\.bias"):
        module.load_state_dict(values | {"1.1.bias": tg.zeros((2,))}, assign=True)


def test_loading_arrays_of_the_host_casts_and_moves(rng: np.random.Generator) -> None:
    module = nn.Linear(3, 2)
    weight = rng.standard_normal((2, 3))
    module.load_state_dict({"weight": weight, "bias": np.ones(2, np.float16)})
    assert module.weight.dtype == np.float32
    assert np.array_equal(here(module.weight), weight.astype("f4"))
    device = module.weight.device
    module.load_state_dict({n: v.to("cpu") for n, v in module.double().state_dict().items()})
    assert module.weight.device == device


def test_tensors_of_torch_load() -> None:
    torch = pytest.importorskip("torch")
    theirs, ours = torch.nn.Linear(3, 2), nn.Linear(3, 2)
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        ours.load_state_dict(theirs.to(dtype).state_dict())
        assert np.array_equal(here(ours.weight), theirs.weight.detach().float().numpy())
