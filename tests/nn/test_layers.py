"""Layers: containers, linear layers, activations, dropout, losses."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.nn import functional as F  # noqa: N812


def f4(rng: np.random.Generator, *shape: int) -> Any:
    return tg.asarray(rng.standard_normal(shape).astype(np.float32))


def same(got: Any, want: Any) -> None:
    got, want = (np.asarray(x.detach()) if isinstance(x, tg.Tensor) else x for x in (got, want))
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-6)


# -- containers ----------------------------------------------------------------------------------


def test_sequential_indexing() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    assert len(net) == 3
    assert net[-1] is net[2]
    assert [type(m).__name__ for m in net] == ["Linear", "ReLU", "Linear"]
    part = net[1:]
    assert isinstance(part, nn.Sequential)
    assert list(part.state_dict()) == ["2.weight", "2.bias"]
    net[1] = nn.Tanh()
    del net[0]
    assert list(net.state_dict()) == ["1.weight", "1.bias"]
    net.append(nn.ReLU()).insert(0, nn.Identity())
    assert [type(m).__name__ for m in net] == ["Identity", "Tanh", "Linear", "ReLU"]
    with pytest.raises(IndexError, match="got index 7"):
        net[7]
    with pytest.raises(TypeError, match="expected Module"):
        nn.Sequential(nn.ReLU(), 3)


def test_sequential_of_names(rng: np.random.Generator) -> None:
    net = nn.Sequential(OrderedDict(hidden=nn.Linear(2, 3), act=nn.ReLU()))
    assert list(net.state_dict()) == ["hidden.weight", "hidden.bias"]
    x = f4(rng, 5, 2)
    same(net(x), F.relu(F.linear(x, net.hidden.weight, net.hidden.bias)))  # type: ignore[attr-defined]
    assert len(nn.Sequential(OrderedDict())) == 0


def test_module_list_and_dict() -> None:
    layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
    layers.extend([nn.ReLU()])
    assert len(layers) == 4
    assert len(layers[:2]) == 2
    assert len(list(layers.parameters())) == 6
    named = nn.ModuleDict({"a": nn.ReLU()})
    named["b"] = nn.Linear(1, 1)
    assert list(named) == ["a", "b"]
    assert "a" in named
    assert [type(m).__name__ for m in named.values()] == ["ReLU", "Linear"]
    named.update({"c": nn.Tanh()})
    assert type(named.pop("a")).__name__ == "ReLU"
    del named["c"]
    assert list(named.keys()) == ["b"]
    assert list(named.state_dict()) == ["b.weight", "b.bias"]
    with pytest.raises(KeyError, match="expected one of"):
        named["zzz"]
    with pytest.raises(KeyError, match="already uses"):
        named["forward"] = nn.ReLU()


# -- linear --------------------------------------------------------------------------------------


def test_linear(rng: np.random.Generator) -> None:
    layer = nn.Linear(5, 3)
    x = f4(rng, 2, 4, 5)
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()  # type: ignore[union-attr]
    same(layer(x), x.numpy() @ weight.T + bias)
    assert max(np.abs(weight).max(), np.abs(bias).max()) <= 5**-0.5
    same(nn.Linear(5, 3, bias=False)(x).shape, (2, 4, 3))
    assert nn.Linear(2, 2, dtype="float64").weight.dtype == np.float64
    assert nn.Linear(0, 2)(tg.zeros((3, 0), dtype="float32")).shape == (3, 2)
    with pytest.raises(tg.ShapeError):
        layer(f4(rng, 2, 4))


def test_linear_names_the_cast() -> None:
    layer = nn.Linear(2, 2)
    with pytest.raises(tg.DTypeError, match=r'try x.astype\("float32"\), or layer.to\("float64"\)'):
        layer(np.ones((1, 2)))
    with pytest.raises(tg.DTypeError, match=r'got an input of int64.*try x.astype\("float32"\)$'):
        layer(tg.asarray(np.ones((1, 2), np.int64)))
    with pytest.raises(tg.DTypeError, match=r"try tg.asarray\(x"):
        layer([1.0, 2.0])
    assert layer(np.ones((1, 2), np.float32)).shape == (1, 2)


def test_default_dtype_of_parameters() -> None:
    tg.set_default_dtype("float64")
    try:
        assert nn.Linear(2, 2).weight.dtype == np.float64
    finally:
        tg.set_default_dtype("float32")


def test_bilinear(rng: np.random.Generator) -> None:
    layer = nn.Bilinear(2, 3, 4)
    x, y = f4(rng, 5, 2), f4(rng, 5, 3)
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()  # type: ignore[union-attr]
    same(layer(x, y), np.einsum("ni,kij,nj->nk", x.numpy(), weight, y.numpy()) + bias)


def test_flatten_unflatten_identity(rng: np.random.Generator) -> None:
    x = f4(rng, 2, 3, 4, 5)
    assert nn.Flatten()(x).shape == (2, 60)
    assert nn.Flatten(1, 2)(x).shape == (2, 12, 5)
    assert nn.Flatten(0)(x).shape == (120,)
    assert nn.Unflatten(1, (3, 4))(nn.Flatten(1, 2)(x)).shape == x.shape
    assert nn.Unflatten(-1, (5, -1))(x).shape == (2, 3, 4, 5, 1)
    assert nn.Identity(1, a=2)(x) is x
    with pytest.raises(tg.ShapeError, match="Flatten: got an input of shape"):
        nn.Flatten(1)(f4(rng, 3))
    with pytest.raises(tg.ShapeError, match="Unflatten"):
        nn.Unflatten(4, (1,))(x)


# -- activations ---------------------------------------------------------------------------------

ACTIVATIONS: dict[str, tuple[Any, Any]] = {
    "Sigmoid": (nn.Sigmoid(), lambda x: 1 / (1 + np.exp(-x))),
    "LogSigmoid": (nn.LogSigmoid(), lambda x: -np.log1p(np.exp(-x))),
    "Tanh": (nn.Tanh(), np.tanh),
    "ReLU": (nn.ReLU(), lambda x: np.maximum(x, 0)),
    "ReLU6": (nn.ReLU6(), lambda x: np.clip(x, 0, 6)),
    "LeakyReLU": (nn.LeakyReLU(0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
    "PReLU": (nn.PReLU(), lambda x: np.where(x > 0, x, 0.25 * x)),
    "PReLU3": (nn.PReLU(3, init=0.5), lambda x: np.where(x > 0, x, 0.5 * x)),
    "ELU": (nn.ELU(0.7), lambda x: np.where(x > 0, x, 0.7 * np.expm1(x))),
    "SELU": (
        nn.SELU(),
        lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
    ),
    "Softplus": (nn.Softplus(2.0), lambda x: np.log1p(np.exp(2 * x)) / 2),
    "Softsign": (nn.Softsign(), lambda x: x / (1 + np.abs(x))),
    "GELU": (
        nn.GELU("tanh"),
        lambda x: x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))) / 2,
    ),
    "SiLU": (nn.SiLU(), lambda x: x / (1 + np.exp(-x))),
    "Mish": (nn.Mish(), lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    "Hardtanh": (nn.Hardtanh(-0.5, 2.0), lambda x: np.clip(x, -0.5, 2)),
    "Softmax": (nn.Softmax(1), lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)),
    "LogSoftmax": (nn.LogSoftmax(-1), lambda x: x - np.log(np.exp(x).sum(-1, keepdims=True))),
    "Step": (nn.Step(), lambda x: (x > 0) * 1.0),
    "Maxout": (nn.Maxout(2), lambda x: x.reshape(*x.shape[:-1], -1, 2).max(-1)),
    "Maxout1": (nn.Maxout(3, dim=1), lambda x: x.max(1, keepdims=True)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name: str, rng: np.random.Generator) -> None:
    module, formula = ACTIVATIONS[name]
    x = f4(rng, 2, 3, 4)
    same(module.to(x.device)(x), formula(x.numpy().astype("f8")))


def test_activation_arguments() -> None:
    with pytest.raises(tg.ShapeError, match="try dim=-1"):
        nn.Softmax()(tg.ones((2,)))
    with pytest.raises(tg.ShapeError, match="maxout: got an input of shape"):
        nn.Maxout(2)(tg.ones((2, 3)))
    with pytest.raises(tg.DTypeError, match="PReLU: got an input of float64"):
        nn.PReLU()(tg.ones((2, 3)))


# -- dropout -------------------------------------------------------------------------------------


def test_dropout() -> None:
    layer = nn.Dropout(0.25, generator=tg.Generator(0))
    x = tg.ones((100, 100), dtype="float32")
    out = layer(x).numpy()
    assert set(np.unique(out)) == {0.0, np.float32(1 / 0.75)}
    assert abs((out == 0).mean() - 0.25) < 0.02
    assert layer.eval()(x) is x
    assert nn.Dropout(0.0)(x) is x
    with pytest.raises(ValueError, match="expected 0 <= p <= 1"):
        nn.Dropout(1.5)


# -- losses --------------------------------------------------------------------------------------


def test_losses_call_their_functions(rng: np.random.Generator) -> None:
    x, y = f4(rng, 5, 3), f4(rng, 5, 3)
    p, q = tg.sigmoid(x), tg.sigmoid(y)
    labels = tg.asarray(rng.integers(0, 3, 5))
    signs = tg.asarray(np.where(y.numpy() > 0, 1.0, -1.0).astype("f4"))
    w = np.array([1.0, 2.0, 0.5], np.float32)
    cases: list[tuple[Any, Any]] = [
        (nn.MSELoss("sum")(x, y), F.mse_loss(x, y, reduction="sum")),
        (nn.L1Loss()(x, y), F.l1_loss(x, y)),
        (nn.HuberLoss(delta=0.5)(x, y), F.huber_loss(x, y, delta=0.5)),
        (nn.SmoothL1Loss(beta=0.5)(x, y), F.smooth_l1_loss(x, y, beta=0.5)),
        (nn.BCELoss(w, "none")(p, q), F.binary_cross_entropy(p, q, weight=w, reduction="none")),
        (
            nn.BCEWithLogitsLoss(pos_weight=w)(x, q),
            F.binary_cross_entropy_with_logits(x, q, pos_weight=w),
        ),
        (
            nn.CrossEntropyLoss(w, label_smoothing=0.1)(x, labels),
            F.cross_entropy(x, labels, weight=w, label_smoothing=0.1),
        ),
        (nn.NLLLoss(w)(x, labels), F.nll_loss(x, labels, weight=w)),
        (nn.MultiMarginLoss(2, 0.5, w)(x, labels), F.multi_margin_loss(x, labels, 2, 0.5, w)),
        (nn.HingeEmbeddingLoss(0.5)(x, signs), F.hinge_embedding_loss(x, signs, margin=0.5)),
    ]
    for got, want in cases:
        same(got, want)
    with pytest.raises(ValueError, match='expected "mean"'):
        nn.MSELoss("average")


def test_loss_weights_are_state() -> None:
    loss = nn.CrossEntropyLoss(np.ones(3, np.float32))
    assert list(loss.state_dict()) == ["weight"]
    assert loss.to("float64").weight.dtype == np.float64


def test_rmse(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((2, 4, 3))
    loss = nn.RMSELoss()
    same(loss(x, y), np.sqrt(((x - y) ** 2).mean()))
    start = tg.tensor(x, requires_grad=True)
    loss(start, x).backward()
    assert np.array_equal(start.grad.numpy(), np.zeros_like(x))  # type: ignore[union-attr]
    with pytest.raises(tg.ShapeError, match="rmse_loss"):
        loss(x, y[0])


# -- against PyTorch -----------------------------------------------------------------------------


def test_names_layouts_and_text_are_pytorchs(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")

    def build(lib: Any) -> Any:
        return lib.Sequential(
            lib.Linear(4, 6),
            lib.Sequential(lib.LeakyReLU(0.1), lib.PReLU(), lib.ELU(), lib.Softplus()),
            lib.ModuleList([lib.Linear(2, 2, bias=False), lib.Linear(2, 2, bias=False)])[:0],
            lib.GELU(),
            lib.Hardtanh(),
            lib.ReLU6(),
            lib.Flatten(),
            lib.Unflatten(1, (2, 3)),
            lib.Identity(),
            lib.LogSoftmax(dim=1),
            lib.Bilinear(2, 3, 4),
            lib.CrossEntropyLoss(),
            lib.ModuleDict({"a": lib.SELU(), "b": lib.Mish()}),
        )

    ours, theirs = build(nn), build(torch.nn)
    assert repr(ours) == repr(theirs)
    shapes = {name: tuple(value.shape) for name, value in theirs.state_dict().items()}
    assert {name: value.shape for name, value in ours.state_dict().items()} == shapes
    ours.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})
    x = rng.standard_normal((5, 4)).astype("f4")
    out, want = tg.asarray(x), torch.tensor(x)
    for k in (0, 1, 3, 4, 5, 6, 7, 8, 9):
        out, want = ours[k](out), theirs[k](want)
    same(out, want.detach().numpy())
