"""Further activations beside PyTorch's: values, gradients, stored numbers, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.nn import functional as F  # noqa: N812

STORED: dict[str, tuple[tuple[Any, ...], list[float]]] = {
    "celu": ((0.7,), [-0.6952834, -0.5322443, -0.2102292, 0, 0.3, 2, 4]),
    "hardshrink": ((), [-3.5, -1, 0, 0, 0, 2, 4]),
    "hardsigmoid": ((), [0, 0.3333333, 0.4583333, 0.5, 0.55, 0.8333333, 1]),
    "hardswish": ((), [0, -0.3333333, -0.1145833, 0, 0.165, 1.666667, 4]),
    "rrelu": ((), [-0.8020833, -0.2291667, -0.05729167, 0, 0.3, 2, 4]),
    "softshrink": ((), [-3, -0.5, 0, 0, 0, 1.5, 3.5]),
    "tanhshrink": ((), [-2.501822, -0.2384058, -0.005081338, 0, 0.008687388, 1.035972, 3.000671]),
    "threshold": ((0.1, 9.0), [9, 9, 9, 9, 0.3, 2, 4]),
    "softmin": (
        (0,), [0.848848, 0.06967769, 0.03291341, 0.02563299, 0.01898938, 0.003469048, 0.0004694846],
    ),
}  # fmt: skip
"""PyTorch's values at -3.5, -1, -0.25, 0, 0.3, 2, 4."""


@pytest.mark.parametrize("name", STORED)
def test_stored_values(name: str) -> None:
    args, want = STORED[name]
    x = np.array([-3.5, -1.0, -0.25, 0.0, 0.3, 2.0, 4.0])
    np.testing.assert_allclose(getattr(F, name)(x, *args).tolist(), want, rtol=5e-7, atol=1e-12)


@pytest.mark.parametrize("name", [*STORED, "glu"])
def test_values_and_gradients_are_those_of_pytorch(name: str, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    args = STORED[name][0] if name in STORED else (1,)
    x = 3 * rng.standard_normal((4, 6))
    x[0, 0], x[1, 1] = 3.0, -3.0  # kinks of hardsigmoid and hardswish
    a, b = tg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    got, want = getattr(F, name)(a, *args), getattr(torch.nn.functional, name)(b, *args)
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-12, atol=1e-14)
    ct = rng.standard_normal(got.shape)
    (got * ct).sum().backward()
    (want * torch.tensor(ct)).sum().backward()
    # PyTorch rounds alpha and 1/6 to float32, also for float64.
    rtol = 2e-7 if name in ("celu", "hardsigmoid") else 1e-11
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=rtol, atol=1e-13)


MODULES: list[tuple[Any, Any, str]] = [
    (nn.CELU(0.7), lambda x: F.celu(x, 0.7), "CELU(alpha=0.7)"),
    (nn.GLU(1), lambda x: F.glu(x, 1), "GLU(dim=1)"),
    (nn.Hardshrink(), F.hardshrink, "Hardshrink(0.5)"),
    (nn.Hardsigmoid(), F.hardsigmoid, "Hardsigmoid()"),
    (nn.Hardswish(), F.hardswish, "Hardswish()"),
    (nn.RReLU(0.1, 0.3).eval(), lambda x: F.rrelu(x, 0.1, 0.3), "RReLU(lower=0.1, upper=0.3)"),
    (nn.Softmin(1), lambda x: F.softmin(x, 1), "Softmin(dim=1)"),
    (nn.Softmax2d(), lambda x: F.softmax(x, -3), "Softmax2d()"),
    (nn.Softshrink(0.2), lambda x: F.softshrink(x, 0.2), "Softshrink(0.2)"),
    (nn.Tanhshrink(), F.tanhshrink, "Tanhshrink()"),
    (
        nn.Threshold(0.1, 20),
        lambda x: F.threshold(x, 0.1, 20),
        "Threshold(threshold=0.1, value=20)",
    ),
]


def test_modules(rng: np.random.Generator) -> None:
    x = tg.asarray(rng.standard_normal((2, 4, 3, 2)).astype("f4"))
    for module, function, shown in MODULES:
        got, want = module(x), function(x)
        assert got.dtype == np.float32
        np.testing.assert_array_equal(np.asarray(got.to("cpu")), np.asarray(want.to("cpu")))
        assert repr(module) == shown


def test_slopes_are_drawn_while_training() -> None:
    x = -tg.ones((50, 40), dtype="float32")
    layer = nn.RReLU(0.2, 0.4, generator=tg.Generator(3))
    found = -np.asarray(layer(x).to("cpu"))
    assert 0.2 <= found.min() < 0.21
    assert 0.39 < found.max() <= 0.4
    assert abs(found.mean() - 0.3) < 0.01
    again = -np.asarray(nn.RReLU(0.2, 0.4, generator=tg.Generator(3))(x).to("cpu"))
    np.testing.assert_array_equal(found, again)


