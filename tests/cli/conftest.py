"""The command line in this process: status, standard output and standard error of a call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tensorgrad.cli import main


@dataclass
class Called:
    """What a call of the command line did."""

    status: int
    out: str
    err: str


@pytest.fixture
def cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Called]:
    """Call `tensorgrad ARGS` in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*args: object) -> Called:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(one) for one in args])
        captured = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return Called(caught.value.code, captured.out, captured.err)

    return call


@pytest.fixture
def table(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A CSV file of two classes, 60 rows."""
    path = tmp_path / "table.csv"
    x = rng.normal(size=(60, 2)).round(6).tolist()
    rows = [f"{a},{b},{'yes' if a > b else 'no'}" for a, b in x]
    path.write_text("\n".join(["u,v,kind", *rows]) + "\n")
    return path
