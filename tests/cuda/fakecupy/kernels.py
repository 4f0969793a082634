"""`cupy.RawModule` and `cupy.RawKernel`: CUDA sources, compiled by g++ and run on the CPU.

NVRTC's rules hold: no header of the host, options as a tuple, kernels by name or by expression.
A launch refuses addresses outside the memory of its device.
"""

from __future__ import annotations

import importlib
import json
import math
import re
import weakref
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from . import memory, streams
from .array import ndarray
from .machine import CUDARuntimeError, machine

MAGIC = b"image of the stand-in\n"
MAX_SHARED, SHARED_ON_REQUEST = 8, 232448  # cuFuncSetAttribute
PASSED = frozenset(np.dtype(c).type for c in "?bhilqBHILQefdFD")
DEVICE_HEADERS = re.compile(r"(cuda_(fp16|bf16)|cuda/std/\w+|cupy/.*|vector_types|math_constants)")
OPTIONS = re.compile(
    r"-I.+|-D\w+(=.*)?|--?std=c\+\+(11|14|17|20)|--fmad=(true|false)|-lineinfo|"
    r"--?(default-device|extra-device-vectorization|use_fast_math|pch)|--ptxas-options=.*|"
    r"--maxrregcount=\d+|-ftz=(true|false)|--(ftz|prec-div|prec-sqrt)=(true|false)|--create-pch=.*|"
    r"--pch-dir=.*|--device-as-default-execution-space|-w|--diag-suppress=.*"
)
_INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


class CompileException(Exception):  # noqa: N818
    """CuPy's: the log in the message, the text in `source`."""

    def __init__(
        self, msg: str, source: str, name: str, options: Any, backend: str = "nvrtc"
    ) -> None:
        self._msg = msg
        self.source = source
        self.name = name
        self.options = options
        self.backend = backend
        super().__init__()

    def __str__(self) -> str:
        return self.get_message()

    def get_message(self) -> str:
        return self._msg

    def dump(self, f: Any) -> None:
        f.write(f"{self.backend.upper()} compilation error: {self}\nName: {self.name}\n")
        for number, line in enumerate(self.source.split("\n"), 1):
            f.write(f"{number} {line}\n")


class CUDADriverError(RuntimeError):
    """An error of the driver."""

    _NAMES = {  # noqa: RUF012
        200: "CUDA_ERROR_INVALID_IMAGE: device kernel image is invalid",
        209: "CUDA_ERROR_NO_BINARY_FOR_GPU: no kernel image is available for execution on the "
        "device",
        500: "CUDA_ERROR_NOT_FOUND: named symbol not found",
        1: "CUDA_ERROR_INVALID_VALUE: invalid argument",
        700: "CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered",
    }

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(self._NAMES[status])


def host() -> Any:
    """The package that compiles and runs kernels, a neighbour of this one."""
    parent = __package__.rpartition(".")[0]
    return importlib.import_module(f"{parent}.host" if parent else "host")


# -- compiling and loading ---------------------------------------------------------------------


def compile_using_nvrtc(
    source: str,
    options: tuple[str, ...] = (),
    arch: Any = None,
    filename: str = "kern.cu",
    name_expressions: Any = None,
    log_stream: Any = None,
    cache_in_memory: bool = False,
    jitify: Any = None,
    method: Any = None,
) -> tuple[bytes, dict[str, str] | None]:
    """Machine code, which here is the text itself, and the mangled names in it by expression."""
    machine().check()
    build(source, None, options, name_expressions)
    names = {e: f"_Z{zlib.crc32(e.encode())}" for e in name_expressions or ()}
    arch = "{}{}".format(*machine().capability) if arch is None else str(arch)
    image = [source, list(options), names, arch, _headers(source, options)]
    return MAGIC + zlib.compress(json.dumps(image).encode()), names or None


def _headers(code: str, options: Iterable[str]) -> dict[str, str]:
    """What a text may include: machine code outlives the folder that it was compiled in."""
    folders = [Path(o[2:]) for o in options if o.startswith("-I")] if '#include "' in code else []
    return {path.name: path.read_text() for f in folders for path in sorted(f.glob("*.cuh"))}


