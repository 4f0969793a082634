"""Runs CUDA sources on the CPU: g++ compiles them behind `cuda_host.h`, Python launches them.

    module = build(source)
    module.get_function("scale_f32")((blocks,), (256,), (x, y, np.int32(n)), shared_mem=0)

NumPy arrays stand for device memory. A text exports its `extern "C" __global__` functions, and
the instantiations that it names in lines `// export: name = kernel<float, 256>`.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from .launch import SCHEDULES, Function, KernelError

__all__ = [
    "KERNELS",
    "SCHEDULES",
    "CompileError",
    "Function",
    "KernelError",
    "Module",
    "build",
    "cache_folder",
    "compiled",
    "exports",
    "kept",
]

HERE = Path(__file__).parent
KERNELS = HERE.parents[2] / "kernels"
FLAGS = """-std=c++20 -fPIC -fvisibility=hidden -fno-gnu-unique -ffp-contract=off
-fno-strict-aliasing -Wno-unknown-pragmas -Wno-attributes""".split()
SANITIZERS = {
    "": ["-O1", "-Wl,--no-undefined"],
    "thread": ["-O1", "-g1", "-fsanitize=thread"],
    "address": ["-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"],
}
_DECLARED = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__\w+__\s*\([^)]*\)\s*)?(\w+)\s*\(')
_EXPORTED = re.compile(r"^//\s*export:\s*(\w+)\s*=\s*(.+?)\s*$", re.MULTILINE)


class CompileError(RuntimeError):
    """g++ refused a text; the message has its diagnostics, with the text's own line numbers."""


def exports(source: str) -> dict[str, str]:
    """The kernels of a text: exported name to C++ expression."""
    return {name: name for name in _DECLARED.findall(source)} | dict(_EXPORTED.findall(source))


class Module:
    """A compiled text.

    Args:
        path: the shared library.
        kernels: exported name to C++ expression.
        schedule: one of `SCHEDULES`; None reads the environment variable TG_CUDA_SCHEDULE
            (`even` by default; `random:7` has a seed) at each launch.
    """

    def __init__(self, path: Path, kernels: dict[str, str], schedule: str | None) -> None:
        self.path = path
        self.kernels = kernels
        self._library = ctypes.PyDLL(str(path))
        self._schedule = schedule
        self._functions: dict[str, Function] = {}

    def get_function(self, name: str) -> Function:
        """The kernel of that name (or expression); KeyError names those that there are."""
        if name not in self._functions:
            if name not in self.kernels:
                have = ", ".join(self.kernels) or "no kernel"
                raise KeyError(f"get_function: got {name!r}, expected one of: {have}")
            symbol = _symbol(name)
            self._functions[name] = Function(self._library, name, symbol, self._schedule)
        return self._functions[name]


def build(
    source: str,
    kernels: Sequence[str] | None = None,
    *,
    include: Iterable[Path | str] = (KERNELS,),
    sanitize: str | None = None,
    schedule: str | None = None,
    defines: Sequence[str] = (),
) -> Module:
    """Compiles a CUDA text for the CPU, or takes it from the cache.

    Args:
        source: CUDA C++, unchanged.
        kernels: names to export, or expressions such as `scale<float, 256>`; all by default.
        include: folders of its headers.
        sanitize: "", "thread" or "address" (with undefined behaviour); the last two only in a
            process that has the sanitizer preloaded, whose environment (TG_CUDA_SANITIZE) is the
            default (see `sanitizers.py`).
        schedule: of every launch, see `Module`.
        defines: macros, `NAME` or `NAME=value`.

    Raises:
        CompileError: with g++'s diagnostics.
    """
    if sanitize is None:
        sanitize = os.environ.get("TG_CUDA_SANITIZE", "")
    return Module(*compiled(source, kernels, include, sanitize, defines), schedule)


