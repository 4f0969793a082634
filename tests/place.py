"""Where the suite's arrays live: on the CPU, on a GPU, or on the stand-in for one (`--backend`).

A test of tensors runs unchanged on every backend. On a GPU the default device is that GPU, and one
door is moved: a bare NumPy array that a test hands to an operation goes there first, as
`tg.tensor(array, device="cuda:0")` sends it. What comes out of an operation is never touched, so a
result on the wrong device is refused by the next operation, or by NumPy.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TESTS = Path(__file__).parent
BACKENDS = ("cpu", "cuda", "stand-in")
DEVICE = "cuda:0"

SHARED = ("ops", "core", "nn", "models", "optim", "transforms", "textbook")
"""Folders whose tests run on every backend; those of `cuda` are about GPUs on any of them."""

RUNS = ("train",)
"""Folders of whole runs: on a GPU they are given that as their device, and see to the rest."""

chosen = "cpu"


def choose(backend: str) -> None:
    """Take the backend of this run; raises `pytest.UsageError` where there is no GPU for it."""
    global chosen
    if backend == "cuda":
        why = missing()
        if why:
            raise pytest.UsageError(
                f"--backend cuda: got {why}; try --backend stand-in, which needs no GPU"
            )
    chosen = backend


def missing() -> str:
    """What keeps CuPy from a GPU, in words; empty if nothing does."""
    if importlib.util.find_spec("cupy") is None:
        return "no CuPy, expected one: pip install 'tensorgrad[cuda13]'"
    import cupy

    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"no GPU ({error}), expected one"
    return "" if count else "no GPU, expected one"


def count() -> int:
    """How many GPUs CuPy sees."""
    return int(sys.modules["cupy"].cuda.runtime.getDeviceCount())


def settle() -> None:
    """Wait for the GPU; raises what its kernels found wrong and nobody has read yet."""
    importlib.import_module("tensorgrad.backend.cuda.faults").faults().wait()


def folder(path: Path) -> str:
    """The folder of `tests/` that a test file lies in; empty for what lies elsewhere."""
    parts = path.relative_to(TESTS).parts if path.is_relative_to(TESTS) else ()
    return parts[0] if len(parts) > 1 else ""


@contextmanager
def machine() -> Iterator[Any]:
    """The machine that the shared tests run on: CuPy's, or a fresh stand-in."""
    if str(TESTS / "cuda") not in sys.path:
        sys.path.append(str(TESTS / "cuda"))
    from ops_tools import gpus

    with gpus() as found:
        yield found


@contextmanager
def on(device: str = DEVICE) -> Iterator[None]:
    """Bare arrays and new tensors go to a device, for the length of a block."""
    import tensorgrad as tg
    from tensorgrad.backend import base
    from tensorgrad.transforms import forward

    door, usual = base.asarray, forward._USUAL

    def asarray(value: Any, dtype: Any = None) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            return base.on(device).asarray(value, dtype)
        return door(value, dtype)

    # Of the package's own code, as far as whoever looks for the caller's line can tell.
    asarray.__code__ = asarray.__code__.replace(co_filename=base.__file__)
    base.asarray = asarray
    forward._USUAL = frozenset()  # the dtypes of NumPy's arrays that jvp takes past that door
    try:
        with tg.device(device):
            yield
    finally:
        base.asarray, forward._USUAL = door, usual


@contextmanager
def elsewhere(path: Path) -> Iterator[str]:
    """The device of a test file of `SHARED` or `RUNS`, ready for its tests."""
    import tensorgrad as tg

    with machine(), on() if folder(path) in SHARED else tg.device(DEVICE):
        yield DEVICE


def here(value: Any) -> Any:
    """A tensor, on the tape or off it, or an array of any backend, as a NumPy array."""
    if hasattr(value, "detach"):
        return value.detach().numpy()
    return value.get() if type(value).__module__ == "cupy" else np.asarray(value)


def array(value: Any) -> Any:
    """A NumPy array as one of the chosen backend, in the same order of axes in memory."""
    from tensorgrad.backend import base

    return base.asarray(value)


def address(found: Any) -> int:
    """Where an array begins in memory."""
    from tensorgrad.backend import base

    return base.bounds(found)[0]


def shares(a: Any, b: Any) -> bool:
    """Whether two tensors share memory: exactly on the CPU, by their bounds on a GPU."""
    from tensorgrad.backend import base

    a, b = a.detach().data, b.detach().data
    if isinstance(a, np.ndarray):
        return bool(np.shares_memory(a, b))
    (start, stop), (first, last) = base.bounds(a), base.bounds(b)
    return bool(start < last and first < stop)


def ulps(count: int, dtype: Any) -> float:
    """The relative error of so many units in the last place; none on the CPU.

    For what is NumPy's own function there, and on a GPU one of CUDA's of the accuracy it documents.
    """
    return 0.0 if chosen == "cpu" or dtype.kind not in "fc" else count * float(np.finfo(dtype).eps)
