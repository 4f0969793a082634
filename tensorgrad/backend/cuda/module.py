"""Kernels from their texts: compiled once for a GPU's architecture, kept on disk, launched.

NVRTC compiles to machine code (a cubin), which any driver of the same major version of CUDA loads.
It is called apart from CuPy's `RawModule`, which always adds -ftz=true: float32 numbers below
1.2e-38 would become 0 here and nowhere else.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache as once
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import numpy as np

from tensorgrad._errors import DeviceError, DTypeError
from tensorgrad.backend.cuda import device
from tensorgrad.backend.cuda.errors import CompileError
from tensorgrad.codegen import cache

OPTIONS = ("--std=c++17", "--fmad=false")
"""How every text is compiled: no contraction, and none of the fast-math options."""

PRECOMPILES = (12, 8)
"""NVRTC from this version on keeps what it has parsed of headers. Those of the 16-bit types take
18 of 45 ms a text; our own take 5, less than what keeping them (30 ms, 9 MB) is worth."""

SHARED = 48 * 1024
"""Bytes of dynamic shared memory that a kernel may have without asking."""

SHOWN = 160
"""Lines up to which a text that does not compile is shown whole."""

launches: dict[str, int] = defaultdict(int)
"""How often each kernel was launched, by name; a replay of a graph counts nothing."""

_EXPORT = re.compile(r"^//\s*export:\s*(\w+)\s*=\s*(.+?)\s*$", re.MULTILINE)
_REPORTED = re.compile(r"\((\d+)\): (?:catastrophic )?error")
_MAX_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
_LOCK = threading.RLock()


@once
def folder() -> Path:
    """Where `common.cuh` and the other texts of the package are.

    Raises FileNotFoundError where the package was installed without them.
    """
    package = Path(__file__).parents[2]
    for place in (package / "_kernels", package.parent / "kernels"):
        if (place / "common.cuh").exists():
            return place
    raise FileNotFoundError(
        f"kernels: got no common.cuh under {package}, expected the CUDA texts beside the package; "
        "try pip install --force-reinstall tensorgrad"
    )


@once
def source(name: str) -> str:
    """The text of `kernels/<name>.cu`."""
    return (folder() / f"{name}.cu").read_text(encoding="utf-8")


class Launcher:
    """A kernel, launched as `f(grid, block, *args, shared=0)` on the current device and stream.

    Pointers are addresses (int), numbers NumPy scalars of the parameter's own type, structs NumPy
    arrays of no axes: their bytes are what the kernel reads, unchecked but for the first launch.

    Args:
        name: what `launches` counts it as.
        symbol: its name in the machine code.
        module: gives the machine code for the current device.
    """

    __slots__ = ("_allowed", "_device", "_functions", "_module", "name", "symbol")

    def __init__(self, name: str, symbol: str, module: Module) -> None:
        self.name = name
        self.symbol = symbol
        self._module = module
        self._device = device.cupy().cuda.runtime.getDevice
        self._functions: dict[int, Any] = {}
        self._allowed: dict[int, int] = {}

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], *args: Any, shared: int = 0
    ) -> None:
        k = self._device()
        function = self._functions.get(k)
        if function is None:
            function = self._first(k, args)
        if shared > SHARED and shared > self._allowed.get(k, 0):
            self._allow(k, function, shared)
        launches[self.name] += 1
        function(grid, block, args, shared)

    def _first(self, k: int, args: tuple[Any, ...]) -> Any:
        for place, given in enumerate(args):
            struct = isinstance(given, np.ndarray) and given.shape == ()
            if type(given) is not int and not struct and not isinstance(given, np.generic):
                raise DTypeError(
                    f"{self.name}: got {type(given).__name__} for argument {place}, expected an "
                    "address (int), a NumPy scalar or a struct; try numpy.float32(x)"
                )
        function = self._functions[k] = self._module.function(k, self.symbol)
        return function

    def _allow(self, k: int, function: Any, shared: int) -> None:
        most = device.properties(k).shared_on_request
        if shared > most:
            raise DeviceError(
                f"{self.name}: got {shared} bytes of shared memory, expected at most {most} on "
                f"{device.name_of(k)}; try a smaller block"
            )
        device.cupy().cuda.driver.funcSetAttribute(function.ptr, _MAX_SHARED, shared)
        self._allowed[k] = shared


class Module:
    """A compiled text.

    Args:
        text: CUDA C++.
        expressions: the kernels to compile that are no plain `extern "C"` names.
        options: of the compiler.
    """

    def __init__(self, text: str, expressions: Sequence[str], options: Sequence[str]) -> None:
        self.text = text
        self.expressions = tuple(expressions)
        self.options = tuple(options)
        self._loaded: dict[int, tuple[Any, dict[str, str]]] = {}

    def function(self, k: int, symbol: str) -> Any:
        """CuPy's function for a kernel on device k, the current one."""
        with _LOCK:
            if k not in self._loaded:
                lowered, cubin = self.cubin(device.properties(k).capability)
                module = device.cupy().cuda.Module()
                module.load(cubin)
                self._loaded[k] = module, lowered
            module, lowered = self._loaded[k]
        return module.get_function(lowered.get(symbol, symbol))

    def cubin(self, arch: str) -> tuple[dict[str, str], bytes]:
        """The names in the machine code by expression, and the machine code."""
        key = self._key(arch)
        found = _unpacked(cache.read(key))
        if found is None:
            found = self._compiled()
            cache.write(key, json.dumps(found[0]).encode() + b"\n" + found[1])
        return found

    def _key(self, arch: str) -> str:
        parts = [arch, str(_nvrtc_version()), *self.options, "", *self.expressions, "", self.text]
        mark = sha256("\0".join(parts).encode())
        mark.update(_headers(str(folder())) if '#include "' in self.text else b"")
        return f"cuda-{mark.hexdigest()}"

    def _compiled(self) -> tuple[dict[str, str], bytes]:
        compiler = device.cupy().cuda.compiler
        options = (*self.options, f"-I{folder()}")
        if "TG_HALF" in self.text or "-DTG_HALF" in options:
            options += tuple(f"-I{place}" for place in _toolkit())
            if _nvrtc_version() >= PRECOMPILES:
                options += ("--pch", f"--pch-dir={_precompiled()}")
        try:
            cubin, lowered = compiler.compile_using_nvrtc(
                self.text, options, None, "kernel.cu", self.expressions or None
            )
        except compiler.CompileException as error:
            raise _failure(self.text, str(error)) from None
        return dict(lowered or {}), bytes(cubin)


