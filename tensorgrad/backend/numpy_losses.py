"""Fused losses on NumPy arrays; a fused kernel returns (output, values kept for backward ...)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from tensorgrad import dtypes

Array = np.ndarray[Any, Any]


@lru_cache(maxsize=64)
def _starts(rows: int, columns: int) -> Array:
    """The flat position of each row's first element."""
    return np.arange(0, rows * columns, columns)


def softmax_xent(
    x: Array, label: Array, ignore: Array, *, axis: int, out: Array | None = None
) -> Any:
    """Mean over rows of log Σ exp(x) - x[label], rows of label `ignore` left out; NaN for none."""
    columns = x.shape[axis]
    rows = np.moveaxis(x, axis, -1).reshape(-1, columns) if axis != x.ndim - 1 else x
    rows = rows.reshape(-1, columns) if rows.ndim != 2 else rows
    if dtypes.is_half(x.dtype) or x.dtype.kind != "f":
        rows = rows.astype(dtypes.compute(dtypes.inexact(x.dtype)))
    labels = label.reshape(-1)
    if labels.dtype != np.int64:
        labels = labels.astype(np.int64)
    used = None
    # Seen as unsigned, a negative label is too large as well: one pass instead of two.
    if not labels.size or np.maximum.reduce(labels.view(np.uint64)) >= columns:
        used = labels != ignore
        labels = _checked(labels, used, columns)
    shifted = np.subtract(rows, np.maximum.reduce(rows, axis=1, keepdims=True), order="C")
    place = _starts(*rows.shape) + labels
    picked = shifted.reshape(-1).take(place)
    np.exp(shifted, shifted)
    total = np.add.reduce(shifted, 1)
    losses = np.log(total)
    losses -= picked
    count = len(labels) if used is None else np.count_nonzero(used)
    loss = np.add.reduce(losses if used is None else losses[used], None)
    value = np.asarray(loss / count if count else np.nan, dtypes.inexact(x.dtype))
    if out is not None:
        out[...] = value
        value = out
    return value, shifted, total, place, used, count


def _checked(labels: Array, used: Array, columns: int) -> Array:
    """Labels in range, those left out as 0; `IndexError` names the first bad one."""
    bad = used & ((labels < 0) | (labels >= columns))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise IndexError(
            f"cross_entropy: got label {labels[row]} in row {row}, expected 0 <= label < "
            f"{columns}; try labels from 0, or more columns"
        )
    return np.where(used, labels, 0)
