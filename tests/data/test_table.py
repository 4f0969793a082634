"""CSV files: what is read, and the exact words for what cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tensorgrad._errors import DataError
from tensorgrad.data import load, load_features, read_table

# content, target, task, and the text after the path; rows are lines of the file, from 1
BAD = {
    "empty": ("", "c", None, ": got an empty file, expected a header line and rows; "
              "try another file"),
    "blank": ("\n \r\n", "c", None, ": got an empty file, expected a header line and rows; "
              "try another file"),
    "header only": ("a,b,c\n", "c", None, ": got a header and no rows, expected one row or more; "
                    "try another file"),
    "no header": ("1.5,2\n3,4\n", "2", None, ", row 1: got numbers only, expected column names; "
                  "try adding a header line"),
    "no header, ints": ("1,1,2\n3,4,5\n", "2", None, ", row 1: got numbers only, expected column "
                        "names; try adding a header line"),
    "unnamed": (",a,b\n0,1,2\n", "b", None, ", row 1: got no name for column 1, expected a name "
                "for each; try naming it"),
    "twice": ("a,b,a\n0,1,2\n", "b", None, ", row 1: got column 'a' twice, expected each name "
              "once; try renaming one"),
    "no target": ("a,b\n1,2\n", None, None, ": got no target, expected the name of one column of "
                  "a, b; try --target b"),
    "no such column": ("Age,Price\n1,2\n", "prices", None, ": got no column 'prices', expected "
                       "one of Age, Price; try 'Price'"),
    "nothing alike": ("a,b\n1,2\n", "zzz", None, ": got no column 'zzz', expected one of a, b; "
                      "try 'b'"),
    "only the target": ("a\n1\n2\n", "a", None, ": got no column but the target, expected one "
                        "feature or more; try adding a column"),
    "long row": ("a,b\n1,2\n3,4,5\n", "b", None, ", row 3: got 3 cells, expected 2 as in the "
                 "header; try mending the row or quoting a cell that holds the separator"),
    "short row": ("a,b\n1,2\n\n3\n", "b", None, ", row 4: got 1 cells, expected 2 as in the "
                  "header; try mending the row or quoting a cell that holds the separator"),
    "text": ("a,b\n1,x\nred,y\n", "b", None, ", row 3, column 'a': got text 'red', expected a "
             "number; try coding it in numbers or dropping it"),
    "underscore": ("a,b\n1_000,x\n2,y\n", "b", None, ", row 2, column 'a': got text '1_000', "
                   "expected a number; try coding it in numbers or dropping it"),
    "decimal comma": ("a;b\n1,5;x\n2;y\n", "b", None, ", row 2, column 'a': got '1,5', expected "
                      "a number; try a decimal point"),
    "nan": ("a,b\n1,x\nNaN,y\n", "b", None, ", row 3, column 'a': got NaN, expected a finite "
            "number; try filling it in or removing the row"),
    "inf": ("a,b\n-inf,x\n1,y\n", "b", None, ", row 2, column 'a': got -inf, expected a finite "
            "number; try filling it in or removing the row"),
    "overflow": ("a,b\n1e999,x\n1,y\n", "b", None, ", row 2, column 'a': got 1e999, expected a "
                 "finite number; try filling it in or removing the row"),
    "missing": ("a,b\n1,x\n ,y\n", "b", None, ", row 3, column 'a': got an empty cell, expected "
                "a value in every row; try filling it in or removing the row"),
    "missing label": ("a,b\n1,x\n2,\n", "b", None, ", row 3, column 'b': got an empty cell, "
                      "expected a value in every row; try filling it in or removing the row"),
    "nan label": ("a,b\n1,x\n2,nan\n3,x\n", "b", None, ", row 3, column 'b': got nan, expected a "
                  "finite number; try filling it in or removing the row"),
    "slip among numbers": ("a,b\n1,1.5\n2,n/a\n3,2.5\n", "b", None, ", row 3, column 'b': got "
                           "text 'n/a', expected a number; try mending it, or task classification"),
    "regression on text": ("a,b\n1,x\n2,y\n", "b", "regression", ", row 2, column 'b': got text "
                           "'x', expected a number; try mending it, or task classification"),
    "one class": ("a,b\n1,x\n2,x\n", "b", None, ", column 'b': got one class only ('x'), "
                  "expected two or more; try another target"),
    "one class, numbers": ("a,b\n1,3\n2,3.0\n", "b", "classification", ", column 'b': got one "
                           "class only ('3'), expected two or more; try another target"),
    "all different": ("a,b\n1,x\n2,y\n3,z\n", "b", None, ", column 'b': got 3 different labels in "
                      "3 rows, expected labels that repeat; try another target, "
                      "or task regression"),
    "binary": ("a,b\n1,x\n2,y\n3,z\n4,z\n", "b", "binary", ", column 'b': got 3 classes (x, y, z), "
               "expected two for a binary task; try task classification"),
    "multilabel": ("a,b,c\n1,0,1\n2,1,2\n", "b,c", "multilabel", ", row 3, column 'c': got 2.0, "
                   "expected 0 or 1 for multilabel; try one column a label"),
    "several classes": ("a,b,c\n1,0,1\n2,1,1\n", "b,c", "classification", ", row 3, column 'b': "
                        "got not exactly one label, expected one 1 a row for classification; "
                        "try task multilabel or regression"),
    "open quote": ('a,b\n1,"x\n2,y\n', "b", None, ", row 2: got broken quotes (unexpected end of "
                   'data), expected quotes in pairs, "" inside; try mending'),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_by_place(tmp_path: Path, case: str) -> None:
    content, target, task, text = BAD[case]
    path = tmp_path / "data.csv"
    path.write_bytes(content.encode())
    with pytest.raises(DataError) as caught:
        load(path, target, task)
    assert str(caught.value) == f"{path}{text}"


def test_encoding_permission_and_absence_are_named(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(b"a,b\n1,x\n2,caf\xe9\n")
    with pytest.raises(DataError) as caught:
        load(path, "b")
    assert str(caught.value) == (
        f"{path}, row 3: got byte 0xe9, expected UTF-8 text; try saving it as UTF-8"
    )
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError) as caught:
        read_table(str(path))
    assert str(caught.value) == (
        f"{path}: got is a directory, expected a readable file; try chmod u+r or another path"
    )
    with pytest.raises(DataError) as caught:
        read_table(str(tmp_path / "no.csv"))
    assert str(caught.value) == (
        f"{tmp_path / 'no.csv'}: got no such file, expected an existing one; try another path"
    )


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_dialects(tmp_path: Path, separator: str, end: str, mark: bytes) -> None:
    rows = [["größe", '"b, c; d"', "y"], ["1.5", " -2e3 ", '"yes, ""so"""'], ["0", "7", "no"]]
    path = tmp_path / "data.csv"
    path.write_bytes(mark + (end.join(separator.join(row) for row in rows) + end + end).encode())
    data = load(path, "y")
    assert data.feature_names == ("größe", "b, c; d")
    assert data.x.tolist() == [[1.5, -2000.0], [0.0, 7.0]]
    assert data.classes == ("no", 'yes, "so"')
    assert data.y.tolist() == [1, 0]
    assert data.y.dtype == np.int64
    assert data.x.dtype == np.float64


