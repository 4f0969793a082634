"""Data sets in npz files: what they may hold, and the exact words for what they may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tensorgrad._errors import DataError
from tensorgrad.data import load, load_features

X = np.arange(12.0).reshape(4, 3)
Y = np.array([0, 1, 1, 0])


def spoil(x: np.ndarray[Any, Any], at: Any, value: Any) -> np.ndarray[Any, Any]:
    copy = x.copy()
    copy[at] = value
    return copy


# arrays, task, and the text after the path
BAD: dict[str, tuple[dict[str, Any], str | None, str]] = {
    "nothing": ({}, None, ": got no array 'x' among none, expected arrays x and y; "
                "try np.savez(file, x=x, y=y)"),
    "no y": ({"x": X, "z": Y}, None, ": got no array 'y' among x, z, expected arrays x and y; "
             "try np.savez(file, x=x, y=y)"),
    "rows": ({"x": X, "y": Y[:3]}, None, ": got x of shape (4, 3) and y of shape (3,), expected "
             "as many rows in both; try dropping the rows without a partner"),
    "0-d": ({"x": X, "y": Y[0]}, None, ": got x of shape (4, 3) and y of shape (), expected as "
            "many rows in both; try dropping the rows without a partner"),
    "vector": ({"x": X[:, 0], "y": Y}, None, ", column 'x': got dtype float64 and shape (4,), "
               "expected real numbers of shape (N, D) or (N, ...), none of them 0; "
               "try x[:, None]"),
    "empty": ({"x": X[:0], "y": Y[:0]}, None, ", column 'x': got dtype float64 and shape (0, 3), "
              "expected real numbers of shape (N, D) or (N, ...), none of them 0; "
              "try np.asarray(x, float)"),
    "complex": ({"x": X * 1j, "y": Y}, None, ", column 'x': got dtype complex128 and shape "
                "(4, 3), expected real numbers of shape (N, D) or (N, ...), none of them 0; "
                "try np.asarray(x, float)"),
    "nan": ({"x": spoil(X, (2, 1), np.nan), "y": Y}, None, ", row 3, column 'x', feature 1: got "
            "nan, expected a finite number; try filling it in or removing the row"),
    "inf target": ({"x": X, "y": spoil(Y.astype(float), 1, np.inf)}, None, ", row 2, column 'y': "
                   "got inf, expected a finite number; try removing the row"),
    "3-d target": ({"x": X, "y": Y.reshape(4, 1, 1)}, None, ", column 'y': got targets of dtype "
                   "int64 and shape (4, 1, 1), expected labels or numbers, (N,) or (N, K); "
                   "try np.asarray with a plain dtype, one row a sample"),
    "one class": ({"x": X, "y": Y * 0 + 5}, None, ", column 'y': got one class only ('5'), "
                  "expected two or more; try another target"),
    "one class, one-hot": ({"x": X, "y": np.eye(3)[[1, 1, 1, 1]]}, None, ", column 'y': got one "
                           "class only ('1'), expected two or more; try another target"),
    "one class, named": ({"x": X, "y": Y * 0, "classes": np.array(["a", "b"])}, None, ", column "
                         "'y': got one class only ('a'), expected two or more; "
                         "try another target"),
    "sum": ({"x": X, "y": np.array([[0.5, 0.5], [0.2, 0.7], [1, 0], [0, 1]])}, "classification",
            ", row 2, column 'y': got columns of sum 0.9, expected one 1 a row, or probabilities "
            "of sum 1, for classification; try dividing each row by its sum, or task multilabel or "
            "regression"),
    "below 0": ({"x": X, "y": np.array([[0.5, 0.5], [-0.2, 1.2], [1, 0], [0, 1]])},
                "classification", ", row 2, column 'y': got -0.2, expected a probability for "
                "classification; try task regression"),
    "columns": ({"x": X, "y": np.full((4, 2), 0.5), "classes": np.array(["a"])}, "classification",
                ", column 'y': got 2 label columns, expected 1 (a); try one column for each of "
                "them"),
    "outside": ({"x": X, "y": spoil(Y, 2, 2), "classes": np.array(["a", "b"])}, None, ", row 3, "
                "column 'y': got label 2, expected 0 to 1, the 2 classes; "
                "try mending the label or removing the row"),
    "negative": ({"x": X, "y": spoil(Y, 0, -1), "classes": np.array(["a", "b"])}, None, ", row 1, "
                 "column 'y': got label -1, expected 0 to 1, the 2 classes; "
                 "try mending the label or removing the row"),
    "names": ({"x": X, "y": Y, "feature_names": np.array(["a"])}, None, ", column "
              "'feature_names': got shape (1,), expected one name for each of 3 features; "
              "try leaving it out"),
    "text as numbers": ({"x": X, "y": np.array(list("abab"))}, "regression", ", column 'y': got "
                        "labels in text, expected numbers for regression; "
                        "try task classification"),
    "test labels": ({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y + 1}, None, ", row 2, "
                    "column 'y_test': got label '2', expected one of the classes 0, 1; "
                    "try mending the label or removing the row"),
    "test shape": ({"x_train": X, "y_train": Y, "x_test": X[:, :2], "y_test": Y}, None,
                   ", column 'x_test': got rows of shape (2,), expected (3,) as in x_train; "
                   "try one shape for both"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_by_place(tmp_path: Path, case: str) -> None:
    arrays, task, text = BAD[case]
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    with pytest.raises(DataError) as caught:
        load(path, task=task)
    assert str(caught.value) == f"{path}{text}"


def test_damaged_files_and_targets_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, x=X, y=Y)
    with pytest.raises(DataError) as caught:
        load(path, "y")
    assert str(caught.value) == (
        f"{path}: got target 'y', expected none, it has its own; try leaving it out"
    )
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(
        DataError, match=r"got a truncated or damaged file \(.*\), expected a whole"
    ):
        load(path)


def saved(tmp_path: Path, **arrays: Any) -> Path:
    np.savez(tmp_path / "data.npz", **arrays)
    return tmp_path / "data.npz"


def test_tasks_follow_the_dtype(tmp_path: Path) -> None:
    def made(y: Any, task: str | None = None) -> tuple[Any, ...]:
        data = load(saved(tmp_path, x=X, y=y), task=task)
        return data.task, data.classes, data.y.tolist(), data.outputs

    assert made(Y) == ("classification", ("0", "1"), [0, 1, 1, 0], 2)
    assert made(Y[:, None] + 4) == ("classification", ("4", "5"), [0, 1, 1, 0], 2)
    assert made(Y == 1) == ("classification", ("False", "True"), [0, 1, 1, 0], 2)
    assert made(np.array(list("baab"))) == ("classification", ("a", "b"), [1, 0, 0, 1], 2)
    assert made(Y, "binary") == ("binary", ("0", "1"), [0, 1, 1, 0], 1)
    assert made(Y, "regression") == ("regression", None, [0.0, 1.0, 1.0, 0.0], 1)
    assert made(Y / 2) == ("regression", None, [0.0, 0.5, 0.5, 0.0], 1)
    assert made(Y / 1, "classification") == ("classification", ("0", "1"), [0, 1, 1, 0], 2)
    assert made(np.arange(4)) == ("regression", None, [0.0, 1.0, 2.0, 3.0], 1)
    assert made(np.eye(3)[Y]) == ("classification", ("0", "1", "2"), [0, 1, 1, 0], 3)
    both = [[0, 1], [1, 1], [0, 0], [1, 0]]
    assert made(np.array(both)) == ("multilabel", ("0", "1"), both, 2)
    assert made(X) == ("regression", None, X.tolist(), 3)


def test_named_classes_and_features(tmp_path: Path) -> None:
    names = np.array(["cat", "ape", "dog"])
    path = saved(tmp_path, x=X, y=np.array([2, 0, 2, 0]), classes=names, feature_names=list("abc"))
    data = load(path)
    assert data.classes == ("cat", "ape", "dog")
    assert data.y.tolist() == [2, 0, 2, 0]
    assert data.feature_names == ("a", "b", "c")
    assert load(path, classes=("dog", "cat")).y.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("given", "kept"),
    [("u1", "f4"), ("?", "f4"), ("f2", "f4"), ("f4", "f4"), (">f8", "f8"), ("i4", "f8")],
)
def test_features_become_floating_without_loss(tmp_path: Path, given: str, kept: str) -> None:
    path = saved(tmp_path, x=X.astype(given), y=Y)
    assert load(path).x.dtype == np.dtype(kept)
    assert np.array_equal(load(path).x, X.astype(given).astype(float))
    assert np.array_equal(load_features(path), load(path).x)


def test_train_and_test_parts(tmp_path: Path) -> None:
    images = np.arange(4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3)
    path = saved(tmp_path, x_train=images, y_train=Y, x_test=images[:1], y_test=Y[1:2])
    data = load(path)
    assert data.x.shape == (4, 2, 3)
    assert data.features == 6
    assert data.test is not None
    assert (data.test.y.tolist(), data.test.classes) == ([1], ("0", "1"))
    assert data.flat().x.shape == (4, 6)
    assert data.flat().test is not None
    assert data.take(np.array([2, 0])).y.tolist() == [1, 0]
