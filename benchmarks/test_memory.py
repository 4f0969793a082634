"""What fresh memory costs, and what is left of it where the memory of dead arrays is recycled.

The system maps and clears the pages of a large array at the first touch, and takes them back when
the array dies. How often depends on what the C library's allocator has seen before, so each time of
tanh, forward and backward, is told by a fresh process: with recycling, and beside it without. The
last rows fill a new array in this process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.floor import floor
from benchmarks.race import Children, Race, importable
from tensorgrad.backend import memory

ROOT = Path(__file__).parents[1]
SIZES = {"128K": 2**17, "1M": 2**20, "4M": 2**22, "16M": 2**24}
PROGRAM = """
import sys, time
import numpy as np
import tensorgrad as tg
x = np.random.default_rng(0).standard_normal(int(sys.argv[1]), dtype=np.float32)
x = tg.Tensor(x, requires_grad=True)
ct = tg.Tensor(np.ones(x.shape, np.float32))
times, end = [], time.perf_counter() + 0.3
while len(times) < 8 or time.perf_counter() < end:
    start = time.perf_counter()
    x.grad = None
    tg.tanh(x).backward(ct)
    times.append(time.perf_counter() - start)
print(sorted(times[3:])[len(times[3:]) // 2])
"""


def process(size: int, **env: str) -> Callable[[], float]:
    """Processes that report the median of their calls."""

    def run() -> float:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(size)],
            cwd=ROOT,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert not done.returncode, done.stderr
        return float(done.stdout)

    return run


@pytest.mark.parametrize("name", SIZES)
def test_forward_and_backward(children: Children, name: str) -> None:
    size = SIZES[name]
    beside = {"fresh": process(size, TG_RECYCLE="0")}
    children(f"tanh of {name}, f + b", process(size), {}, beside=beside, moved=20.0 * size)


@pytest.mark.parametrize("name", SIZES)
def test_a_new_array(race: Race, name: str) -> None:
    size = SIZES[name]
    x = np.ones(size, np.float32)
    peers: dict[str, Any] = {"torch": None}
    if importable("torch"):
        import torch

        peers = {"torch": torch.from_numpy(x).clone}
    copy, bare = memory.recycling(np.copy), floor(size, "x > y")
    race(
        f"copy of {name} to a new array",
        lambda: copy(x),
        peers,
        floor=bare.runs,
        beside={"fresh": lambda: np.copy(x)},
        moved=bare.moved,
    )
