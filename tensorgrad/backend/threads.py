"""Large array work on a few threads, which block when idle and never spin.

Chunks are taken one at a time from one iterator, by the calling thread too, so a thread that the
system delays holds up no more than the chunk it has begun, and the caller never waits for one that
has begun none. Where a worker did hold a call up (another process wants its core), the workers stay
asleep for ten times what was lost: sharing never costs more than about a tenth.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from time import perf_counter

from tensorgrad._errors import need

Job = Callable[[int, int], None]
MOST = 16  # threads, unless told: large array work is bound by memory long before
CHUNKS = 4  # per thread: what the others can still take over when one of them is delayed
REST = 10.0  # times what a call lost: how long the workers then stay asleep

_inside = threading.local()


class _Work:
    """One call of `split`: its chunks, the workers that take part, and the first error."""

    def __init__(self, total: int, size: int, job: Job) -> None:
        self._starts: Iterator[int] = iter(range(0, total, size))  # the GIL makes it safe to share
        self._total, self._size = total, size
        self._job: Job | None = job
        self._gate = threading.Lock()  # guards the next two
        self._open, self._helpers = True, 0
        self._left = threading.Lock()
        self._left.acquire()
        self._error: BaseException | None = None

    def run(self) -> int:
        """Take chunks until none is left, and count them; an error takes the others away."""
        job, size, total, done = self._job, self._size, self._total, 0
        assert job is not None
        try:
            for start in self._starts:
                job(start, min(start + size, total))
                done += 1
        except BaseException as error:
            self._error = self._error or error
            list(self._starts)
        return done

    def help(self, ready: Callable[[], None]) -> None:
        """What a worker does: nothing where the caller is done already.

        `ready` is called before the caller goes on, whose next call then finds the worker.
        """
        with self._gate:
            joined = self._open
            self._helpers += joined
        if not joined:
            ready()
            return
        self.run()
        ready()
        with self._gate:
            self._helpers -= 1
            if not self._open and not self._helpers:
                self._left.release()

    def close(self) -> None:
        """Wait for the workers that take part, even when interrupted, and raise what was raised."""
        with self._gate:
            self._open = False
            waiting = self._helpers > 0
        while waiting:
            try:
                self._left.acquire()
                waiting = False
            except BaseException as interrupt:
                self._error = self._error or interrupt
        self._job = None  # a worker that comes late must not keep arrays alive
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # its traceback holds this frame


class _Worker:
    """A thread that sleeps on a lock of its own until it is handed work."""

    def __init__(self, idle: list[_Worker]) -> None:
        self._work: _Work | None = None
        self._wake = threading.Lock()
        self._wake.acquire()
        threading.Thread(
            target=self._loop, args=(lambda: idle.append(self),), name="tensorgrad", daemon=True
        ).start()

    def give(self, work: _Work) -> None:
        self._work = work
        self._wake.release()

    def _loop(self, ready: Callable[[], None]) -> None:
        _inside.job = True
        while True:
            self._wake.acquire()
            work, self._work = self._work, None
            assert work is not None
            work.help(ready)
            del work


class _Pool:
    """The workers of the process, made when first needed; a forked child begins with none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._made = 0
        self._count = 0
        self._asleep_until = 0.0

    def forked(self) -> None:
        """Forget the workers: none of them lives in a child process."""
        self._lock = threading.Lock()
        self._idle, self._made, self._asleep_until = [], 0, 0.0

    def count(self) -> int:
        if not self._count:
            self._count = _default()
        return self._count

    def set_count(self, n: int) -> None:
        self._count = n
        self._asleep_until = 0.0

    def offer(self, work: _Work, helpers: int) -> bool:
        """Hand work to idle workers, and say whether any took it; the busy ones are left alone."""
        if perf_counter() < self._asleep_until:
            return False
        for k in range(helpers):
            worker = self._take()
            if worker is None:
                return k > 0
            worker.give(work)
        return True

    def settle(self, begun: float, alone: float) -> None:
        """Let the workers sleep after a call that took longer than the caller alone would have."""
        now = perf_counter()
        lost = now - begun - alone
        if lost > 0.0:
            self._asleep_until = now + REST * lost

    def _take(self) -> _Worker | None:
        try:
            return self._idle.pop()
        except IndexError:
            pass
        with self._lock:
            if self._made >= self.count() - 1:
                return None
            try:
                worker = _Worker(self._idle)
            except RuntimeError:  # no more threads: a limit of the system, or the end of Python
                return None
            self._made += 1
            return worker


_POOL = _Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_POOL.forked)


def _default() -> int:
    told = os.environ.get("TG_NUM_THREADS", "")
    if told:
        need(
            told.isdecimal() and int(told) > 0,
            "threads",
            TG_NUM_THREADS=told,
            want="a positive whole number",
            fix="unset it for a thread a core",
            error=ValueError,
        )
        return int(told)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, MOST)


def get_num_threads() -> int:
    """Threads that large array work is spread over, the calling one included.

    At first `TG_NUM_THREADS`, else the cores that the process may use, at most 16.
    """
    return _POOL.count()


def set_num_threads(n: int) -> None:
    """Spread large array work over n threads, for the whole process; 1 keeps it on the caller's.

    Raises ValueError where n < 1.
    """
    whole = isinstance(n, int) and n >= 1
    need(whole, "set_num_threads", n=n, want="an int of at least 1", fix="1", error=ValueError)
    _POOL.set_count(n)


def split(total: int, grain: int, job: Job) -> None:
    """Call job(start, stop) on disjoint ranges that cover [0, total), several at a time.

    Boundaries are multiples of `grain` and depend on total, grain and `count()` only: about four
    chunks a thread, none shorter than a grain but the last. Returns when all have ended; then the
    first exception of a job is raised, and chunks that nobody had begun are left out. With one
    thread, one grain, or inside a job it is job(0, total).

    A job is bare array work that releases the GIL. On a worker it sees no ContextVar of the caller,
    `np.errstate` included, and it must not fork.
    """
    threads = _POOL.count()
    if total <= grain or threads == 1 or getattr(_inside, "job", False):
        if total > 0:
            job(0, total)
        return
    size = grain * -(-total // (grain * CHUNKS * threads))
    chunks = -(-total // size)
    work = _Work(total, size, job)
    shared, alone, begun = False, 0.0, perf_counter()
    _inside.job = True
    try:
        shared = _POOL.offer(work, min(threads, chunks) - 1)
        ready = perf_counter()
        mine = work.run()
        alone = (perf_counter() - ready) * chunks / mine if mine else math.inf
    finally:
        _inside.job = False
        work.close()
    if shared:
        _POOL.settle(begun, alone)
