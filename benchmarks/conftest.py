"""How everything here is measured.

One thread on one core: `__init__.py` sets the variables that BLAS libraries and XLA read before
NumPy is imported, the peers are told the same, and the process is pinned to the last core that it
may use before any of them starts a thread. In every round ours and each peer run one after the
other in this process; what is compared are minima over the rounds, because noise only ever adds.
`pytest benchmarks` measures whatever addopts says; a table closes the session, and
`--benchmark-json FILE` keeps the same numbers under `extra_info`. `--seconds S` sets the time
spent on a case. A peer that is not installed is "not measured". Results and gradients are compared
with the peers' where they are installed; speed and the goals are shown, never asserted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from benchmarks.race import Children, Race
from benchmarks.table import loose, machine, report


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seconds", type=float, default=2.0, help="time spent on a benchmark")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if not config.option.benchmark_skip:
        config.option.benchmark_enable = True
    config.option.benchmark_quiet = not config.option.benchmark_verbose  # our table says it all
    # A test that is skipped or fails before the clock starts says so itself.
    unused = "ignore:Benchmark fixture was not used:pytest_benchmark.logger.PytestBenchmarkWarning"
    config.addinivalue_line("filterwarnings", unused)


LOOSE = pytest.StashKey[int]()


@pytest.fixture(scope="session", autouse=True)
def one_core(request: pytest.FixtureRequest) -> Iterator[int | None]:
    """Pin the process to one core and every library to one thread, while benchmarks run."""
    from threadpoolctl import threadpool_limits

    cores = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else set()
    if cores:
        os.sched_setaffinity(0, {max(cores)})
    with threadpool_limits(1):
        yield max(cores, default=None)
    if cores:
        request.config.stash[LOOSE] = loose(max(cores))
        os.sched_setaffinity(0, cores)


@pytest.fixture
def race(benchmark: object, request: pytest.FixtureRequest) -> Race:
    """Time ours against the peers; see `Race`."""
    return Race(benchmark, request.config.getoption("--seconds"), request.config.stash)


@pytest.fixture
def children(request: pytest.FixtureRequest) -> Children:
    """Time processes by what they report; see `Children`."""
    request.node.add_marker(pytest.mark.benchmark(timer=Children.clock))
    benchmark = request.getfixturevalue("benchmark")
    return Children(benchmark, request.config.getoption("--seconds"), request.config.stash)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = report(terminalreporter.config.stash)
    if lines:
        terminalreporter.section("measured")
        for line in [*machine(), _pinned(terminalreporter.config.stash), "", *lines]:
            terminalreporter.write_line(line)


def _pinned(stash: pytest.Stash) -> str:
    threads = stash.get(LOOSE, None)
    if threads is None:
        return "not pinned: this system does not let a process choose its cores"
    return f"threads not on the one core: {threads}{', so beware' if threads else ''}"
