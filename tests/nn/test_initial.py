"""Initialisers: the distribution each promises, and that the seed decides."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.nn import Parameter, init

FAN_IN, FAN_OUT = 300, 200


def weight() -> Any:
    return Parameter(np.zeros((FAN_OUT, FAN_IN)))


@pytest.mark.parametrize(
    ("name", "options", "variance"),
    [
        ("xavier_uniform_", {"gain": 2.0}, 4 * 2 / (FAN_IN + FAN_OUT)),
        ("xavier_normal_", {}, 2 / (FAN_IN + FAN_OUT)),
        ("kaiming_uniform_", {}, 2 / FAN_IN),
        ("kaiming_uniform_", {"a": 1.0, "mode": "fan_out"}, 1 / FAN_OUT),
        ("kaiming_normal_", {"nonlinearity": "relu"}, 2 / FAN_IN),
        ("kaiming_normal_", {"nonlinearity": "tanh"}, 25 / 9 / FAN_IN),
        ("lecun_uniform_", {}, 1 / FAN_IN),
        ("lecun_normal_", {}, 1 / FAN_IN),
        ("uniform_", {"a": -1.0, "b": 1.0}, 1 / 3),
        ("normal_", {"std": 0.5}, 0.25),
    ],
)
def test_moments(name: str, options: dict[str, Any], variance: float, seed: int) -> None:
    w = weight()
    assert getattr(init, name)(w, **options, generator=tg.Generator(seed)) is w
    values = w.detach().numpy()
    count = values.size
    # five standard errors: of the mean, and of the variance of a normal sample (the widest here)
    assert abs(values.mean()) < 5 * math.sqrt(variance / count)
    assert abs(values.var() / variance - 1) < 5 * math.sqrt(2 / count)
    if "uniform" in name:
        assert np.abs(values).max() <= math.sqrt(3 * variance) * (1 + 1e-12)
    assert w.requires_grad
    assert w.is_leaf


def test_constants() -> None:
    w = weight()
    assert set(np.unique(init.constant_(w, 3.0).detach().numpy())) == {3.0}
    assert set(np.unique(init.ones_(w).detach().numpy())) == {1.0}
    assert set(np.unique(init.zeros_(w).detach().numpy())) == {0.0}


@pytest.mark.parametrize("shape", [(5, 5), (3, 8), (8, 3), (4, 2, 3), (40, 60)])
def test_orthogonal(shape: tuple[int, ...], seed: int) -> None:
    w = init.orthogonal_(Parameter(np.zeros(shape)), gain=2.0, generator=tg.Generator(seed))
    matrix = w.detach().numpy().reshape(shape[0], -1)
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-12)


def test_the_seed_decides(seed: int) -> None:
    def drawn() -> Any:
        return init.normal_(weight()).detach().numpy()

    tg.manual_seed(seed)
    one = drawn()
    other = drawn()
    tg.manual_seed(seed)
    assert np.array_equal(one, drawn())
    assert not np.array_equal(one, other)


def test_gains_and_fans() -> None:
    assert init.calculate_gain("relu") == math.sqrt(2)
    assert init.calculate_gain("leaky_relu", 1.0) == 1.0
    assert init.calculate_gain("tanh") == 5 / 3
    assert init.fans(np.zeros((4, 3, 2, 2))) == (12, 16)
    assert init.kaiming_uniform_(Parameter(np.ones((2, 0)))).shape == (2, 0)
    with pytest.raises(ValueError, match="calculate_gain"):
        init.calculate_gain("other")
    with pytest.raises(tg.ShapeError, match="expected a weight"):
        init.xavier_normal_(Parameter([1.0]))
    with pytest.raises(ValueError, match="fan_in"):
        init.kaiming_normal_(weight(), mode="both")
