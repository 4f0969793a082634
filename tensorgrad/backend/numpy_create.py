"""NumPy arrays made from numbers and from class labels, one plain function per way."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.backend.numpy_kernels import written

Array = np.ndarray[Any, Any]


def zeroed(shape: Any, dtype: Any) -> Array:
    return np.zeros(shape, dtype)  # fresh pages come zeroed: it costs what np.empty does


def copied(x: Array) -> Array:
    return x.copy()


def arange(start: Any, stop: Any, step: Any, dtype: Any) -> Array:
    found: Array = np.arange(start, stop, step, dtype)  # type: ignore[call-overload]
    return found


def linspace(start: Any, stop: Any, num: int, endpoint: bool, dtype: Any) -> Array:
    return np.linspace(start, stop, num, endpoint, dtype=dtype)


def tri(n: int, m: int, k: int, dtype: Any) -> Array:
    return np.tri(n, m, k, dtype)


def eye(n: int, m: int, k: int, dtype: Any) -> Array:
    return np.eye(n, m, k, dtype)


# -- class labels ------------------------------------------------------------------------------

LABELS = "a larger num_classes, or labels from 0"


def one_hot(x: Array, *, classes: int, dtype: Any, out: Array | None = None) -> Any:
    """1 at each label, 0 elsewhere, the classes on a new last axis; labels are range-checked."""
    bad = (x < 0) | (x >= classes)
    if bad.any():
        row = int(bad.argmax())
        raise IndexError(
            f"one_hot: got label {x.item(row)} in row {row}, expected 0 <= label < {classes}; "
            f"try {LABELS}"
        )
    found = np.zeros((*x.shape, classes), dtype) if out is None else out
    found[...] = 0
    np.put_along_axis(found, np.asarray(x)[..., None].astype(np.intp), 1, -1)
    return found


def mean_counted(loss: Array, labels: Array, ignore: Array, out: Array | None = None) -> Any:
    """Σ loss / n over the n rows whose label is not `ignore`; NaN where there is none."""
    count = np.count_nonzero(labels != ignore)
    total = np.add.reduce(loss, None, np.float32 if loss.itemsize == 2 else None)
    return written(np.asarray(total / count if count else np.nan, loss.dtype), out)
