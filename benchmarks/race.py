"""The race: ours and the peers in turn, their minima, and the table at the end."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

PEERS = ("torch", "jax", "autograd")
ROUND = 2e-3  # seconds of one contender in one round: long beside the clock's own cost
Run = Callable[[], Any]


@dataclass(frozen=True)
class Row:
    """One case, per call: seconds of ours, of NumPy's part of the work and of the peers."""

    case: str
    work: str
    ours: float
    floor: float | None
    peers: Mapping[str, float | None]
    rate: str

    @property
    def ratio(self) -> float | None:
        """Time of the quickest peer over ours; above 1 ours is quicker."""
        times = [t for t in self.peers.values() if t]
        return min(times) / self.ours if times else None


ROWS = pytest.StashKey[list[Row]]()


def importable(name: str) -> bool:
    """True if a peer is installed."""
    return importlib.util.find_spec(name) is not None


class Race:
    """Times callables in turn, round by round, and keeps the minimum of each."""

    def __init__(self, benchmark: Any, seconds: float, stash: pytest.Stash) -> None:
        self.benchmark, self.seconds, self.stash = benchmark, seconds, stash

    def __call__(
        self,
        case: str,
        ours: Run,
        peers: Mapping[str, Run | None],
        *,
        floor: Run | None = None,
        units: int = 1,
        flops: float = 0.0,
        moved: float = 0.0,
    ) -> Row:
        """Measure one case.

        `peers`: name -> callable, None where the peer is not installed; a peer that is not named
        does not do this work. `floor`: the part of the work that NumPy alone would do. A call does
        `units` units; times, `flops` and `moved` bytes are per unit.
        """
        others = {name: run for name, run in {"floor": floor, **peers}.items() if run}
        counts = {name: _calls(run) for name, run in others.items()}
        calls = _calls(ours)
        best = dict.fromkeys(others, float("inf"))

        def run_others() -> None:
            for name, run in others.items():
                best[name] = min(best[name], _seconds(run, counts[name]) / counts[name])

        self.benchmark.pedantic(
            ours,
            teardown=run_others,
            iterations=calls,
            rounds=max(5, int(self.seconds / (ROUND * (1 + len(others))))),
            warmup_rounds=1,
        )
        stats = self.benchmark.stats.stats
        mine = stats.min / units
        times = {name: t / units for name, t in best.items()}
        row = Row(
            case,
            _work(flops, moved),
            mine,
            times.get("floor"),
            {name: times.get(name) for name in peers},
            _rate(flops, moved, mine),
        )
        self._keep(row, flops, moved)
        return row

    def _keep(self, row: Row, flops: float, moved: float) -> None:
        self.stash.setdefault(ROWS, []).append(row)
        self.benchmark.extra_info.update(
            case=row.case,
            flops=flops,
            bytes=moved,
            ours_s=row.ours,
            floor_s=row.floor,
            peers_s={name: t if t else "not measured" for name, t in row.peers.items()},
            ratio_to_best_peer=row.ratio,
        )


def _seconds(run: Run, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return time.perf_counter() - start


def _calls(run: Run) -> int:
    """Calls that fill a round, after the first ones, which compile and allocate."""
    for _ in range(3):
        run()
    return max(1, int(ROUND / min(_seconds(run, 1) for _ in range(5))))


def _work(flops: float, moved: float) -> str:
    return _amount(flops, "flop") if flops else _amount(moved, "B") if moved else ""


def _rate(flops: float, moved: float, seconds: float) -> str:
    if flops:
        return f"{flops / seconds / 1e9:.3g} GFLOP/s"
    return f"{moved / seconds / 1e9:.3g} GB/s" if moved else ""


def _amount(value: float, unit: str) -> str:
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value:.0f} {unit}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "not measured"
    for size, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def report(stash: pytest.Stash) -> list[str]:
    """The closing table: one line a case; beside each peer's time its ratio to ours."""
    rows = stash.get(ROWS, [])
    if not rows:
        return []
    head = ["case", "work", "ours", "rate", "NumPy's part", *PEERS, "best peer / ours"]
    cells = [head] + [_cells(row) for row in rows]
    widths = [max(len(line[k]) for line in cells) for k in range(len(head))]
    lines = [
        "  ".join(c.rjust(w) if k else c.ljust(w) for k, (c, w) in enumerate(zip(line, widths)))
        for line in cells
    ]
    return [lines[0], "-" * len(lines[0]), *lines[1:]]


def _cells(row: Row) -> list[str]:
    floor = "" if row.floor is None else f"{_time(row.floor)} ({row.floor / row.ours:4.0%})"
    ratio = "not measured" if row.ratio is None else f"{row.ratio:.2f}"
    return [
        row.case,
        row.work,
        _time(row.ours),
        row.rate,
        floor,
        *[_peer(row, name) for name in PEERS],
        ratio,
    ]


def _peer(row: Row, name: str) -> str:
    if name not in row.peers:
        return ""
    seconds = row.peers[name]
    return _time(seconds) if not seconds else f"{_time(seconds)} ({seconds / row.ours:.2f}x)"


def machine() -> list[str]:
    """What it was measured on, and with what."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    pinned = "pinned to one core" if hasattr(os, "sched_setaffinity") else "not pinned"
    installed = ", ".join(_version(name) for name in ("tensorgrad", "numpy", *PEERS))
    return [
        f"{_cpu()}, {cores} cores, one thread {pinned}; minima over interleaved rounds",
        f"Python {platform.python_version()}, {installed}; BLAS of NumPy: {_blas()}",
    ]


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"{name} {'from its folder' if name in sys.modules else 'not installed'}"


def _blas() -> str:
    from threadpoolctl import threadpool_info

    found = [p for p in threadpool_info() if p["user_api"] == "blas" and "numpy" in p["filepath"]]
    return ", ".join(f"{p['internal_api']} {p['version']}" for p in found) or "unknown"
