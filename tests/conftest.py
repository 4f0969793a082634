"""Fixtures of the whole suite: fresh random inputs whose seed is printed, and the backend."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import place
import pytest

MARKERS = (
    "cpu_only(reason): about the CPU alone; left out under --backend cuda and stand-in",
    "stand_in(reason): about the stand-in for CuPy, or needs its knobs; left out with a real GPU",
    "gpus(count): needs so many GPUs; skipped with a real machine that has fewer",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="sweep everything, not a sample")
    parser.addoption("--seed", type=int, default=None, help="repeat a test with the printed seed")
    parser.addoption("--run-seed", help="repeat a whole run: any text, fresh if none is given")
    parser.addoption(
        "--backend", choices=place.BACKENDS, default="cpu",
        help="run the tests of tensors there: a GPU, or the stand-in for one",
    )  # fmt: skip


def pytest_report_header(config: pytest.Config) -> str:
    return f"repeat this run with: pytest --run-seed {config.option.run_seed}"


def pytest_configure(config: pytest.Config) -> None:
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    place.choose(config.getoption("--backend"))
    given = config.option.run_seed or os.environ.get("TG_RUN_SEED") or os.urandom(4).hex()
    config.option.run_seed = os.environ["TG_RUN_SEED"] = given  # of the processes of -n 2, too
    os.environ.pop("PYTEST_ADDOPTS", None)  # of this run, not of those that tests start


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path) -> Generator[None, Any, Any]:
    """No doctests of a test file: where it can't be imported, they skip it without an error."""
    found = yield
    tests = file_path.name.startswith("test_")
    return [c for c in found if not (tests and type(c).__name__ == "DoctestModule")]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what says nothing about the backend that was asked for."""
    if place.chosen == "cpu":
        return
    left = [item for item in items if not says_something(item)]
    items[:] = [item for item in items if says_something(item)]
    config.hook.pytest_deselected(items=left)


def pytest_collection_finish() -> None:
    """What collecting made lives to the end: the collector need not look at it in every test."""
    gc.collect()
    gc.freeze()


def says_something(item: pytest.Item) -> bool:
    """Whether a test is about the chosen backend, one that is not the CPU."""
    where = place.folder(item.path)
    if where == "cuda":  # with a GPU: what asks `gpus` for a machine, not what plays one itself
        module = getattr(item, "module", None)
        asks = hasattr(module, "gpus") and not hasattr(module, "fakecupy")
        real = asks and item.get_closest_marker("stand_in") is None
        return place.chosen == "stand-in" or real
    return where in place.SHARED + place.RUNS and item.get_closest_marker("cpu_only") is None


def pytest_runtest_setup(item: pytest.Item) -> None:
    wanted = item.get_closest_marker("gpus")
    if wanted is not None and place.chosen == "cuda" and place.count() < wanted.args[0]:
        pytest.skip(f"needs {wanted.args[0]} GPUs")


@pytest.fixture(scope="module", autouse=True)
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """The device of every array in shared tests: that of the chosen backend."""
    if place.chosen == "cpu" or place.folder(request.path) not in place.SHARED + place.RUNS:
        yield "cpu"
        return
    with place.elsewhere(request.path) as there:
        yield there


@pytest.fixture(autouse=True)
def faults(device: str) -> Iterator[None]:
    """A fault that a kernel noted belongs to the test that made it, and fails it."""
    yield
    if device != "cpu":
        place.settle()


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Of the run's seed and the test's name; `--seed N` repeats a failure."""
    chosen = request.config.getoption("--seed")
    own = f"{request.config.getoption('--run-seed')} {request.node.nodeid}"
    value = crc32(own.encode()) if chosen is None else int(chosen)
    request.node.user_properties.append(("seed", value))
    return value


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    """NumPy's generator on the test's seed."""
    return np.random.default_rng(seed)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    seeds = [value for name, value in item.user_properties if name == "seed"]
    if report.failed and seeds:
        report.sections.append(("seed", f"repeat with: pytest --seed {seeds[0]} {item.nodeid!r}"))
