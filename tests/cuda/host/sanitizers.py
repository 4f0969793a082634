"""Launches under ThreadSanitizer, or AddressSanitizer with UBSan, in a process of their own.

    reports = run([Case("sum", source, "sum_f32", (1,), (256,), (x, y, np.int32(n)))], "thread")

The sanitizer's runtime is preloaded into the child's interpreter, which launches one case after the
other; a report belongs to the case that was running. Whole test files run the same way: see
`environment`.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from . import Module, compiled
from .launch import KernelError

LIBRARIES = {"thread": ("libtsan.so",), "address": ("libasan.so", "libubsan.so")}
OPTIONS = {
    "TSAN_OPTIONS": "exitcode=66:halt_on_error=0:report_signal_unsafe=0",
    "ASAN_OPTIONS": "exitcode=66:detect_leaks=0:handle_segv=1:detect_stack_use_after_return=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}
SECONDS = 300
END = "-"


@dataclass(frozen=True)
class Shifted:
    """An array whose data begin `offset` bytes past a 16-byte boundary and end their allocation."""

    array: Any
    offset: int


@dataclass(frozen=True)
class Within:
    """The address `offset` bytes into an array, which is all that may be touched around it."""

    array: Any
    offset: int


@dataclass(frozen=True)
class Case:
    """One launch; arrays are copied, so that each has an allocation of exactly its size.

    `unordered_blocks` lets the thread sanitizer see writes of two blocks to one address; only for
    kernels without shared memory.
    """

    name: str
    source: str
    kernel: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    args: tuple[Any, ...]
    shared: int = 0
    schedule: str = "even"
    unordered_blocks: bool = False


def run(cases: Sequence[Case], sanitize: str) -> dict[str, str]:
    """The reports by the name of the case; an empty text means that nothing was found."""
    reports = {case.name: "" for case in cases}
    left = list(cases)
    while left:
        done = _child(left, sanitize)
        _, *pieces = done.stderr.split("\ncase: ")
        found = [piece.partition("\n")[::2] for piece in pieces]
        ended = bool(found) and found[-1][0] == END
        reached = {name: _clean(text) for name, text in found if name != END}
        if not ended and not any(reached.values()):
            raise RuntimeError(f"the child ended with {done.returncode}:\n{done.stderr[-4000:]}")
        reports |= reached
        left = [] if ended else left[len(reached) :]  # a first report may end the process
    return reports


def _clean(text: str) -> str:
    """A report without the remark that fibers may confuse the sanitizer: it is told of them."""
    lines = text.strip().splitlines()
    return "\n".join(line for line in lines if "doesn't fully support makecontext" not in line)


def environment(sanitize: str) -> dict[str, str]:
    """The environment of a process whose modules are built with the sanitizer: for whole tests.

    `python -m pytest tests/cuda/test_x.py` run in it exits with 66 after a report.
    """
    libraries = " ".join(_library(name) for name in LIBRARIES[sanitize])
    quiet = {"OPENBLAS_NUM_THREADS": "1", "PYTHONMALLOC": "malloc", "PYTHONDONTWRITEBYTECODE": "1"}
    return os.environ | OPTIONS | quiet | {"LD_PRELOAD": libraries, "TG_CUDA_SANITIZE": sanitize}


def fixed_addresses(command: Sequence[str]) -> list[str]:
    """The command without address randomisation, which older sanitizers cannot bear."""
    trial = ["setarch", "-R", "true"]
    try:
        ok = subprocess.run(trial, capture_output=True, check=False).returncode == 0
    except OSError:
        ok = False
    return [*trial[:2], *command] if ok else list(command)


@cache
def _library(name: str) -> str:
    asked = ["gcc", f"-print-file-name={name}"]
    found = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(found).is_absolute():
        import pytest  # late: the child has no use for it

        pytest.skip(f"running kernels under a sanitizer needs gcc's {name}")
    return found


def _child(cases: Sequence[Case], sanitize: str) -> subprocess.CompletedProcess[str]:
    kernels: dict[str, list[str]] = {}
    for case in cases:
        kernels.setdefault(case.source, []).append(case.kernel)
    made = {text: compiled(text, names, sanitize=sanitize) for text, names in kernels.items()}
    built = [made[case.source] for case in cases]
    with tempfile.NamedTemporaryFile(suffix=".pickle") as file:
        pickle.dump(list(zip(cases, built)), file)
        file.flush()
        inner = "import sys; sys.path.insert(0, sys.argv[1]); from host import sanitizers as s; "
        inner += "s.launch_all(sys.argv[2])"
        command = [sys.executable, "-c", inner, str(Path(__file__).parents[1]), file.name]
        return subprocess.run(
            fixed_addresses(command),
            env=environment(sanitize),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )


def launch_all(path: str) -> None:
    """What the child does: every case in turn, announced on stderr, faults told there too."""
    with open(path, "rb") as file:
        cases = pickle.load(file)
    # all are loaded before the first report, which fixes what can be named in reports
    modules = [Module(library, names, case.schedule) for case, (library, names) in cases]
    for (case, _), module in zip(cases, modules):
        function = module.get_function(case.kernel)
        function.max_dynamic_shared_size_bytes = max(case.shared, 48 * 1024)
        copies = {id(a): _fresh(a) for a in case.args}
        arguments = [copies[id(a)] for a in case.args]
        values = [a[1] if isinstance(a, tuple) else a for a in arguments]
        os.write(2, f"\ncase: {case.name}\n".encode())
        try:
            function(
                case.grid,
                case.block,
                values,
                case.shared,
                unordered_blocks=case.unordered_blocks,
            )
        except KernelError as error:
            os.write(2, f"KernelError: {error}\n".encode())
    os.write(2, f"\ncase: {END}\n".encode())


def _fresh(argument: Any) -> Any:
    """An array in an allocation of its own; a shifted one as (owner, address)."""
    if isinstance(argument, Shifted):
        data = np.ascontiguousarray(argument.array)
        owner = np.empty(data.nbytes + argument.offset, np.uint8)
        owner[argument.offset :] = data.reshape(-1).view(np.uint8)
        return owner, owner.ctypes.data + argument.offset
    if isinstance(argument, Within):
        owner = np.array(argument.array)
        return owner, owner.ctypes.data + argument.offset
    return np.array(argument) if isinstance(argument, np.ndarray) else argument
