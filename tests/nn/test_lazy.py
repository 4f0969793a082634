"""Lazy layers: PyTorch's names, what they become, states that say the number of features."""

from __future__ import annotations

import pickle
from copy import deepcopy
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import nn

Rng = np.random.Generator

LAYERS = [
    ("Linear", (3,), (2, 4)),
    ("Conv1d", (4, 3), (2, 2, 5)),
    ("Conv2d", (4, 3), (2, 2, 5, 5)),
    ("Conv3d", (4, 2), (1, 2, 3, 3, 3)),
    ("ConvTranspose1d", (4, 3), (2, 2, 5)),
    ("ConvTranspose2d", (4, 3), (2, 2, 5, 5)),
    ("ConvTranspose3d", (4, 2), (2, 2, 3, 3, 3)),
    ("BatchNorm1d", (), (4, 3)),
    ("BatchNorm2d", (), (4, 3, 2, 2)),
    ("BatchNorm3d", (), (4, 3, 2, 2, 2)),
    ("InstanceNorm1d", (), (4, 3, 2)),
    ("InstanceNorm2d", (), (4, 3, 2, 2)),
    ("InstanceNorm3d", (), (4, 3, 2, 2, 2)),
]


@pytest.mark.parametrize(("name", "args", "shape"), LAYERS)
def test_becomes_the_layer(name: str, args: Any, shape: Any, rng: Rng) -> None:
    lazy = getattr(nn, f"Lazy{name}")(*args)
    params, copies = list(lazy.parameters()), [deepcopy(lazy), pickle.loads(pickle.dumps(lazy))]
    x = tg.tensor(rng.standard_normal(shape).astype("f4"))
    y = lazy(x)
    assert type(lazy) is getattr(nn, name)
    size = shape[-1] if name == "Linear" else shape[1]
    more = {"affine": True, "track_running_stats": True} if "Norm" in name else {}
    like = getattr(nn, name)(size, *args, **more)
    assert repr(lazy) == repr(like)
    assert all(p is q for p, q in zip(params, lazy.parameters(), strict=True))
    like.load_state_dict(lazy.state_dict())
    with tg.no_grad():
        assert np.allclose(like.eval()(x).numpy(), lazy.eval()(x).numpy())
    for copy in copies:
        assert copy(x).shape == y.shape
    tg.sum((lazy.train()(x) - 1) ** 2).backward()
    before = [p.detach().numpy().copy() for p in params]
    tg.optim.SGD(params, lr=0.1).step()
    assert all((p.detach().numpy() != q).any() for p, q in zip(params, before))


@pytest.mark.parametrize(("name", "args", "shape"), LAYERS)
def test_is_pytorchs(name: str, args: Any, shape: Any, rng: Rng) -> None:
    torch = pytest.importorskip("torch")
    theirs, ours = (getattr(module, f"Lazy{name}")(*args) for module in (torch.nn, nn))
    assert repr(ours) == repr(theirs)
    x = rng.standard_normal(shape).astype("f4")
    want = theirs(torch.tensor(x))
    assert (list(ours.state_dict())) == list(theirs.state_dict())
    if "Norm" in name:
        theirs.reset_running_stats()
        want = theirs(torch.tensor(x))
        theirs.reset_running_stats()
    ours.load_state_dict(theirs.state_dict())
    assert repr(ours) == repr(theirs)
    np.testing.assert_allclose(
        ours(tg.tensor(x)).detach().numpy(), want.detach().numpy(), atol=1e-5
    )


def test_dtype_errors_and_nets() -> None:
    net = nn.Sequential(nn.LazyLinear(3), nn.ReLU(), nn.LazyLinear(2)).double()
    assert repr(net[2]) == "LazyLinear(in_features=0, out_features=2, bias=True)"
    assert net(tg.ones((1, 5))).dtype == "float64"
    assert repr(net[2]) == "Linear(in_features=3, out_features=2, bias=True)"
    with pytest.raises(tg.ShapeError, match=r"LazyConv2d: got an input of shape \(2, 3\), expect"):
        nn.LazyConv2d(3, 2)(tg.ones((2, 3), dtype="float32"))
    early = nn.LazyLinear(2)
    opt = tg.optim.SGD(early.parameters(), lr=0.1)
    tg.sum(early(tg.ones((1, 5), dtype="float32"))).backward()
    with pytest.raises(tg.ShapeError, match="try a new optimizer"):
        opt.step()
