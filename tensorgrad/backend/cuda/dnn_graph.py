"""Graphs of NVIDIA's cuDNN frontend: built once, kept, and run on addresses.

A built graph is kept by its problem and by its device, so that a step which repeats meets only
built ones; then a call takes one workspace from the arena, copies nothing to the host and waits for
nothing, and can be captured.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache as once
from importlib import import_module
from typing import Any

import cupy
import numpy as np

from tensorgrad._errors import DeviceError, DTypeError, TensorgradError
from tensorgrad.backend.cuda import device, launch
from tensorgrad.backend.cuda.dnn_plan import Problem, barred, describe
from tensorgrad.backend.cuda.errors import CaptureError
from tensorgrad.backend.cuda.formula import overlap
from tensorgrad.backend.cuda.module import launches

Array = Any

KEPT = 512
"""Built graphs that are remembered; beyond it the oldest are forgotten."""

OLDEST = 90000
"""The first version of cuDNN whose graphs these are: 9.0.0."""

ALIGNED = 16
"""Bytes of which the address of every array is a multiple."""

COMPILED = ("sdpa_fwd_prefill_", "sdpa_bwd_sm", "frost_")
"""Engines of the frontend itself, by a part of their names: never taken.

They compile in Python when they are first run and need packages that cuDNN does not.
"""


class Unsupported(TensorgradError, RuntimeError):  # noqa: N818  (what it says is the error)
    """cuDNN has no engine for a problem; another kernel must be taken."""


# -- the library -------------------------------------------------------------------------------


@once
def _found() -> tuple[Any, str]:
    """The frontend, or what keeps it from working."""
    major = cupy.cuda.runtime.runtimeGetVersion() // 1000
    wheels = f"try pip install 'tensorgrad[cudnn]' nvidia-cudnn-cu{major}"
    try:
        found = import_module("cudnn")
        version = found.backend_version()
    except ModuleNotFoundError as error:
        got = f"no module {error.name}"
        return None, f"cudnn: got {got}, expected NVIDIA's frontend of cuDNN; {wheels}"
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        got = str(error).strip().partition("\n")[0] or type(error).__name__
        return None, f"cudnn: got {got!r}, expected libcudnn.so.9 to load; {wheels}"
    if version < OLDEST:
        return None, f"cudnn: got version {version}, expected {OLDEST} (9.0.0) or later; {wheels}"
    return found, ""


def library() -> Any:
    """The frontend; raises `DeviceError` where it or libcudnn is missing, with the pip command."""
    found, why = _found()
    if found is None:
        raise DeviceError(why)
    return found


def available() -> bool:
    """Whether the frontend, libcudnn 9 and a GPU are there."""
    return device.is_available() and _found()[0] is not None


# -- arrays ------------------------------------------------------------------------------------


def accepted(op: str, dtypes: Sequence[str], **arrays: Array) -> str:
    """The one dtype of arrays on the current device.

    Raises `DTypeError` if they differ, `DeviceError` if one is elsewhere, and `Unsupported` for a
    dtype that cuDNN does not take, or for an empty array.
    """
    here = device.current()
    first = next(iter(arrays.values()))
    for name, x in arrays.items():
        if x.data.device_id != here:
            raise DeviceError(
                f"{op}: got {name} on cuda:{x.data.device_id}, expected cuda:{here}, the current "
                f"device; try with cupy.cuda.Device({x.data.device_id})"
            )
        if x.dtype != first.dtype:
            raise DTypeError(
                f"{op}: got {name} of {x.dtype.name} beside {first.dtype.name}, expected one "
                "dtype; try astype"
            )
        if not x.size:
            raise Unsupported(f"{op}: got an empty {name}, expected elements; try another kernel")
    found = str(first.dtype.name)
    if found not in dtypes:
        raise Unsupported(f"{op}: got {found}, expected {' or '.join(dtypes)}; try another kernel")
    return found


def direct(target: Array | None, shape: tuple[int, ...], dtype: Any, *sources: Array) -> bool:
    """Whether a result can be written where it is asked for: it fits, and no input lies there."""
    return (
        target is not None
        and target.shape == shape
        and target.dtype == dtype
        and not any(overlap(target, x) for x in sources)
    )


# -- built graphs ------------------------------------------------------------------------------

_FREE: dict[int, list[Any]] = {}
"""Handles that no call is using, by device: a handle serves one thread at a time."""

_PLANS: dict[tuple[int, Problem], Plan | str] = {}
"""Built graphs, and for the problems that cuDNN refuses what it said."""

_BUILDING = threading.RLock()


class _Handle:
    """A context in which a handle is this thread's, on the current stream."""

    def __init__(self, cudnn: Any, k: int) -> None:
        self._cudnn = cudnn
        self._free = _FREE.setdefault(k, [])

    def __enter__(self) -> Any:
        try:
            self._held = self._free.pop()
        except IndexError:
            self._held = self._cudnn.create_handle()
        self._cudnn.set_stream(handle=self._held, stream=launch.stream())
        return self._held

    def __exit__(self, *exc: object) -> None:
        self._free.append(self._held)


