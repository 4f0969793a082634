"""The race: ours and the peers in turn, their minima, and the goals that a project states."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import pytest

PEERS = ("torch", "jax", "autograd")
ROUND = 2e-3  # seconds of one contender in one round: long beside the clock's own cost
Run = Callable[[], Any]
Runs = Run | Sequence[Run] | None
"""One way to do the work, several of which the quickest counts, or None: not installed."""


class Goal(NamedTuple):
    """A stated figure: its text, and whether a row reaches it; None where that is not known."""

    text: str
    reached: Callable[[Row], bool | None]

    def verdict(self, row: Row) -> str:
        found = self.reached(row)
        return f"{self.text} {'not measured' if found is None else 'met' if found else 'missed'}"


@dataclass(frozen=True)
class Row:
    """One case, per call: seconds of ours, of the floor and of the peers.

    `beside` are further times, each in a column, `note` what stands on a line of its own.
    """

    case: str
    work: tuple[float, str]
    ours: float
    floor: float | None
    peers: Mapping[str, float | None]
    group: str = ""
    beside: Mapping[str, float | None] = field(default_factory=dict)
    goals: Sequence[Goal] = ()
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Time of the quickest peer over ours; above 1 ours is quicker."""
        times = [t for t in self.peers.values() if t]
        return min(times) / self.ours if times else None


def ahead(times: float, of: str) -> Goal:
    """At least `times` as quick as one peer."""

    def reached(row: Row) -> bool | None:
        seconds = row.peers.get(of)
        return seconds / row.ours >= times if seconds else None

    return Goal(f"{times:g}x {of}", reached)


def best(times: float) -> Goal:
    """At least `times` as quick as the quickest peer; unknown where a peer is missing."""

    def reached(row: Row) -> bool | None:
        return None if row.ratio is None or None in row.peers.values() else row.ratio >= times

    return Goal(f"{times:g}x best", reached)


def near(times: float, of: str) -> Goal:
    """At most `times` one of the times beside."""

    def reached(row: Row) -> bool | None:
        seconds = row.beside.get(of)
        return row.ours <= times * seconds if seconds else None

    return Goal(f"{times:g} of {of}", reached)


def within(seconds: float) -> Goal:
    """At most so many seconds."""
    return Goal(f"<= {shown(seconds)}", lambda row: row.ours <= seconds)


def share(seconds: float) -> Goal:
    """At most so many seconds beyond the floor."""
    return Goal(
        f"own <= {shown(seconds)}",
        lambda row: row.ours - row.floor <= seconds if row.floor else None,
    )


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
        peers: Mapping[str, Runs],
        *,
        floor: Runs = None,
        beside: Mapping[str, Runs] | None = None,
        units: int = 1,
        flops: float = 0.0,
        moved: float = 0.0,
        goal: Goal | Sequence[Goal] = (),
        note: Callable[[Row], str] | None = None,
    ) -> Row:
        """Measure one case.

        `peers`: name -> callable, or several of which the quickest counts, None where the peer is
        not installed; a peer that is not named does not do this work. `floor`: what the machine
        does of the work at its best. `beside`: further contenders, of a column each. A call does
        `units` units; times, `flops` and `moved` bytes are per unit.
        """
        besides = beside or {}
        mine, times = self._minima(ours, {"floor": floor, **peers, **besides})
        row = Row(
            case,
            (flops, "flop") if flops else (moved, "B"),
            mine / units,
            times["floor"] / units if "floor" in times else None,
            {name: times[name] / units if name in times else None for name in peers},
            self.benchmark.fullname.partition("::")[0],
            {name: times[name] / units if name in times else None for name in besides},
            (goal,) if isinstance(goal, Goal) else goal,
        )
        row = row if note is None else replace(row, note=note(row))
        self._keep(row, flops, moved)
        return row

    def _minima(self, ours: Run, entered: Mapping[str, Runs]) -> tuple[float, dict[str, float]]:
        """Seconds of a call of ours, and of the quickest of each name that has any."""
        others = [(name, run) for name, runs in entered.items() for run in _each(runs)]
        times = dict.fromkeys([name for name, _ in others], float("inf"))
        counts = [self.calls(run) for _, run in others]
        calls = self.calls(ours)

        def run_others() -> None:
            for (name, run), count in zip(others, counts):
                times[name] = min(times[name], self.seconds_of(run, count) / count)

        self.benchmark.pedantic(
            ours,
            teardown=run_others,
            iterations=calls,
            rounds=self.rounds([ours, *[run for _, run in others]], [calls, *counts]),
            warmup_rounds=1,
        )
        return self.benchmark.stats.stats.min, times

    def calls(self, run: Run) -> int:
        """Calls that fill a round, after the first ones, which compile and allocate."""
        for _ in range(3):
            run()
        return max(1, int(ROUND / min(self.seconds_of(run, 1) for _ in range(5))))

    def seconds_of(self, run: Run, calls: int) -> float:
        """What so many calls take."""
        start = time.perf_counter()
        for _ in range(calls):
            run()
        return time.perf_counter() - start

    def rounds(self, runs: Iterable[Run], counts: Iterable[int]) -> int:
        """Rounds that fit into the time given, at least 5."""
        one = sum(self.seconds_of(run, count) for run, count in zip(runs, counts))
        return max(5, int(self.seconds / one))

    def _keep(self, row: Row, flops: float, moved: float) -> None:
        self.stash.setdefault(ROWS, []).append(row)
        self.benchmark.extra_info.update(
            case=row.case,
            flops=flops,
            bytes=moved,
            ours_s=row.ours,
            floor_s=row.floor,
            peers_s={name: t if t else "not measured" for name, t in row.peers.items()},
            beside_s=dict(row.beside),
            ratio_to_best_peer=row.ratio,
            goals=[goal.verdict(row) for goal in row.goals],
        )


class Told:
    """A clock that child processes set: it moves on by the seconds that they report."""

    __name__ = "told"  # under which pytest-benchmark writes it down

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Children(Race):
    """A race whose contenders are processes: each call returns the seconds that one reported."""

    clock = Told()

    def calls(self, run: Run) -> int:
        """One: a process is long, and its first call is what counts."""
        return 1

    def seconds_of(self, run: Run, calls: int) -> float:
        return float(sum(run() for _ in range(calls)))

    def rounds(self, runs: Iterable[Run], counts: Iterable[int]) -> int:
        """Each process counts: none is spent on finding out how many fit."""
        return max(5, int(5 * self.seconds))

    def __call__(self, case: str, ours: Run, peers: Mapping[str, Runs], **shown: Any) -> Row:
        def timed() -> None:
            self.clock.now += ours()

        return super().__call__(case, timed, peers, **shown)


def _each(runs: Runs) -> list[Run]:
    return [] if runs is None else [runs] if callable(runs) else list(runs)


def shown(seconds: float | None) -> str:
    """A time in the unit that suits it."""
    if seconds is None:
        return "not measured"
    for size, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"