def test_gumbel_softmax(rng: np.random.Generator) -> None:
    share = np.array([0.6, 0.3, 0.1])
    logits = tg.tensor(np.tile(np.log(share), (4000, 1)), requires_grad=True)
    generator = tg.Generator(int(rng.integers(1 << 30)))
    soft = F.gumbel_softmax(logits, 0.5, generator=generator)
    np.testing.assert_allclose(np.asarray(soft.detach().to("cpu")).sum(1), 1, rtol=1e-12)
    hard = F.gumbel_softmax(logits, hard=True, generator=generator)
    found = np.asarray(hard.detach().to("cpu"))
    np.testing.assert_allclose(found, found.round(), atol=1e-15)
    # Five standard deviations of a share among 4000 are 0.04.
    np.testing.assert_allclose(found.mean(0), share, atol=0.04)
    (hard * np.array([1.0, 2.0, 3.0])).sum().backward()
    assert np.asarray(logits.grad.to("cpu")).any()
    assert (
        F.gumbel_softmax(tg.zeros((2, 5, 3)), hard=True, dim=1).sum(axis=1).tolist()
        == [[1.0] * 3] * 2
    )


def test_not_a_number_passes() -> None:
    for name, (args, _) in STORED.items():
        assert np.isnan(np.asarray(getattr(F, name)(np.array([np.nan]), *args).to("cpu"))).all()


def test_errors() -> None:
    x = np.zeros((2, 3))
    cases: list[tuple[Any, str, Any]] = [
        (tg.ShapeError, "glu: got input=.*expected an axis of even length", lambda: F.glu(x)),
        (tg.ShapeError, "softmin: got dim=None", lambda: F.softmin(x)),
        (tg.ShapeError, "Softmax2d: got an input of shape", lambda: nn.Softmax2d()(x)),
        (ValueError, "rrelu: got lower=0.5, upper=0.1", lambda: F.rrelu(x, 0.5, 0.1)),
        (tg.DTypeError, "rrelu: .*try input.astype", lambda: F.rrelu(x.astype(int), training=True)),
        (tg.ShapeError, "celu: got alpha=0", lambda: F.celu(x, 0)),
        (tg.ShapeError, "softshrink: got lambd=-1", lambda: F.softshrink(x, -1)),
        (ValueError, "gumbel_softmax: got tau=0", lambda: F.gumbel_softmax(x, 0)),
    ]
    for error, text, call in cases:
        with pytest.raises(error, match=text):
            call()


IN_PLACE: dict[str, tuple[Any, ...]] = {
    "ReLU": (), "ReLU6": (), "SELU": (), "SiLU": (), "Mish": (), "Hardsigmoid": (), "Hardswish": (),
    "LeakyReLU": (0.2,), "ELU": (0.5,), "CELU": (0.5,), "Hardtanh": (-0.5, 0.7),
    "RReLU": (0.1, 0.3), "Threshold": (0.1, 0.3), "Dropout": (0.0,),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_as_in_pytorch(name: str, rng: np.random.Generator) -> None:
    """What the layer is given holds its result from then on, and gradients follow."""
    torch = pytest.importorskip("torch")
    x, w = rng.standard_normal((2, 4, 5))
    found = []
    for lib, array in ((nn, tg.tensor), (torch.nn, torch.tensor)):
        layer = getattr(lib, name)(*IN_PLACE[name], inplace=True).eval()
        leaf = array(x, requires_grad=True)
        given = leaf * array(w)
        result = layer(given)
        assert result is given
        (given * given).sum().backward()
        found.append((repr(layer), result.detach().numpy(), leaf.grad.numpy()))
    (ours, y, dx), (theirs, want, d) = found
    assert ours == theirs or ours == f"{name}(inplace=True)"  # PyTorch's Hardswish does not tell
    # PyTorch rounds alpha and 1/6 to float32, also for float64.
    np.testing.assert_allclose(y, want, rtol=2e-7)
    np.testing.assert_allclose(dx, d, rtol=1e-6, atol=1e-12)


def test_in_place_where_it_cannot_be(rng: np.random.Generator) -> None:
    x = tg.tensor(rng.standard_normal(5), requires_grad=True)
    with pytest.raises(tg.InPlaceError, match="leaf"):
        nn.ReLU(inplace=True)(x)
    y = tg.sigmoid(x)
    z = nn.ReLU(inplace=True)(y)
    with pytest.raises(tg.InPlaceError, match="sigmoid: got a saved value that was overwritten"):
        z.sum().backward()
