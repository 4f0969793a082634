"""Dropout of channels and alpha dropout: what is drawn, what stays, and the gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.nn import functional as F  # noqa: N812  (the field's name)

CHANNELS = [
    ("Dropout1d", (40, 50, 3), 2), ("Dropout1d", (2000, 3), 1), ("Dropout2d", (40, 50, 2, 3), 2),
    ("Dropout2d", (40, 50, 3), 2), ("Dropout3d", (40, 50, 2, 1, 3), 2),
    ("Dropout3d", (2000, 2, 1, 3), 1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "shape", "lead"), CHANNELS)
def test_whole_channels_are_dropped(name: str, shape: Any, lead: int) -> None:
    layer = getattr(nn, name)(0.25, generator=tg.Generator(3))
    assert repr(layer) == f"{name}(p=0.25, inplace=False)"
    x = tg.tensor(np.full(shape, 3.0), requires_grad=True)
    y = layer(x)
    found = y.detach().numpy().reshape(*shape[:lead], -1)
    assert set(np.unique(found)) == {0.0, 4.0}
    assert (found == found[..., :1]).all()
    assert abs((found == 0).mean() - 0.25) < 0.04
    y.sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy() * 3, y.detach().numpy())
    assert layer.eval()(x) is x


def test_an_infinite_channel_that_is_dropped_is_zero() -> None:
    x = tg.asarray(np.full((1, 64, 2), np.inf))
    found = F.dropout1d(x, 0.5, generator=tg.Generator(0)).numpy()
    assert set(np.unique(found)) == {0.0, np.inf}


@pytest.mark.parametrize("name", ["AlphaDropout", "FeatureAlphaDropout"])
def test_mean_and_variance_stay(name: str, rng: np.random.Generator) -> None:
    layer = getattr(nn, name)(0.2, generator=tg.Generator(5))
    given = rng.standard_normal((400, 500, 1))
    x = tg.tensor(given, requires_grad=True)
    y = layer(x)
    found = y.detach().numpy()
    assert abs(found.mean()) < 0.02
    assert abs(found.var() - 1) < 0.02
    p, alpha = 0.2, 1.7580993408473766
    a = ((alpha**2 * p + 1) * (1 - p)) ** -0.5
    low = -a * alpha * (1 - p)
    dropped = np.isclose(found, low, rtol=1e-12)
    assert abs(dropped.mean() - p) < 0.01
    kept = a * given + a * alpha * p
    np.testing.assert_allclose(found[~dropped], kept[~dropped], rtol=1e-9, atol=1e-12)
    y.sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), np.where(dropped, 0, a), rtol=1e-12)
    assert layer.eval()(x) is x
    assert not layer.train()(tg.zeros((0, 2, 1))).size


def test_features_are_dropped_together(rng: np.random.Generator) -> None:
    x = tg.asarray(rng.standard_normal((20, 30, 4)))
    found = F.feature_alpha_dropout(x, 0.5, True, generator=tg.Generator(1)).numpy()
    same = np.ptp(found, axis=-1) == 0
    assert abs(same.mean() - 0.5) < 0.1


def test_a_seed_repeats_a_mask_and_members_of_a_batch_have_their_own() -> None:
    x = tg.ones((2, 64, 3))
    draws = [F.dropout1d(x, 0.5, generator=tg.Generator(7)).numpy() for _ in range(2)]
    assert np.array_equal(*draws)
    gen = tg.Generator(7)
    found = tg.vmap(lambda a: F.dropout1d(a, 0.5, generator=gen))(x).numpy()
    assert not np.array_equal(found[0], found[1])
    alike = tg.vmap(lambda a: F.alpha_dropout(a, 0.5, True, generator=gen))(x).numpy()
    assert not np.array_equal(alike[0], alike[1])


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: nn.Dropout2d(1.5), ValueError, r"Dropout2d: got p=1.5, expected 0 <= p <= 1; try"),
        (lambda: F.dropout1d(np.ones(3)), tg.ShapeError, r"\(N, C, L\) or \(C, L\)"),
        (lambda: F.dropout3d(np.ones((1, 2, 3))), tg.ShapeError, r"\(C, D, H, W\)"),
        (lambda: F.dropout2d(np.ones((1, 2, 3), int)), tg.DTypeError, r'astype\("float32"\)'),
        (lambda: F.alpha_dropout(np.ones(3), -1.0), ValueError, "p=-1.0"),
        (lambda: F.feature_alpha_dropout(np.ones(3), 0.5, True), tg.ShapeError, r"\(N, C, \.\.\."),
    ],
)  # fmt: skip
def test_errors(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
