"""Convolution layers: PyTorch's names, defaults, initial bounds, texts and numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import nn

Rng = np.random.Generator

TEXTS = [
    (nn.Conv1d(2, 4, 3), "Conv1d(2, 4, kernel_size=(3,), stride=(1,))"),
    (
        nn.Conv2d(4, 8, (3, 5), stride=2, padding=(1, 2), dilation=2, groups=2, bias=False),
        "Conv2d(4, 8, kernel_size=(3, 5), stride=(2, 2), padding=(1, 2), dilation=(2, 2), "
        "groups=2, bias=False)",
    ),
    (
        nn.Conv2d(4, 8, 3, padding="same", padding_mode="reflect"),
        "Conv2d(4, 8, kernel_size=(3, 3), stride=(1, 1), padding=same, padding_mode=reflect)",
    ),
    (nn.Conv3d(1, 2, 1), "Conv3d(1, 2, kernel_size=(1, 1, 1), stride=(1, 1, 1))"),
    (
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
        "ConvTranspose2d(4, 6, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), "
        "output_padding=(1, 1), groups=2)",
    ),
]


@pytest.mark.parametrize(("layer", "text"), TEXTS)
def test_repr(layer: nn.Module, text: str) -> None:
    assert repr(layer) == text
    torch = pytest.importorskip("torch")
    name, options = text.split("(", 1)
    for word in ("same", "reflect"):
        options = options.replace(f"={word}", f"={word!r}")
    assert repr(eval(f"twin({options}", {"twin": getattr(torch.nn, name)})) == text


def test_weights_lie_as_pytorchs() -> None:
    layer = nn.Conv2d(6, 4, (3, 5), groups=2)
    assert {k: v.shape for k, v in layer.state_dict().items()} == {
        "weight": (4, 3, 3, 5),
        "bias": (4,),
    }
    assert layer.weight.dtype == np.float32
    turned = nn.ConvTranspose1d(6, 4, 3, groups=2, bias=False, dtype="float64")
    assert [(k, v.shape) for k, v in turned.state_dict().items()] == [("weight", (6, 2, 3))]
    assert turned.weight.dtype == np.float64
    for one in (layer, turned):
        bound = nn.init.fans(one.weight)[0] ** -0.5
        for p in one.parameters():
            values = np.abs(p.detach().numpy())
            assert 0 < values.max() <= bound


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_padding_modes_equal_pytorchs(rank: int, mode: str, rng: Rng) -> None:
    torch = pytest.importorskip("torch")
    for padding, kernel, step in ((1, 3, 1), ("same", 3, 1), ("same", 2, 2), ("valid", 3, 1)):
        options = {"padding": padding, "padding_mode": mode, "dilation": step}
        ours = getattr(nn, f"Conv{rank}d")(2, 3, kernel, dtype="float64", **options)
        theirs = getattr(torch.nn, f"Conv{rank}d")(2, 3, kernel, dtype=torch.float64, **options)
        state = {k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()}
        theirs.load_state_dict(state)
        x = rng.standard_normal((2, 2, 5, 4, 3)[: rank + 2])
        a, b = tg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        got, want = ours(a), theirs(b)
        np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), atol=1e-12)
        (got * got).sum().backward()
        (want * want).sum().backward()
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), atol=1e-11)
        for p, q in zip(ours.parameters(), theirs.parameters()):
            np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), atol=1e-11)


def test_circular_numbers() -> None:
    layer = nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular", bias=False, dtype="float64")
    nn.init.constant_(layer.weight, 1.0)
    found = layer(tg.tensor([[1.0, 2.0, 4.0, 8.0]]))
    np.testing.assert_array_equal(found.detach().numpy(), [[11.0, 7.0, 14.0, 13.0]])


def test_an_image_without_a_batch(rng: Rng) -> None:
    for layer in (nn.Conv2d(2, 3, 3, padding=1), nn.ConvTranspose2d(2, 3, 2, stride=2)):
        x = tg.tensor(rng.standard_normal((2, 5, 6)).astype("f4"))
        one, many = layer(x), layer(x[None])
        assert one.shape == many.shape[1:]
        np.testing.assert_array_equal(one.detach().numpy(), many[0].detach().numpy())


def test_output_size_finds_the_output_padding(rng: Rng) -> None:
    layer = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1)
    x = tg.tensor(rng.standard_normal((1, 2, 4, 5)).astype("f4"))
    assert layer(x).shape == (1, 3, 7, 9)
    assert layer(x, output_size=(8, 9)).shape == (1, 3, 8, 9)
    with pytest.raises(tg.ShapeError) as caught:
        layer(x, output_size=(9, 9))
    assert str(caught.value) == (
        "ConvTranspose2d: got output_size=(9, 9), expected [7, 9] to [8, 10]; "
        "try output_size=(7, 9)"
    )


BAD: list[tuple[Any, type[Exception], str]] = [
    (
        lambda: nn.Conv2d(3, 4, 3, groups=2),
        tg.ShapeError,
        "Conv2d: got in_channels=3, groups=2, expected groups that divide in_channels; "
        "try groups=1",
    ),
    (
        lambda: nn.Conv2d(3, 4, (3, 3, 3)),
        tg.ShapeError,
        "Conv2d: got kernel_size=(3, 3, 3), expected a whole number from 1 up, or 2 of them; "
        "try kernel_size=1",
    ),
    (
        lambda: nn.Conv2d(3, 4, 2, stride=2, padding="same"),
        ValueError,
        "Conv2d: got padding='same', kernel_size=(2, 2), stride=(2, 2), expected stride=1 for "
        '"same"; try padding=1',
    ),
    (
        lambda: nn.Conv2d(3, 4, (3, 2), padding="same"),
        ValueError,
        "Conv2d: got padding='same', kernel_size=(3, 2), dilation=(1, 1), expected odd kernels "
        "with it, for two equal sides; try padding=0 behind a ConstantPad2d((0, 1, 1, 1), 0.0), as "
        "PyTorch pads",
    ),
    (
        lambda: nn.ConvTranspose1d(3, 4, 3, padding="same"),
        ValueError,
        "ConvTranspose1d: got padding='same', kernel_size=(3,), stride=(1,), expected numbers; "
        "try padding=1",
    ),
    (
        lambda: nn.Conv1d(3, 4, 3, padding_mode="mirror"),
        ValueError,
        "Conv1d: got padding_mode='mirror', expected one of zeros, reflect, replicate, circular; "
        'try "zeros"',
    ),
    (
        lambda: nn.Conv2d(3, 4, 3)(tg.tensor(np.ones((1, 3, 8, 8)))),
        tg.DTypeError,
        "Conv2d: got an input of float64, expected float32 as its parameters have; "
        'try x.astype("float32"), or layer.to("float64")',
    ),
    (
        lambda: nn.Conv2d(3, 4, 3)(tg.tensor(np.ones((1, 5, 8, 8), "f4"))),
        tg.ShapeError,
        "conv2d: got input=float32(1, 5, 8, 8), weight=float32(4, 3, 3, 3), groups=1, expected 3 "
        "channels (weight.shape[1] * groups) on axis 1 of input; try np.moveaxis(input, -1, 1) "
        "where channels are last",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), BAD)
def test_errors(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text
