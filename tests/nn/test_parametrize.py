"""Parametrizations, held to PyTorch's keys and numbers; vectors of parameters."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from place import here

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.nn.utils import parametrizations, parametrize

GIVEN = np.arange(1.0, 7.0).reshape(3, 2) / 4


class Symmetric(nn.Module):
    """A matrix from its upper triangle."""

    def forward(self, x: Any) -> Any:
        return tg.triu(x) + tg.triu(x, 1).T


class Exp(nn.Module):
    """Positive values."""

    calls = 0

    def forward(self, x: Any) -> Any:
        type(self).calls += 1
        return tg.exp(x)

    def right_inverse(self, y: Any) -> Any:
        return tg.log(y)


def positive() -> Any:
    layer = nn.Linear(2, 3).double()
    with tg.no_grad():
        layer.weight[...] = tg.asarray(GIVEN)
    return layer


# -- registering ---------------------------------------------------------------------------------


def test_a_layer_before_and_after() -> None:
    layer = nn.Linear(2, 2)
    weight = layer.weight
    before = here(weight).copy()
    assert parametrize.register_parametrization(layer, "weight", Symmetric()) is layer
    assert parametrize.is_parametrized(layer)
    assert parametrize.is_parametrized(layer, "weight")
    assert not parametrize.is_parametrized(layer, "bias")
    assert parametrize.type_before_parametrizations(layer) is nn.Linear
    assert isinstance(layer, nn.Linear)
    assert list(layer.state_dict()) == ["bias", "parametrizations.weight.original"]
    assert layer.parametrizations.weight.original is weight
    assert np.array_equal(here(layer.weight), np.triu(before) + np.triu(before, 1).T)
    layer(tg.ones((1, 2), dtype="float32")).sum().backward()
    assert weight.grad is not None
    assert here(weight.grad).tolist() == [[1.0, 2.0], [0.0, 1.0]]
    assert repr(layer).startswith("ParametrizedLinear(\n  in_features=2, out_features=2")
    assert "(weight): ParametrizationList(\n      (0): Symmetric()" in repr(layer)
    with pytest.raises(NotImplementedError, match="a tensor that Symmetric makes"):
        layer.weight = weight
    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
    assert type(layer) is nn.Linear
    assert layer.weight is weight
    assert np.array_equal(here(weight), before)
    assert list(layer.state_dict()) == ["bias", "weight"]


def test_right_inverse_assigning_and_two_in_a_row() -> None:
    layer = positive()
    before = here(layer.weight).copy()
    parametrize.register_parametrization(layer, "weight", Exp())
    original = layer.parametrizations.weight.original
    np.testing.assert_allclose(here(original), np.log(before))
    np.testing.assert_allclose(here(layer.weight), before)
    layer.weight = layer.weight.detach() * 2
    np.testing.assert_allclose(here(original), np.log(2 * before))
    layer.weight = nn.Parameter(layer.weight.detach() + 1)
    now = 2 * before + 1
    np.testing.assert_allclose(here(layer.weight), now)
    parametrize.register_parametrization(layer, "weight", Exp())
    np.testing.assert_allclose(here(layer.weight), np.exp(now))
    layer.weight = tg.asarray(now)
    np.testing.assert_allclose(here(original), np.log(np.log(now)), rtol=1e-12)
    parametrize.remove_parametrizations(layer, "weight")
    assert layer.weight is original
    np.testing.assert_allclose(here(layer.weight), now)


def test_buffers_and_two_tensors_of_a_layer() -> None:
    layer = positive()
    layer.register_buffer("shift", tg.ones((2,)))
    for name in ("shift", "weight"):
        parametrize.register_parametrization(layer, name, Exp())
    assert sorted(layer.state_dict()) == [
        "bias",
        "parametrizations.shift.original",
        "parametrizations.weight.original",
    ]
    assert [n for n, _ in layer.named_buffers()] == ["parametrizations.shift.original"]
    parametrize.remove_parametrizations(layer, "shift")
    assert parametrize.is_parametrized(layer, "weight")
    assert [n for n, _ in layer.named_buffers()] == ["shift"]


def test_copies_are_apart() -> None:
    layer = parametrize.register_parametrization(positive(), "weight", Exp())
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert type(twin) is type(layer)
        parametrize.remove_parametrizations(twin, "weight")
        assert type(twin) is nn.Linear
        np.testing.assert_allclose(here(twin.weight), here(layer.weight))
    assert parametrize.is_parametrized(layer)


def test_cached_computes_once() -> None:
    layer = parametrize.register_parametrization(positive(), "weight", Exp())
    Exp.calls = 0
    with parametrize.cached(), parametrize.cached():
        with tg.no_grad():
            off = layer.weight
            assert layer.weight is off
        assert not off.requires_grad
        first = layer.weight
        assert first.requires_grad  # one off the tape would stop gradients
        assert layer.weight is first
        layer(tg.ones((1, 2)))
        assert Exp.calls == 2
        out = nn.functional_call(
            layer, {"parametrizations.weight.original": tg.zeros((3, 2))}, tg.ones((1, 2))
        )
        np.testing.assert_allclose(here(out - layer.bias), [[2.0, 2.0, 2.0]])
        layer.weight.sum().backward()
    assert layer.weight is not first
    calls = Exp.calls
    layer(tg.ones((1, 2)))
    assert Exp.calls == calls + 1


def test_what_is_refused() -> None:
    class Half(nn.Module):
        def forward(self, x: Any) -> Any:
            return x[:1]

    class Double(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.astype("float64")

    layer = nn.Linear(2, 2)
    with pytest.raises(KeyError, match=r"got 'w', expected a parameter or buffer of Linear"):
        parametrize.register_parametrization(layer, "w", Exp())
    with pytest.raises(tg.ShapeError, match=r"Half that makes \(1, 2\) of \(2, 2\)"):
        parametrize.register_parametrization(layer, "weight", Half())
    with pytest.raises(tg.DTypeError, match="Double that makes float64 of float32"):
        parametrize.register_parametrization(layer, "weight", Double())
    assert type(layer) is nn.Linear
    parametrize.register_parametrization(layer, "weight", Half(), unsafe=True)
    assert layer.weight.shape == (1, 2)
    with pytest.raises(ValueError, match="got 'bias', which has none"):
        parametrize.remove_parametrizations(layer, "bias")
    normed = parametrizations.weight_norm(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="made of 2 tensors"):
        parametrize.remove_parametrizations(normed, "weight", leave_parametrized=False)
    with pytest.raises(ValueError, match="expected at least 1"):
        parametrizations.spectral_norm(nn.Linear(2, 2), n_power_iterations=0)
    with pytest.raises(tg.ShapeError, match="got dim=2"):
        parametrizations.spectral_norm(nn.Linear(2, 2), dim=2)
    with pytest.raises(tg.ShapeError, match="at least two axes"):
        parametrizations.orthogonal(nn.Linear(2, 2), "bias")
    with pytest.raises(ValueError, match="got orthogonal_map='qr'"):
        parametrizations.orthogonal(nn.Linear(2, 2), orthogonal_map="qr")


# -- PyTorch's ------------------------------------------------------------------------------------


def test_weight_norm_stored() -> None:
    layer = parametrizations.weight_norm(positive())
    g = layer.parametrizations.weight.original0
    assert g.shape == (3, 1)
    with tg.no_grad():
        g[...] = 2.0
    stored = [[0.8944272, 1.7888544], [1.2, 1.6], [1.2803688, 1.5364426]]
    np.testing.assert_allclose(here(layer.weight), stored, rtol=1e-6)


STORED = {
    "matrix_exp": [[0.2725842, -0.952858], [-0.330817, 0.0372437], [0.90347, 0.3011222]],
    "cayley": [[0.4925373, -0.8059701], [-0.0895522, 0.3283582], [0.8656716, 0.4925373]],
    "householder": [[0.1111111, 0.7696477], [-0.4444444, 0.604336], [-0.8888889, -0.2059621]],
}


@pytest.mark.parametrize("name", STORED)
def test_orthogonal_stored(name: str) -> None:
    given = GIVEN - 0.25 + np.eye(3, 2) if name == "householder" else GIVEN
    layer = nn.Linear(2, 3, bias=False).double()
    parametrizations.orthogonal(layer, orthogonal_map=name, use_trivialization=False)
    layer.load_state_dict({"parametrizations.weight.original": given})
    np.testing.assert_allclose(here(layer.weight), STORED[name], atol=1e-7)


@pytest.mark.parametrize("name", STORED)
@pytest.mark.parametrize("sizes", [(4, 4), (6, 3), (3, 6)])
def test_orthogonal_weights_are(
    name: str, sizes: tuple[int, int], rng: np.random.Generator
) -> None:
    layer = parametrizations.orthogonal(nn.Linear(*sizes).double(), orthogonal_map=name)
    original = layer.parametrizations.weight.original
    free = rng.standard_normal(original.shape)
    below = np.tril(free, -1) if sizes[1] >= sizes[0] else np.triu(free, 1)
    with tg.no_grad():
        original[...] = original.detach() + tg.asarray(below)
    w = here(layer.weight)
    square = w @ w.T if sizes[0] > sizes[1] else w.T @ w
    np.testing.assert_allclose(square, np.eye(min(sizes)), atol=1e-12)
    target = np.linalg.qr(rng.standard_normal((6, 6)))[0][:, : min(sizes)]
    target = target.T if sizes[0] > sizes[1] else target
    if sizes == (4, 4):
        target = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    layer.weight = tg.asarray(target)
    np.testing.assert_allclose(here(layer.weight), target, atol=1e-12)
    with pytest.raises(tg.ShapeError, match="orthogonal: got a matrix of shape"):
        layer.weight = tg.zeros((7, 7))


@pytest.mark.parametrize("name", STORED)
def test_orthogonal_without_a_base(name: str, rng: np.random.Generator) -> None:
    layer = nn.Linear(3, 5).double()
    parametrizations.orthogonal(layer, orthogonal_map=name, use_trivialization=False)
    target = tg.asarray(np.linalg.qr(rng.standard_normal((5, 5)))[0][:, :3])
    if name == "householder":
        layer.weight = target
        np.testing.assert_allclose(here(layer.weight), here(target), atol=1e-12)
    else:
        with pytest.raises(NotImplementedError, match="try use_trivialization=True"):
            layer.weight = target


CASES: dict[str, Any] = {
    "weight_norm": (lambda n: n.Linear(4, 3), "weight_norm", {}),
    "weight_norm all": (lambda n: n.Linear(4, 3), "weight_norm", {"dim": None}),
    "weight_norm conv": (lambda n: n.Conv1d(4, 3, 3), "weight_norm", {"dim": 1}),
    "spectral_norm": (lambda n: n.Linear(4, 3), "spectral_norm", {"n_power_iterations": 2}),
    "spectral_norm bias": (lambda n: n.Linear(4, 3), "spectral_norm", {"name": "bias"}),
    "spectral_norm conv": (lambda n: n.ConvTranspose1d(4, 3, 3), "spectral_norm", {}),
    **{
        f"{name} {sizes} {base}": (
            lambda n, sizes=sizes: n.Linear(*sizes),
            "orthogonal",
            {"orthogonal_map": name, "use_trivialization": base},
        )
        for name in STORED
        for sizes in ((4, 4), (4, 2), (4, 6))
        for base in (True, False)
    },
}


@pytest.mark.parametrize("case", CASES)
def test_as_torch(case: str, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    make, name, options = CASES[case]
    mine, theirs = make(nn).double(), make(torch.nn).double()
    getattr(parametrizations, name)(mine, **options)
    getattr(torch.nn.utils.parametrizations, name)(theirs, **options)
    mine.load_state_dict(theirs.state_dict())
    for _ in range(2):
        x = rng.standard_normal((2, 4) if "Linear" in repr(mine) else (2, 4, 5))
        ours, other = mine(tg.asarray(x)), theirs(torch.from_numpy(x))
        np.testing.assert_allclose(here(ours), other.detach().numpy(), rtol=1e-9, atol=1e-10)
        (ours**2).sum().backward()
        (other**2).sum().backward()
        for (n, p), (m, q) in zip(mine.named_parameters(), theirs.named_parameters(), strict=True):
            assert n == m
            np.testing.assert_allclose(
                here(p.grad), q.grad.numpy(), rtol=1e-8, atol=1e-9, err_msg=n
            )
    state = theirs.state_dict()
    assert list(mine.state_dict()) == list(state)
    for n, value in mine.state_dict().items():
        np.testing.assert_allclose(here(value), state[n].numpy(), rtol=1e-9, atol=1e-10, err_msg=n)


def test_spectral_norm_in_eval_and_in_vmap() -> None:
    layer = parametrizations.spectral_norm(nn.Linear(4, 3).double(), n_power_iterations=200)
    _ = layer.weight
    assert np.linalg.svd(here(layer.weight))[1][0] == pytest.approx(1.0, abs=1e-9)
    u = layer.parametrizations.weight[0]._u
    weights = tg.stack([tg.eye(3, 4), 2 * tg.eye(3, 4)])
    name = "parametrizations.weight.original"
    call = lambda w: nn.functional_call(layer, {name: w}, tg.ones((1, 4)))  # noqa: E731
    out = tg.vmap(call)(weights) - layer.bias
    np.testing.assert_allclose(here(out), np.ones((2, 1, 3)), atol=1e-9)
    assert layer.parametrizations.weight[0]._u is u
    layer.eval()
    _ = layer.weight
    assert layer.parametrizations.weight[0]._u is u


def test_training_keeps_a_weight_orthogonal(rng: np.random.Generator) -> None:
    layer = parametrizations.orthogonal(nn.Linear(4, 4).double())
    opt = tg.optim.Adam(layer.parameters(), lr=0.05)
    x, losses = tg.asarray(rng.standard_normal((16, 4))), []
    for _ in range(20):
        opt.zero_grad()
        loss = ((layer(x) + x) ** 2).mean()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    w = here(layer.weight)
    np.testing.assert_allclose(w @ w.T, np.eye(4), atol=1e-12)


# -- vectors and clipping ------------------------------------------------------------------------


def test_vectors_and_clipping(rng: np.random.Generator) -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)).double()
    vector = nn.utils.parameters_to_vector(net.parameters())
    assert vector.shape == (13,)
    assert vector.requires_grad
    new = tg.asarray(rng.standard_normal(13))
    nn.utils.vector_to_parameters(new, net.parameters())
    assert np.array_equal(here(net[0].weight).ravel(), here(new)[:6])
    assert np.array_equal(here(nn.utils.parameters_to_vector(net.parameters())), here(new))
    with pytest.raises(tg.ShapeError, match=r"shape \(12,\), expected \(13,\)"):
        nn.utils.vector_to_parameters(new[1:], net.parameters())
    with pytest.raises(ValueError, match="got no parameters"):
        nn.utils.parameters_to_vector([])
    net(tg.ones((1, 2))).sum().backward()
    nn.utils.clip_grad_value_(net.parameters(), 0.1)
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    assert all(abs(here(p.grad)).max() <= 0.1 + 1e-12 for p in net.parameters())


@pytest.mark.parametrize("name", ["spectral_norm", "orthogonal"])
def test_a_layer_without_a_weight(name: str) -> None:
    with pytest.raises(KeyError) as caught:
        getattr(nn.utils.parametrizations, name)(nn.ReLU())
    assert caught.value.args[0] == (
        f"{name}: got 'weight', expected a parameter of ReLU; try a layer that has a weight"
    )
