"""Splits into training, validation and test parts; every row in exactly one of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgrad._errors import need
from tensorgrad.data._bad import bad
from tensorgrad.data.dataset import Array, Dataset

FRACTIONS = (0.7, 0.15, 0.15)
Rng = np.random.Generator | int


def stratified_split(
    y: Any, fractions: Sequence[float] = FRACTIONS, rng: Rng = 0
) -> tuple[Array, ...]:
    """Index arrays, ascending, that share out each class of `y` (N,) in these fractions.

    Every class gives each part its share rounded down or up, by largest remainder, where what
    one class rounds away the next make good, so the parts keep their sizes too. A class always
    has a row in the first part; a part that would stay empty takes one from there. Raises
    `DataError` when there are too few rows for that.

    >>> [part.tolist() for part in stratified_split([0, 0, 1, 1], (0.5, 0.5), rng=0)]
    [[0, 2], [1, 3]]
    """
    shares, generator = _shares("stratified_split", fractions), np.random.default_rng(rng)
    labels = np.asarray(y)
    need(labels.ndim == 1, "stratified_split", y=labels, want="labels (N,)", fix="random_split")
    _, codes = np.unique(labels, return_inverse=True)
    sizes = np.bincount(codes)
    counts = _class_counts(sizes, shares)
    _fill_empty("stratified_split", counts, sizes, shares)
    parts: list[list[Array]] = [[] for _ in shares]
    for code, row in enumerate(counts):
        members = generator.permutation(np.flatnonzero(codes == code))
        for part, piece in zip(parts, np.split(members, np.cumsum(row)[:-1])):
            part.append(piece)
    return tuple(np.sort(np.concatenate(part)) for part in parts)


def random_split(n: int, fractions: Sequence[float] = FRACTIONS, rng: Rng = 0) -> tuple[Array, ...]:
    """Index arrays, ascending, of `n` rows in these fractions, by largest remainder.

    Raises `DataError` when there are fewer rows than parts.
    """
    shares, generator = _shares("random_split", fractions), np.random.default_rng(rng)
    sizes = np.array([n])
    counts = _class_counts(sizes, shares)
    _fill_empty("random_split", counts, sizes, shares)
    pieces = np.split(generator.permutation(n), np.cumsum(counts[0])[:-1])
    return tuple(np.sort(piece) for piece in pieces)


def split_dataset(
    data: Dataset, fractions: Sequence[float] = FRACTIONS, rng: Rng = 0
) -> tuple[Dataset, Dataset, Dataset]:
    """Training, validation and test sets; stratified where a row has one class, or a likeliest.

    A test part that the data bring with them is kept as it is, and the rest is shared between
    training and validation in the proportion of their fractions.
    """
    shares = _shares("split_dataset", fractions)
    need(
        len(shares) == 3,
        "split_dataset",
        fractions=tuple(fractions),
        want="three fractions",
        fix="(0.7, 0.15, 0.15)",
    )
    if data.test is not None:
        shares = shares[:2] / shares[:2].sum()
    single = data.task in ("classification", "binary")
    rows = (
        stratified_split(data.y if data.y.ndim == 1 else data.y.argmax(1), shares.tolist(), rng)
        if single
        else random_split(len(data), shares.tolist(), rng)
    )
    train, validation = data.take(rows[0]), data.take(rows[1])
    return train, validation, data.take(rows[2]) if data.test is None else data.test


def _shares(op: str, fractions: Sequence[float]) -> Array:
    shares = np.asarray(fractions, dtype=np.float64)
    fits = shares.ndim == 1 and shares.size and (shares >= 0).all() and shares[0] > 0
    need(
        fits and math.isclose(float(shares.sum()), 1.0, abs_tol=1e-9),
        op,
        fractions=tuple(fractions),
        want="fractions >= 0, the first > 0, of sum 1",
        fix="(0.7, 0.15, 0.15)",
    )
    return shares


def _class_counts(sizes: Array, shares: Array) -> Array:
    """How many rows of each class each part gets, (classes, parts)."""
    counts = np.empty((len(sizes), len(shares)), dtype=np.int64)
    owed = np.zeros(len(shares))
    for code, size in enumerate(sizes):
        exact = size * shares
        row = np.floor(exact + 1e-9).astype(np.int64)  # 10 * 0.7 must not lose a row to rounding
        owed += exact - row
        left = int(size - row.sum())
        claim = np.where(exact - row > 1e-9, owed, -np.inf)
        if row[0] == 0:
            claim[0] = np.inf  # a class that training never sees cannot be learnt
        for part in np.argsort(-claim, kind="stable")[:left]:
            row[part] += 1
            owed[part] -= 1
        counts[code] = row
    return counts


def _fill_empty(op: str, counts: Array, sizes: Array, shares: Array) -> None:
    """Give each part that stayed empty a row of the class with most to spare in the first part."""
    for part in np.flatnonzero((counts.sum(0) == 0) & (shares > 0)):
        spare = np.where(counts[:, 0] > 1, counts[:, 0] - sizes * shares[0], -np.inf)
        if not len(spare) or spare.max() == -np.inf:
            parts = np.count_nonzero(shares)
            raise bad(
                op,
                f"{sizes.sum()} rows of {len(sizes)} {'class' if len(sizes) == 1 else 'classes'}",
                f"a row for each of {parts} parts after one of each class for the first",
                "more rows or fewer parts",
            )
        donor = int(spare.argmax())
        counts[donor, 0] -= 1
        counts[donor, part] += 1
