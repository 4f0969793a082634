"""Arrays as sets: NaNs, names of the results, gradients to the elements that were taken."""

from __future__ import annotations

import numpy as np
import pytest
from place import here

import tensorgrad as tg


@pytest.mark.parametrize("name", ["unique_all", "unique_counts", "unique_inverse"])
def test_results_have_names_and_nans_are_distinct(name: str) -> None:
    x = np.array([[1.0, np.nan], [0.5, np.nan], [1.0, 0.5]])
    want, got = getattr(np, name)(x), getattr(tg, name)(x)
    assert got._fields == want._fields
    for field in want._fields:
        np.testing.assert_array_equal(here(getattr(got, field)), getattr(want, field))


def test_gradients_go_to_the_elements_that_were_taken() -> None:
    x, y = np.array([3.0, 1.0, 2.0, 1.0]), np.array([2.0, 5.0, 3.0])

    def weighted(found: tg.Tensor) -> tg.Tensor:
        return tg.sum(found * tg.arange(1, found.size + 1))

    def gradient(f: object) -> list[list[float]]:
        return [here(g).tolist() for g in tg.grad(f, argnums=(0, 1))(x, y)]  # type: ignore[arg-type]

    assert gradient(lambda a, b: weighted(np.union1d(a, b))) == [[3, 1, 2, 0], [0, 4, 0]]
    assert gradient(lambda a, b: weighted(np.intersect1d(a, b))) == [[2, 0, 1, 0], [0, 0, 0]]
    assert gradient(lambda a, b: weighted(np.setxor1d(a, b))) == [[0, 1, 0, 0], [0, 2, 0]]
    assert gradient(lambda a, b: weighted(np.setdiff1d(a, b))) == [[0, 1, 0, 0], [0, 0, 0]]
    assert gradient(lambda a, b: weighted(np.unique_values(a)) + 0 * b[0]) == [
        [3, 1, 2, 0], [0, 0, 0]
    ]  # fmt: skip


def test_a_hidden_batch_is_refused() -> None:
    x = np.ones((2, 3))
    with pytest.raises(tg.ShapeError, match="union1d: got values with a batch hidden in them"):
        tg.vmap(lambda a: tg.union1d(a, np.ones(2)))(x)


@pytest.mark.parametrize("kind", [None, "sort", "table"])
def test_membership(kind: str | None, rng: np.random.Generator) -> None:
    x, among = rng.integers(0, 9, (3, 4)), rng.integers(0, 9, 5)
    for invert in (False, True):
        want = np.isin(x, among, invert=invert)
        np.testing.assert_array_equal(here(tg.isin(x, among, invert=invert, kind=kind)), want)
        found = np.isin(tg.asarray(x), tg.asarray(among), invert=invert)
        np.testing.assert_array_equal(here(found), want)


def test_membership_of_a_kind_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="isin: got kind='hash', expected None, 'sort' or 'table'"):
        tg.isin([1], [1], kind="hash")
