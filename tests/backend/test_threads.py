"""Work is covered once whatever the threads do; nobody spins; a delayed worker delays nobody."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tensorgrad.backend import threads

WAIT = 10.0  # seconds after which a test that hangs fails


@pytest.fixture(autouse=True)
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A pool of its own for each test, of three threads."""
    fresh = threads._Pool()
    monkeypatch.setattr(threads, "_POOL", fresh)
    threads.set_num_threads(3)
    return fresh


def chunks(total: int, grain: int) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    threads.split(total, grain, lambda start, stop: found.append((start, stop)))
    return sorted(found)


def meet(parties: int) -> threading.Barrier:
    return threading.Barrier(parties, timeout=WAIT)


def run_python(text: str) -> str:
    """What a program prints in a process of its own, where forking threads is its own business."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", text]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_ranges_cover_the_total_once_at_multiples_of_the_grain(rng: np.random.Generator) -> None:
    for _ in range(200):
        total, grain = int(rng.integers(1, 5000)), int(rng.integers(1, 300))
        threads.set_num_threads(int(rng.integers(1, 6)))
        found = chunks(total, grain)
        starts, stops = zip(*found)
        assert (starts[0], stops[-1]) == (0, total)
        assert starts[1:] == stops[:-1]
        assert all(start % grain == 0 for start in starts)
        assert len(found) <= 4 * threads.get_num_threads()


def test_ranges_depend_on_total_grain_and_count_only(rng: np.random.Generator) -> None:
    total, grain = int(rng.integers(1000, 9000)), int(rng.integers(1, 99))
    first = chunks(total, grain)
    assert all(chunks(total, grain) == first for _ in range(50))


@pytest.mark.parametrize(("count", "total", "grain"), [(1, 1000, 10), (3, 10, 10), (3, 7, 100)])
def test_one_thread_or_one_grain_is_one_call(count: int, total: int, grain: int) -> None:
    threads.set_num_threads(count)
    assert chunks(total, grain) == [(0, total)]


def test_nothing_to_do_is_no_call() -> None:
    assert chunks(0, 8) == []


def test_results_are_those_of_one_thread(rng: np.random.Generator) -> None:
    x = rng.standard_normal(300_001)
    out = np.empty_like(x)
    threads.split(x.size, 512, lambda a, b: np.multiply(x[a:b], x[a:b], out[a:b]))
    np.testing.assert_array_equal(out, x * x)


def test_all_threads_take_part_and_are_named() -> None:
    together, seen = meet(3), []

    def job(start: int, stop: int) -> None:
        together.wait()
        seen.append(threading.current_thread())

    threads.split(3, 1, job)
    workers = {t for t in seen if t is not threading.current_thread()}
    assert len(workers) == 2
    assert all(t.name == "tensorgrad" and t.daemon for t in workers)


def test_workers_are_made_when_first_needed_and_kept(pool: Any) -> None:
    assert pool._made == 0
    for _ in range(20):
        chunks(100, 1)
    assert pool._made == 2


def test_a_system_without_threads_left_still_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert len(chunks(1000, 1)) > 1


@pytest.mark.parametrize("where", ["caller", "worker"])
def test_an_error_is_raised_when_all_have_ended(where: str) -> None:
    threads.set_num_threads(2)
    together, ended, main = meet(2), [], threading.current_thread()

    def job(start: int, stop: int) -> None:
        together.wait()
        if (threading.current_thread() is main) == (where == "caller"):
            raise KeyError("bad")
        time.sleep(0.05)
        ended.append(start)

    with pytest.raises(KeyError, match="bad"):
        threads.split(2, 1, job)
    assert len(ended) == 1


def test_after_an_error_the_rest_is_left_out_and_the_pool_works_on() -> None:
    begun: list[int] = []

    def job(start: int, stop: int) -> None:
        begun.append(start)
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011  (it has no text)
        threads.split(1000, 1, job)
    assert len(begun) <= 3
    assert chunks(1000, 1)[-1][1] == 1000


@pytest.mark.parametrize("fails", [False, True])
def test_a_job_is_not_kept_alive(fails: bool) -> None:
    data = np.zeros(100)
    gone = weakref.ref(data)

    def job(start: int, stop: int, data: Any = data) -> None:
        data[start:stop] += 1
        if fails:
            raise ValueError

    gc.disable()
    try:
        for _ in range(20):
            with contextlib.suppress(ValueError):
                threads.split(100, 1, job)
        del data, job
        limit = time.monotonic() + WAIT  # a worker may be on its way back to sleep
        while gone() is not None and time.monotonic() < limit:
            time.sleep(0.001)
        assert gone() is None
    finally:
        gc.enable()


def test_inside_a_job_it_runs_inline() -> None:
    inner: list[tuple[int, int, bool]] = []

    def job(start: int, stop: int) -> None:
        outer = threading.current_thread()
        threads.split(
            100, 1, lambda a, b: inner.append((a, b, threading.current_thread() is outer))
        )

    threads.split(12, 1, job)
    assert inner == [(0, 100, True)] * 12


def test_the_next_call_finds_the_workers_of_the_last() -> None:
    together = meet(3)

    def job(start: int, stop: int) -> None:
        together.wait()

    for _ in range(50):
        threads.set_num_threads(3)
        threads.split(3, 1, job)


def test_two_callers_at_once(rng: np.random.Generator) -> None:
    inputs = [rng.standard_normal(50_000) for _ in range(2)]
    outs = [np.empty_like(x) for x in inputs]

    def call(k: int) -> None:
        x, out = inputs[k], outs[k]
        for _ in range(50):
            out[:] = 0
            threads.split(x.size, 1000, lambda a, b: np.exp(x[a:b], out[a:b]))
            np.testing.assert_array_equal(out, np.exp(x))

    other = threading.Thread(target=call, args=(1,))
    other.start()
    call(0)
    other.join(WAIT)
    np.testing.assert_array_equal(outs[1], np.exp(inputs[1]))


def test_a_worker_busy_elsewhere_is_not_waited_for() -> None:
    threads.set_num_threads(2)
    together, release = meet(3), threading.Event()

    def held(start: int, stop: int) -> None:
        together.wait()
        assert release.wait(WAIT)

    caller = threading.Thread(target=threads.split, args=(2, 1, held))
    caller.start()
    together.wait()  # the pool's one worker and the other caller are now inside a chunk
    assert chunks(1000, 1)[-1][1] == 1000
    assert caller.is_alive()
    release.set()
    caller.join(WAIT)
    assert not caller.is_alive()


def test_a_call_that_lost_time_to_a_worker_puts_the_workers_to_sleep() -> None:
    threads.set_num_threads(2)
    together, main, seen = meet(2), threading.current_thread(), set()

    def delayed(start: int, stop: int) -> None:
        together.wait()
        if threading.current_thread() is not main:
            time.sleep(0.1)

    def look(start: int, stop: int) -> None:
        seen.add(threading.current_thread())
        time.sleep(1e-3)

    threads.split(2, 1, delayed)
    threads.split(100, 1, look)
    assert seen == {main}
    found = chunks(1000, 1)
    threads.set_num_threads(2)  # ends the sleep: without the worker the barrier would break
    threads.split(2, 1, lambda start, stop: together.wait() and None)
    assert chunks(1000, 1) == found


def test_waiting_and_idling_take_no_processor_time() -> None:
    threads.set_num_threads(2)
    together, main = meet(2), threading.current_thread()

    def job(start: int, stop: int) -> None:
        together.wait()
        if threading.current_thread() is not main:
            time.sleep(0.2)

    begun = time.process_time()
    threads.split(2, 1, job)
    time.sleep(0.2)
    assert time.process_time() - begun < 0.05


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to threads")
def test_an_interrupt_is_raised_once_nothing_writes_any_more() -> None:
    threads.set_num_threads(2)
    together, main, ended = meet(2), threading.current_thread(), []

    def job(start: int, stop: int) -> None:
        together.wait()
        if threading.current_thread() is not main:
            time.sleep(0.05)
            signal.pthread_kill(main.ident or 0, signal.SIGINT)
            time.sleep(0.05)
            ended.append(start)

    with pytest.raises(KeyboardInterrupt):
        threads.split(2, 1, job)
    assert len(ended) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_begins_without_workers() -> None:
    text = """
