"""Compiles CUDA texts to machine code by NVIDIA's own compiler, without a GPU and without a driver.

    cubin = compile(text, "sm_90")
    cubin["sums_f32"].registers, .spills, .stack, .shared, .sass

Needs libnvrtc, the CUDA headers and, for the machine code, nvdisasm: the wheels nvidia-cuda-nvrtc,
nvidia-cuda-runtime and nvidia-cuda-nvdisasm, or a CUDA toolkit. Results are cached on disk.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import pickle
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from ctypes import POINTER, byref, c_char, c_char_p, c_int, c_size_t, c_void_p
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from host import KERNELS, cache_folder, exports

from tensorgrad.codegen.cuda import OPTIONS

ARCHITECTURES = ("sm_80", "sm_90")
WHEELS = "nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cuda-nvdisasm"
_ENTRY = re.compile(r"Compiling entry function '(\w+)'")
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")
_SECTION = re.compile(r"^\s*\.section\s+\.text\.(\w+)", re.MULTILINE)


class CompileError(RuntimeError):
    """NVRTC refused a text; the message is its log, with the text's own line numbers."""


@dataclass(frozen=True)
class Entry:
    """One kernel as machine code.

    Attributes:
        registers: of a thread.
        stack: bytes of local memory of a thread: arrays that are indexed, and spills.
        spills: bytes written and read because registers ran out.
        shared: bytes of static shared memory.
        sass: the machine code's text.
    """

    registers: int
    stack: int
    spills: int
    shared: int
    sass: str

    def count(self, instruction: str) -> int:
        """How often an instruction occurs, given as a regular expression, e.g. `LDG.*128`."""
        return len(re.findall(instruction, self.sass))


Cubin = dict[str, Entry]


def compile(text: str, arch: str, options: Sequence[str] = OPTIONS, keep: bool = True) -> Cubin:
    """The kernels of a text by their exported names; kept on disk unless `keep` is False.

    Raises:
        CompileError: with NVRTC's log.
    """
    names = exports(text)
    headers = [p.read_text() for p in sorted(KERNELS.glob("*.cuh"))]
    key = "\0".join([text, arch, *options, *headers, str(version())])
    path = cache_folder() / f"nvrtc-{hashlib.sha256(key.encode()).hexdigest()[:32]}.pickle"
    if keep and path.exists():
        kept: Cubin = pickle.loads(path.read_bytes())
        return kept
    image, log, lowered = _compile(text, arch, options, [e for n, e in names.items() if n != e])
    resources, code = _resources(log), _disassemble(image)
    cubin = {}
    for name, expression in names.items():
        symbol = lowered.get(expression, name)
        cubin[name] = Entry(**resources[symbol], sass=code[symbol])
    if keep:
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            pickle.dump(cubin, file)
        Path(file.name).replace(path)
    return cubin


def version() -> tuple[int, int]:
    """NVRTC's; skips the test where there is none."""
    major, minor = c_int(), c_int()
    library().nvrtcVersion(byref(major), byref(minor))
    return major.value, minor.value


@cache
def library() -> Any:
    """libnvrtc; skips the test where it, the headers or nvdisasm are missing."""
    _disassembler()
    _headers()
    for path in _found("lib*/libnvrtc.so.*", "lib*/libnvrtc.so"):
        try:
            builtins = sorted(path.parent.glob("libnvrtc-builtins.so*"))
            for other in builtins:
                ctypes.CDLL(str(other), mode=ctypes.RTLD_GLOBAL)
            loaded = ctypes.CDLL(str(path))
        except OSError:
            continue
        loaded.nvrtcGetErrorString.restype = c_char_p
        loaded.nvrtcCreateProgram.argtypes = (
            POINTER(c_void_p), c_char_p, c_char_p, c_int, c_void_p, c_void_p,
        )  # fmt: skip
        return loaded
    raise _missing("libnvrtc")


