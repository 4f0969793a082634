"""Mini-batches: every row once an epoch, in an order that a resumed run repeats."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from tensorgrad._errors import ShapeError
from tensorgrad.data import Batches


def rows(batches: Any) -> list[list[int]]:
    return [x.tolist() for x, _ in batches]


def data(n: int) -> tuple[Any, Any]:
    return np.arange(n), np.arange(n * 2.0).reshape(n, 2)


@pytest.mark.parametrize("n", [1, 2, 7, 64, 100])
@pytest.mark.parametrize("batch_size", [1, 3, 64, 1000])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("drop_last", [True, False])
def test_every_row_once(n: int, batch_size: int, shuffle: bool, drop_last: bool, seed: int) -> None:
    batches = Batches(data(n), batch_size, seed, shuffle, drop_last)
    found = list(batches)
    size = min(batch_size, n)
    assert batches.batch_size == size
    assert len(found) == len(batches) == (n // size if drop_last else -(-n // size))
    assert all(len(x) == size for x, _ in found[:-1])
    seen = np.concatenate([x for x, _ in found])
    assert len(set(seen.tolist())) == len(seen) == (n - n % size if drop_last else n)
    assert all(np.array_equal(y[:, 0], 2.0 * x) for x, y in found)
    if not shuffle:
        assert np.array_equal(seen, np.arange(len(seen)))


def test_the_order_depends_on_seed_and_epoch_alone(seed: int) -> None:
    one, two = Batches(data(50), 8, seed), Batches(data(50), 8, seed)
    epochs = [rows(one) for _ in range(4)]
    two.epoch = 2
    assert rows(two) == epochs[2]
    assert rows(two.at(3, 2)) == epochs[3][2:]
    assert rows(Batches(data(50), 8, seed).at(1)) == epochs[1]
    assert list(itertools.chain(*epochs[3])) == one.order(3).tolist()
    assert len({str(epoch) for epoch in epochs}) == 4
    assert epochs[0] != rows(Batches(data(50), 8, seed + 1))


def test_an_epoch_left_early_does_not_shift_the_next(seed: int) -> None:
    batches = Batches(data(50), 8, seed)
    next(iter(batches))
    assert batches.epoch == 1
    assert rows(batches) == rows(Batches(data(50), 8, seed).at(1))


def test_generators_and_no_seed(seed: int) -> None:
    one = Batches(data(50), 8, np.random.default_rng(seed))
    two = Batches(data(50), 8, np.random.default_rng(seed))
    assert one.seed == two.seed
    assert rows(one) == rows(two)
    assert Batches(data(50), 8).seed != Batches(data(50), 8).seed
    repeated = Batches(data(50), 8)
    assert rows(repeated) == rows(Batches(data(50), 8, repeated.seed))


def test_unshuffled_slices_are_views_and_shuffled_ones_are_not(seed: int) -> None:
    x, y = data(10)
    assert all(np.shares_memory(b, y) for _, b in Batches((x, y), 4, shuffle=False))
    assert not any(np.shares_memory(b, y) for _, b in Batches((x, y), 4, seed))


def message(*args: Any) -> str:
    with pytest.raises(ShapeError) as caught:
        Batches(*args)
    return str(caught.value)


def test_refusals() -> None:
    x, y = data(4)
    assert message(x, 2) == (
        "Batches: got arrays=int64(4,), expected a tuple of arrays; try Batches((x, y), batch_size)"
    )
    assert message((), 2).startswith("Batches: got arrays=(), expected a tuple of arrays; ")
    for wrong, shapes in (
        ((x, y[:3]), "[(4,), (3, 2)]"),
        ((x[:0],), "[(0,)]"),
        ((x, x[0]), "[(4,), ()]"),
    ):
        assert message(wrong, 2) == (
            f"Batches: got shapes={shapes}, expected the same number of rows, one or more; "
            f"try arrays whose first axis is the sample"
        )
    assert message((x,), 0) == "Batches: got batch_size=0, expected batch_size >= 1; try 32"
    assert message((x,), 2, -1) == "Batches: got rng=-1, expected a seed >= 0; try rng=0"
