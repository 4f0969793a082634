"""Standardised columns have mean 0 and deviation 1 where they were measured, and come back."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tensorgrad._errors import ShapeError
from tensorgrad.data import Standardiser
from tensorgrad.io import load_file, save_file


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("shape", [(9000, 3), (50, 2, 4), (40,)])
def test_mean_deviation_and_inverse(
    rng: np.random.Generator, dtype: str, shape: tuple[int, ...]
) -> None:
    x = (rng.normal(size=shape) * 3 + 100).astype(dtype)
    scale = Standardiser.fit(x)
    exact = x.astype(np.float64)
    assert np.allclose(scale.mean, exact.mean(0), rtol=1e-13)
    assert np.allclose(scale.std, exact.std(0), rtol=1e-12)
    z = scale(x)
    assert z.dtype == x.dtype
    assert np.abs(scale(x, np.float64).mean(0)).max() < 1e-11
    assert np.abs(scale(x, np.float64).std(0) - 1).max() < 1e-11
    eps = np.finfo(dtype).eps
    assert np.abs(scale.inverse(z) - x).max() <= 4 * eps * np.abs(x).max()


def test_a_large_offset_costs_no_digits(rng: np.random.Generator) -> None:
    seconds = 1.7e9 + np.arange(100.0)[:, None]
    z = Standardiser.fit(seconds)(seconds, np.float32)
    want = (np.arange(100) - 49.5) / np.arange(100).std()
    assert z.dtype == np.float32
    assert np.abs(z[:, 0] - want).max() < 1e-6


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("value", [0.0, 0.1, -3.7e8])
def test_constant_columns_are_left_alone(
    rng: np.random.Generator, dtype: str, value: float
) -> None:
    x = rng.normal(size=(10_001, 2)).astype(dtype)
    x[:, 1] = value
    scale = Standardiser.fit(x)
    assert np.array_equal(scale(x)[:, 1], x[:, 1])
    assert (scale.mean[1], scale.std[1]) == (0.0, 1.0)
    assert np.array_equal(scale.inverse(scale(x))[:, 1], x[:, 1])


def test_small_columns_that_vary_are_scaled(rng: np.random.Generator) -> None:
    x = rng.normal(size=(100, 2)) * [1e-200, 1e-9] + [0.0, 1.0]
    scale = Standardiser.fit(x * [1e100, 1.0])
    assert np.abs(scale(x * [1e100, 1.0]).std(0) - 1).max() < 1e-6


def test_only_the_fitted_part_counts_and_integers_are_taken() -> None:
    train, test = np.array([[0], [2]]), np.array([[4], [1]], dtype=np.uint8)
    scale = Standardiser.fit(train)
    assert scale(test).tolist() == [[3.0], [0.0]]
    assert scale(test).dtype == np.float64


def test_saved_and_loaded(tmp_path: object, rng: np.random.Generator) -> None:
    scale, x = Standardiser.fit(rng.normal(size=(30, 4))), rng.normal(size=(5, 4))
    save_file(scale.to_dict(), f"{tmp_path}/scale.safetensors")
    lists = json.dumps({key: array.tolist() for key, array in scale.to_dict().items()})
    for saved in (load_file(f"{tmp_path}/scale.safetensors"), json.loads(lists)):
        assert np.array_equal(Standardiser.from_dict(saved)(x), scale(x))


def test_refusals() -> None:
    scale = Standardiser.fit(np.ones((3, 2)))
    with pytest.raises(ShapeError) as caught:
        scale(np.ones((3, 4)))
    assert str(caught.value) == (
        "Standardiser: got x=float64(3, 4), expected rows of shape (2,); "
        "try the columns it was fitted on"
    )
    with pytest.raises(ShapeError) as caught:
        Standardiser.fit(np.ones((0, 2)))
    assert str(caught.value) == (
        "Standardiser.fit: got x=float64(0, 2), expected one row or more; try the training part"
    )
    with pytest.raises(ShapeError) as caught:
        Standardiser.from_dict({"mean": [0]})
    assert str(caught.value) == (
        "Standardiser.from_dict: got keys=['mean'], expected mean and std; "
        "try the result of to_dict"
    )
