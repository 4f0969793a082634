"""Mini-batches in an order that depends on the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tensorgrad._errors import need
from tensorgrad.data.dataset import Array

Rng = np.random.Generator | int | None


class Batches:
    """Tuples of array slices, `batch_size` rows each, over one epoch per iteration.

    The order of epoch e is a function of (seed, e): a run that resumes at epoch e and batch b
    (`.at(e, b)`) sees what an uninterrupted one sees. `rng` is the seed, or a generator from
    which the seed is drawn; None draws one from the system. A batch larger than the data shrinks
    to them. Raises `ShapeError` for arrays of different or no length.

    >>> x = np.arange(5)
    >>> [rows.tolist() for (rows,) in Batches((x,), 2, shuffle=False)]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        arrays: Sequence[Array],
        batch_size: int,
        rng: Rng = None,
        shuffle: bool = True,
        drop_last: bool = False,
    ) -> None:
        need(
            not isinstance(arrays, np.ndarray) and len(arrays) > 0,
            "Batches",
            arrays=arrays,
            want="a tuple of arrays",
            fix="Batches((x, y), batch_size)",
        )
        self.arrays = tuple(np.asarray(array) for array in arrays)
        shapes = [array.shape for array in self.arrays]
        need(
            all(shapes) and len({shape[0] for shape in shapes if shape}) == 1 and shapes[0][0] > 0,
            "Batches",
            shapes=shapes,
            want="the same number of rows, one or more",
            fix="arrays whose first axis is the sample",
        )
        need(batch_size >= 1, "Batches", batch_size=batch_size, want="batch_size >= 1", fix="32")
        self.rows = int(shapes[0][0])
        self.batch_size = min(int(batch_size), self.rows)
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = _seed(rng)
        self.epoch = 0

    def __len__(self) -> int:
        whole, rest = divmod(self.rows, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        """The batches of epoch `self.epoch`, which counts on as the iteration starts."""
        self.epoch += 1
        return self.at(self.epoch - 1)

    def at(self, epoch: int, start: int = 0) -> Iterator[tuple[Array, ...]]:
        """The batches of one epoch from batch number `start` on; slices are views, unshuffled."""
        order = self.order(epoch) if self.shuffle else None
        for batch in range(start, len(self)):
            rows = slice(batch * self.batch_size, (batch + 1) * self.batch_size)
            if order is None:
                yield tuple(array[rows] for array in self.arrays)
            else:
                chosen = order[rows]
                yield tuple(array.take(chosen, 0) for array in self.arrays)

    def order(self, epoch: int) -> Array:
        """The permutation of the rows in this epoch."""
        if not self.shuffle:
            return np.arange(self.rows)
        key = np.random.SeedSequence(self.seed, spawn_key=(epoch,))
        return np.random.default_rng(key).permutation(self.rows)


def _seed(rng: Rng) -> int:
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**63))
    if rng is None:
        return int(np.random.default_rng().integers(2**63))
    need(rng >= 0, "Batches", rng=rng, want="a seed >= 0", fix="rng=0")
    return int(rng)