def build(code: str | None, path: str | None, options: Any, names: Any) -> Any:
    """A text, or that of a file, compiled for the CPU; `CompileException` has g++'s words."""
    code = Path(str(path)).read_text() if code is None else code
    _check(code, options)
    folders = [o[2:] for o in options if o.startswith("-I")]
    defines = [o[2:] for o in options if o.startswith("-D")]
    compiler = host()
    plain = [n for n, e in compiler.exports(code).items() if n == e]
    try:
        return compiler.build(code, [*plain, *(names or ())], include=folders, defines=defines)
    except compiler.CompileError as error:
        raise CompileException(str(error), code, "kernel.cu", options) from None


def _check(code: str, options: Any) -> None:
    """What NVRTC refuses and g++ does not."""

    def refuse(text: str) -> None:
        raise CompileException(text, code, "kernel.cu", options)

    for option in options:
        if not OPTIONS.fullmatch(option):
            refuse(f"nvrtc: error: invalid value for --gpu-architecture or option ({option})")
    folders = [Path(o[2:]) for o in options if o.startswith("-I")]
    for match in _INCLUDE.finditer(code):
        header = match[2]
        known = DEVICE_HEADERS.match(header) or any((f / header).exists() for f in folders)
        if not known:
            line = code.count("\n", 0, match.start()) + 1
            refuse(f'kernel.cu({line}): catastrophic error: cannot open source file "{header}"')


class Module:
    """Machine code, loaded on a device."""

    def load(self, cubin: bytes) -> None:
        if not isinstance(cubin, bytes):
            raise TypeError(
                f"Argument 'cubin' has incorrect type (expected bytes, got {type(cubin).__name__})"
            )
        machine().check()
        try:
            assert cubin.startswith(MAGIC)
            image = json.loads(zlib.decompress(cubin[len(MAGIC) :]))
            source, options, names, arch, headers = image
        except (AssertionError, ValueError, zlib.error):
            raise CUDADriverError(200) from None
        major, minor = divmod(int(arch), 10)
        if major != machine().capability[0] or minor > machine().capability[1]:
            raise CUDADriverError(209)
        self._names = {symbol: expression for expression, symbol in names.items()}
        own = [o for o in options if not o.startswith("-I")]
        own += [f"-I{host().kept(headers)}"] if headers else []
        self._built = build(source, None, tuple(own), names)

    def load_file(self, filename: str) -> None:
        self.load(Path(filename).read_bytes())

    def get_function(self, name: str) -> Function:
        return Function(self, name)


class Function:
    """A loaded kernel: `f(grid, block, args, shared_mem=0)` on the current stream."""

    known: ClassVar[Any] = weakref.WeakValueDictionary()  # by `ptr`

    def __init__(self, module: Module, funcname: str) -> None:
        name = module._names.get(funcname, funcname)
        plain = name == funcname and name not in module._names.values()
        if name not in module._built.kernels or not (plain or funcname in module._names):
            raise CUDADriverError(500)
        self.name = name
        self.run = module._built.get_function(name)
        self.ptr = id(self)
        self.known[self.ptr] = self

    def __call__(
        self,
        grid: Any,
        block: Any,
        args: Any,
        shared_mem: int = 0,
        stream: Any = None,
        enable_cooperative_groups: bool = False,
    ) -> None:
        for what, given in (("grid", grid), ("block", block)):
            if not isinstance(given, tuple):
                raise TypeError(
                    f"Argument '{what}' has incorrect type (expected tuple, got "
                    f"{type(given).__name__})"
                )
        grid, block = (tuple(max(1, int(n)) for n in sizes) for sizes in (grid, block))
        values = [_argument(a) for a in args]
        run, name, launches = self.run, self.name, machine().launches
        run.check(values)  # raises TypeError now, also where the launch is only recorded
        _addresses(run, values)
        if math.prod(block) > 1024 or shared_mem > run.max_dynamic_shared_size_bytes:
            raise CUDADriverError(1)

        def work() -> None:
            run(grid, block, values, shared_mem)
            launches[name] = launches.get(name, 0) + 1

        streams.submit(work, None if stream is None else stream.ptr)


def function_attribute(function: int, attribute: int, value: int) -> None:
    """cuFuncSetAttribute, for the bytes of dynamic shared memory."""
    if attribute != MAX_SHARED or not 0 <= value <= SHARED_ON_REQUEST:
        raise CUDADriverError(1)
    Function.known[function].run.max_dynamic_shared_size_bytes = int(value)


# -- CuPy's own classes ------------------------------------------------------------------------


