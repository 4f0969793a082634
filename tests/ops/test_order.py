"""Sorting, order statistics and distinct elements: ties, NaNs, options beyond the samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from place import here

import tensorgrad as tg
from tensorgrad.ops.quantile import METHODS
from tensorgrad.testing import check_grad

NAN = float("nan")


def gradient(f: Any, x: Any) -> Any:
    leaf = tg.tensor(np.asarray(x, float), requires_grad=True)
    f(leaf).sum().backward()
    return here(leaf.grad)


# -- sorting -----------------------------------------------------------------------------------


def test_the_sort_is_stable_however_long_the_axis(rng: np.random.Generator) -> None:
    for n in (20, 3000):
        x = rng.integers(0, 50, (3, n)).astype(float)
        want = np.argsort(x, -1, kind="stable")
        np.testing.assert_array_equal(here(tg.argsort(x)), want)
        x[:, ::7] = NAN
        want = np.argsort(x, -1, kind="stable")
        np.testing.assert_array_equal(here(tg.argsort(x)), want)
        distinct = rng.permutation(3 * n).reshape(3, n).astype(float)
        distinct[:, ::9] = NAN
        want = np.argsort(distinct, -1, kind="stable")
        np.testing.assert_array_equal(here(tg.argsort(distinct)), want)


def test_sort_off_and_on_the_tape_agree(rng: np.random.Generator) -> None:
    x = rng.standard_normal((4, 600))
    for axis in (0, 1, None):
        on = tg.sort(tg.tensor(x, requires_grad=True), axis)
        assert on.requires_grad
        np.testing.assert_array_equal(here(on.detach()), np.sort(x, axis))
        np.testing.assert_array_equal(here(tg.sort(x, axis)), np.sort(x, axis))


def test_descending_keeps_equal_elements_in_order() -> None:
    x = np.array([1.0, 3.0, 1.0, 3.0, 2.0])
    np.testing.assert_array_equal(here(tg.argsort(x, descending=True)), [1, 3, 4, 0, 2])
    np.testing.assert_array_equal(here(tg.sort(x, descending=True)), [3, 3, 2, 1, 1])


def test_sort_refuses_fields() -> None:
    with pytest.raises(ValueError, match=r"^sort: got order='f', expected order=None"):
        tg.sort(np.ones(3), order="f")


@pytest.mark.parametrize("k", [1, 3, 40])
def test_topk_of_long_rows(k: int, rng: np.random.Generator) -> None:
    for x in (
        rng.standard_normal((3, 2000)),
        rng.integers(0, 60, (3, 2000)).astype(float),
        np.zeros((2, 2000)),
        np.where(rng.random((2, 2000)) < 0.01, NAN, rng.standard_normal((2, 2000))),
    ):
        values, places = tg.topk(x, k)
        backwards = x[..., ::-1]
        order = 1999 - np.argsort(backwards, -1, kind="stable")[..., ::-1]
        np.testing.assert_array_equal(here(places), order[..., :k])
        np.testing.assert_array_equal(here(values), np.take_along_axis(x, order[..., :k], -1))


def test_topk_wants_as_many() -> None:
    with pytest.raises(tg.ShapeError, match=r"^topk: got .*k=4.* expected 0 <= k <= the axis"):
        tg.topk(np.ones(3), 4)


def test_partition_is_one(rng: np.random.Generator) -> None:
    x = rng.standard_normal((3, 50))
    for kth in (7, (3, 20), -1):
        found = here(tg.partition(x, kth))
        ordered = np.sort(x, -1)
        for k in np.atleast_1d(kth):
            np.testing.assert_array_equal(found[:, k], ordered[:, k])
        np.testing.assert_array_equal(np.sort(found, -1), ordered)
    with pytest.raises(ValueError, match=r"^partition: got kth=50, .* expected -50 <= kth < 50"):
        tg.partition(x, 50)


def test_unique_sends_the_gradient_to_the_first(rng: np.random.Generator) -> None:
    np.testing.assert_array_equal(gradient(tg.unique, [2, 1, 2, 1, 3]), [1, 1, 0, 0, 1])
    x = np.array([NAN, 1.0, NAN])
    for equal_nan in (True, False):
        want = np.unique(x, equal_nan=equal_nan)
        np.testing.assert_array_equal(here(tg.unique(x, equal_nan=equal_nan)), want)
    with pytest.raises(tg.ShapeError, match=r"^unique: got values with a batch hidden"):
        tg.vmap(tg.unique)(np.ones((2, 3)))


# -- medians and quantiles ---------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_quantiles_of_ties_and_infinities(method: str, rng: np.random.Generator) -> None:
    q = np.linspace(0, 1, 21)
    for n in (1, 2, 5, 10):
        x = rng.integers(0, 4, (n, 3)).astype(float)
        want = np.quantile(x, q, axis=0, method=method)
        np.testing.assert_allclose(here(tg.quantile(x, q, 0, method=method)), want, rtol=1e-13)
        want = np.quantile(x.astype(int), 0.3, axis=0, method=method)
        got = tg.quantile(x.astype(int), 0.3, 0, method=method)
        assert got.dtype == want.dtype
        np.testing.assert_allclose(here(got), want, rtol=1e-13)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32"])
def test_dtypes_of_quantiles_are_numpys(dtype: str, rng: np.random.Generator) -> None:
    x = rng.integers(0, 20, (3, 7)).astype(dtype)
    for q in (0.3, 1, [0.1, 0.9], np.float32(0.4), np.array([0.0, 1.0], "f4"), np.array([0, 1])):
        assert tg.quantile(x, q, 1).dtype == np.quantile(x, q, 1).dtype, q
    assert tg.median(x, 1).dtype == np.median(x, 1).dtype
    assert tg.nanmedian(x, 1).dtype == np.nanmedian(x, 1).dtype


def test_a_median_of_equal_elements_has_one_gradient() -> None:
    np.testing.assert_array_equal(gradient(tg.median, [2, 2, 2, 2]), [0, 0.5, 0.5, 0])
    np.testing.assert_array_equal(gradient(tg.median, [3, 2, 2]), [0, 0, 1])
    found = gradient(lambda x: tg.quantile(x, np.linspace(0, 1, 9)), np.ones(9))
    np.testing.assert_array_equal(found, np.ones(9))


def test_nan_makes_a_median_nan_and_nanmedian_leaves_it_out() -> None:
    x = np.array([[1.0, NAN, 3.0, 8.0], [4.0, 2.0, 0.0, 1.0], [NAN] * 4])
    np.testing.assert_array_equal(here(tg.median(x, 1)), [NAN, 1.5, NAN])
    np.testing.assert_array_equal(here(tg.quantile(x, 0.5, 1)), [NAN, 1.5, NAN])
    np.testing.assert_array_equal(here(tg.nanmedian(x, 1)), [3, 1.5, NAN])
    found = gradient(lambda t: tg.nanmedian(t, 1), x)[:2]
    np.testing.assert_array_equal(found, [[0, 0, 1, 0], [0, 0.5, 0, 0.5]])
    assert np.isnan(here(tg.median(np.ones((0,)))))


def test_a_quantile_moves_with_its_level(rng: np.random.Generator) -> None:
    x, q = rng.permutation(8.0 ** np.arange(6) / 64), np.array([0.13, 0.47, 0.71])
    for method in ("linear", "hazen", "weibull", "median_unbiased", "midpoint", "nearest"):
        check_grad(lambda q, m=method: tg.quantile(x, q, method=m), [q], order=2, rng=rng)
        check_grad(lambda x, q, m=method: tg.nanquantile(x, q, method=m), [x, q], rng=rng)


def test_errors_of_quantiles() -> None:
    with pytest.raises(ValueError, match=r"^quantile: got q=1\.5, expected 0 <= q <= 1; try"):
        tg.quantile(np.ones(3), 1.5)
    with pytest.raises(ValueError, match=r"^percentile: got method='best', expected one of inver"):
        tg.percentile(np.ones(3), 5, method="best")
    with pytest.raises(
        ValueError, match=r"^quantile: got method='linear', expected .*inverted_cdf"
    ):
        tg.quantile(np.ones(3), 0.5, weights=np.ones(3))
    with pytest.raises(tg.DTypeError, match=r"^median: got a=complex128"):
        tg.median(np.ones(3) + 1j)
    with pytest.raises(tg.ShapeError, match=r"^quantile: got .* expected at least one element"):
        tg.quantile(np.ones((0, 3)), 0.5, 0)
