"""What kernels cost a process before they help: compiled once on a machine, loaded ever after.

Each time is told by a fresh process (`first.py`) with a cache folder that is empty, or filled by an
earlier process; minima of several. The first step is that of 784-128-10 at batch 64 with Adam.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp

import pytest

from benchmarks.race import Children, Goal, Row, within

ROOT = Path(__file__).parents[1]
NAMES = {"gelu": "GELU's VJP", "layer_norm": "layer norm's VJP", "adam": "Adam's update"}


def process(case: str, folder: Path, kernels: bool = True) -> float:
    """Seconds that a fresh process reports of a case."""
    settings = {"XDG_CACHE_HOME": str(folder), "TG_KERNELS": str(int(kernels))}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.first", case],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert not done.returncode, done.stderr
    return float(done.stdout)


def compiling(case: str, folder: Path) -> Callable[[], float]:
    """Processes that find nothing on disk."""
    return lambda: process(case, Path(mkdtemp(dir=folder)))


def loading(case: str, folder: Path) -> Callable[[], float]:
    """Processes that find on disk what one before them left there."""
    seconds = process(case, folder)
    if math.isnan(seconds):
        pytest.skip(f"{NAMES[case]} runs without generated kernels")
    return lambda: process(case, folder)


@pytest.mark.parametrize("case", NAMES)
def test_compile(children: Children, case: str, tmp_path: Path) -> None:
    loading(case, tmp_path)
    children(f"compile {NAMES[case]}", compiling(case, tmp_path), {}, goal=within(70e-3))


@pytest.mark.parametrize("case", NAMES)
def test_load(children: Children, case: str, tmp_path: Path) -> None:
    children(f"load {NAMES[case]} from disk", loading(case, tmp_path), {}, goal=within(5e-3))


def beyond(row: Row) -> float:
    """Seconds over the same step with TG_KERNELS=0."""
    return row.ours - (row.beside["NumPy"] or 0.0)


def compared(row: Row) -> str:
    return f"beyond NumPy's: {1e3 * beyond(row):+.0f} ms"


def test_first_step_compiling(children: Children, tmp_path: Path) -> None:
    alone = {"NumPy": lambda: process("step", tmp_path, False)}
    run = compiling("step", tmp_path)
    children("first step, empty cache", run, {}, beside=alone, note=compared)


def test_first_step_loading(children: Children, tmp_path: Path) -> None:
    alone = {"NumPy": lambda: process("step", tmp_path, False)}
    goal = Goal("NumPy's + 100 ms", lambda row: beyond(row) <= 0.1)
    run = loading("step", tmp_path)
    children("first step, kernels on disk", run, {}, beside=alone, note=compared, goal=goal)
