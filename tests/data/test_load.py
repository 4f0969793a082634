"""One name or path in, one data set out; and the public names of the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tensorgrad.data
from tensorgrad._errors import DataError, ShapeError
from tensorgrad.data import Dataset, load, load_features
from tensorgrad.data.openers import BUILT_IN


def test_digits() -> None:
    data = load("digits")
    assert data.x.shape == (1797, 64)
    assert data.x.dtype == np.float32
    assert (data.x.min(), data.x.max()) == (0.0, 1.0)
    assert np.array_equal(data.x * 16, np.round(data.x * 16))
    assert data.classes == tuple("0123456789")
    assert (data.task, data.y.dtype, data.outputs, data.name) == (
        "classification",
        np.int64,
        10,
        "digits",
    )
    assert np.bincount(data.y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert load("digits", task="regression").y.dtype == np.float64
    assert np.array_equal(load_features("digits"), data.x)


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_sets_refuse_a_target(name: str) -> None:
    assert len(load(name)) > 0
    with pytest.raises(DataError) as caught:
        load(name, "y")
    assert str(caught.value) == (
        f"{name}: got target 'y', expected none, it has its own; try leaving it out"
    )


def test_toys_take_a_task() -> None:
    assert load("circle", task="binary").outputs == 1
    assert load("circle").outputs == 2
    assert load("plane").task == "regression"
    with pytest.raises(DataError) as caught:
        load("digits", task="binary")
    assert str(caught.value) == (
        "digits: got 10 classes (0, 1, 2, 3, 4, 5, 6, 7 and 2 more), expected two for a binary "
        "task; try task classification"
    )


def test_scikit_learn_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(DataError) as caught:
        load("digits")
    assert str(caught.value) == (
        "digits: got no scikit-learn, expected it to be installed; "
        "try pip install 'tensorgrad[train]'"
    )


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    def message(source: object, task: str | None = None) -> str:
        with pytest.raises(DataError) as caught:
            load(source, task=task)  # type: ignore[arg-type]
        return str(caught.value)

    names = "digits, gauss, circle, xor, spiral, plane, multi-gauss"
    assert message("digit") == (
        f"digit: got no such file or built-in set, expected a path or one of {names}; try 'digits'"
    )
    assert message(tmp_path / "no").endswith("; try another path")
    (tmp_path / "a.xlsx").write_bytes(b"")
    assert message(tmp_path / "a.xlsx") == (
        f"{tmp_path / 'a.xlsx'}: got suffix '.xlsx', expected FILE.csv, FILE.npz or a folder of "
        f"IDX files; try converting it"
    )
    assert message("digits", "classify") == (
        "load: got task 'classify', expected one of classification, binary, multilabel, "
        "regression; try 'classification'"
    )
    for missing in ("no.csv", "no.npz"):
        assert "got no such file, expected an existing one" in message(tmp_path / missing)


def test_rows_must_match() -> None:
    with pytest.raises(ShapeError) as caught:
        Dataset(np.zeros((3, 2)), np.zeros(2), "regression")
    assert str(caught.value) == (
        "Dataset: got x=float64(3, 2), y=float64(2,), expected as many rows in x as in y; "
        "try dropping the rows without a target"
    )


def test_public_names_are_found_and_imported_late() -> None:
    assert sorted(tensorgrad.data.__all__) == dir(tensorgrad.data)
    for name in tensorgrad.data.__all__:
        assert getattr(tensorgrad.data, name).__name__ == name
    with pytest.raises(AttributeError, match=r"module 'tensorgrad\.data' has no attribute 'nope'"):
        _ = tensorgrad.data.nope
    heavy = {"sklearn", "safetensors", "ml_dtypes", "scipy", "matplotlib", "rich"}
    code = f"""
import sys, tensorgrad
before = {heavy} & set(sys.modules)
import tensorgrad.data, tensorgrad.io
assert not [m for m in sys.modules if m.startswith("tensorgrad.data.")]
for name in tensorgrad.data.__all__:
    getattr(tensorgrad.data, name)
found = {heavy} & set(sys.modules) - before
assert not found, found
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
