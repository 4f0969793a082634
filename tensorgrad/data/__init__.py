"""Data sets, splits, standardisation and mini-batches, on NumPy arrays.

Every name is imported from its module when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tensorgrad.data.arrays import read_arrays
    from tensorgrad.data.dataset import Dataset
    from tensorgrad.data.digits import load_digits
    from tensorgrad.data.idx import read_idx, read_idx_folder
    from tensorgrad.data.loader import Batches
    from tensorgrad.data.openers import load, load_features
    from tensorgrad.data.split import random_split, split_dataset, stratified_split
    from tensorgrad.data.standardise import Standardiser
    from tensorgrad.data.table import Table, read_table
    from tensorgrad.data.toys import circle, gauss, multi_gauss, plane, spiral, xor

__all__ = [
    "Batches",
    "Dataset",
    "Standardiser",
    "Table",
    "circle",
    "gauss",
    "load",
    "load_digits",
    "load_features",
    "multi_gauss",
    "plane",
    "random_split",
    "read_arrays",
    "read_idx",
    "read_idx_folder",
    "read_table",
    "spiral",
    "split_dataset",
    "stratified_split",
    "xor",
]

_MODULES = {
    "arrays": ("read_arrays",),
    "dataset": ("Dataset",),
    "digits": ("load_digits",),
    "idx": ("read_idx", "read_idx_folder"),
    "loader": ("Batches",),
    "openers": ("load", "load_features"),
    "split": ("random_split", "split_dataset", "stratified_split"),
    "standardise": ("Standardiser",),
    "table": ("Table", "read_table"),
    "toys": ("circle", "gauss", "multi_gauss", "plane", "spiral", "xor"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
