"""Ctrl-C and SIGTERM: the step is finished, the run saved, and a resumed run is the same run."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tensorgrad.io import load_file

# the table takes long enough to be interrupted: half a minute, uninterrupted
ARGS = ("--target", "kind", "--layers", "64-64", "--batch-size", "2", "--patience", "0", "--json")


def only_warnings(text: str) -> bool:
    return all(line.startswith("warning: ") for line in text.splitlines())


def start(folder: Path, *args: object, **streams: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tensorgrad.cli", "train", *map(str, args)]
    return subprocess.Popen(
        command,
        cwd=folder,
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},  # type: ignore[call-overload]
    )


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_interrupted_and_resumed(
    table: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    process = start(tmp_path, table, *ARGS, "--epochs", 100000, "--out", "run")
    assert process.stdout is not None
    for _ in range(3):
        assert json.loads(process.stdout.readline())["event"] == "epoch"
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == status, err
    last = json.loads(out.splitlines()[-1])
    assert last["event"] == "interrupted"
    assert err == (
        f"interrupted in epoch {last['epoch']} after step {last['step']} of {last['steps']} and "
        "saved; resume with: tensorgrad train --resume run\n"
    )
    epochs = last["epoch"] + 1
    resumed = start(tmp_path, "--resume", "run", "--epochs", epochs, "--json")
    assert only_warnings(resumed.communicate(timeout=60)[1])
    whole = start(tmp_path, table, *ARGS, "--epochs", epochs, "--out", "whole")
    assert only_warnings(whole.communicate(timeout=60)[1])
    runs = [load_file(tmp_path / name / "state.safetensors") for name in ("run", "whole")]
    assert list(runs[0]) == list(runs[1])
    for key, value in runs[0].items():
        np.testing.assert_array_equal(value, runs[1][key], err_msg=key, strict=True)


def test_a_signal_that_is_ignored_stays_so(table: Path, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a child inherits it, as under nohup
    try:
        process = start(tmp_path, table, *ARGS, "--epochs", 40, "--out", "run")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["event"] == "result"


def test_a_closed_pipe_saves_the_run(table: Path, tmp_path: Path) -> None:
    with start(tmp_path, table, *ARGS, "--epochs", 100000, "--out", "run") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 1
    assert err.startswith("interrupted in epoch ")
    assert err.endswith("saved; resume with: tensorgrad train --resume run\n")
    resumed = start(tmp_path, "--resume", "run", "--epochs", 1, "--json")
    out, err = resumed.communicate(timeout=60)
    assert json.loads(out.splitlines()[-1])["event"] == "result", err


def test_a_terminal_that_is_gone_saves_the_run(table: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    args = (table, *ARGS[:-1], "--epochs", 100000, "--out", "run")
    with start(tmp_path, *args, stdout=theirs) as process:
        os.close(theirs)
        seen = b""
        while b" 1/100000 " not in seen:
            seen += os.read(ours, 4096)
        os.close(ours)
        assert process.stderr is not None
        err = process.stderr.read()
    assert process.returncode == 1
    assert err.startswith("interrupted in epoch ")
    assert err.count("\n") == 1
    assert (tmp_path / "run" / "state.safetensors").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_under_the_output_saves_the_run(table: Path, tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        process = start(tmp_path, table, *ARGS, "--epochs", 3, "--out", "run", stdout=full.fileno())
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    lines = err.splitlines()
    assert lines[0].startswith("interrupted in epoch 2 after step 0 of 21 and saved")
    assert lines[1:] == [
        "error: standard output: got no space left, expected room; try freeing space"
    ]


def test_a_terminal_gets_a_live_line(table: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    os.environ.setdefault("TERM", "xterm")
    process = start(
        tmp_path, table, *ARGS[:-1], "--epochs", 2, "--out", "run", stdout=theirs, stderr=theirs
    )
    seen, deadline = b"", time.monotonic() + 60
    os.close(theirs)
    while time.monotonic() < deadline:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # Linux's word for the end of a terminal
            break
        if not piece:
            break
        seen += piece
    os.close(ours)
    assert process.wait(timeout=30) == 0
    text = seen.decode()
    assert "      2/2  " in text
    assert "step 1/21" in text
    assert "rows: true, columns: predicted" in text
    assert "test accuracy" in text
