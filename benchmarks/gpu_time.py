"""How work on a GPU is timed, and how what it makes is compared with another library's.

Calls follow each other without a wait in between, in batches long enough that the first one's way
to the device does not count. Ours and PyTorch's are timed by CUDA events, JAX's from the call to
the end of the last result; what the host takes to ask for the calls is kept beside it. Contenders
are timed in turn, over several rounds. Memory-bound cases use arrays that no cache holds.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

Array = Any
Run = Callable[[], Any]
Clock = Callable[[Run, int], tuple[float, float]]
"""Seconds of so many calls, on the device and on the host until all are asked for."""

BATCH, BATCHES, ROUNDS = 8e-3, 5, 3
"""Seconds of a batch, batches of a contender in a round, rounds."""

WHOLE, EDGE = 2**21, 2**15
"""Numbers up to which results are compared whole, and how many are at each end of larger ones."""


class Side(NamedTuple):
    """One contender: a call, the clock that times it, and the arrays that it makes."""

    run: Run
    clock: Clock
    values: Callable[[], Sequence[Array]]


# -- clocks --------------------------------------------------------------------------------------


def wall(wait: Callable[[Any], object]) -> Clock:
    """A clock on the host; `wait(result)` returns once the device is done with it."""

    def clock(run: Run, calls: int) -> tuple[float, float]:
        wait(run())
        start = time.perf_counter()
        for _ in range(calls):
            last = run()
        asked = time.perf_counter() - start
        wait(last)
        return time.perf_counter() - start, asked

    return clock


def ours() -> Clock:
    """CuPy's events on the current stream."""
    import cupy

    def clock(run: Run, calls: int) -> tuple[float, float]:
        first, last = cupy.cuda.Event(), cupy.cuda.Event()
        cupy.cuda.runtime.deviceSynchronize()
        first.record()
        start = time.perf_counter()
        for _ in range(calls):
            kept = run()
        asked = time.perf_counter() - start
        last.record()
        last.synchronize()
        del kept
        return cupy.cuda.get_elapsed_time(first, last) / 1000, asked

    return clock


def ours_on_the_host() -> Clock:
    """The host's time until our work is done: what a loop of small steps takes."""
    import tensorgrad as tg

    return wall(lambda _: tg.cuda.synchronize())


# -- measuring -----------------------------------------------------------------------------------


@dataclass
class Times:
    """Seconds a call in batches, on the device and on the host."""

    device: list[float] = field(default_factory=list)
    host: list[float] = field(default_factory=list)

    def table(self) -> dict[str, Any]:
        return {
            "median": statistics.median(self.device),
            "min": min(self.device),
            "host": statistics.median(self.host),
            "batches": len(self.device),
        }


def calls(side: Side, batch: float) -> int:
    """How many calls fill a batch, after the first ones."""
    for _ in range(2):
        side.run()
    once = max(min(side.clock(side.run, 1)[0], side.clock(side.run, 4)[0] / 4), 1e-7)
    return max(1, min(2000, math.ceil(batch / once)))


def measure(side: Side, count: int, into: Times, batches: int) -> None:
    """A round of one contender."""
    for _ in range(batches):
        seconds, asked = side.clock(side.run, count)
        into.device.append(seconds / count)
        into.host.append(asked / count)


# -- comparing -----------------------------------------------------------------------------------


def sampled(flat: Array) -> list[Array]:
    """A flat array whole, or both its ends and parts that meet every place of a vector or row.

    Of each half a part by a step of its own, two primes: no row of less than 47 x 53 elements has
    both as a divisor.
    """
    size = flat.shape[0]
    if size <= WHOLE:
        return [flat]
    low = _prime(max(size // WHOLE + 1, 47))
    return [flat[:EDGE], flat[: size // 2 : low], flat[size // 2 :: _prime(low + 1)], flat[-EDGE:]]


def _prime(least: int) -> int:
    """The smallest prime that is not below `least`."""
    return next(n for n in itertools.count(least) if all(n % k for k in range(2, n)))


def error(mine: Sequence[Any], theirs: Sequence[Any]) -> float:
    """The largest ‖a - b‖ / ‖b‖ of two lists of NumPy arrays; NaN where either is not finite."""
    if len(mine) != len(theirs) or any(a.shape != b.shape for a, b in zip(mine, theirs)):
        return math.nan
    worst = 0.0
    for a, b in zip(mine, theirs):
        a, b = a.astype(np.float64), b.astype(np.float64)
        found = float(np.linalg.norm(a - b) / max(float(np.linalg.norm(b)), 1e-300))
        if not math.isfinite(found):
            return math.nan
        worst = max(worst, found)
    return worst
