"""CSV files with a header line, read strictly: a cell that is wrong is named by its place."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tensorgrad._errors import DataError
from tensorgrad.data._bad import bad, closest, listed, place, read_bytes
from tensorgrad.data.dataset import Array, Dataset
from tensorgrad.data.targets import Wish, make_target

_SEPARATORS = ",;\t|"
_SNIFFED_LINES = 20
_SNIFFED_CHARACTERS = 200_000
_BOOLS = {"true": 1.0, "false": 0.0}
_EXACT = 2**53  # beyond it a float64 no longer holds every integer


@dataclass(frozen=True, eq=False)
class Table:
    """The cells of a CSV file as text; `lines[i]` is the line (from 1) where `rows[i]` starts."""

    path: str
    columns: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]

    def position(self, column: str) -> int:
        """The index of a column; `DataError` with the closest name when it is not there."""
        if column not in self.columns:
            near = closest(column, self.columns)
            raise bad(
                self.path,
                f"no column {column!r}",
                f"one of {listed(self.columns)}",
                repr(near or self.columns[-1]),
            )
        return self.columns.index(column)

    def text(self, column: str) -> list[str]:
        """The cells of one column; `DataError` at the first that is empty."""
        position = self.position(column)
        cells = [row[position] for row in self.rows]
        if "" in cells:
            raise bad(
                place(self.path, self.lines[cells.index("")], column),
                "an empty cell",
                "a value in every row",
                "filling it in or removing the row",
            )
        return cells

    def numbers(self, columns: Sequence[str]) -> Array:
        """These columns as float64 (N, D); `DataError` at the first cell that is no number."""
        found = np.empty((len(self.rows), len(columns)))
        for k, column in enumerate(columns):
            found[:, k] = self._floats(column)
        return found

    def _floats(self, column: str) -> Array:
        cells = self.text(column)
        if all(cell.lower() in _BOOLS for cell in cells):
            return np.array([_BOOLS[cell.lower()] for cell in cells])
        values = np.array([_number(cell) for cell in cells])
        if not np.isfinite(values).all():
            at = int(np.flatnonzero(~np.isfinite(values))[0])
            raise _not_a_number(place(self.path, self.lines[at], column), cells[at])
        return values

    def raw_target(self, column: str, task: str | None) -> Array:
        """One target column as int64, float64 or text, the narrowest that holds every cell."""
        cells = self.text(column)
        values = np.array([_number(cell) for cell in cells])
        wrong = np.flatnonzero(~np.isfinite(values))
        if not len(wrong):
            whole = (values == np.floor(values)).all() and (np.abs(values) < _EXACT).all()
            return values.astype(np.int64) if whole else values
        nan = [at for at in wrong if _is_float(cells[at])]
        # mostly numbers: the rest are slips (n/a, -), not labels
        slips = task == "regression" or (task is None and 2 * len(wrong) < len(cells))
        if nan or slips:
            at = nan[0] if nan else int(wrong[0])
            raise _not_a_number(place(self.path, self.lines[at], column), cells[at], target=True)
        return np.array(cells)

    def dataset(self, wish: Wish) -> Dataset:
        """The table as a data set: the target column (or several, with commas), the rest features.

        Raises `DataError` when there is no target, no feature left, or a cell that does not fit.
        """
        targets = self._targets(wish)
        features = tuple(column for column in self.columns if column not in targets)
        if not features:
            raise bad(
                self.path, "no column but the target", "one feature or more", "adding a column"
            )
        x = self.numbers(features)
        single = len(targets) == 1
        raw = self.raw_target(targets[0], wish.task) if single else self.numbers(targets)

        def where(row: int | None, column: int) -> str:
            return place(self.path, None if row is None else self.lines[row], targets[column])

        made = make_target(raw, wish, where)
        # several label columns are their own class names
        named = made.classes if single or made.classes is None else tuple(targets)
        return Dataset(x, made.y, made.task, named, features, Path(self.path).name)

    def _targets(self, wish: Wish) -> list[str]:
        if not wish.target:
            raise bad(
                self.path,
                "no target",
                f"the name of one column of {listed(self.columns)}",
                f"--target {self.columns[-1]}",
            )
        asked = [wish.target] if isinstance(wish.target, str) else list(wish.target)
        if len(asked) == 1 and asked[0] not in self.columns and "," in asked[0]:
            asked = [one.strip() for one in asked[0].split(",")]
        return [self.columns[self.position(one)] for one in dict.fromkeys(asked)]


def read_table(path: str) -> Table:
    """Read a CSV file: UTF-8 (with or without mark), comma, semicolon, tab or bar, quoted cells.

    Raises `DataError` for an empty file, a header alone or none, names missing or twice, rows
    longer or shorter than the header, broken quotes and other encodings.
    """
    text = _decode(path, read_bytes(path))
    separator = _separator(text)
    records = list(_records(path, text, separator))
    if not records:
        raise bad(path, "an empty file", "a header line and rows", "another file")
    (_, header), body = records[0], records[1:]
    _check_header(path, header)
    for line, row in body:
        if len(row) != len(header):
            raise bad(
                place(path, line),
                f"{len(row)} cells",
                f"{len(header)} as in the header",
                "mending the row or quoting a cell that holds the separator",
            )
    if not body:
        raise bad(path, "a header and no rows", "one row or more", "another file")
    return Table(path, tuple(header), [row for _, row in body], [line for line, _ in body])


def _decode(path: str, raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        row = raw[: cause.start].count(b"\n") + 1
        raise bad(
            place(path, row), f"byte 0x{raw[cause.start]:02x}", "UTF-8 text", "saving it as UTF-8"
        ) from cause


def _reader(lines: list[str], separator: str) -> Any:
    return csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)


def _separator(text: str) -> str:
    """The separator that cuts most of the first lines into equally many cells, and into most."""
    lines = text[:_SNIFFED_CHARACTERS].splitlines(keepends=True)
    lines = lines[:-1] or lines  # the last may be cut

    def score(separator: str) -> tuple[int, int]:
        widths = []
        try:
            for row in _reader(lines, separator):
                if row:
                    widths.append(len(row))
                if len(widths) == _SNIFFED_LINES:
                    break
        except csv.Error:
            pass  # broken quotes are reported, with their row, when the file is read
        if not widths or widths[0] == 1:
            return 0, 0
        return Counter(widths)[widths[0]], widths[0]

    return max(_SEPARATORS, key=score)


def _records(path: str, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Each record that is not blank, stripped, with the line on which it starts."""
    # csv counts lines as it is fed them; str.splitlines would also cut at exotic separators
    lines = re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text)
    reader = _reader(lines, separator)
    start = 1
    try:
        for record in reader:
            if any(cell.strip() for cell in record) or len(record) > 1:
                yield start, [cell.strip() for cell in record]
            start = reader.line_num + 1
    except csv.Error as cause:
        raise bad(
            place(path, start), f"broken quotes ({cause})", 'quotes in pairs, "" inside', "mending"
        ) from cause


