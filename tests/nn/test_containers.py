"""Containers: what lists and dicts offer, and how they read."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from place import here

import tensorgrad as tg
from tensorgrad import nn


def kinds(modules: object) -> list[str]:
    return [type(m).__name__ for m in modules]  # type: ignore[attr-defined]


def test_module_list() -> None:
    found = nn.ModuleList([nn.ReLU(), nn.Tanh()])
    found.insert(1, nn.GELU())
    assert kinds(found) == ["ReLU", "GELU", "Tanh"]
    assert type(found.pop()).__name__ == "Tanh"
    assert type(found.pop(0)).__name__ == "ReLU"
    found += [nn.Sigmoid()]
    assert kinds(found + nn.ModuleList([nn.ReLU()])) == ["GELU", "Sigmoid", "ReLU"]
    assert kinds(found) == ["GELU", "Sigmoid"]
    assert isinstance(found[:1], nn.ModuleList)
    assert kinds(reversed(found)) == ["Sigmoid", "GELU"]
    del found[0]
    assert kinds(found) == ["Sigmoid"]
    assert list(dict(found.named_children())) == ["0"]
    for wrong in (lambda: found.pop(3), lambda: found[1], lambda: found.__delitem__(-2)):
        with pytest.raises(IndexError, match="ModuleList: got index"):
            wrong()


def test_sequential() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    assert kinds(net.append(nn.Tanh()).extend([nn.GELU()])) == ["Linear", "ReLU", "Tanh", "GELU"]
    assert kinds(net[1:3]) == ["ReLU", "Tanh"]
    del net[1:3]
    assert kinds(net) == ["Linear", "GELU"]
    assert list(dict(net.named_children())) == ["0", "1"]
    twice = 2 * net
    assert kinds(twice) == ["Linear", "GELU"] * 2
    assert twice[0] is twice[2]
    assert kinds(net + nn.Sequential(nn.ReLU())) == ["Linear", "GELU", "ReLU"]
    net[0] = nn.Identity()
    assert kinds(net) == ["Identity", "GELU"]


def test_module_dict() -> None:
    found = nn.ModuleDict([("a", nn.ReLU()), ("b", nn.Tanh())])
    assert list(found) == ["a", "b"]
    assert "a" in found
    assert "training" not in found
    assert type(found.pop("a")).__name__ == "ReLU"
    with pytest.raises(KeyError, match="got 'a', expected one of"):
        del found["a"]
    found.clear()
    assert len(found) == 0


def test_parameter_list() -> None:
    found = nn.ParameterList([np.ones((2, 3), "f4"), nn.Parameter([1.0])])
    found.append(tg.zeros((1,), dtype="float32"))
    assert list(dict(found.named_parameters())) == ["0", "1", "2"]
    assert all(p.requires_grad for p in found)
    assert found.pop(0).shape == (2, 3)
    assert list(found.state_dict()) == ["0", "1"]
    found[-1] = np.full(4, 2.0)
    assert here(found[1]).tolist() == [2.0] * 4
    assert isinstance(found[:1], nn.ParameterList)
    found += [nn.Parameter([3.0])]
    assert len(found) == 3
    twin = pickle.loads(pickle.dumps(copy.deepcopy(found)))
    assert [p.shape for p in twin] == [p.shape for p in found]
    with pytest.raises(IndexError, match="got index 3, expected one of 3 parameters"):
        found[3]
    with pytest.raises(TypeError, match="ParameterList: got list, expected parameters"):
        found.append([1.0])
    assert repr(nn.ParameterList()) == "ParameterList()"


def test_parameter_dict() -> None:
    found = nn.ParameterDict({"a": np.ones(2, "f4")})
    found["b"] = nn.Parameter([1.0])
    assert list(found) == ["a", "b"]
    assert found.get("c") is None
    assert found.setdefault("c", np.zeros(3, "f4")) is found["c"]
    assert found.popitem()[0] == "c"
    both = found | {"d": np.ones(1)}
    assert list(both) == ["a", "b", "d"]
    assert both["a"] is found["a"]
    found |= nn.ParameterDict({"e": np.ones(1)})
    assert list(found.state_dict()) == ["a", "b", "e"]
    assert found.copy()["e"] is found["e"]
    assert found.pop("e").shape == (1,)
    with pytest.raises(KeyError, match="got 'e', expected one of"):
        found["e"]
    found.clear()
    assert "a" not in found
    assert len(found) == 0


@pytest.mark.cpu_only("the text names the device elsewhere")
def test_texts() -> None:
    assert repr(nn.ParameterDict({"a": np.ones((2, 3), "f4")})) == (
        "ParameterDict(\n  (a): Parameter containing: [float32 of size 2x3]\n)"
    )
