"""The public names, frozen: one that comes or goes shows up here and is written down on purpose.

`python tests/test_public_names.py` writes the list anew.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

LIST = Path(__file__).with_name("public_names.txt")
PACKAGES = (
    "tensorgrad",
    "tensorgrad.data",
    "tensorgrad.emath",
    "tensorgrad.fft",
    "tensorgrad.interpolate",
    "tensorgrad.io",
    "tensorgrad.linalg",
    "tensorgrad.models",
    "tensorgrad.nn",
    "tensorgrad.nn.functional",
    "tensorgrad.nn.init",
    "tensorgrad.nn.utils",
    "tensorgrad.nn.utils.parametrize",
    "tensorgrad.nn.utils.parametrizations",
    "tensorgrad.nn.utils.rnn",
    "tensorgrad.optim",
    "tensorgrad.signal",
    "tensorgrad.special",
    "tensorgrad.stats",
    "tensorgrad.testing",
    "tensorgrad.train",
)


def names(package: str) -> list[str]:
    """What `__all__` lists, or else every function of ours without an underscore."""
    module = importlib.import_module(package)
    own = (n for n, v in vars(module).items() if getattr(v, "__module__", "").startswith("tens"))
    return sorted(getattr(module, "__all__", None) or [n for n in own if not n.startswith("_")])


def written() -> dict[str, list[str]]:
    rows = [line.split(": ") for line in LIST.read_text().splitlines()]
    return {package: listed.split() for package, listed in rows}


@pytest.mark.parametrize("package", PACKAGES)
def test_the_names_are_the_ones_written_down(package: str) -> None:
    assert names(package) == written()[package]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_exists(package: str) -> None:
    module = importlib.import_module(package)
    assert not [name for name in names(package) if not hasattr(module, name)]


if __name__ == "__main__":
    LIST.write_text("".join(f"{p}: {' '.join(names(p))}\n" for p in PACKAGES))