def _unpacked(entry: bytes | None) -> tuple[dict[str, str], bytes] | None:
    """What the cache keeps of a text: a line of names, then the machine code."""
    if entry is None:
        return None
    names, _, cubin = entry.partition(b"\n")
    return json.loads(names), cubin


@once
def _headers(place: str) -> bytes:
    """A mark of the texts that others include."""
    mark = sha256()
    for path in sorted(Path(place).glob("*.cuh")):
        mark.update(path.read_bytes())
    return mark.digest()


@once
def _nvrtc_version() -> tuple[int, ...]:
    """NVRTC's version; raises `DeviceError` where it cannot be loaded."""
    try:
        return tuple(device.cupy().cuda.nvrtc.getVersion())
    except (ImportError, OSError, RuntimeError) as error:
        raise DeviceError(
            f"cuda: got no NVRTC ({str(error).splitlines()[0]}), expected CUDA's compiler beside "
            f"CuPy; try pip install 'tensorgrad[cuda{_major()}]'"
        ) from error


def _major() -> int:
    """CUDA's major version that CuPy was built for."""
    return int(device.cupy().cuda.runtime.runtimeGetVersion()) // 1000


@once
def _toolkit() -> tuple[str, ...]:
    """The folders with cuda_fp16.h: of the wheel, of CUDA_PATH, of the system."""
    places: list[str | None] = []
    try:
        places.append(import_module("cuda.pathfinder").find_nvidia_header_directory("cudart"))
    except (ImportError, AttributeError, RuntimeError):
        places.append(None)
    for root in (os.environ.get("CUDA_PATH"), "/usr/local/cuda", "/usr/include"):
        places.extend((root, root and os.path.join(root, "include")))
    return tuple(dict.fromkeys(
        place for place in places if place and os.path.exists(os.path.join(place, "cuda_fp16.h"))
    ))[:1]  # fmt: skip


@once
def _precompiled() -> str:
    """A folder of this process for parsed headers: one that another has half written is no use."""
    place = mkdtemp(prefix="tensorgrad-pch-")
    atexit.register(rmtree, place, ignore_errors=True)
    return place


def _failure(text: str, log: str) -> CompileError:
    """The error for a text that NVRTC refused: its log, and the text with its line numbers."""
    lines = text.splitlines()
    numbered = [f"{number:4d}  {line}" for number, line in enumerate(lines, 1)]
    reported = sorted({int(number) for number in _REPORTED.findall(log)})
    shown = numbered if len(lines) <= SHOWN else _around(numbered, reported)
    first = lines[0].lstrip("/ ") if lines else "an empty text"
    fix = "pip install -U nvidia-cuda-nvrtc, or reporting this text"
    if "cuda_fp16.h" in log or "cuda_bf16.h" in log:
        fix = f"pip install 'tensorgrad[cuda{_major()}]', which has CUDA's headers"
    body = "\n".join(shown)
    return CompileError(
        f"compile: got an error of NVRTC in {first!r}, expected machine code; try {fix}\n"
        f"{log.strip()}\n{body}",
        "\n".join(numbered),
        log,
    )


def _around(numbered: list[str], reported: Iterable[int], near: int = 8) -> list[str]:
    """The lines near those that the log names, and how many more there are."""
    keep = {k for n in list(reported) or [1] for k in range(n - near, n + near + 1)}
    shown = [line for number, line in enumerate(numbered, 1) if number in keep]
    return [*shown, f"({len(numbered) - len(shown)} more lines)"]


_MODULES: dict[tuple[str, tuple[str, ...], tuple[str, ...]], Module] = {}


def exports(text: str) -> dict[str, str]:
    """The instantiations that a text names in its `// export: name = kernel<float>` lines."""
    return dict(_EXPORT.findall(text))


def load(text: str, names: Iterable[str], options: Sequence[str] = OPTIONS) -> dict[str, Launcher]:
    """The launchers of kernels of a text, compiled for a device at the first launch there.

    A name is that of an `extern "C" __global__` function, or one that an export line of the text
    gives to an instantiation; only those asked for are compiled.

    Raises (at the first launch):
        CompileError: with the compiler's log and the text.
        DeviceError: without NVRTC.
    """
    names = tuple(names)
    there = exports(text)
    expressions = tuple(sorted(there[name] for name in names if name in there))
    key = (text, expressions, tuple(options))
    module = _MODULES.get(key)
    if module is None:
        module = _MODULES.setdefault(key, Module(*key))
    return {name: Launcher(name, there.get(name, name), module) for name in names}