def test_rows_are_lines_even_after_cells_of_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text('a,b\n1,"x\ny"\n2,z\noops,z\n')
    with pytest.raises(DataError, match=", row 5, column 'a': got text 'oops'"):
        load(path, "b")


def test_round_trip_of_every_digit(tmp_path: Path, rng: np.random.Generator) -> None:
    x, y = (
        rng.normal(size=(200, 3)) * 10.0 ** rng.integers(-300, 300, (200, 3)),
        rng.normal(size=200),
    )
    path = tmp_path / "data.csv"
    rows = (",".join(repr(float(v)) for v in (*one, t)) for one, t in zip(x, y, strict=True))
    path.write_text("a,b,c,y\n" + "\n".join(rows))
    data = load(path, "y")
    assert np.array_equal(data.x, x)
    assert np.array_equal(data.y, y)
    assert data.task == "regression"
    assert data.classes is None
    assert data.outputs == 1
    assert np.array_equal(load_features(path, ("c", "a")), x[:, [2, 0]])
    assert load_features(path).shape == (200, 4)
    with pytest.raises(DataError) as caught:
        load_features(path, ("a", "B2"))
    assert str(caught.value).startswith(f"{path}: got no column 'B2', expected one of a, b, c, y")


def test_bool_features_are_zero_and_one(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,b\nTrue,x\nfalse,y\nTRUE,x\n")
    assert load(path, "b").x.tolist() == [[1.0], [0.0], [1.0]]


def cells(tmp_path: Path, *targets: str) -> Path:
    path = tmp_path / "data.csv"
    path.write_text("a,y\n" + "".join(f"{k},{one}\n" for k, one in enumerate(targets)))
    return path


def test_the_rule_for_the_task(tmp_path: Path) -> None:
    def task(*targets: str) -> str:
        return load(cells(tmp_path, *targets), "y").task

    assert task("x", "y", "x") == "classification"
    assert task("true", "false", "true") == "classification"
    assert task("0", "1", "1") == "classification"
    assert task("1.0", "2.0", "1.0") == "classification"
    assert task(*map(str, range(20)), *map(str, range(20))) == "regression"
    assert task(*(str(k % 20) for k in range(100))) == "classification"
    assert task(*(str(k % 20) for k in range(99))) == "regression"
    assert task(*(str(k % 21) for k in range(1000))) == "regression"
    assert task("1.5", "2.5", "1.5") == "regression"
    assert task("3+", "1", "2", "3+", "3+", "1-") == "classification"


def test_classes_of_numbers_are_in_their_order(tmp_path: Path) -> None:
    path = cells(tmp_path, *["10", "9.0", "-1"] * 5)
    data = load(path, "y")
    assert data.classes == ("-1", "9", "10")
    assert data.y.tolist() == [2, 1, 0] * 5
    assert load(path, "y", "regression").y.tolist() == [10.0, 9.0, -1.0] * 5


def test_given_classes_keep_their_order_and_bound_the_labels(tmp_path: Path) -> None:
    path = cells(tmp_path, "x", "x", "z")
    assert load(path, "y", classes=("z", "y", "x")).y.tolist() == [2, 2, 0]
    numbers = cells(tmp_path, "3", "7", "5")
    assert load(numbers, "y", classes=("7", "5", "3")).y.tolist() == [2, 0, 1]
    with pytest.raises(DataError) as caught:
        load(numbers, "y", classes=("3", "5"))
    assert str(caught.value) == (
        f"{path}, row 3, column 'y': got label '7', expected one of the classes 3, 5; "
        f"try mending the label or removing the row"
    )


def test_several_targets(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,p,q,r\n1,0,1,0\n2,1,1,0\n3,0,0,0\n")
    data = load(path, "p, q,r")
    assert (data.task, data.classes, data.outputs) == ("multilabel", ("p", "q", "r"), 3)
    assert data.y.tolist() == [[0, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert data.feature_names == ("a",)
    path.write_text("a,p,q,r\n1,0,1,0\n2,1,0,0\n")
    data = load(path, ("p", "q", "r"))
    assert (data.task, data.classes, data.y.tolist()) == (
        "classification",
        ("p", "q", "r"),
        [1, 0],
    )
    path.write_text("a,p,q\n1,0.5,1\n2,1,7\n")
    data = load(path, ("p", "q"))
    assert (data.task, data.classes, data.outputs) == ("regression", None, 2)
    assert data.y.tolist() == [[0.5, 1.0], [1.0, 7.0]]
    path.write_text('a,"p,q"\n1,x\n2,y\n')
    assert load(path, "p,q").task == "classification"
