"""Counts and histograms: NumPy's options, edges and errors beyond the samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from place import here

import tensorgrad as tg


@pytest.mark.parametrize(
    "options",
    [
        {"bins": 7},
        {"bins": 5, "range": (-1.0, 1.5)},
        {"bins": 4, "density": True},
        {"bins": [-1.0, 0.0, 0.25, 2.0], "density": True},
        {"bins": "sturges"},
        {"bins": "fd", "range": (-2, 2)},
    ],
)
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64"])
@pytest.mark.cpu_only("the estimators run on the host")
def test_histograms_are_numpys(options: Any, dtype: str, rng: np.random.Generator) -> None:
    x = (3 * rng.standard_normal((4, 50))).astype(dtype)
    want, edges = np.histogram(x, **options)
    got, found = tg.histogram(x, **options)
    assert got.dtype == want.dtype
    np.testing.assert_allclose(here(got), want, rtol=1e-12)
    np.testing.assert_allclose(here(found), edges, rtol=1e-6 if dtype == "float32" else 1e-13)
    assert found.dtype == edges.dtype
    if not isinstance(options["bins"], str):
        w = rng.uniform(0, 1, x.shape)
        want = np.histogram(x, **options, weights=w)[0]
        np.testing.assert_allclose(here(tg.histogram(x, **options, weights=w)[0]), want, rtol=1e-11)


def test_histograms_of_special_data() -> None:
    for x in (np.zeros(0), np.ones(3), np.array([0.0, 1.0, 1.0, 2.0])):
        want, edges = np.histogram(x, 2)
        got, found = tg.histogram(x, 2)
        np.testing.assert_array_equal(here(got), want)
        np.testing.assert_allclose(here(found), edges)
    got, _ = tg.histogram(np.array([0.5, np.nan, 9.0, -1.0, 1.0]), [0.0, 0.5, 1.0])
    np.testing.assert_array_equal(here(got), [0, 2])


def test_a_histogram_is_linear_in_its_weights(rng: np.random.Generator) -> None:
    x, w = rng.uniform(0, 1, (2, 40))
    ct = rng.standard_normal(5)
    weights = tg.tensor(w, requires_grad=True)
    found, edges = np.histogram(tg.tensor(x), 5, (0.0, 1.0), weights=weights)
    (found * tg.tensor(ct)).sum().backward()
    assert not edges.requires_grad
    np.testing.assert_allclose(here(weights.grad), ct[(5 * x).astype(int)])


def test_counts_of_boxes(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((2, 60))
    for bins in (4, [3, 2], [[-1.0, 0.0, 1.0], 2], np.array([-1.0, 0.0, 2.0])):
        for options in ({}, {"density": True}, {"range": [(-1, 1), (-2, 2)]}):
            want = np.histogram2d(x, y, bins, **options)
            got = tg.histogram2d(x, y, bins, **options)
            for g, w in zip(got, want):
                np.testing.assert_allclose(here(g), w, rtol=1e-12)
    want = np.histogramdd(np.stack([x, y, x * y], -1), 3)
    got = tg.histogramdd(np.stack([x, y, x * y], -1), 3)
    np.testing.assert_array_equal(here(got[0]), want[0])
    assert isinstance(got[1], list)


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"^bincount: got x=int64\(2,\), expected numbers of 0"):
        tg.bincount(np.array([1, -1]))
    with pytest.raises(tg.DTypeError, match=r"^bincount: got x=float64\(2,\), expected integers"):
        tg.bincount(np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match=r"^digitize: got bins=.* expected monotonic bins"):
        tg.digitize(np.ones(2), np.array([0.0, 2.0, 1.0]))
    with pytest.raises(ValueError, match=r"^histogram: got bins=.* expected ascending edges"):
        tg.histogram(np.ones(2), np.array([0.0, 2.0, 1.0]))
    with pytest.raises(ValueError, match=r"^searchsorted: got side='up', expected 'left'"):
        tg.searchsorted(np.ones(2), 1.0, side="up")
    with pytest.raises(
        ValueError, match=r"^searchsorted: got a=float64\(2, 2\), expected a sorted"
    ):
        tg.searchsorted(np.ones((2, 2)), 1.0)


def test_searchsorted_in_every_row_of_a_batch(rng: np.random.Generator) -> None:
    a, v = np.sort(rng.integers(0, 9, (3, 6)).astype(float)), rng.integers(0, 9, (3, 2, 4)) * 1.0
    v[0, 0, 0] = np.nan
    for side in ("left", "right"):
        found = here(tg.vmap(lambda a, v, s=side: tg.searchsorted(a, v, s))(a, v))
        want = np.stack([np.searchsorted(x, y, side) for x, y in zip(a, v)])
        np.testing.assert_array_equal(found, want)
