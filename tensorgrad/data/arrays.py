"""Data sets in `.npz` files: arrays `x` and `y`, and optionally more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from tensorgrad.data._bad import bad, listed, place
from tensorgrad.data.dataset import Array, Dataset
from tensorgrad.data.targets import Target, Wish, make_target
from tensorgrad.io import load_file


def read_arrays(path: str, wish: Wish | None = None) -> Dataset:
    """Read `x` (N, ...) and `y` (N,) or (N, K); or `x_train y_train x_test y_test`.

    `classes` (K,) may name the classes that integer labels count or that have a column each,
    `feature_names` the columns of x. Raises `DataError` for a damaged file, a missing array, rows
    that do not match, values that are not finite and labels outside the classes.
    """
    arrays, wish = load_file(path), wish or Wish()
    split = "x" not in arrays and "x_train" in arrays
    x_name, y_name = ("x_train", "y_train") if split else ("x", "y")
    data = _pair(path, arrays, x_name, y_name, wish)
    names = arrays.get("feature_names")
    if names is not None:
        if names.shape != (data.features,):
            raise bad(
                place(path, column="feature_names"),
                f"shape {names.shape}",
                f"one name for each of {data.features} features",
                "leaving it out",
            )
        data = replace(data, feature_names=tuple(str(name) for name in names))
    if split and "x_test" in arrays:
        known = replace(wish, task=data.task, classes=data.classes)
        test = _pair(path, arrays, "x_test", "y_test", known)
        _same_features(path, data, test)
        data = replace(data, test=test)
    return data


def read_array_features(path: str) -> Array:
    """Only the `x` of a `.npz` file, checked and floating."""
    return _features(path, "x", _entry(path, load_file(path), "x"))


def _same_features(path: str, data: Dataset, test: Dataset) -> None:
    if test.x.shape[1:] != data.x.shape[1:]:
        raise bad(
            place(path, column="x_test"),
            f"rows of shape {test.x.shape[1:]}",
            f"{data.x.shape[1:]} as in x_train",
            "one shape for both",
        )


def _pair(path: str, arrays: Mapping[str, Array], x_name: str, y_name: str, wish: Wish) -> Dataset:
    x = _features(path, x_name, _entry(path, arrays, x_name))
    y = _entry(path, arrays, y_name)
    if y.ndim == 0 or len(x) != len(y):
        raise bad(
            path,
            f"{x_name} of shape {x.shape} and {y_name} of shape {y.shape}",
            "as many rows in both",
            "dropping the rows without a partner",
        )
    made = _target(path, arrays, y_name, y, wish)
    return Dataset(x, made.y, made.task, made.classes, name=Path(path).name)


def _entry(path: str, arrays: Mapping[str, Array], name: str) -> Array:
    if name not in arrays:
        raise bad(
            path,
            f"no array {name!r} among {listed(arrays) or 'none'}",
            "arrays x and y",
            "np.savez(file, x=x, y=y)",
        )
    return arrays[name]


def _target(path: str, arrays: Mapping[str, Array], name: str, y: Array, wish: Wish) -> Target:
    def where(row: int | None, column: int) -> str:
        return place(path, None if row is None else row + 1, name)

    names = arrays.get("classes")
    if names is not None and y.ndim == 2:
        wish = replace(wish, classes=wish.classes or tuple(str(one) for one in names.ravel()))
    if names is None or y.ndim != 1 or y.dtype.kind not in "iu" or wish.task == "regression":
        return make_target(y, wish, where)
    outside = np.flatnonzero((y < 0) | (y >= names.size))
    if len(outside):
        raise bad(
            where(int(outside[0]), 0),
            f"label {y[outside[0]]}",
            f"0 to {names.size - 1}, the {names.size} classes",
            "mending the label or removing the row",
        )
    texts = np.array([str(one) for one in names.ravel()])
    made = make_target(texts[y], replace(wish, classes=wish.classes or tuple(texts)), where)
    if len(np.unique(made.y)) == 1 and not wish.classes:
        raise bad(
            where(None, 0),
            f"one class only ({str(texts[y[0]])!r})",
            "two or more",
            "another target",
        )
    return made


def _features(path: str, name: str, x: Array) -> Array:
    """`x` as float32 (from narrower types) or float64, after its checks."""
    where = place(path, column=name)
    numeric = x.dtype.kind in "biuf" or x.dtype.name == "bfloat16"
    if not numeric or x.ndim < 2 or x.size == 0:
        raise bad(
            where,
            f"dtype {x.dtype} and shape {x.shape}",
            "real numbers of shape (N, D) or (N, ...), none of them 0",
            "x[:, None]" if x.ndim == 1 else "np.asarray(x, float)",
        )
    narrow = x.dtype.itemsize < 4 or x.dtype == np.float32
    x = x.astype(np.float32 if narrow else np.float64, copy=False)
    finite = np.isfinite(x.reshape(len(x), -1))
    if not finite.all():
        row, column = (int(i) for i in np.argwhere(~finite)[0])
        value = x.reshape(len(x), -1)[row, column]
        raise bad(
            f"{place(path, row + 1, name)}, feature {column}",
            str(value),
            "a finite number",
            "filling it in or removing the row",
        )
    return x
