"""`tensorgrad train --resume`, for optimizers that keep different things; own losses; damage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tensorgrad import train
from tensorgrad.train import job
from tensorgrad.train.runfolder import Keeper

Cli = Callable[..., Any]
TIMES = ("seconds", "samples_per_second")


@pytest.fixture(autouse=True)
def without_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """No curves.svg, which takes longer than a small run."""
    monkeypatch.setattr(job, "draw_curves", lambda history, path: None)


@pytest.mark.parametrize(
    ("optimizer", "more"),
    [
        ("adadelta", ()),
        ("muon", ("--clip-norm", 0.5, "--dropout", 0.2)),
        ("rprop", ("--l2", 0.01, "--batch-size", 42)),
        ("lbfgs", ("--batch-size", 42, "--l2", 0.01)),
    ],
)
def test_bit_for_bit(
    cli: Cli, table: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str, more: tuple[Any, ...]
) -> None:
    args = ("train", table, "--target", "kind", "--optimizer", optimizer, "--layers", 8, *more)
    args += ("--epochs", 4, "--quiet")
    assert cli(*args, "--out", "whole").status == 0

    plain = Keeper.on_step

    def stopped(self: Keeper, loop: train.Loop) -> None:
        plain(self, loop)
        if loop.progress.step == 2:
            loop.stop("interrupted")

    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "on_step", stopped)
        found = cli(*args, "--out", "cut")
        assert "resume with: tensorgrad train --resume cut" in found.err
    assert cli("train", "--resume", "cut", "--quiet").status == 0
    for name in ("model", "state"):
        one, two = (Path(run, f"{name}.safetensors").read_bytes() for run in ("whole", "cut"))
        assert one == two
    one, two = (lines(Path(run, "metrics.jsonl")) for run in ("whole", "cut"))
    assert one == two


def lines(path: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in one.items() if key not in TIMES} for one in records]


def test_a_loss_of_ones_own(cli: Cli, tmp_path: Path) -> None:
    Path("minemine.py").write_text("def half(out, y):\n    return ((out - y) ** 2).mean() / 2\n")
    found = cli("train", "plane", "--loss", "minemine:half", "--epochs", 2, "--out", "run")
    assert found.status == 0
    assert "regression by minemine:half" in found.out.splitlines()[0]
    found = cli("train", "plane", "--loss", "minemine:halve", "--out", "other")
    assert (found.status, found.err) == (
        2,
        "error: loss minemine:halve: got no such function in minemine, expected a function of "
        "outputs and targets; try 'minemine:half'\n",
    )
    assert not Path("other").exists()


def test_a_state_that_does_not_fit_is_one_line(cli: Cli, table: Path) -> None:
    args = ("--target", "kind", "--layers", 8, "--epochs", 1, "--quiet", "--out", "run")
    cli("train", table, *args)
    config = Path("run/config.toml")
    config.write_text(config.read_text().replace('"adam"', '"nag"'))
    found = cli("train", "--resume", "run")
    assert found.status == 2
    assert found.err.startswith("error: run/state.safetensors: got the state of another run than ")
    assert found.err.count("\n") == 1
