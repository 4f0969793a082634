"""Input that cannot be used: one line that names the place, status 2, nothing written."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Cli = Callable[..., Any]
HEAD = "a,b,kind\n"
GOOD = "".join(f"{k},{k * k},{'xy'[k % 2]}\n" for k in range(20))


def refused(cli: Cli, *args: object) -> str:
    """The one line on standard error; the folder is as it was before."""
    before = snapshot()
    found = cli(*args)
    assert found.status == 2, found
    assert found.out == ""
    assert found.err.startswith("error: ")
    assert found.err.count("\n") == 1
    assert snapshot() == before
    return str(found.err)[len("error: ") : -1]


def snapshot() -> dict[str, bytes | None]:
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in sorted(Path().rglob("*"))
    }


@pytest.mark.parametrize(
    ("content", "target", "said"),
    [
        ("", "kind", "t.csv: got an empty file, expected a header line and rows; try another file"),
        (
            HEAD,
            "kind",
            "t.csv: got a header and no rows, expected one row or more; try another file",
        ),
        (
            HEAD + GOOD,
            "kid",
            "t.csv: got no column 'kid', expected one of a, b, kind; try 'kind'",
        ),
        (
            HEAD + GOOD + "1,oops,x\n",
            "kind",
            "t.csv, row 22, column 'b': got text 'oops', expected a number; "
            "try coding it in numbers or dropping it",
        ),
        (
            HEAD + "nan,1,x\n" + GOOD,
            "kind",
            "t.csv, row 2, column 'a': got nan, expected a finite number; "
            "try filling it in or removing the row",
        ),
        (
            HEAD + "1,inf,x\n" + GOOD,
            "kind",
            "t.csv, row 2, column 'b': got inf, expected a finite number; "
            "try filling it in or removing the row",
        ),
        (
            HEAD + GOOD.replace("y", "x"),
            "kind",
            "t.csv, column 'kind': got one class only ('x'), expected two or more; "
            "try another target",
        ),
        (
            HEAD + "1,2,x\n1,2,y\n",
            "kind",
            "stratified_split: got 2 rows of 2 classes, expected a row for each of 3 parts after "
            "one of each class for the first; try more rows or fewer parts",
        ),
    ],
)
def test_tables(cli: Cli, content: str, target: str, said: str) -> None:
    Path("t.csv").write_text(content)
    assert refused(cli, "train", "t.csv", "--target", target) == said


def test_no_target(cli: Cli) -> None:
    Path("t.csv").write_text(HEAD + GOOD)
    assert refused(cli, "train", "t.csv") == (
        "t.csv: got no target, expected the name of one column of a, b, kind; try --target kind"
    )


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (
            ("train", "nowhere.csv", "--target", "y"),
            "nowhere.csv: got no such file",
        ),
        (
            ("train",),
            "DATA: got nothing to train on, expected digits, FILE.csv, FILE.npz or a folder of "
            "MNIST-format files; try tensorgrad train digits; try tensorgrad train --help",
        ),
        (
            ("train", "digits", "--lr", "fast"),
            "--lr: got 'fast', expected a number > 0; try 0.001",
        ),
        (
            ("train", "digits", "--momentum", "0.9"),
            "--momentum: got 0.9 beside optimizer adam, expected optimizer momentum, nag, "
            "rmsprop, lars or muon; try leaving it out",
        ),
        (("train", "digits", "--learning-rate", "1"), "No such option '--learning-rate'"),
        (
            ("train", "digits", "--config", "no.toml"),
            "no.toml: got no such file or directory, expected a readable TOML file; "
            "try another path",
        ),
        (
            ("train", "--resume", "nowhere"),
            "nowhere: got no config.toml in it, expected the folder of a run; try one of runs/",
        ),
        (
            ("predict", "nowhere", "x.csv"),
            "nowhere: got no model.safetensors, expected the folder of a run that finished an "
            "epoch; try another folder under runs/",
        ),
        (
            ("fly",),
            "tensorgrad: got command 'fly', expected one of train, predict, example, check, info; "
            "try tensorgrad --help",
        ),
        (
            ("example", "hill"),
            "example: got 'hill', expected one of valley, line, cost, bends, vanishing, race, "
            "diabetes, cnn, features, multilabel, autoencoder, chars-lstm, chars-transformer; "
            "try tensorgrad example --help",
        ),
        (
            ("example", "line", "--seeds", "2"),
            "example: got --seeds 2 for line, expected it for cnn alone; try without it",
        ),
    ],
)
def test_arguments(cli: Cli, args: tuple[str, ...], said: str) -> None:
    assert refused(cli, *args).startswith(said)


def test_config_file(cli: Cli) -> None:
    Path("c.toml").write_text("epoch = 3\n")
    assert refused(cli, "train", "digits", "--config", "c.toml") == (
        "c.toml: got key 'epoch', expected the name of an option; try 'epochs'"
    )
    Path("c.toml").write_text("momentum = 0.5\n")
    assert refused(cli, "train", "digits", "--config", "c.toml") == (
        "c.toml, key 'momentum': got 0.5 beside optimizer adam, expected optimizer momentum, "
        "nag, rmsprop, lars or muon; try leaving it out"
    )


def test_labels_outside_the_classes(cli: Cli, rng: np.random.Generator) -> None:
    y = np.arange(30) % 3
    y[7] = 5
    np.savez("d.npz", x=rng.normal(size=(30, 2)), y=y, classes=np.array(["a", "b", "c"]))
    assert refused(cli, "train", "d.npz") == (
        "d.npz, row 8, column 'y': got label 5, expected 0 to 2, the 3 classes; "
        "try mending the label or removing the row"
    )


def test_a_truncated_idx_file(cli: Cli) -> None:
    folder = Path("images")
    folder.mkdir()
    whole = bytes([0, 0, 8, 3]) + struct.pack(">3I", 10, 4, 4) + bytes(160)
    (folder / "train-images-idx3-ubyte").write_bytes(whole[:100])
    labels = bytes([0, 0, 8, 1]) + struct.pack(">I", 10) + bytes(range(10))
    (folder / "train-labels-idx1-ubyte").write_bytes(labels)
    assert refused(cli, "train", "images") == (
        "images/train-images-idx3-ubyte: got a truncated file (100 bytes), expected 176 bytes; "
        "try downloading it again"
    )


def test_an_output_folder_that_exists(cli: Cli, table: Path) -> None:
    Path("run").mkdir()
    Path("run/precious.txt").write_text("mine")
    assert refused(cli, "train", table, "--target", "kind", "--out", "run") == (
        "out run: got a folder that exists, expected a new one; "
        "try another --out, or --resume run to go on with that run"
    )


def test_an_output_folder_that_cannot_be_made(cli: Cli, table: Path) -> None:
    assert refused(cli, "train", table, "--target", "kind", "--out", "table.csv/run") == (
        f"out table.csv/run: got {table} is a file, expected a folder that can be made; "
        "try another --out"
    )


def test_an_output_folder_that_is_not_writable(
    cli: Cli, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("locked").mkdir(mode=0o500)
    monkeypatch.setattr(os, "access", lambda *args: False)  # root may write anywhere
    assert refused(cli, "train", table, "--target", "kind", "--out", "locked/run") == (
        f"out locked/run: got no permission to write in {Path('locked').absolute()}, expected a "
        "folder that can be made; try another --out"
    )


LIMITED = """
import resource, sys
sys.dont_write_bytecode = True  # Python would keep the first bytes of a module, and read them
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
from tensorgrad.cli import main
main(sys.argv[2:])
"""


@pytest.mark.parametrize(("size", "left"), [(100, []), (1500, [])])
def test_a_full_disk(table: Path, tmp_path: Path, size: int, left: list[str]) -> None:
    args = ["train", str(table), "--target", "kind", "--out", "run", "--quiet", "--layers", "8"]
    found = subprocess.run(
        [sys.executable, "-c", LIMITED, str(size), *args],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.returncode == 2, found.stderr
    assert found.stderr.startswith("error: write ")
    assert found.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.csv", *left]


def test_predict_refuses_other_columns(cli: Cli, table: Path, rng: np.random.Generator) -> None:
    cli("train", table, "--target", "kind", "--epochs", 1, "--out", "run")
    Path("other.csv").write_text("u,w\n1,2\n")
    assert refused(cli, "predict", "run", "other.csv") == (
        "other.csv: got no column 'v', expected one of u, w; try 'w'"
    )
    Path("text.csv").write_text("u,v\n1,x\n")
    assert refused(cli, "predict", "run", "text.csv").startswith(
        "text.csv, row 2, column 'v': got text 'x'"
    )
    np.savez("d.npz", x=rng.normal(size=(3, 5)))
    assert refused(cli, "predict", "run", "d.npz") == (
        "d.npz: got rows of shape (5,), expected (2,) as in training; "
        "try the columns that the network was trained on"
    )
    Path("p.csv").write_text("mine")
    assert refused(cli, "predict", "run", table, "--out", "p.csv") == (
        "p.csv: got a file that exists, expected a new one; try another --out, or removing it"
    )
    assert refused(cli, "predict", "run", table, "--layer", "3") == (
        "--layer: got 3, expected 1 to 2, the hidden layers of 2-128-64-2; try 1"
    )


def test_a_run_that_diverges_fails_in_one_line(cli: Cli, table: Path) -> None:
    found = cli("train", table, "--target", "kind", "--optimizer", "sgd", "--lr", "1e30", "--quiet")
    assert found.status == 1
    assert found.err.splitlines()[-1].startswith("error: train: got ")
    assert "Traceback" not in found.err


def test_a_network_beyond_the_memory(cli: Cli, table: Path) -> None:
    found = cli("train", table, "--target", "kind", "--layers", "10000000-10000000")
    assert found.status == 1
    assert found.err.startswith("error: memory: got ")
    assert found.err.endswith(", expected room for it; try smaller --layers\n")
    assert found.err.count("\n") == 1
    assert list(Path().iterdir()) == [Path(table.name)]


def test_pictures_that_cannot_be_written(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    found = cli("example", "valley", "--out", "paths.xyz")
    assert found.status == 2
    assert found.err.startswith("error: paths.xyz: got a picture of type 'xyz', expected one of ")
    assert found.err.endswith("; try paths.svg\n")
    Path("file").write_text("mine")
    found = cli("example", "valley", "--out", "file/paths.svg")
    assert (found.status, found.err) == (
        2,
        "error: file/paths.svg: got file exists, expected a folder that can be made; "
        "try another --out\n",
    )
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    found = cli("example", "valley")
    assert (found.status, found.err) == (
        2,
        "error: picture: got no matplotlib, expected it for pictures; "
        "try pip install 'tensorgrad[train]'\n",
    )
    assert "-7.915547895" in found.out
    assert sorted(Path().iterdir()) == [Path("file")]


def test_an_error_of_ours_shows_its_traceback(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorgrad.train import job

    def broken(*args: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(job, "run", broken)
    from tensorgrad.cli import main

    with pytest.raises(RuntimeError, match="a bug"):
        main(["train", "digits"])
