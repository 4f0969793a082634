"""From raw targets to a task, its classes and the array a loss takes.

The rule when no task is named: text and bool are labels; integers are labels when they take at
most 20 different values and there are at least five rows for each (two values always are);
anything else is a number to predict. Several columns of 0 and 1 are labels that may hold
together (one and only one of them in every row: one label); other columns are numbers. Columns of
a task that is named classification may be the probabilities of the classes, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgrad.data._bad import bad, closest, listed
from tensorgrad.data.dataset import TASKS, Array, Task

MOST_LABELS = 20
ROWS_PER_LABEL = 5
_ROUNDED = 1e-3  # what probabilities written with a few digits miss 1 by

# where(row index or None, column index) says the place of a target in its source
Where = Callable[[int | None, int], str]


@dataclass(frozen=True)
class Wish:
    """What the caller asked of the target; None leaves it to the source and the rule above."""

    target: str | Sequence[str] | None = None
    task: str | None = None
    classes: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.task is not None and self.task not in TASKS:
            near = closest(self.task, TASKS) or TASKS[0]
            raise bad("load", f"task {self.task!r}", f"one of {listed(TASKS)}", repr(near))


@dataclass(frozen=True, eq=False)
class Target:
    """A finished target: see `Dataset` for what `y` holds."""

    y: Array
    task: Task
    classes: tuple[str, ...] | None


def make_target(raw: Array, wish: Wish, where: Where) -> Target:
    """Decide the task of `raw`, (N,) or (N, K) of text, bool, integers or floats, and encode it.

    Raises `DataError` with the place of the first value that does not fit.
    """
    if raw.ndim == 2 and raw.shape[1] == 1:
        raw = raw[:, 0]
    if raw.ndim not in (1, 2) or raw.dtype.kind not in "biufUS" or raw.size == 0:
        raise bad(
            where(None, 0),
            f"targets of dtype {raw.dtype} and shape {raw.shape}",
            "labels or numbers, (N,) or (N, K)",
            "np.asarray with a plain dtype, one row a sample",
        )
    _finite(raw, where)
    labelled = "classification" if wish.classes and raw.ndim == 1 else None
    task = wish.task or labelled or _decide(raw)
    if task == "regression":
        return _regression(raw, where)
    if task == "multilabel":
        return _multilabel(raw, wish.classes, where)
    kind: Task = "binary" if task == "binary" else "classification"
    if raw.ndim == 2 and kind == "classification" and not _zero_one(raw).all():
        return _soft(raw, wish.classes, where)
    if raw.ndim == 2:
        return _one_hot(raw, kind, wish.classes, where)
    return _labels(raw, kind, wish.classes, where)


def few(values: Array) -> bool:
    """True for integers that are labels by the rule of this module."""
    distinct = len(np.unique(values))
    return distinct <= 2 or (distinct <= MOST_LABELS and len(values) >= ROWS_PER_LABEL * distinct)


def _decide(raw: Array) -> Task:
    if raw.ndim == 2:
        if not _zero_one(raw).all():
            return "regression"
        return "classification" if (raw.astype(np.int64).sum(1) == 1).all() else "multilabel"
    if raw.dtype.kind in "USb" or (raw.dtype.kind in "iu" and few(raw)):
        return "classification"
    return "regression"


def _zero_one(raw: Array) -> Any:
    return np.zeros(raw.shape, bool) if raw.dtype.kind in "US" else (raw == 0) | (raw == 1)


def _first(mask: Array, where: Where) -> tuple[str, tuple[int, ...]]:
    """The place and the index of the first True of a mask over rows, or rows and columns."""
    index = tuple(int(i) for i in np.argwhere(mask)[0])
    return where(index[0], index[1] if len(index) > 1 else 0), index


def _finite(raw: Array, where: Where) -> None:
    if raw.dtype.kind == "f" and not np.isfinite(raw).all():
        spot, index = _first(~np.isfinite(raw), where)
        raise bad(spot, str(raw[index]), "a finite number", "removing the row")


def _regression(raw: Array, where: Where) -> Target:
    if raw.dtype.kind in "US":
        raise bad(where(None, 0), "labels in text", "numbers for regression", "task classification")
    kept = raw.dtype.kind == "f" and raw.dtype.itemsize > 2
    return Target(raw if kept else raw.astype(np.float64), "regression", None)


def _multilabel(raw: Array, classes: Sequence[str] | None, where: Where) -> Target:
    table = raw[:, None] if raw.ndim == 1 else raw
    wrong = ~_zero_one(table)
    if wrong.any():
        spot, index = _first(wrong, where)
        raise bad(spot, repr(table[index].item()), "0 or 1 for multilabel", "one column a label")
    return Target(table.astype(np.int64), "multilabel", _column_names(table, classes, where))


def _column_names(table: Array, classes: Sequence[str] | None, where: Where) -> tuple[str, ...]:
    columns = table.shape[1]
    if classes and len(classes) != columns:
        raise bad(
            where(None, 0),
            f"{columns} label columns",
            f"{len(classes)} ({listed(classes)})",
            "one column for each of them",
        )
    return tuple(classes or (str(k) for k in range(columns)))


def _one_hot(raw: Array, task: Task, classes: Sequence[str] | None, where: Where) -> Target:
    wrong = ~_zero_one(raw).all(1)
    if not wrong.any():
        wrong = raw.astype(np.int64).sum(1) != 1
    if wrong.any():
        spot, _ = _first(wrong, where)
        raise bad(
            spot,
            "not exactly one label",
            f"one 1 a row for {task}",
            "task multilabel or regression",
        )
    names = _column_names(raw, classes, where)
    codes = raw.argmax(1).astype(np.int64)
    if not classes and len(np.unique(codes)) == 1:
        _enough((names[codes[0]],), len(raw), task, where)
    if task == "binary":
        _enough(names, len(raw), task, where)
    return Target(codes, task, names)


def _soft(raw: Array, classes: Sequence[str] | None, where: Where) -> Target:
    """Probabilities of the classes, a distribution in every row."""
    if raw.dtype.kind in "US":
        raise bad(where(None, 0), "text in label columns", "numbers", "one column of labels")
    y = raw.astype(np.float64)
    if (y < 0).any():
        spot, index = _first(y < 0, where)
        raise bad(spot, f"{y[index]:g}", "a probability for classification", "task regression")
    total = y.sum(1)
    wrong = np.abs(total - 1) > _ROUNDED
    if wrong.any():
        spot, (row,) = _first(wrong, where)
        raise bad(
            spot,
            f"columns of sum {total[row]:g}",
            "one 1 a row, or probabilities of sum 1, for classification",
            "dividing each row by its sum, or task multilabel or regression",
        )
    return Target(y, "classification", _column_names(raw, classes, where))


def _labels(raw: Array, task: Task, classes: Sequence[str] | None, where: Where) -> Target:
    values, codes = np.unique(raw, return_inverse=True)
    names = tuple(_name(value) for value in values)
    if classes is None:
        _enough(names, len(raw), task, where)
        return Target(codes.astype(np.int64), task, names)
    known = {name: code for code, name in enumerate(classes)}
    strange = np.array([name not in known for name in names])[codes]
    if strange.any():
        spot, index = _first(strange, where)
        raise bad(
            spot,
            f"label {names[codes[index[0]]]!r}",
            f"one of the classes {listed(classes)}",
            "mending the label or removing the row",
        )
    renumbered = np.array([known[name] for name in names], dtype=np.int64)
    return Target(renumbered[codes], task, tuple(classes))


def _enough(names: tuple[str, ...], rows: int, task: Task, where: Where) -> None:
    if len(names) == 1:
        raise bad(where(None, 0), f"one class only ({names[0]!r})", "two or more", "another target")
    if len(names) == rows > 2:
        raise bad(
            where(None, 0),
            f"{rows} different labels in {rows} rows",
            "labels that repeat",
            "another target, or task regression",
        )
    if task == "binary" and len(names) != 2:
        raise bad(
            where(None, 0),
            f"{len(names)} classes ({listed(names)})",
            "two for a binary task",
            "task classification",
        )


def _name(value: Any) -> str:
    """How a label is written: 3.0 as "3", text as it stands."""
    if isinstance(value, np.floating) and float(value).is_integer():
        return str(int(value))
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
