"""The README, followed literally: its examples run, and its way to add an operation works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = [textwrap.dedent(b) for b in re.findall(r"^ *```python\n(.*?)^ *```$", TEXT, re.M | re.S)]
RECIPE = next(block for block in BLOCKS if block.startswith("squareplus"))


def test_the_first_example_takes_ten_lines() -> None:
    lines = [line for line in BLOCKS[0].splitlines() if line.strip()]
    assert len(lines) == 10


def test_the_examples_run_in_order() -> None:
    names: dict[str, object] = {}
    for block in BLOCKS:
        if block is not RECIPE:
            exec(compile(block, "README.md", "exec"), names)


def test_adding_an_operation_is_one_entry_in_one_file(tmp_path: Path) -> None:
    for folder in ("tensorgrad", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.pyc"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    place = re.search(r"Add it to `([\w/.]+)`", TEXT)
    assert place is not None
    with (tmp_path / place[1]).open("a") as file:
        file.write("\n\n" + RECIPE)
    command = re.search(r"`pytest (tests/ops -k \w+)`", TEXT)
    assert command is not None
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *command[1].split()],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    passed = re.search(r"(\d+) passed", found.stdout)
    assert passed is not None
    assert int(passed[1]) >= 10
    code = "import tensorgrad as tg; f = tg.squareplus; print(tg.grad(tg.grad(f))(0.5), f(0.0))"
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    second, value = shown.stdout.split()
    assert float(second) == pytest.approx(2 / (0.5**2 + 4) ** 1.5)
    assert value == "tensor(1.)"
