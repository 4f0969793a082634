"""What each command prints, and the files it writes."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tensorgrad as tg
from tensorgrad.train.config import OPTIONS

Cli = Callable[..., Any]
QUICK = ("--target", "kind", "--epochs", 2, "--layers", 8, "--out", "run")


def only_warnings(text: str) -> bool:
    """Two epochs underfit."""
    return all(line.startswith("warning: underfitting") for line in text.splitlines())


def test_help_lists_commands_and_imports_nothing_heavy(cli: Cli) -> None:
    found = cli("--help")
    assert found.status == 0
    names = [line.split()[0] for line in found.out.split("Commands:\n")[1].splitlines()]
    assert names == ["train", "predict", "example", "check", "info"]
    code = (
        "import sys\nfrom tensorgrad.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'scipy', 'rich', 'sklearn', 'matplotlib', 'safetensors', 'ml_dtypes', 'optree'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_version_and_no_arguments(cli: Cli) -> None:
    assert cli("--version").out == f"tensorgrad {tg.__version__}\n"
    found = cli()
    assert (found.status, found.err) == (0, "")
    assert "Commands" in found.out


def test_help_of_train_names_every_option(cli: Cli) -> None:
    found = cli("train", "--help")
    assert found.status == 0
    for name in OPTIONS:
        if name != "data":
            assert f"--{name.replace('_', '-')}" in found.out
    for title in ("Data:", "Network:", "Training:", "Run:"):
        assert title in found.out


def test_plain_lines(cli: Cli, table: Path) -> None:
    found = cli("train", table, *QUICK)
    assert found.status == 0
    assert only_warnings(found.err)
    lines = found.out.splitlines()
    assert lines[0].startswith("table: 42 rows to train, 9 to validate, 9 to test; classification")
    heads = ["epoch", "loss", "val_loss", "accuracy", "val_accuracy", "rate", "samples/s"]
    assert lines[1].split() == heads
    assert [line.split()[0] for line in lines[2:4]] == ["1/2", "2/2"]
    assert max(map(len, lines[1:4])) < 80
    assert lines[4].startswith("all epochs done; best epoch")
    assert lines[5].startswith("gradient norms, first to last epoch: linear1 ")
    assert lines[6] == "rows: true, columns: predicted"
    assert lines[-1].startswith("test accuracy ")
    assert lines[-1].endswith("(9 rows); saved in run")


def test_quiet_says_only_the_result(cli: Cli, table: Path) -> None:
    found = cli("train", table, *QUICK, "--quiet")
    assert found.status == 0
    assert only_warnings(found.err)
    assert len(found.out.splitlines()) == 1
    assert found.out.startswith("test accuracy ")


def test_json_lines(cli: Cli, table: Path) -> None:
    found = cli("train", table, *QUICK, "--json")
    assert found.status == 0
    lines = [json.loads(line) for line in found.out.splitlines()]
    assert [line["event"] for line in lines] == ["epoch", "epoch", "result"]
    kept = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [{k: v for k, v in line.items() if k != "event"} for line in lines[:2]] == kept
    result = lines[2]
    assert result["classes"] == ["no", "yes"]
    assert sum(map(sum, result["confusion"])) == 9
    assert result["folder"] == "run"
    assert found.err == "".join(f"warning: {text}\n" for text in result["warnings"])
    only = cli("train", table, *QUICK[:-1], "other", "--json", "--quiet")
    assert [json.loads(line)["event"] for line in only.out.splitlines()] == ["result"]


def test_flags_win_over_the_file(cli: Cli, table: Path) -> None:
    Path("mine.toml").write_text(
        f'data = "{table}"\ntarget = "kind"\nepochs = 7\nlayers = [8]\nlr = 0.02\n'
    )
    found = cli("train", "--config", "mine.toml", "--epochs", 1, "--out", "run")
    assert found.status == 0
    kept = Path("run/config.toml").read_text()
    assert "epochs = 1\n" in kept
    assert "lr = 0.02\n" in kept
    again = cli("train", "--config", "run/config.toml", "--out", "again", "--json")
    assert again.status == 0
    assert (
        Path("again/model.safetensors").read_bytes() == Path("run/model.safetensors").read_bytes()
    )


def test_the_folder_of_a_run_has_its_name_and_time(cli: Cli, table: Path) -> None:
    found = cli("train", table, *QUICK[:-2])
    (made,) = Path("runs").iterdir()
    assert made.name.startswith("table-20")
    assert found.out.rstrip().endswith(f"saved in runs/{made.name}")
    cli("train", table, *QUICK[:-2])
    assert len(list(Path("runs").iterdir())) == 2


def test_predict(cli: Cli, table: Path) -> None:
    cli("train", table, *QUICK)
    found = cli("predict", "run", table)
    assert (found.status, found.err) == (0, "")
    rows = list(csv.reader(io.StringIO(found.out)))
    assert rows[0] == ["label", "probability_no", "probability_yes"]
    assert len(rows) == 61
    for label, no, yes in rows[1:]:
        assert label == ("yes" if float(yes) > float(no) else "no")
    # neither the target nor the order of the columns matters
    cells = list(csv.reader(table.read_text().splitlines()))
    Path("other.csv").write_text("".join(f"{v},{u}\n" for u, v, _ in cells))
    assert cli("predict", "run", "other.csv", "--out", "p.csv").out == ""
    assert Path("p.csv").read_text() == found.out
    hidden = cli("predict", "run", table, "--layer", 1).out.splitlines()
    assert hidden[0] == ",".join(f"unit_{k}" for k in range(8))


def test_resume_of_a_run_that_is_done(cli: Cli, table: Path) -> None:
    first = cli("train", table, *QUICK)
    again = cli("train", "--resume", "run")
    assert again.status == 0
    assert again.out.splitlines()[-1] == first.out.splitlines()[-1]
    more = cli("train", "--resume", "run", "--epochs", 3)
    assert more.out.splitlines()[2].split()[0] == "3/3"


def test_examples_are_listed(cli: Cli) -> None:
    found = cli("example")
    assert found.status == 0
    names = [line.split()[0] for line in found.out.splitlines()]
    assert names[:3] == ["valley", "line", "cost"]
    assert names[-1] == "chars-transformer"


def test_an_example(cli: Cli) -> None:
    found = cli("example", "valley", "--out", "paths.png")
    assert (found.status, found.err) == (0, "")
    assert "-7.915547895" in found.out
    assert found.out.endswith("picture: paths.png\n")
    assert Path("paths.png").read_bytes().startswith(b"\x89PNG")


def test_columns_keep_their_places_over_many_epochs(cli: Cli, table: Path) -> None:
    lines = cli("train", table, *QUICK[:2], "--epochs", 100000, "--patience", 1).out.splitlines()
    ends = [line.index("val_loss") + len("val_loss") for line in lines if "val_loss" in line]
    for line in lines[2:4]:
        assert line[ends[0] - 1] != " "
        assert line[ends[0]] == " "


def test_info(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    version = metadata.version

    def without_matplotlib(package: str) -> str:
        if package == "matplotlib":
            raise metadata.PackageNotFoundError
        return version(package)

    monkeypatch.setattr(metadata, "version", without_matplotlib)
    found = cli("info")
    assert found.status == 0
    lines = dict(line.split(maxsplit=1) for line in found.out.splitlines())
    assert lines["tensorgrad"] == tg.__version__
    assert lines["matplotlib"] == (
        "missing, needed for curves.svg and pictures; try pip install 'tensorgrad[train]'"
    )
    assert {"python", "numpy", "blas", "cpu", "cuda"} <= set(lines)