class Plan:
    """A built graph: `plan(*arrays)` computes on the current stream.

    Raises `Unsupported` when it is made for a problem without an engine.
    """

    __slots__ = ("_cudnn", "_device", "_graph", "_lock", "name", "workspace")

    def __init__(self, cudnn: Any, problem: Problem, k: int) -> None:
        self.name = f"cudnn_{problem.kind}"
        self._cudnn = cudnn
        self._device = k
        self._lock = threading.Lock()
        with _Handle(cudnn, k) as handle:
            try:
                self._graph = _built(cudnn, problem, handle)
            except (cudnn.cudnnGraphNotSupportedError, RuntimeError) as error:
                raise Unsupported(_refusal(problem, error)) from error
        self.workspace = int(self._graph.get_workspace_size())

    def __call__(self, *arrays: Array) -> None:
        """Run on the inputs and then the outputs of the problem, in its order."""
        scratch = cupy.empty(self.workspace, np.uint8) if self.workspace > 0 else None
        pointers = {uid: launch.address(x) for uid, x in enumerate(arrays, 1)}
        launches[self.name] += 1
        with _Handle(self._cudnn, self._device) as handle, self._lock:
            self._graph.execute(pointers, launch.address(scratch), handle=handle)


def _built(cudnn: Any, problem: Problem, handle: Any) -> Any:
    """A graph with its plan, the heuristics' first that is allowed and can be built."""
    graph = describe(cudnn, problem, handle)
    graph.build_operation_graph()
    graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
    graph.deselect_engines(list(COMPILED))
    notes = [getattr(cudnn.numerical_note, name) for name in barred(problem)]
    if notes:
        graph.deselect_numeric_notes(notes)
    graph.check_support()
    graph.build_plans()
    return graph


def _refusal(problem: Problem, error: Exception) -> str:
    tensors = ", ".join(f"{s.dtype}{s.shape}" for s in problem.inputs)
    why = str(error).strip().partition("\n")[0]
    return (
        f"cudnn: got {problem.kind} of {tensors} with options {problem.options}, expected what "
        f"cuDNN has an engine for ({why or type(error).__name__}); try another kernel"
    )


def plan(problem: Problem) -> Plan:
    """The built graph of a problem for the current device.

    Raises `Unsupported` where cuDNN has no engine, `DeviceError` where there is no cuDNN, and
    `CaptureError` if it would have to be built while the current stream captures.
    """
    key = device.current(), problem
    found = _PLANS.get(key)
    if found is None:
        found = _made(key)
    if isinstance(found, str):
        raise Unsupported(found)
    return found


def _made(key: tuple[int, Problem]) -> Plan | str:
    """Build what is not there yet; one thread at a time."""
    k, problem = key
    cudnn = library()
    if cupy.cuda.get_current_stream().is_capturing():
        raise CaptureError(
            f"cudnn: got a first {problem.kind} of these shapes while a graph is captured, "
            "expected it to be planned before; try running the step once before it is captured"
        )
    with _BUILDING:
        found = _PLANS.get(key)
        if found is None:
            try:
                found = Plan(cudnn, problem, k)
            except Unsupported as error:
                found = str(error)
            while len(_PLANS) >= KEPT:
                del _PLANS[next(iter(_PLANS))]
            _PLANS[key] = found
    return found