def _check_header(path: str, header: list[str]) -> None:
    for position, name in enumerate(header, 1):
        if name == "":
            raise bad(
                place(path, 1), f"no name for column {position}", "a name for each", "naming it"
            )
    twice = [name for name, count in Counter(header).items() if count > 1]
    numeric = all(_is_float(name) for name in header)
    if numeric and (twice or not all(name.isdigit() for name in header)):
        raise bad(place(path, 1), "numbers only", "column names", "adding a header line")
    if twice:
        raise bad(place(path, 1), f"column {twice[0]!r} twice", "each name once", "renaming one")


def _number(cell: str) -> float:
    """The number a cell holds, NaN for text (`float` alone would take 1_000 for a thousand)."""
    try:
        return math.nan if "_" in cell else float(cell)
    except ValueError:
        return math.nan


def _is_float(cell: str) -> bool:
    """True for what `float` reads, with NaN and infinities among it."""
    return not math.isnan(_number(cell)) or cell.lower().lstrip("+-") == "nan"


def _not_a_number(where: str, cell: str, target: bool = False) -> DataError:
    if _is_float(cell):
        return bad(where, cell, "a finite number", "filling it in or removing the row")
    if re.fullmatch(r"[+-]?\d+,\d+", cell):
        return bad(where, repr(cell), "a number", "a decimal point")
    fix = "mending it, or task classification" if target else "coding it in numbers or dropping it"
    return bad(where, f"text {cell!r}", "a number", fix)
