"""Splits: every row once, each class its share, the same for a seed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tensorgrad._errors import DataError, ShapeError
from tensorgrad.data import (
    Dataset,
    gauss,
    load,
    plane,
    random_split,
    split_dataset,
    stratified_split,
)

FRACTIONS = [(0.7, 0.15, 0.15), (0.5, 0.5), (0.6, 0.3, 0.1), (0.34, 0.33, 0.33), (0.8, 0.2, 0.0)]


def check_partition(parts: tuple[Any, ...], rows: int) -> None:
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(rows))
    assert all((np.diff(part) > 0).all() for part in parts)


@pytest.mark.parametrize("fractions", FRACTIONS)
def test_each_class_gives_each_part_its_share(
    rng: np.random.Generator, fractions: tuple[float, ...]
) -> None:
    for _ in range(20):
        sizes = rng.integers(2, 60, rng.integers(1, 15))
        y = rng.permutation(np.repeat(np.arange(len(sizes)) * 3 - 5, sizes))
        try:
            parts = stratified_split(y, fractions, rng)
        except DataError:
            assert len(y) < 10
            continue
        check_partition(parts, len(y))
        # a part that rounding left empty has one row, which the first part gave
        given = [part is not parts[0] and len(part) == 1 for part in parts]
        for part, fraction, got in zip(parts, fractions, given, strict=True):
            moved = sum(given) if part is parts[0] else got
            for label, size in zip(np.unique(y), sizes, strict=True):
                assert abs((y[part] == label).sum() - size * fraction) < 1 + moved + 1e-9
            assert abs(len(part) - len(y) * fraction) < 2
            assert len(part) > 0 or fraction == 0
        assert set(y[parts[0]]) == set(y)


def test_whole_shares_are_exact(rng: np.random.Generator) -> None:
    y = np.repeat(np.arange(7), 20)
    parts = stratified_split(rng.permutation(y), rng=rng)
    assert [len(part) for part in parts] == [98, 21, 21]
    assert [len(part) for part in random_split(20, rng=rng)] == [14, 3, 3]


def test_tiny_classes(rng: np.random.Generator) -> None:
    y = np.array([0] * 10 + [1, 2, 3])
    train, validation, test = stratified_split(y, rng=rng)
    check_partition((train, validation, test), 13)
    assert set(y[train]) == {0, 1, 2, 3}
    assert set(y[validation]) == set(y[test]) == {0}
    parts = stratified_split(np.repeat(np.arange(6), 2), rng=rng)
    check_partition(parts, 12)
    assert [len(part) for part in parts] == [8, 2, 2]
    smallest = stratified_split(np.array([0, 0, 1, 1]), rng=rng)
    assert [len(part) for part in smallest] == [2, 1, 1]
    assert [len(part) for part in random_split(3, rng=rng)] == [1, 1, 1]


def test_a_seed_decides_and_labels_of_any_kind_do(seed: int) -> None:
    y = np.random.default_rng(seed).integers(0, 5, 300)
    for one, two in zip(stratified_split(y, rng=seed), stratified_split(y, rng=seed), strict=True):
        assert np.array_equal(one, two)
    texts = np.array(list("abcde"))[y]
    for one, two in zip(
        stratified_split(y, rng=seed), stratified_split(texts, rng=seed), strict=True
    ):
        assert np.array_equal(one, two)
    assert not np.array_equal(
        stratified_split(y, rng=seed)[2], stratified_split(y, rng=seed + 1)[2]
    )
    assert not np.array_equal(random_split(300, rng=seed)[2], random_split(300, rng=seed + 1)[2])


def test_data_sets_are_split_by_their_task(seed: int) -> None:
    data = load("digits")
    parts = split_dataset(data, rng=seed)
    rows = stratified_split(data.y, rng=seed)
    assert sum(map(len, parts)) == 1797
    assert [abs(len(part) - 1797 * f) < 2 for part, f in zip(parts, (0.7, 0.15, 0.15))] == [1] * 3
    for part, chosen in zip(parts, rows, strict=True):
        assert np.array_equal(part.x, data.x[chosen])
        assert np.array_equal(part.y, data.y[chosen])
        assert part.classes == data.classes
    line = plane(100)
    assert [len(part) for part in split_dataset(line, rng=seed)] == [70, 15, 15]
    many = Dataset(np.zeros((40, 1)), np.zeros((40, 3), int), "multilabel")
    assert [len(part) for part in split_dataset(many, rng=seed)] == [28, 6, 6]


def test_a_test_part_of_its_own_is_kept(seed: int) -> None:
    given = gauss(10, rng=seed)
    train, validation, test = split_dataset(replace(gauss(170), test=given), rng=seed)
    assert test is given
    assert (len(train), len(validation)) == (140, 30)
    assert train.test is None


def message(error: type[Exception], call: Any, *args: Any) -> str:
    with pytest.raises(error) as caught:
        call(*args)
    return str(caught.value)


def test_impossible_splits_are_refused() -> None:
    assert message(DataError, stratified_split, [0, 1, 2, 3]) == (
        "stratified_split: got 4 rows of 4 classes, expected a row for each of 3 parts after one "
        "of each class for the first; try more rows or fewer parts"
    )
    assert message(DataError, random_split, 2) == (
        "random_split: got 2 rows of 1 class, expected a row for each of 3 parts after one of "
        "each class for the first; try more rows or fewer parts"
    )
    assert message(DataError, stratified_split, []).startswith("stratified_split: got 0 rows of 0")
    for wrong in ((0.5, 0.4), (1.2, -0.2), (), (0.0, 1.0)):
        assert message(ShapeError, random_split, 9, wrong) == (
            f"random_split: got fractions={wrong}, expected fractions >= 0, the first > 0, "
            f"of sum 1; try (0.7, 0.15, 0.15)"
        )
    assert message(ShapeError, split_dataset, gauss(10), (0.5, 0.5)) == (
        "split_dataset: got fractions=(0.5, 0.5), expected three fractions; try (0.7, 0.15, 0.15)"
    )
    assert message(ShapeError, stratified_split, np.zeros((4, 2))) == (
        "stratified_split: got y=float64(4, 2), expected labels (N,); try random_split"
    )
