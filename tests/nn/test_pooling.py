"""Pooling layers: PyTorch's names, texts and numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import nn

LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("MaxPool1d", (2,), {}),
    ("MaxPool2d", ((2, 3),), {"stride": 2, "padding": (1, 1), "ceil_mode": True}),
    ("MaxPool3d", (2, 1), {"dilation": 2}),
    ("AvgPool1d", (2,), {"padding": 1}),
    ("AvgPool2d", (3, 2), {"count_include_pad": False, "padding": 1}),
    ("AvgPool3d", ((2, 2, 1),), {"divisor_override": 3}),
    ("LPPool1d", (2, 3), {}),
    ("LPPool2d", (2, 2), {"stride": 1, "ceil_mode": True}),
    ("LPPool3d", (1, 2), {}),
    ("AdaptiveAvgPool1d", (3,), {}),
    ("AdaptiveAvgPool2d", ((2, None),), {}),
    ("AdaptiveAvgPool3d", (2,), {}),
    ("AdaptiveMaxPool1d", (3,), {}),
    ("AdaptiveMaxPool2d", ((2, None),), {}),
    ("AdaptiveMaxPool3d", ((2, 1, 3),), {}),
]


@pytest.mark.parametrize(("name", "args", "options"), LAYERS)
def test_a_layer_is_pytorchs(name: str, args: Any, options: Any, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    assert repr(ours) == repr(theirs)
    assert not ours.state_dict()
    for lead in ((2, 3), (3,)):
        x = np.abs(rng.standard_normal((*lead, *(7, 6, 5)[: int(name[-2])])))
        a, b = tg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        got, want = ours(a), theirs(b)
        np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-12)
        (got * got).sum().backward()
        (want * want).sum().backward()
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_unpooling_undoes_pooling(rank: int, rng: np.random.Generator) -> None:
    x = tg.tensor(rng.standard_normal((2, 3, *(6, 4, 4)[:rank])), requires_grad=True)
    pool = getattr(nn, f"MaxPool{rank}d")(2, return_indices=True)
    back = getattr(nn, f"MaxUnpool{rank}d")(2)
    assert repr(back).startswith(f"MaxUnpool{rank}d(kernel_size=(2,")
    y, places = pool(x)
    assert places.dtype == np.int64
    found = back(y, places)
    assert found.shape == x.shape
    kept = found.detach().numpy() != 0
    assert kept.sum() == y.size
    np.testing.assert_array_equal(found.detach().numpy()[kept], x.detach().numpy()[kept])
    found.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), kept)
    wider = back(y, places, output_size=(*x.shape[:-1], x.shape[-1] + 1))
    assert wider.shape == (*x.shape[:-1], x.shape[-1] + 1)


def test_numbers_of_a_small_image() -> None:
    x = tg.tensor(np.arange(16.0).reshape(1, 1, 4, 4))
    assert nn.MaxPool2d(2)(x).numpy().tolist() == [[[[5.0, 7.0], [13.0, 15.0]]]]
    assert nn.AvgPool2d(2)(x).numpy().tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]
    assert nn.AdaptiveAvgPool2d(1)(x).numpy().tolist() == [[[[7.5]]]]


def test_a_subclass_pools_as_its_parent() -> None:
    class Halved(nn.MaxPool1d):
        pass

    assert Halved(2)(tg.tensor([[1.0, 2.0]])).numpy().tolist() == [[2.0]]