@cache
def _roots() -> tuple[Path, ...]:
    """Where wheels and toolkits keep their files: folders with lib, include or bin."""
    spec = importlib.util.find_spec("nvidia")
    wheels = [Path(p) for p in (spec.submodule_search_locations or [])] if spec else []
    roots = [folder for w in wheels for folder in sorted(w.iterdir(), reverse=True)]
    toolkits = [os.environ.get("CUDA_PATH"), os.environ.get("CUDA_HOME"), "/usr/local/cuda"]
    return tuple([r for r in roots if r.is_dir()] + [Path(t) for t in toolkits if t])


def _found(*patterns: str) -> Iterator[Path]:
    for root in _roots():
        for pattern in patterns:
            yield from sorted(root.glob(pattern))


@cache
def _headers() -> Path:
    for header in _found("include/cuda_fp16.h"):
        return header.parent
    raise _missing("cuda_fp16.h")


@cache
def _disassembler() -> str:
    for path in _found("bin/nvdisasm"):
        return str(path)
    found = shutil.which("nvdisasm")
    if found is None:
        raise _missing("nvdisasm")
    return found


def _missing(what: str) -> BaseException:
    return pytest.skip.Exception(f"compiling for a GPU needs {what}; try pip install {WHEELS}")


def _check(code: int) -> None:
    if code:
        raise RuntimeError(f"nvrtc: {library().nvrtcGetErrorString(code).decode()}")


def _compile(
    text: str, arch: str, options: Sequence[str], expressions: Sequence[str]
) -> tuple[bytes, str, dict[str, str]]:
    """The cubin, the log of the assembler, and the symbol of each expression."""
    lib, program = library(), c_void_p()
    _check(lib.nvrtcCreateProgram(byref(program), text.encode(), b"kernel.cu", 0, None, None))
    try:
        for e in expressions:
            _check(lib.nvrtcAddNameExpression(program, e.encode()))
        flags = [*options, f"-arch={arch}", f"-I{KERNELS}", f"-I{_headers()}"]
        flags.append("--ptxas-options=-v")
        given = (c_char_p * len(flags))(*(f.encode() for f in flags))
        failed = lib.nvrtcCompileProgram(program, len(flags), given)
        log_bytes = _read(program, lib.nvrtcGetProgramLogSize, lib.nvrtcGetProgramLog)
        log = log_bytes.rstrip(b"\0").decode()
        if failed:
            raise CompileError(f"NVRTC refused the text for {arch}:\n{log[:8000]}")
        lowered = {}
        for e in expressions:
            symbol = c_char_p()
            _check(lib.nvrtcGetLoweredName(program, e.encode(), byref(symbol)))
            lowered[e] = (symbol.value or b"").decode()
        return _read(program, lib.nvrtcGetCUBINSize, lib.nvrtcGetCUBIN), log, lowered
    finally:
        lib.nvrtcDestroyProgram(byref(program))


def _read(program: c_void_p, size: Any, get: Any) -> bytes:
    n = c_size_t()
    _check(size(program, byref(n)))
    content = (c_char * n.value)()
    _check(get(program, content))
    return content.raw


def _resources(log: str) -> dict[str, dict[str, int]]:
    """What the assembler's log says of every kernel."""
    found = {}
    pieces = _ENTRY.split(log)
    for name, text in zip(pieces[1::2], pieces[2::2]):
        stack, stores, loads = map(int, _STACK.search(text).groups())  # type: ignore[union-attr]
        used, shared = _USED.search(text), _SHARED.search(text)
        found[name] = {
            "registers": int(used.group(1)) if used else 0,
            "stack": stack,
            "spills": stores + loads,
            "shared": int(shared.group(1)) if shared else 0,
        }
    return found


def _disassemble(image: bytes) -> dict[str, str]:
    """The machine code's text of every kernel."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(image)
        file.flush()
        command = [_disassembler(), "--print-code", file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    pieces = _SECTION.split(done.stdout)
    return dict(zip(pieces[1::2], pieces[2::2]))
