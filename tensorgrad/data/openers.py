"""What a name or a path means: a built-in set, a table, arrays, a folder of images."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tensorgrad.data._bad import bad, closest, listed
from tensorgrad.data.arrays import read_array_features, read_arrays
from tensorgrad.data.dataset import Array, Dataset
from tensorgrad.data.digits import load_digits
from tensorgrad.data.idx import IDX_NAME, read_idx_features, read_idx_folder
from tensorgrad.data.table import read_table
from tensorgrad.data.targets import Wish, make_target
from tensorgrad.data.toys import TOYS

Names = Sequence[str] | None
BUILT_IN = ("digits", *TOYS)


def load(
    source: str | os.PathLike[str],
    target: str | Sequence[str] | None = None,
    task: str | None = None,
    classes: Sequence[str] | None = None,
) -> Dataset:
    """Load a data set: "digits", "circle" and its like, FILE.csv, FILE.npz, or an IDX folder.

    `target` names the target column (or columns) of a table. `task` is classification, binary,
    multilabel or regression; without it the target decides (see `tensorgrad.data.targets`).
    `classes` fixes the classes, in their order; a label outside them is an error. Raises
    `DataError`, one line with the file, the row and the column, for whatever cannot be used.

    >>> load("circle").x.shape
    (500, 2)
    """
    text, opener = _opener(source)
    return opener.load(text, Wish(target, task, classes))


def load_features(source: str | os.PathLike[str], feature_names: Names = None) -> Array:
    """Load only the rows to predict on, (N, ...); of a table the named columns, else all."""
    text, opener = _opener(source)
    return opener.features(text, feature_names)


@dataclass(frozen=True)
class _Opener:
    load: Callable[[str, Wish], Dataset]
    features: Callable[[str, Names], Array]


def _opener(source: str | os.PathLike[str]) -> tuple[str, _Opener]:
    text = os.fspath(source)
    path = Path(text)
    kind = text if text in BUILT_IN else "folder" if path.is_dir() else path.suffix.lower()
    if IDX_NAME.search(path.name) and kind != "folder":
        kind = "idx"
    if kind in OPENERS:
        return text, OPENERS[kind]
    if path.exists():
        raise bad(
            text,
            f"suffix {path.suffix!r}",
            "FILE.csv, FILE.npz or a folder of IDX files",
            "converting it",
        )
    near = closest(text, BUILT_IN)
    raise bad(
        text,
        "no such file or built-in set",
        f"a path or one of {listed(BUILT_IN)}",
        repr(near) if near else "another path",
    )


def _no_target(name: str, wish: Wish) -> None:
    if wish.target:
        raise bad(name, f"target {wish.target!r}", "none, it has its own", "leaving it out")


def _digits(name: str, wish: Wish) -> Dataset:
    _no_target(name, wish)
    return load_digits(wish)


def _toy(name: str, wish: Wish) -> Dataset:
    _no_target(name, wish)
    data = TOYS[name]()
    made = make_target(data.y, wish, lambda row, column: name)
    return Dataset(data.x, made.y, made.task, made.classes, data.feature_names, name)


def _csv(path: str, wish: Wish) -> Dataset:
    return read_table(path).dataset(wish)


def _csv_features(path: str, names: Names) -> Array:
    table = read_table(path)
    return table.numbers(table.columns if names is None else names)


def _npz(path: str, wish: Wish) -> Dataset:
    _no_target(path, wish)
    return read_arrays(path, wish)


def _folder(path: str, wish: Wish) -> Dataset:
    _no_target(path, wish)
    return read_idx_folder(path, wish)


def _one_idx(path: str, wish: Wish) -> Dataset:
    raise bad(path, "one file", "a folder with images and labels", repr(str(Path(path).parent)))


def _built_in(opener: Callable[[str, Wish], Dataset]) -> _Opener:
    return _Opener(opener, lambda name, _: opener(name, Wish()).x)


_TABLE = _Opener(_csv, _csv_features)
OPENERS: dict[str, _Opener] = {
    "digits": _built_in(_digits),
    **{name: _built_in(_toy) for name in TOYS},
    ".csv": _TABLE,
    ".tsv": _TABLE,
    ".npz": _Opener(_npz, lambda path, _: read_array_features(path)),
    "folder": _Opener(_folder, lambda path, _: read_idx_features(path)),
    "idx": _Opener(_one_idx, lambda path, _: read_idx_features(path)),
}
