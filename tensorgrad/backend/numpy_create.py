"""New NumPy arrays from numbers, one plain function per way."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad._errors import need

Array = np.ndarray[Any, Any]


def empty(shape: Any, dtype: Any) -> Array:
    return np.empty(shape, dtype)


def copy(x: Array) -> Array:
    return x.copy()


def arange(start: Any, stop: Any, step: Any, dtype: Any) -> Array:
    return np.arange(start, stop, step, dtype)


def linspace(start: Any, stop: Any, num: int, endpoint: bool, dtype: Any) -> Array:
    return np.linspace(start, stop, num, endpoint, dtype=dtype)


def tri(n: int, m: int, k: int, dtype: Any) -> Array:
    return np.tri(n, m, k, dtype)


def eye(n: int, m: int, k: int, dtype: Any) -> Array:
    return np.eye(n, m, k, dtype)


def one_hot(x: Array, *, classes: int, dtype: Any, out: Array | None = None) -> Any:
    """1 at each label, 0 elsewhere, the classes on a new last axis; labels are range-checked."""
    bad = (x < 0) | (x >= classes)
    if bad.any():
        place = tuple(int(k) for k in np.argwhere(bad)[0])
        need(
            False,
            "one_hot",
            label=x[place].item(),
            position=place,
            want=f"0 <= label < {classes}",
            fix="a larger num_classes, or labels from 0",
        )
    found = np.zeros((*x.shape, classes), dtype) if out is None else out
    found[...] = 0
    np.put_along_axis(found, np.asarray(x)[..., None].astype(np.intp), 1, -1)
    return found
