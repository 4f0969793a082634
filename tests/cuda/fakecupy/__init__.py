"""A stand-in for CuPy 14.2 on a machine without a GPU: NumPy computes, g++ runs the kernels.

    with fakecupy.install(devices=2) as machine:
        import cupy

It is as strict as CuPy: no implicit conversion, operands on the current device only, host reads and
cuBLAS refused while a stream captures, fresh memory full of NaN. What CuPy 14.2 lacks it lacks too;
what it lacks besides is added in `functions.py`. `machine.launches` counts kernels by name.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import (
    device,
    functions,
    generators,
    kernels,
    memory,
    methods,
    pinned,
    sparse,
    streams,
    ufuncs,
)
from .array import KINDS, ndarray
from .machine import CUDARuntimeError, Machine, machine, play

__all__ = ["Machine", "install", "machine"]

DTYPES = """int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64
complex128 bool_ intp generic number integer floating complexfloating inexact""".split()


def _module(name: str, members: dict[str, Any]) -> types.ModuleType:
    found = types.ModuleType(name)
    found.__dict__.update(members)
    found.__path__ = []
    found.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)

    def missing(attribute: str) -> Any:
        raise AttributeError(
            f"module {name!r} has no attribute {attribute!r} (in the stand-in for CuPy 14.2)"
        )

    found.__getattr__ = missing  # type: ignore[method-assign]
    return found


def _is_available() -> bool:
    try:
        return device.device_count() > 0
    except CUDARuntimeError:
        return False


def _cuda() -> dict[str, types.ModuleType]:
    """`cupy.cuda` and what lies in it."""
    names = "BaseMemory Memory MemoryPointer MemoryPool UnownedMemory alloc get_allocator"
    shared = {n: getattr(memory, n) for n in f"{names} set_allocator".split()}
    inner = {
        "memory": {**shared, "OutOfMemoryError": memory.OutOfMemoryError}
        | {"PooledMemory": memory.PooledMemory, "_round_size": lambda n: -(-n // 512) * 512},
        "runtime": device.runtime(),
        "compiler": {
            "CompileException": kernels.CompileException,
            "compile_using_nvrtc": kernels.compile_using_nvrtc,
        },
        "nvrtc": {"getVersion": lambda: (machine().runtime // 1000, 2)},
        "driver": {
            "CUDADriverError": kernels.CUDADriverError,
            "get_build_version": lambda: machine().runtime,
            "funcSetAttribute": kernels.function_attribute,
            "CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES": kernels.MAX_SHARED,
        },
        "stream": {"Stream": streams.Stream, "Event": streams.Event},
        "graph": {"Graph": streams.Graph},
        "pinned_memory": {"PinnedMemoryPool": pinned.PinnedMemoryPool},
    }
    parts = {name: _module(f"cupy.cuda.{name}", members) for name, members in inner.items()}
    streamed = "Stream ExternalStream Event Graph get_current_stream get_elapsed_time".split()
    top = {
        **shared,
        **parts,
        **{name: getattr(streams, name) for name in streamed},
        "using_allocator": memory.using_allocator,
        "Device": device.Device,
        "Module": kernels.Module,
        "Function": kernels.Function,
        "PinnedMemoryPool": pinned.PinnedMemoryPool,
        "alloc_pinned_memory": pinned.alloc_pinned_memory,
        "get_device_id": lambda: machine().device,
        "is_available": _is_available,
    }
    modules = {f"cupy.cuda.{name}": part for name, part in parts.items()}
    return {"cupy.cuda": _module("cupy.cuda", top), **modules}


def _cupy() -> dict[str, types.ModuleType]:
    cuda = _cuda()
    exceptions = _module("cupy.exceptions", {"AxisError": np.exceptions.AxisError})
    members = {
        **methods.FUNCTION,
        **{name: getattr(np, name) for name in DTYPES},
        "bool": np.bool_,
        "dtype": np.dtype,
        "pi": np.pi,
        "e": np.e,
        "inf": np.inf,
        "nan": np.nan,
        "newaxis": None,
        "finfo": np.finfo,
        "iinfo": np.iinfo,
        "ndarray": KINDS[-1],
        "ufunc": ufuncs.ufunc,
        "RawModule": kernels.RawModule,
        "RawKernel": kernels.RawKernel,
        "AxisError": np.exceptions.AxisError,
        "exceptions": exceptions,
        "cuda": cuda["cupy.cuda"],
        "linalg": _module("cupy.linalg", functions.linalg()),
        "fft": _module("cupy.fft", functions.fft()),
        "random": _module("cupy.random", generators.members()),
        "is_available": _is_available,
        "get_default_memory_pool": lambda: memory.DEFAULT.pool,
        "get_default_pinned_memory_pool": lambda: pinned.POOL,
        "get_array_module": _array_module,
        "__version__": "14.2.0",
        "__file__": __file__,
    }
    found = {"cupy": _module("cupy", members), "cupy.exceptions": exceptions, **cuda}
    for name in ("linalg", "fft", "random"):
        found[f"cupy.{name}"] = members[name]
    return found


def _array_module(*args: Any) -> Any:
    return sys.modules["cupy"] if any(isinstance(a, ndarray) for a in args) else np


def _lambertw(z: Any, k: Any = 0, tol: float = 1e-8) -> Any:
    return ufuncs.ufunc("lambertw", ["Dld>D"])(z, k, tol)


def _cupyx() -> dict[str, types.ModuleType]:
    special = _module("cupyx.scipy.special", {**ufuncs.SPECIAL_UFUNC, "lambertw": _lambertw})
    linalg = _module("cupyx.scipy.linalg", functions.scipy_linalg())
    signal = _module("cupyx.scipy.signal", functions.scipy_signal())
    matrices = _module("cupyx.scipy.sparse", sparse.members())
    parts = {"special": special, "linalg": linalg, "signal": signal, "sparse": matrices}
    scipy = _module("cupyx.scipy", parts)
    scatter = {f"scatter_{n}": getattr(ndarray, f"scatter_{n}") for n in ("add", "max", "min")}
    members = {
        **{name: _scatter(method) for name, method in scatter.items()},
        "empty_pinned": pinned.empty_pinned,
        "zeros_pinned": pinned.zeros_pinned,
        "empty_like_pinned": lambda a: pinned.empty_pinned(a.shape, a.dtype),
        "zeros_like_pinned": lambda a: pinned.zeros_pinned(a.shape, a.dtype),
        "rsqrt": ufuncs.ufunc("rsqrt", ["e>e", "f>f", "d>d", "F>F", "D>D"]),
        "scipy": scipy,
    }
    inner = {one.__name__: one for one in (scipy, *parts.values())}
    return {"cupyx": _module("cupyx", members), **inner}


def _scatter(method: Any) -> Any:
    def function(a: Any, slices: Any, value: Any) -> None:
        method(a, slices, value)

    return function


_OURS = ("cupy", "cupyx", "cupy_backends", "tensorgrad.backend.cuda", "tensorgrad.cuda")


def _ours(name: str) -> bool:
    return any(name == own or name.startswith(f"{own}.") for own in _OURS)


@contextlib.contextmanager
def install(**hardware: Any) -> Iterator[Machine]:
    """Put the stand-in in the place of CuPy, on a fresh machine (`Machine`'s fields).

    The modules of the CUDA backend are imported anew inside, and forgotten afterwards.
    """
    before = machine()
    kept = {name: found for name, found in sys.modules.items() if _ours(name)}
    _forget(list(kept))
    fresh = Machine(**hardware)
    play(fresh)
    memory.DEFAULT.reset()
    kind = type("ndarray", (ndarray,), {"__slots__": (), "__module__": "cupy"})
    KINDS.append(kind)
    sys.modules.update(_cupy() | _cupyx())
    try:
        yield fresh
    finally:
        _forget([name for name in sys.modules if _ours(name)])
        _remember(kept)
        KINDS.remove(kind)
        base = sys.modules.get("tensorgrad.backend.base")
        if base is not None:
            base._BACKENDS.pop(kind, None)
        memory.DEFAULT.reset()
        play(before)


def _forget(names: list[str]) -> None:
    """Take modules out of `sys.modules`, and out of the packages that they lie in."""
    for name in names:
        parent, _, leaf = name.rpartition(".")
        if parent in sys.modules:
            vars(sys.modules[parent]).pop(leaf, None)
        del sys.modules[name]


def _remember(modules: dict[str, Any]) -> None:
    sys.modules.update(modules)
    for name, found in modules.items():
        parent, _, leaf = name.rpartition(".")
        if parent in sys.modules:
            setattr(sys.modules[parent], leaf, found)