def compiled(
    source: str,
    kernels: Sequence[str] | None = None,
    include: Iterable[Path | str] = (KERNELS,),
    sanitize: str = "",
    defines: Sequence[str] = (),
) -> tuple[Path, dict[str, str]]:
    """The library of a text, without loading it, and the names in it with their expressions."""
    there = exports(source)
    wanted = there if kernels is None else {name: there.get(name, name) for name in kernels}
    folders = [str(Path(folder).resolve()) for folder in include]
    flags = [*FLAGS, *SANITIZERS[sanitize], *(f"-D{d}" for d in defines)]
    lines = [f"CUDA_HOST_EXPORT({_symbol(n)}, {e})" for n, e in wanted.items()]
    text = f'#line 1 "kernel.cu"\n{source}\n#line 1 "exports"\n' + "\n".join(lines) + "\n"
    headers = [p.read_bytes() for f in folders for p in sorted(Path(f).glob("*.cuh"))]
    target = cache_folder() / f"{_digest(text, *headers, *flags, _runtime_key())}.so"
    if not target.exists():
        prefix = _header(tuple(flags)) / "cuda_host.h"
        options = [*flags, *(f"-I{f}" for f in folders), "-shared", "-include", str(prefix)]
        _compile(options, text, target, [str(_runtime())])
    return target, wanted


def _symbol(name: str) -> str:
    """A C identifier for a name or an expression."""
    return name if name.isidentifier() else f"kernel_{_digest(name)[:16]}"


def _digest(*parts: str | bytes) -> str:
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part.encode() if isinstance(part, str) else part)
        sha.update(b"\0")
    return sha.hexdigest()[:32]


@cache
def _compiler() -> str:
    found = shutil.which("g++")
    if found is None:
        import pytest  # late: a sanitizer's child has no use for it

        pytest.skip("running CUDA sources on the CPU needs g++ 12 or newer")
    return found


@cache
def _runtime_key() -> str:
    version = subprocess.run([_compiler(), "--version"], capture_output=True, check=True).stdout
    files = [*sorted(HERE.glob("cuda_host*.h")), HERE / "cuda_host.cpp"]
    return _digest(version, *(p.read_bytes() for p in files), *FLAGS)


@cache
def cache_folder() -> Path:
    """Where compiled texts are kept, by content."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(root) / "tensorgrad-tests" / "cuda-host"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="cuda-host-"))
    return folder


@cache
def _runtime() -> Path:
    """The scheduler, compiled once, shared by all modules of a process."""
    target = cache_folder() / f"runtime-{_runtime_key()}.so"
    if not target.exists():
        flags = [*FLAGS, "-O2", "-U_FORTIFY_SOURCE", f"-I{HERE}", "-shared"]
        _compile(flags, (HERE / "cuda_host.cpp").read_text(), target)
    return target


@cache
def _header(flags: tuple[str, ...]) -> Path:
    """A folder with the headers, precompiled for these flags: 0.2 s less per text."""
    folder = cache_folder() / f"header-{_digest(*flags, _runtime_key())}"
    if not (folder / "cuda_host.h.gch").exists():
        folder.mkdir(exist_ok=True)
        for header in HERE.glob("cuda_host*.h"):
            _replace(folder / header.name, header.read_bytes())
        own = ["-x", "c++-header", str(folder / "cuda_host.h")]
        _compile(
            [f for f in flags if not f.startswith("-Wl,")], None, folder / "cuda_host.h.gch", own
        )
    return folder


def kept(headers: Mapping[str, str]) -> Path:
    """A folder with these headers."""
    folder = cache_folder() / f"include-{_digest(*headers, *headers.values())}"
    folder.mkdir(exist_ok=True)
    for name, text in headers.items():
        if not (folder / name).exists():
            _replace(folder / name, text.encode())
    return folder


def _compile(flags: list[str], text: str | None, target: Path, more: Sequence[str] = ()) -> None:
    """Runs g++ on a text (or on what `more` names); the target appears whole or not at all."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / target.name
        command = [_compiler(), *flags, "-o", str(made)]
        if text is not None:
            command += ["-x", "c++", "-", "-x", "none"]
        plain = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
        done = subprocess.run(
            [*command, *more], input=text, capture_output=True, text=True, check=False, env=plain
        )
        if done.returncode:
            raise CompileError(f"g++ refused the text:\n{done.stderr[:8000]}")
        made.replace(target)


def _replace(path: Path, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    Path(file.name).replace(path)
