"""The one form in which data are refused: where, what was met, what was expected, what to try."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from tensorgrad._errors import DataError


def bad(where: str, got: str, want: str, fix: str) -> DataError:
    """The error `where: got ..., expected ...; try ...`."""
    return DataError(f"{where}: got {got}, expected {want}; try {fix}")


def place(source: str, row: int | None = None, column: str | None = None) -> str:
    """A place in a source; rows are counted from 1.

    >>> place("data.csv", 3, "age")
    "data.csv, row 3, column 'age'"
    """
    at_row = "" if row is None else f", row {row}"
    return source + at_row + ("" if column is None else f", column {column!r}")


def listed(names: Iterable[object], most: int = 8) -> str:
    """Names in a line, cut after `most` of them."""
    every = [str(name) for name in names]
    rest = len(every) - most
    return ", ".join(every[:most]) + (f" and {rest} more" if rest > 0 else "")


def closest(name: str, names: Iterable[str]) -> str | None:
    """The name most like `name` whatever its case, or None when none is alike."""
    lower = {one.lower(): one for one in reversed(list(names))}
    found = difflib.get_close_matches(name.lower(), lower, n=1)
    return lower[found[0]] if found else None


def read_bytes(path: str) -> bytes:
    """The content of a file; `DataError` when it is missing or not readable."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as cause:
        raise bad(path, "no such file", "an existing one", "another path") from cause
    except OSError as cause:
        reason = (cause.strerror or str(cause)).lower()
        raise bad(path, reason, "a readable file", "chmod u+r or another path") from cause
