"""The process that runs the cases: `python -m benchmarks.gpu_worker` with orders on its input.

It tells what it finds line by line, as JSON; whatever libraries print goes to the log. When the GPU
answers no more it ends, and another process goes on with the next case.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOST = 3
"""Exit status of a process whose GPU answers no more."""

Tell = Callable[[dict[str, Any]], None]


def environment(stand_in: bool) -> None:
    """What libraries read when they are imported: the package's variables are for the CPU."""
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if not stand_in:
        for name in list(os.environ):
            if name.endswith("_NUM_THREADS") or name in ("XLA_FLAGS", "JAX_PLATFORMS"):
                del os.environ[name]


def teller() -> Tell:
    """A way to the parent by this process's output, which nothing else writes to any more."""
    sys.stdout.flush()
    line = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(message: dict[str, Any]) -> None:
        line.write(json.dumps(message, default=float) + "\n")
        line.flush()

    return tell


@contextmanager
def gpu(stand_in: bool) -> Iterator[None]:
    """The GPU, or the stand-in for it."""
    if not stand_in:
        yield
        return
    sys.path[:0] = [str(ROOT / "tests" / "cuda"), str(ROOT / "tests")]
    from ops_tools import gpus

    with gpus(memory=2 * 2**30):
        yield


def machine() -> dict[str, Any]:
    """What the GPU says of itself."""
    import tensorgrad as tg
    from tensorgrad.backend.cuda import device

    found: dict[str, Any] = {"devices": device.count()}  # raises, and says what is missing
    import cupy

    properties = tg.cuda.get_device_properties()
    found |= {name: getattr(properties, name) for name in properties.__slots__}
    found["driver_cuda"] = cupy.cuda.runtime.driverGetVersion()
    found["runtime_cuda"] = cupy.cuda.runtime.runtimeGetVersion()
    found["nvrtc"] = ".".join(map(str, cupy.cuda.nvrtc.getVersion()))
    return found


class Shares:
    """How long each section may take: its weight's part of what is left when it begins."""

    def __init__(self, weights: Mapping[str, float], until: float) -> None:
        self._left = dict(weights)
        self._until = until
        self._section, self._end = "", 0.0

    def end(self, section: str) -> float:
        """When the section's time is over."""
        if section != self._section:
            whole = sum(self._left.values())
            weight = self._left.pop(section)
            now = time.monotonic()
            self._section, self._end = section, now + (self._until - now) * weight / whole
        return self._end


def run(orders: dict[str, Any], tell: Tell) -> int:
    """Run the cases that are ordered; the exit status."""
    from benchmarks.gpu_bench import Bench, LostError, Part, cleared, told
    from benchmarks.gpu_cases import WEIGHTS, cases

    wanted = {(section, name) for section, name in orders["cases"]}
    every = [case for case in cases() if (case.section, case.name) in wanted]
    sections = {case.section for case in every}
    until = time.monotonic() + orders["seconds"]
    shares = Shares({s: w for s, w in WEIGHTS.items() if s in sections}, until)
    bench = Bench(tell, orders["tiny"], orders["stand_in"], dict(orders["facts"]))
    tell({"kind": "machine", "machine": machine()})
    gone = False
    for case in every:
        bench.section, bench.case = case.section, case.name
        mark = {"section": case.section, "case": case.name}
        tell({"kind": "begin", **mark})
        bench.until = shares.end(case.section)
        start, failure = time.monotonic(), ""
        if bench.late:
            bench.note(Part(case.name), "skipped: the time of the section was spent")
        else:
            try:
                case.run(bench)
            except LostError as error:
                failure, gone = told(error), True
            except Exception as error:
                failure = told(error)
                print(f"{case.section}, {case.name}:", file=sys.stderr)
                sys.excepthook(type(error), error, error.__traceback__)
        if not gone:
            cleared()
        tell({"kind": "end", **mark, "seconds": time.monotonic() - start, "error": failure})
        if gone:
            break
    tell({"kind": "done"})
    return LOST if gone else 0


def main() -> int:
    orders = json.loads(sys.stdin.readline())
    environment(orders["stand_in"])
    tell = teller()
    with gpu(orders["stand_in"]):
        return run(orders, tell)


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # a GPU that answers no more can hold up the end of a process
