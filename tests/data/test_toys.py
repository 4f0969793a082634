"""The lessons' data teach what they are for: what a linear model can and cannot fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tensorgrad._errors import ShapeError
from tensorgrad.data import Dataset, circle, gauss, multi_gauss, plane, spiral, xor
from tensorgrad.data.toys import TOYS


def explained(features: Any, data: Dataset) -> float:
    """Accuracy of the least-squares classifier, or the share of variance a regression explains."""
    design = np.column_stack([np.ones(len(data)), features])
    y = data.y * 2.0 - 1.0 if data.task == "classification" else data.y
    found = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    if data.task == "classification":
        return float((np.sign(found) == y).mean())
    return float(1 - ((found - y) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def squared(data: Dataset) -> Any:
    return np.column_stack([data.x, data.x**2, data.x[:, :1] * data.x[:, 1:]])


def test_what_a_linear_model_can_fit(rng: np.random.Generator) -> None:
    assert explained((d := gauss(2000, rng=rng)).x, d) > 0.98
    assert explained((d := plane(2000, rng=rng)).x, d) > 0.95
    for unfit in (circle, xor, spiral):
        assert explained((d := unfit(2000, rng=rng)).x, d) < 0.65
    assert explained((d := multi_gauss(2000, rng=rng)).x, d) < 0.2
    for solved in (circle, xor):
        assert explained(squared(d := solved(2000, rng=rng)), d) > 0.93
    assert explained(squared(d := spiral(2000, rng=rng)), d) < 0.7


@pytest.mark.parametrize("name", TOYS)
def test_shapes_seeds_and_noise(name: str, seed: int) -> None:
    make = TOYS[name]
    data = make(101, 0.0, seed)
    assert data.x.shape == (101, 2)
    assert data.name == name
    assert np.abs(data.x).max() <= (1.5 if name == "gauss" else 1.0)
    assert np.array_equal(data.x, make(101, 0.0, seed).x)
    assert not np.array_equal(data.x, make(101, 0.0, seed + 1).x)
    noisy = make(101, 0.5, seed)
    assert np.array_equal(noisy.y, data.y)
    assert 0.35 < (noisy.x - data.x).std() < 0.65
    if data.task == "classification":
        assert data.y.dtype == np.int64
        assert sorted(np.bincount(data.y)) == [50, 51]
        assert explained(data.x, data) <= 1.0


def test_circle_and_xor_without_noise_have_a_gap(seed: int) -> None:
    radius = np.hypot(*circle(300, 0.0, seed).x.T)
    inside = circle(300, 0.0, seed).y == 1
    assert radius[inside].max() <= 0.5
    assert radius[~inside].min() >= 0.7
    data = xor(300, 0.0, seed)
    assert np.array_equal(data.y == 1, data.x.prod(1) > 0)


def test_bad_arguments() -> None:
    with pytest.raises(ShapeError) as caught:
        circle(1)
    assert str(caught.value) == "toys: got n=1, expected two points or more; try n=500"
    with pytest.raises(ShapeError) as caught:
        circle(noise=-1.0)
    assert str(caught.value) == "circle: got noise=-1.0, expected noise >= 0; try noise=0.0"
