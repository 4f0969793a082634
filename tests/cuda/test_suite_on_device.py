"""`--backend`: the same tests on the CPU, on a GPU, or on the stand-in for one."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import place
import pytest
from ops_tools import gpus

import tensorgrad as tg
from tensorgrad.backend.refused import REFUSED

ROOT = Path(__file__).parent.parent.parent
MOST = 32  # reasons, by file, why tests of the shared folders stay on the CPU


def marked(path: Path) -> list[tuple[str, str]]:
    """(test, reason) of every `cpu_only` in a file."""
    return [
        (path.name, ast.literal_eval(node.args[0]))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.cpu_only"
    ]


def test_few_tests_stay_on_the_cpu_and_each_says_why() -> None:
    found = {
        one
        for folder in place.SHARED + place.RUNS
        for path in (place.TESTS / folder).glob("test_*.py")
        for one in marked(path)
    }
    assert 0 < len(found) <= MOST, found
    assert all(len(reason.split()) > 3 for _, reason in found)


def test_the_manual_names_what_a_gpu_refuses() -> None:
    page = (ROOT / "docs" / "pages" / "gpu.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\w+", page.partition("These refuse")[2]))
    assert {name.rpartition(".")[2] for name in REFUSED} <= named


def pytest_run(*arguments: str) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def test_the_suite_runs_on_the_stand_in() -> None:
    """A file of each kind: what is about the CPU alone is left out, the rest passes there."""
    found = pytest_run("--backend", "stand-in", "tests/core/test_devices.py",
                       "tests/ops/test_create.py", "tests/backend/test_blas.py")  # fmt: skip
    assert found.returncode == 0, found.stdout[-3000:]
    assert "deselected" in found.stdout


@pytest.mark.stand_in("a machine with a GPU has nothing to refuse")
@pytest.mark.skipif(not place.missing(), reason="there is a GPU")
def test_without_a_gpu_the_real_one_is_refused() -> None:
    found = pytest_run("--backend", "cuda", "tests/ops/test_create.py")
    assert found.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--backend cuda: got no " in found.stderr
    assert "try --backend stand-in" in found.stderr


def test_bare_arrays_go_to_the_device_and_results_stay_there(rng: np.random.Generator) -> None:
    import tensorgrad.backend.base as base

    door = base.asarray
    x = rng.standard_normal((3, 4))
    with gpus(), place.on():
        assert tg.exp(x).device == tg.Tensor(x).device == tg.zeros(2).device == place.DEVICE
        assert isinstance(tg.grad(lambda a: (a * a).sum())(x), np.ndarray)
        with pytest.raises(TypeError):
            np.asarray(tg.exp(x).data)
        with pytest.raises(tg.DeviceError):
            tg.exp(x) + tg.exp(x).to("cpu")
    assert base.asarray is door
    assert tg.exp(x).device == "cpu"


def test_a_fault_fails_the_test_that_made_it(rng: np.random.Generator) -> None:
    with gpus(), place.on():
        tg.take(rng.standard_normal(3), np.array([5]))
        with pytest.raises(IndexError, match="take: got an index out of range"):
            place.settle()
        place.settle()
