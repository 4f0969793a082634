"""What a process pays at first: `python -m benchmarks.first CASE` prints seconds.

`gelu`, `layer_norm`, `adam`: the dearest kernel of that backward or update, from its formula to a
function that can be called, with the code generator itself already at work; nan where the library
generates none. `step`: the first training step of a classifier, loading of all that it needs
included. Whether kernels are compiled or loaded is up to the folder of $XDG_CACHE_HOME, whether
there are any to TG_KERNELS.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import tensorgrad as tg


def kernels_of(action: Callable[[], Any]) -> list[float]:
    """Seconds of each kernel that `action` needs for the first time."""
    from tensorgrad.codegen.kernels import KERNELS

    found: list[float] = []
    find, seen, depth = KERNELS.find, set(), [0]

    def timed(mark: Any, build: Callable[[], Any]) -> Any:
        depth[0] += 1
        start = time.perf_counter()
        made = find(mark, build)
        seconds = time.perf_counter() - start
        depth[0] -= 1
        if made is not None and mark not in seen and not depth[0]:
            found.append(seconds)
        seen.add(mark)
        return made

    KERNELS.find = timed  # type: ignore[method-assign]
    action()
    KERNELS.find = find  # type: ignore[method-assign]
    return found


def warm() -> None:
    """Start the code generator, and let the entries for small arrays test themselves."""
    tg.fuse(lambda x, y: x * y + x)(np.ones(3, np.float32), np.ones(3, np.float32))


def gelu() -> float:
    x = tg.Tensor(np.linspace(-2, 2, 64, dtype=np.float32), requires_grad=True)
    y = tg.gelu(x, "tanh")
    return max(kernels_of(lambda: y.backward(np.ones(64, np.float32))), default=float("nan"))


def layer_norm() -> float:
    rng = np.random.default_rng(0)
    shapes = ((8, 64), (64,), (64,))
    x, weight, bias = (
        tg.Tensor(rng.standard_normal(s, dtype=np.float32), requires_grad=True) for s in shapes
    )
    y = tg.layer_norm(x, (64,), weight, bias)
    return max(kernels_of(lambda: y.backward(np.ones((8, 64), np.float32))), default=float("nan"))


def adam() -> float:
    weight = tg.nn.Parameter(np.ones(64, np.float32))
    optimizer = tg.optim.Adam([weight])
    weight.grad = tg.Tensor(np.ones(64, np.float32))
    return max(kernels_of(optimizer.step), default=float("nan"))


def step() -> float:
    rng = np.random.default_rng(0)
    x = tg.Tensor(rng.standard_normal((64, 784), dtype=np.float32))
    labels = rng.integers(0, 10, 64)
    start = time.perf_counter()
    net = tg.nn.Sequential(tg.nn.Linear(784, 128), tg.nn.ReLU(), tg.nn.Linear(128, 10))
    optimizer = tg.optim.Adam(net.parameters())
    optimizer.zero_grad()
    tg.cross_entropy(net(x), labels).backward()
    optimizer.step()
    return time.perf_counter() - start


CASES = {case.__name__: case for case in (gelu, layer_norm, adam, step)}

if __name__ == "__main__":
    case = CASES[sys.argv[1]]
    if case is not step:
        warm()
    print(case())