import os, threading
from tensorgrad.backend import threads
def go():
    threads.set_num_threads(2)
    together, seen = threading.Barrier(2, timeout=10), []
    def job(a, b):
        together.wait(); seen.append(threading.get_ident())
    threads.split(2, 1, job)
    return len(set(seen))
assert go() == 2
child = os.fork()
if child == 0:
    os._exit(0 if threads._POOL._made == 0 and go() == 2 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), go())
"""
    assert run_python(text) == "0 2"


def test_the_process_ends_while_workers_sleep() -> None:
    text = """
from tensorgrad.backend import threads
threads.set_num_threads(3)
done = []
threads.split(99, 1, lambda start, stop: done.append(stop))
print(max(done))
"""
    assert run_python(text) == "99"


def test_the_count_is_told_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, pool: threads._Pool
) -> None:
    pool._count = 0
    monkeypatch.setenv("TG_NUM_THREADS", "7")
    assert threads.get_num_threads() == 7


def test_the_count_is_the_cores_of_the_process(
    monkeypatch: pytest.MonkeyPatch, pool: threads._Pool
) -> None:
    pool._count = 0
    monkeypatch.delenv("TG_NUM_THREADS", raising=False)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert threads.get_num_threads() == min(cores or 1, 16)


@pytest.mark.parametrize("told", ["0", "-1", "two", "1.5"])
def test_a_count_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, pool: threads._Pool, told: str
) -> None:
    pool._count = 0
    monkeypatch.setenv("TG_NUM_THREADS", told)
    text = f"threads: got TG_NUM_THREADS={told!r}, expected a positive whole number; try unset"
    with pytest.raises(ValueError, match=text):
        threads.get_num_threads()


@pytest.mark.parametrize("n", [0, -2, 1.5, "2"])
def test_a_number_of_threads_that_is_none_is_refused(n: Any) -> None:
    with pytest.raises(ValueError, match=f"set_num_threads: got n={n!r}, expected an int"):
        threads.set_num_threads(n)
