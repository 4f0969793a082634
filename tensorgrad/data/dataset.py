"""What a data set is once it is loaded: checked arrays, a task and names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from tensorgrad._errors import need

Array = np.ndarray[Any, Any]
Task = Literal["classification", "binary", "multilabel", "regression"]
TASKS: tuple[Task, ...] = ("classification", "binary", "multilabel", "regression")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows of features with their targets.

    `x` is (N, ...) and floating. `y` by task: classification int64 (N,), an index into `classes`,
    or floating (N, K), the probability of each; binary int64 (N,), 0 or 1; multilabel int64 (N, K),
    0 or 1; regression floating (N,) or (N, K). `classes` names the classes (classification, binary)
    or the labels (multilabel). `test` is the part that the source itself sets aside for testing, if
    it does.
    """

    x: Array
    y: Array
    task: Task
    classes: tuple[str, ...] | None = None
    feature_names: tuple[str, ...] | None = None
    name: str = "data"
    test: Dataset | None = None

    def __post_init__(self) -> None:
        need(
            len(self.x) == len(self.y),
            "Dataset",
            x=self.x,
            y=self.y,
            want="as many rows in x as in y",
            fix="dropping the rows without a target",
        )

    def __len__(self) -> int:
        return len(self.x)

    @property
    def features(self) -> int:
        """How many numbers one row of `x` has."""
        return int(np.prod(self.x.shape[1:], dtype=np.int64))

    @property
    def outputs(self) -> int:
        """How many outputs a network for this task has."""
        if self.task == "classification":
            return len(self.classes or ())
        return 1 if self.y.ndim == 1 else int(self.y.shape[1])

    def take(self, rows: Array) -> Dataset:
        """The rows with these indices, without the test part."""
        return replace(self, x=self.x[rows], y=self.y[rows], test=None)

    def flat(self) -> Dataset:
        """The same rows with `x` as (N, features), for layers that take vectors."""
        test = None if self.test is None else self.test.flat()
        return replace(self, x=self.x.reshape(len(self.x), self.features), test=test)
