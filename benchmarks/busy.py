"""One library on two cores in a process of its own, at its own settings, and a busy neighbour.

`python -m benchmarks.busy measure CONTENDER SECONDS` prints JSON: case -> minimum, median and mean
seconds of its calls. `python -m benchmarks.busy spin PARENT` takes one core until killed, or until
its parent is gone. Libraries choose their threads when they are imported, so nothing is imported
above that would import NumPy, and the variables that this package sets are taken back first.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

Run = Callable[[], Any]
STEPS = (((64, 64, 64, 10), 64), ((784, 128, 128, 10), 64), ((784, 512, 512, 10), 128))
SIZE = 2**22
WARM, PAUSE = 0.3, 0.1  # seconds: kernels are compiled; threads that spin go to sleep


def at_defaults() -> None:
    """Two cores, and no variable that tells a library how many threads to take."""
    for name in list(os.environ):
        if name.endswith("_NUM_THREADS") or name == "XLA_FLAGS":
            del os.environ[name]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))  # the system keeps those it allows
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])


def _ours() -> tuple[Any, Any, Any]:
    import tensorgrad as tg
    from benchmarks import nets, peers

    return nets.ours, peers.ours, lambda x: tg.nn.functional.gelu(x, "tanh")


def _torch(threads: int | None) -> tuple[Any, Any, Any]:
    import torch

    from benchmarks import nets, peers

    count = threads or torch.get_num_threads()

    def at_count(make: Callable[..., Any]) -> Callable[..., Any]:
        def made(*args: Any) -> Any:
            found = make(*args)
            torch.set_num_threads(count)  # the maker has set it to one
            return found

        return made

    gelu = torch.nn.functional.gelu
    made = at_count(nets.with_torch), at_count(peers.with_torch)
    return (*made, lambda x: gelu(x, approximate="tanh"))


def _jax() -> tuple[Any, Any, Any]:
    import jax

    from benchmarks import nets, peers

    return nets.with_jax, peers.with_jax, lambda x: jax.nn.gelu(x, approximate=True)


CONTENDERS: dict[str, Callable[[], tuple[Any, Any, Any]]] = {
    "ours": _ours,
    "torch": lambda: _torch(None),
    "torch, 1 thread": lambda: _torch(1),
    "jax": _jax,
}


def cases(contender: str) -> Iterator[tuple[str, Run]]:
    """What is measured, one after the other, made when its turn comes."""
    network, function, gelu = CONTENDERS[contender]()
    import numpy as np

    from benchmarks import nets

    rng = np.random.default_rng(0)
    for sizes, batch in STEPS:
        net = network(nets.initial(sizes))
        x = net.place(rng.standard_normal((batch, sizes[0]), dtype=np.float32))
        step = partial(net.step, x, net.place(rng.integers(0, sizes[-1], batch)))
        yield f"step {'-'.join(map(str, sizes))}, batch {batch}", step
    x, ct = (rng.standard_normal(SIZE, dtype=np.float32) for _ in range(2))
    yield "GELU, tanh, f + b, 4M", function(gelu, [x], ct).run


def timed(run: Run, seconds: float) -> tuple[float, float, float]:
    """Minimum, median and mean seconds of the calls that fill a time, at least five."""
    warm = time.perf_counter() + WARM
    while time.perf_counter() < warm:
        run()
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    found.sort()
    return found[0], found[len(found) // 2], sum(found) / len(found)


def measure(contender: str, seconds: float) -> dict[str, tuple[float, float, float]]:
    """All cases of a contender."""
    found = {}
    for case, run in cases(contender):
        time.sleep(PAUSE)
        found[case] = timed(run, seconds)
    return found


def spin(parent: int) -> None:
    """Be busy while the parent lives."""
    print("spinning", flush=True)
    while os.getppid() == parent:
        for _ in range(10**6):
            pass


if __name__ == "__main__":
    at_defaults()
    if sys.argv[1] == "spin":
        spin(int(sys.argv[2]))
    else:
        print(json.dumps(measure(sys.argv[2], float(sys.argv[3]))))
