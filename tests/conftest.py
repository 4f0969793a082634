"""Fixtures of the whole suite: fresh random inputs whose seed is printed when a test fails."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="sweep everything, not a sample")
    parser.addoption("--seed", type=int, default=None, help="repeat a run with the printed seed")


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A fresh seed; `--seed N` repeats a failure."""
    chosen = request.config.getoption("--seed")
    value = int.from_bytes(os.urandom(4), "little") if chosen is None else int(chosen)
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