class RawModule:
    """A text of kernels, compiled when the first is asked for."""

    def __init__(
        self,
        code: str | None = None,
        *,
        path: str | None = None,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        translate_cucomplex: bool = False,
        enable_cooperative_groups: bool = False,
        name_expressions: Any = None,
        jitify: bool = False,
    ) -> None:
        _tuple_of_options(options)
        if (code is None) == (path is None):
            raise TypeError("Exactly one of `code` and `path` keyword arguments must be given.")
        self.code = code
        self.file_path = path
        self.options = options
        self.backend = backend
        self.name_expressions = None if name_expressions is None else tuple(name_expressions)
        self._module: Module | None = None
        self._names: dict[str, str] = {}

    def compile(self, log_stream: Any = None) -> None:
        self._module = Module()
        if self.code is None:
            self._module.load_file(str(self.file_path))
            return
        expressions = self.name_expressions
        image, names = compile_using_nvrtc(self.code, self.options, name_expressions=expressions)
        self._names = names or {}
        self._module.load(image)

    @property
    def module(self) -> Module:
        if self._module is None:
            self.compile()
        assert self._module is not None
        return self._module

    def get_function(self, name: str) -> RawKernel:
        function = self.module.get_function(self._names.get(name, name))
        kernel = RawKernel(self.code or "", name, self.options, self.backend)
        kernel._function = function
        return kernel


def _tuple_of_options(options: Any) -> None:
    if not isinstance(options, tuple):
        raise TypeError(
            f"Argument 'options' has incorrect type (expected tuple, got {type(options).__name__})"
        )


class RawKernel:
    """A kernel: `f(grid, block, args, shared_mem=0)`."""

    def __init__(
        self,
        code: str,
        name: str,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        *,
        translate_cucomplex: bool = False,
        enable_cooperative_groups: bool = False,
        jitify: bool = False,
    ) -> None:
        _tuple_of_options(options)
        self.code = code
        self.name = self.__name__ = name
        self.options = options
        self.backend = backend
        self._function: Function | None = None

    def compile(self, log_stream: Any = None) -> None:
        self._function = RawModule(self.code, options=self.options).module.get_function(self.name)

    @property
    def kernel(self) -> Function:
        if self._function is None:
            self.compile()
        assert self._function is not None
        return self._function

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        return int(self.kernel.run.max_dynamic_shared_size_bytes)

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        function_attribute(self.kernel.ptr, MAX_SHARED, size)

    max_threads_per_block = property(lambda self: 1024)
    shared_size_bytes = property(lambda self: 0)
    local_size_bytes = property(lambda self: 0)
    num_regs = property(lambda self: 32)
    binary_version = property(lambda self: 10 * machine().capability[0] + machine().capability[1])

    @property
    def attributes(self) -> dict[str, int]:
        names = "max_threads_per_block shared_size_bytes local_size_bytes num_regs binary_version"
        return {n: getattr(self, n) for n in [*names.split(), "max_dynamic_shared_size_bytes"]}

    def __call__(self, grid: Any, block: Any, args: Any, **kwargs: Any) -> None:
        self.kernel(grid, block, args, **kwargs)


# -- arguments ---------------------------------------------------------------------------------


def _argument(value: Any) -> Any:
    """An argument as CuPy passes it: int as int64, a NumPy array of one element by value."""
    if value is None:
        return None
    if isinstance(value, ndarray):
        return value._a if value.size else np.int64(value.data.ptr)
    if isinstance(value, memory.MemoryPointer):
        return np.int64(value.ptr)
    if isinstance(value, np.ndarray):
        if value.size != 1:
            raise TypeError(f"Unsupported type {type(value)}")
        return value.reshape(())[()]
    if type(value) in PASSED:
        return value
    kinds: Any = ((int, np.int64), (float, np.float64), (complex, np.complex128))
    for kind, passed in kinds:
        if isinstance(value, kind):
            return passed(value)
    raise TypeError(f"Unsupported type {type(value)}")


def _addresses(function: Any, values: list[Any]) -> None:
    """Pointers lie in live memory of the current device, or in pinned memory."""
    here = machine().device
    pointers = [k for k, part in enumerate(function.signature.split(", ")) if part.endswith("*")]
    for k in pointers:
        value = values[k] if k < len(values) else None
        address = value.ctypes.data if isinstance(value, np.ndarray) else int(value or 0)
        if not address:
            continue
        block = machine().find(address)
        if block is None or block.device not in (here, -1):
            raise CUDARuntimeError(700)
