"""The table that closes a session: one block a file, one line a case."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path

import pytest

from benchmarks.race import PEERS, ROWS, Row, shown


def report(stash: pytest.Stash) -> list[str]:
    """The closing table; a time over ours stands beside each peer's, and goals line by line."""
    lines: list[str] = []
    measured: list[Row] = stash.get(ROWS, [])
    for group, rows in groupby(measured, lambda row: row.group):
        lines += [*([""] if lines else []), *_block(Path(group).name, list(rows))]
    return lines


def _block(title: str, rows: Sequence[Row]) -> list[str]:
    peers = [name for name in PEERS if any(name in row.peers for row in rows)]
    besides = list(dict.fromkeys(name for row in rows for name in row.beside))
    head = [title, "work", "ours", "rate", "floor", *besides, *peers, "best", "goal"]
    cells = [head, *[_cells(row, besides, peers) for row in rows]]
    used = [k for k in range(len(head)) if any(line[k] for line in cells[1:])]
    widths = [max(len(line[k]) for line in cells) for k in used]
    goals = len(head) - 1

    def joined(line: Sequence[str]) -> str:
        return "  ".join(
            line[k].rjust(w) if 0 < k < goals else line[k].ljust(w) for k, w in zip(used, widths)
        ).rstrip()

    lines = [joined(head)]
    lines.append("-" * max(len(joined(line)) for line in cells))
    for row, line in zip(rows, cells[1:]):
        lines.append(joined(line))
        # Each further goal on a line of its own, under the first.
        lines += [joined([""] * goals + [g.verdict(row)]) for g in row.goals[1:]]
        lines += [f"  {row.note}"] if row.note else []
    return lines


def _cells(row: Row, besides: Sequence[str], peers: Sequence[str]) -> list[str]:
    return [
        row.case,
        _amount(*row.work) if row.work[0] else "",
        shown(row.ours),
        f"{row.work[0] / row.ours / 1e9:.3g} G{row.work[1].upper()}/s" if row.work[0] else "",
        "" if row.floor is None else f"{shown(row.floor)} {row.floor / row.ours:4.0%}",
        *[_other(row.beside, name, row.ours) for name in besides],
        *[_other(row.peers, name, row.ours) for name in peers],
        "" if row.ratio is None else f"{row.ratio:.2f}",
        row.goals[0].verdict(row) if row.goals else "",
    ]


def _other(times: Mapping[str, float | None], name: str, ours: float) -> str:
    if name not in times:
        return ""
    seconds = times[name]
    return f"{shown(seconds)} {seconds / ours:.2f}x" if seconds else shown(seconds)


def _amount(value: float, unit: str) -> str:
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value:.0f} {unit}"


def machine() -> list[str]:
    """What it was measured on, with what, and how a line is read."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    installed = ", ".join(_version(name) for name in ("tensorgrad", "numpy", *PEERS))
    return [
        f"{_cpu()}, {cores} cores; one thread, minima over interleaved rounds",
        f"Python {platform.python_version()}, {installed}; BLAS of NumPy: {_blas()}",
        "floor: what the machine takes at least, and that as a part of ours; 1.50x: half as long "
        "again as ours; best: the least of the peers'",
    ]


def loose(core: int) -> int:
    """How many threads of this process may run elsewhere than on that core (Linux)."""
    found = 0
    for status in Path("/proc/self/task").glob("*/status"):
        try:
            text = status.read_text()
        except OSError:  # it has ended meanwhile
            continue
        found += f"Cpus_allowed_list:\t{core}\n" not in text
    return found


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
