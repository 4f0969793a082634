"""`profile`: time and memory of every operation, forward and backward, on the CPU and on GPUs."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tensorgrad._errors import need
from tensorgrad.backend import base
from tensorgrad.core.primitive import Primitive
from tensorgrad.core.tape import Array, Node, next_seq, place, user_place
from tensorgrad.core.tensor import name_of
from tensorgrad.core.watch import Pairs, Source, Watch, watching
from tensorgrad.transforms.memory import BACKWARD, FORWARD, arrays_of, fresh, several, size_text


@dataclass(slots=True)
class Event:
    """One operation that ran: an `op` forward, or the step of backward through one.

    start, stop: seconds since the profile began, on the host; own: without what ran inside it
    gpu: (start, milliseconds) on the device, where it ran on a GPU; bytes: of new arrays
    """

    op: str
    phase: str
    line: str
    start: float
    stop: float = 0.0
    own: float = 0.0
    bytes: int = 0
    shapes: list[str] = field(default_factory=list)
    device: str = "cpu"
    gpu: tuple[float, float] | None = None

    @property
    def milliseconds(self) -> float:
        """Its own time: the device's where it ran on a GPU, else the host's."""
        return 1e3 * self.own if self.gpu is None else self.gpu[1]


@dataclass(frozen=True, slots=True)
class Total:
    """Events with one name added up: calls, milliseconds of either phase, bytes of new arrays."""

    name: str
    calls: int
    forward: float
    backward: float
    bytes: int

    @property
    def milliseconds(self) -> float:
        return self.forward + self.backward


_latest: profile | None = None


class profile(Watch):  # noqa: N801  (PyTorch's name)
    """`with tg.profile() as prof:` time and memory of every operation inside.

    `print(prof)` shows a table by operation, `prof.table(by="line")` one by source line (of the
    forward, for backward too), `prof.chrome_trace("trace.json")` writes a file for Perfetto or
    chrome://tracing. Times on a GPU are the device's, by events in its stream; it is waited for at
    the end of the block only. Memory is that of the arrays that an operation made. An operation
    inside a step of backward counts as that step's time. The profile costs some microseconds an
    operation. Operations of other threads are not seen. Opened again it goes on; raises
    `RuntimeError` while it is open.

    >>> import numpy as np, tensorgrad as tg
    >>> with profile() as prof:
    ...     gradient = tg.grad(lambda x: np.sum(np.tanh(x)))(np.ones(1000))
    >>> [(event.op, event.phase) for event in prof.events]
    [('tanh', 'forward'), ('sum', 'forward'), ('sum', 'backward'), ('tanh', 'backward')]
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.seconds = 0.0
        self._inside: list[float] = []  # of each event that is open: the time of those within
        self._open = False
        self._backward = 0
        self._of: dict[int, list[Event]] = {}  # by the number of a node
        self._marks: list[tuple[Event, Any, Any]] = []
        self._zero: Any = None
        self._stack = ExitStack()

    def __enter__(self) -> profile:
        global _latest
        if self._open:
            raise RuntimeError(
                "profile: got a profile that is open already, which would count everything twice, "
                "expected one that is closed; try another tg.profile() inside"
            )
        _latest = self
        self._stack.enter_context(watching(self))
        self._begin, self._open = time.perf_counter() - self.seconds, True
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()
        self._open = False
        self._settle()
        self.seconds = time.perf_counter() - self._begin

    # -- what is seen --------------------------------------------------------------------------

    def kernel(
        self, op: Primitive | Source, run: Callable[[], Any], arrays: Sequence[Array]
    ) -> Any:
        if self._backward:
            return run()
        line = place(*user_place())
        found, event = self._timed(Event(op.name, FORWARD, line, 0.0), arrays, run)
        outs = arrays_of(several(found))
        event.shapes = [f"{x.dtype}{list(x.shape)}" for x in arrays_of(arrays)]
        event.bytes = _size(fresh(outs, arrays).values())
        self._of.setdefault(next_seq() + 1, []).append(event)  # the number its node is about to get
        return found

    def pull(self, node: Node, ct: Any, run: Callable[[], Pairs]) -> Pairs:
        found: Pairs
        self._backward += 1
        try:
            event = Event(name_of(node), BACKWARD, node.origin, 0.0)
            found, event = self._timed(event, several(ct), run)
        finally:
            self._backward -= 1
        event.shapes = [f"{x.dtype}{list(x.shape)}" for x in arrays_of(several(ct))]
        event.bytes = _size(fresh([g for _, g in found], several(ct)).values())
        self._of.setdefault(node.seq, []).append(event)
        return found

    def _timed(
        self, event: Event, values: Iterable[Any], run: Callable[[], Any]
    ) -> tuple[Any, Event]:
        """What `run` returns, and the event with its times; an operation that fails leaves none."""
        near = next(iter(arrays_of(values)), None)
        event.device = "cpu" if near is None else base.of(near).device
        first = None if event.device == "cpu" else self._mark()
        self._inside.append(0.0)
        begin = time.perf_counter()
        try:
            found = run()
        finally:
            end = time.perf_counter()
            within = self._inside.pop()
            if self._inside:
                self._inside[-1] += end - begin
        event.start, event.stop = begin - self._begin, end - self._begin
        event.own = end - begin - within
        if first is not None:
            self._marks.append((event, first, self._mark()))
        self.events.append(event)
        return found, event

    def _mark(self) -> Any:
        """An event in the current stream."""
        from tensorgrad.backend.cuda.device import Event as Mark  # late: CuPy need not be there

        if self._zero is None:
            self._zero = Mark().record(), time.perf_counter() - self._begin
        return Mark().record()

    def _settle(self) -> None:
        """Wait for the GPU, and read what its events say."""
        for event, first, last in self._marks:
            last.synchronize()
            zero, at = self._zero
            event.gpu = at + zero.elapsed_time(first) / 1e3, first.elapsed_time(last)
        self._marks.clear()

    # -- what is shown -------------------------------------------------------------------------

    def milliseconds(self, node: Node) -> dict[str, float]:
        """The time of a node's own operation by phase, as far as it ran inside."""
        found: dict[str, float] = {}
        for event in self._of.get(node.seq, ()):
            if event.op == name_of(node):
                found[event.phase] = found.get(event.phase, 0.0) + event.milliseconds
        return found

    def totals(self, by: str = "op") -> list[Total]:
        """The events added up by "op" or by "line", the longest first."""
        need(by in ("op", "line"), "profile", by=by, want="'op' or 'line'", fix="by='line'",
             error=ValueError)  # fmt: skip
        groups: dict[str, list[Event]] = {}
        for event in self.events:
            groups.setdefault(event.op if by == "op" else event.line, []).append(event)
        rows = [
            Total(
                name,
                sum(e.phase == FORWARD for e in events),
                sum(e.milliseconds for e in events if e.phase == FORWARD),
                sum(e.milliseconds for e in events if e.phase == BACKWARD),
                sum(e.bytes for e in events),
            )
            for name, events in groups.items()
        ]
        return sorted(rows, key=lambda row: -row.milliseconds)

    def table(self, by: str = "op", limit: int = 30) -> str:
        """The totals as text: calls, milliseconds forward and backward, share, new memory."""
        rows = self.totals(by)
        whole = sum(row.milliseconds for row in rows)
        shown = rows[:limit]
        names = [_short(row.name) if by == "line" else row.name for row in shown]
        wide = max(map(len, [by, *names]))
        lines = [
            f"{by:<{wide}}  {'calls':>6} {'forward':>10} {'backward':>10} {'':>6} {'memory':>10}"
        ]
        lines += [
            f"{name:<{wide}}  {row.calls:>6} {row.forward:>7.3f} ms {row.backward:>7.3f} ms "
            f"{100 * row.milliseconds / (whole or 1):>4.0f} % {size_text(row.bytes):>10}"
            for name, row in zip(names, shown)
        ]
        if len(rows) > limit:
            lines.append(f"... and {len(rows) - limit} more")
        lines.append(f"operations {whole:.3f} ms of {1e3 * self.seconds:.3f} ms")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.table()

    def chrome_trace(self, path: str | os.PathLike[str]) -> None:
        """Write the events as a Chrome trace: one row for the host, one for each GPU."""
        process, thread = os.getpid(), threading.get_ident()
        rows: list[dict[str, Any]] = []
        for event in self.events:
            row = {
                "name": event.op, "cat": event.phase, "ph": "X", "pid": process, "tid": thread,
                "ts": 1e6 * event.start, "dur": 1e6 * (event.stop - event.start),
                "args": {"line": event.line, "inputs": event.shapes, "bytes": event.bytes},
            }  # fmt: skip
            rows.append(row)
            if event.gpu is not None:
                start, length = event.gpu
                rows.append({**row, "pid": event.device, "tid": event.device,
                             "ts": 1e6 * start, "dur": 1e3 * length})  # fmt: skip
        Path(path).write_text(json.dumps({"traceEvents": rows, "displayTimeUnit": "ms"}))


def latest() -> profile | None:
    """The profile that was opened last; kept, for the block that has given it no name."""
    return _latest


def _size(arrays: Iterable[Array]) -> int:
    return sum(int(x.nbytes) for x in arrays)


def _short(line: str) -> str:
    """`file:line` with at most 48 characters of its path."""
    return line if len(line) <= 48 else "..." + line[-45:]
