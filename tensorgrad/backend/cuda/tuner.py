"""Which way to carry out a product is the fastest: timed on request, remembered on disk.

Other algorithms add in another order, so a choice shows in the last bits of a result. Therefore
nothing is timed unless it is asked for. By default a product runs the library's first proposal,
which depends on the product, the GPU and the library's version alone: the same program gives the
same bits, run after run. Where tuning is on (`TG_TUNE=1`, or inside `tg.cuda.tune()`), a product is
timed before it runs, never after some runs, and keeps its choice for the rest of the process; the
next process that tunes finds the choice on disk and gives the same bits. A process that does not
tune reads no file, so what another program tuned never changes its results.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from tensorgrad._errors import TensorgradError
from tensorgrad.backend.cuda import device
from tensorgrad.backend.cuda.plan import Plan
from tensorgrad.codegen import cache

tuning: ContextVar[bool] = ContextVar("tuning", default=os.environ.get("TG_TUNE") == "1")

REPEATS = 4
"""Runs between two events: the clock of a device counts half microseconds."""


@contextmanager
def tune(enabled: bool = True) -> Iterator[None]:
    """Time the library's algorithms for each product that is met inside, and use the fastest.

    with tg.cuda.tune():
        step(x, y)

    A product keeps its choice after the block, and on disk for the next process that tunes the same
    product on the same GPU, driver and cuBLASLt. Nothing is timed while a graph is captured: the
    runs that warm it up are. `TG_TUNE=1` tunes all the time.
    """
    token = tuning.set(enabled)
    try:
        yield
    finally:
        tuning.reset(token)


class Candidate(NamedTuple):
    """One way to carry out a product: the library's algorithm, and a function that runs it."""

    algo: bytes
    run: Callable[[], object]


class Choice(NamedTuple):
    """The way that was fastest: with the epilogue in the product or after it; seconds a run."""

    fused: bool
    algo: bytes
    seconds: float


def seconds(run: Callable[[], object]) -> float:
    """The time of a run on the device; infinite where the library refuses it."""
    try:
        run()  # loads what it needs
        start = device.Event().record()
        for _ in range(REPEATS):
            run()
    except TensorgradError:
        return float("inf")
    end = device.Event().record()
    end.synchronize()
    return start.elapsed_time(end) / 1000 / REPEATS


class Tuner:
    """The fastest way to carry out each product on one kind of GPU, timed once, kept on disk.

    timer(run) gives the seconds of one run, on the device's clock. A choice belongs to the GPU's
    name and the versions of driver and cuBLASLt, each triple a file of its own under `folder`. A
    file that is missing, damaged, or cannot be written costs the time of tuning again and nothing
    else. What is on disk stays: where two processes timed a product at once, the first choice does.
    """

    def __init__(
        self,
        gpu: str,
        driver: int,
        version: int,
        timer: Callable[[Callable[[], object]], float] = seconds,
        folder: str | None = None,
    ) -> None:
        kernels = cache.folder()
        if folder is None and kernels is not None:
            folder = os.path.join(os.path.dirname(kernels), "cublaslt")
        name = f"{re.sub(r'[^A-Za-z0-9]+', '-', gpu).strip('-')}-{driver}-{version}.json"
        self.mark = {"gpu": gpu, "driver": driver, "cublasLt": version}
        self.path = None if folder is None else os.path.join(folder, name)
        self._timer = timer
        self._lock = threading.Lock()
        self._known = self._read()

    def find(self, key: str) -> Choice | None:
        """The choice for a product, if it was ever tuned."""
        return self._known.get(key)

    def tune(
        self,
        key: str,
        fused: Sequence[Candidate],
        unfused: Sequence[Candidate] = (),
        rounds: int = 5,
    ) -> Choice | None:
        """Time the candidates, the minimum of several interleaved rounds, and keep the fastest.

        `fused` carry the product out with its epilogue; `unfused` without, and then the epilogue by
        kernels. They write to buffers that nobody reads: with beta = 1 each run adds once more.
        None where no candidate is given, or none runs.
        """
        ways = [(True, one) for one in fused] + [(False, one) for one in unfused]
        best = [float("inf")] * len(ways)
        for _ in range(rounds):
            for which, (_, candidate) in enumerate(ways):
                best[which] = min(best[which], float(self._timer(candidate.run)))
        least = min(best, default=float("inf"))
        if least == float("inf"):
            return None
        which = best.index(least)
        choice = Choice(ways[which][0], ways[which][1].algo, least)
        with self._lock:
            self._known = {key: choice, **self._known, **self._read()}
            self._write()
        return self._known[key]

    def _read(self) -> dict[str, Choice]:
        """What the file holds, as far as it makes sense."""
        try:
            with open(self.path or "", encoding="utf-8") as file:
                stored = json.load(file)
            if {name: stored[name] for name in self.mark} != self.mark:
                return {}
            rows = dict(stored["plans"]).items()
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        found = {}
        for key, row in rows:
            with contextlib.suppress(ValueError, TypeError):
                fused, algo, time = row
                found[key] = Choice(bool(fused), bytes.fromhex(algo), float(time))
        return found

    def _write(self) -> None:
        """Replace the file at once, or leave it."""
        if self.path is None:
            return
        plans = {key: (way.fused, way.algo.hex(), way.seconds) for key, way in self._known.items()}
        draft = f"{self.path}.{os.urandom(8).hex()}.part"
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            with open(draft, "x", encoding="utf-8") as file:
                json.dump({**self.mark, "plans": plans}, file, indent=0)
            os.replace(draft, self.path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(draft)


class Ways:
    """How one device carries out products: what was chosen in this process, what was refused."""

    def __init__(self, tuner: Callable[[], Tuner]) -> None:
        self.chosen: dict[tuple[Plan, int], Choice] = {}
        self.refused: set[Plan] = set()
        self._make = tuner
        self._tuner: Tuner | None = None

    def choose(
        self,
        plan: Plan,
        aligned: int,
        candidates: Callable[[], tuple[Sequence[Candidate], Sequence[Candidate]]],
    ) -> Choice | None:
        """The choice for a plan at addresses aligned so, timed now if it never was."""
        self._tuner = self._tuner or self._make()
        key = f"{plan.key} aligned={aligned}"
        found = self._tuner.find(key) or self._tuner.tune(key, *candidates())
        if found is not None:
            self.chosen[plan, aligned] = found
        return found
