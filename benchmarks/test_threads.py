"""Two threads, and two threads beside a busy process: what a neighbour does to a training step.

Threads that spin while they wait for one that the system has put aside lose whole time slices.
Each library runs at its own settings in a process of its own on the same two cores (`busy.py`),
the neighbour is a process that never sleeps. Quiet, minima are compared; beside the neighbour
medians, and means, since waits of a whole time slice are rarer than calls.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from benchmarks.busy import CONTENDERS
from benchmarks.race import ROWS, Row, importable

ROOT = Path(__file__).parents[1]
PEERS = [name for name in CONTENDERS if name != "ours"]
Times = dict[str, dict[str, list[float]] | None]


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.busy", *words]


@contextmanager
def neighbour() -> Iterator[None]:
    """A process that never sleeps, for the length of a block."""
    spin = command("spin", str(os.getpid()))
    with subprocess.Popen(spin, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"spinning\n"
            yield
            assert process.poll() is None, "the busy process ended before the measurement"
        finally:
            process.kill()


def measured(busy: bool, seconds: float) -> Times:
    """contender -> case -> minimum, median, mean; None where it is not installed."""
    found: Times = {}
    for name in CONTENDERS:
        library = name.partition(",")[0]
        found[name] = None
        if library == "ours" or importable(library):
            with neighbour() if busy else nullcontext():
                found[name] = _told(name, seconds)
    return found


def _told(contender: str, seconds: float) -> Any:
    done = subprocess.run(
        command("measure", contender, str(seconds)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120 + 20 * seconds,
    )
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


def row(case: str, title: str, found: Times, which: int, group: str) -> Row:
    """One line of the table; `which`: 0 minimum, 1 median, 2 mean."""
    seconds = {name: times[case][which] if times else None for name, times in found.items()}
    ours, others = seconds["ours"], {name: seconds[name] for name in PEERS}
    assert ours is not None
    beside = {name: others.pop(name) for name in PEERS if "," in name}
    return Row(f"{case}, {title}", (0.0, ""), ours, None, others, group, beside)


@pytest.mark.parametrize("busy", [False, True], ids=["quiet", "beside a busy process"])
def test_two_threads(benchmark: Any, request: pytest.FixtureRequest, busy: bool) -> None:
    seconds = request.config.getoption("--seconds")
    found = benchmark.pedantic(measured, args=(busy, seconds), rounds=1)
    benchmark.extra_info["seconds"] = {"columns": ["minimum", "median", "mean"], **found}
    group = benchmark.fullname.partition("::")[0]
    columns = {"busy, median": 1, "busy, mean": 2} if busy else {"two threads": 0}
    assert found["ours"]
    rows = [
        row(case, title, found, which, group)
        for case in found["ours"]
        for title, which in columns.items()
    ]
    request.config.stash.setdefault(ROWS, []).extend(rows)
