"""The contest on a GPU: one case, ours and the peers in turn, and the row that it becomes.

What goes wrong stays where it happened: a peer that is missing or fails says so in its column, a
case that fails in its line. Rows are told as soon as there is anything to tell, and again when
there is more, so that a case cut short leaves what it had.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from benchmarks import gpu_time
from benchmarks.gpu_time import Side, Times

Array = Any
Maker = Callable[[], Sequence[Side] | Side | None]
"""Builds a contender, one side for each part of the case; None where its library is not there."""

BLOCK = 2**22 - 3
"""Random numbers that are drawn; larger arrays repeat them, out of step with any row."""


class Part(NamedTuple):
    """One line of the table.

    `work` is what a call moves or computes, `unit` B or flop. `rate` names the fact that its rate
    is held against, `share` how much of it is wanted, `best` of the quickest peer's rate, `limit`
    seconds that it may take.
    """

    name: str
    work: float = 0.0
    unit: str = ""
    rate: str = ""
    share: float | None = None
    best: float | None = None
    limit: float | None = None
    tolerance: float = 0.0


@dataclass
class Bench:
    """What a case is given: where rows go, what is known of the machine, how much to measure."""

    tell: Callable[[dict[str, Any]], None]
    tiny: bool
    stand_in: bool
    facts: dict[str, float] = field(default_factory=dict)
    section: str = ""
    case: str = ""
    until: float = math.inf

    # -- arrays ------------------------------------------------------------------------------

    def size(self, full: int, tiny: int) -> int:
        return tiny if self.tiny else full

    def draw(self, shape: Sequence[int], dtype: str, seed: int, scale: float = 1.0) -> Array:
        """Normal random numbers on the GPU, as a CuPy array."""
        import cupy
        import ml_dtypes

        kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
        count = math.prod(shape)
        host = np.random.default_rng(seed).standard_normal(min(count, BLOCK), np.float32)
        host = (host * np.float32(scale)).astype(kind).view(f"i{kind.itemsize}")
        block = cupy.asarray(host)
        found = cupy.empty(count, host.dtype)
        for start in range(0, count, BLOCK):
            width = min(BLOCK, count - start)
            found[start : start + width] = block[:width]
        cupy.cuda.runtime.deviceSynchronize()
        return found.view(kind).reshape(tuple(shape))

    def labels(self, count: int, classes: int, seed: int = 1) -> Array:
        """Random labels as 64-bit integers."""
        import cupy

        return cupy.asarray(np.random.default_rng(seed).integers(0, classes, count))

    # -- telling -----------------------------------------------------------------------------

    def emit(self, part: Part, **row: Any) -> None:
        """A row, or what is known of it so far."""
        head = {"kind": "row", "section": self.section, "case": self.case, "facts": self.facts}
        self.tell({**head, **part._asdict(), **row})

    def note(self, part: Part, text: str, **row: Any) -> None:
        """A line of words."""
        self.emit(part, note=text, **row)

    # -- measuring ---------------------------------------------------------------------------

    @property
    def late(self) -> bool:
        """Whether the time of the section is spent."""
        return time.monotonic() > self.until

    @property
    def _batch(self) -> tuple[float, int]:
        return (0.0, 2) if self.tiny else (gpu_time.BATCH, gpu_time.BATCHES)

    def time(self, side: Side) -> dict[str, Any]:
        """Times of a contender by itself."""
        times = Times()
        self._round([(side, self._count(side), times)])
        return times.table()

    def _count(self, side: Side) -> int:
        return 1 if self.tiny else gpu_time.calls(side, self._batch[0])

    def _round(self, entered: Sequence[tuple[Side, int, Times]]) -> None:
        for side, count, times in entered:
            gpu_time.measure(side, count, times, self._batch[1])

    def contest(
        self,
        parts: Sequence[Part] | Part,
        mine: Maker,
        peers: Mapping[str, Maker],
        *,
        note: Callable[[], str] | None = None,
    ) -> None:
        """Measure a case: ours, then each peer as it is built, then all in turn."""
        parts = [parts] if isinstance(parts, Part) else parts
        rows = [_Row(part) for part in parts]
        try:
            self._contest(rows, mine, peers, note)
        finally:
            self._tell(rows)

    def _contest(
        self,
        rows: Sequence[_Row],
        mine: Maker,
        peers: Mapping[str, Maker],
        note: Callable[[], str] | None,
    ) -> None:
        entered: list[tuple[Side, int, Times]] = []
        wanted = self._enter("ours", mine, rows, entered, None)
        if note is not None and wanted is not None:
            for row in rows[:1]:
                row.note = note()
        self._tell(rows)
        for name, make in peers.items():
            if wanted is None:
                break
            if self.late:
                for row in rows:
                    row.peers[name] = {"skipped": "no time"}
                continue
            self._enter(name, make, rows, entered, wanted)
            self._tell(rows)
        for _ in range(0 if self.tiny else gpu_time.ROUNDS - 1):
            with suppress(Exception):  # it ran once: what is known of it stands
                self._round(entered)

    def _enter(
        self,
        name: str,
        make: Maker,
        rows: Sequence[_Row],
        entered: list[tuple[Side, int, Times]],
        wanted: list[list[Array]] | None,
    ) -> list[list[Array]] | None:
        """Build, compare and time one contender; its values, None if it is not in the race."""
        try:
            made = make()
            sides = [made] if isinstance(made, Side) else made
            if sides is None:
                for row in rows:
                    row.peers[name] = {"skipped": "not there"}
                return None
            values = [on_host(side.values()) for side in sides]
            fresh = []
            for k, (row, side) in enumerate(zip(rows, sides, strict=True)):
                if wanted is not None:
                    row.errors[name] = gpu_time.error(wanted[k], values[k])
                fresh.append((side, self._count(side), row.times.setdefault(name, Times())))
            self._round(fresh)
        except Exception as error:
            for row in rows:
                row.times.pop(name, None)
                row.peers[name] = {"error": told(error)}
            lost(error)
            return None
        entered += fresh
        return values

    def _tell(self, rows: Sequence[_Row]) -> None:
        for row in rows:
            self.emit(row.part, **row.table())


class LostError(Exception):
    """The GPU answers no more in this process: the next case wants a new one."""


def lost(error: BaseException) -> None:
    """Raise `LostError` if an error left the GPU unusable; else give its memory back."""
    import cupy

    try:
        gc.collect()
        cupy.cuda.runtime.deviceSynchronize()
        cupy.zeros(16, "float32").get()
    except Exception as second:
        raise LostError(f"{told(error)}; then {told(second)}") from error


class _Row:
    """What is known of a line so far."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.times: dict[str, Times] = {}
        self.peers: dict[str, dict[str, Any]] = {}  # those without times
        self.errors: dict[str, float] = {}
        self.note = ""

    def table(self) -> dict[str, Any]:
        found = {name: times.table() for name, times in self.times.items() if times.device}
        mine = found.pop("ours", None)
        failed = self.peers.get("ours", {})
        others = {name: why for name, why in self.peers.items() if name != "ours"}
        wrong = bool(self.errors) and not (
            min((e for e in self.errors.values() if e == e), default=math.inf)
            <= self.part.tolerance
        )
        return {
            "ours": mine,
            "peers": {**found, **others},
            "errors": self.errors,
            "wrong": wrong,
            "error": failed.get("error", ""),
            **({"note": self.note} if self.note else {}),
        }


def told(error: BaseException) -> str:
    """An error in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


def on_host(arrays: Sequence[Array]) -> list[Array]:
    """Samples of arrays of any library, as NumPy's float64."""
    return [_numpy(piece) for a in arrays for piece in gpu_time.sampled(a.reshape(-1))]


def _numpy(a: Array) -> Array:
    kind = type(a).__module__.partition(".")[0]
    if kind == "torch":
        return a.detach().double().cpu().numpy()
    if kind == "cupy":
        if a.dtype.name == "bfloat16":
            return a.view(np.int16).get().view(a.dtype).astype(np.float64)
        return a.get().astype(np.float64)
    return np.asarray(a).astype(np.float64)


def cleared() -> None:
    """Memory of dead arrays back to the driver, for whoever comes next."""
    import sys

    import tensorgrad as tg

    gc.collect()
    with suppress(Exception):
        tg.cuda.empty_cache()
    if "torch" in sys.modules:
        torch: Any = sys.modules["torch"]
        with suppress(Exception):
            torch._dynamo.reset()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    if "jax" in sys.modules:
        with suppress(Exception):
            sys.modules["jax"].clear_caches()
