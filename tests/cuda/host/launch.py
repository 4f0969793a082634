"""Launches of a compiled kernel, with every argument checked against its C++ signature."""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

SCHEDULES = ("even", "ascending", "descending", "random")
LIMITS = {"grid": (2**31 - 1, 65535, 65535), "block": (1024, 1024, 64)}
SHARED, SHARED_ON_REQUEST = 48 * 1024, 227 * 1024


@cache
def _several(kind: Any, count: int) -> Any:
    """The type of an array; ctypes makes it anew each time, as garbage for the collector."""
    return kind * count


class KernelError(RuntimeError):
    """A kernel did what a GPU would not survive; the message says where."""


class _Argument(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_char),
        ("pointee", ctypes.c_char),
        ("size", ctypes.c_int),
        ("pointee_size", ctypes.c_int),
        ("is_const", ctypes.c_int),
    )


class _Launch(ctypes.Structure):
    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_uint64),
        ("schedule", ctypes.c_int),
        ("unordered_blocks", ctypes.c_int),
        ("seed", ctypes.c_uint64),
        ("blocks", ctypes.c_void_p),
        ("n_blocks", ctypes.c_uint64),
    )


class Function:
    """A kernel, launched as `f(grid, block, args, shared_mem=0)`.

    Args (of a call):
        grid, block: one to three integers each.
        args: arrays or addresses (or None) for pointers, NumPy scalars of the exact size for
            numbers, structured NumPy scalars for structs.
        shared_mem: bytes of dynamic shared memory; above 48 KiB only after
            `f.max_dynamic_shared_size_bytes = bytes`, as in CUDA.
        schedule, seed: override those of the module.
        blocks: linear indices of the blocks to run, of a grid that is too large to run whole.
        unordered_blocks: for the thread sanitizer, in kernels without shared memory: two blocks
            that write one address are reported.

    Raises:
        TypeError: an argument is not what the signature says.
        ValueError: a grid, a block or a size that CUDA refuses.
        KernelError: divergent barrier, bad access, __trap.
    """

    def __init__(self, library: Any, name: str, symbol: str, schedule: str | None) -> None:
        self.name = name
        self.max_dynamic_shared_size_bytes = SHARED
        self._schedule = schedule
        self._launch = library[f"cuda_host_launch_{symbol}"]
        self._launch.restype = ctypes.c_char_p
        describe = library[f"cuda_host_arguments_{symbol}"]
        describe.restype = ctypes.POINTER(_Argument)
        count = ctypes.c_int()
        found = describe(ctypes.byref(count))
        self._arguments = [found[i] for i in range(count.value)]
        self._library = library  # the arguments live in it

    @property
    def signature(self) -> str:
        """The parameters, as in `const f4*, i8`."""
        return ", ".join(map(_describe, self._arguments))

    def __call__(
        self,
        grid: Sequence[int],
        block: Sequence[int],
        args: Sequence[Any],
        shared_mem: int = 0,
        *,
        schedule: str | None = None,
        seed: int | None = None,
        blocks: Sequence[int] | None = None,
        unordered_blocks: bool = False,
    ) -> None:
        values = self.check(args)
        launch = self._sizes(grid, block, shared_mem)
        launch.schedule, launch.seed = _schedule(schedule or self._schedule, seed)
        launch.unordered_blocks = unordered_blocks
        if blocks is not None:
            chosen = np.array(blocks, np.uint64)
            launch.blocks, launch.n_blocks = chosen.ctypes.data, chosen.size
        addresses = _several(ctypes.c_void_p, len(values))(*(ctypes.addressof(v) for v in values))
        fault = self._launch(ctypes.byref(launch), addresses)
        if fault is not None:
            raise KernelError(f"{self.name}: {fault.decode()}")

    def _sizes(self, grid: Sequence[int], block: Sequence[int], shared: int) -> _Launch:
        launch = _Launch(shared=shared)
        for what, given, target in (("grid", grid, launch.grid), ("block", block, launch.block)):
            sizes = (*given, 1, 1, 1)[:3]
            limits = LIMITS[what]
            if len(given) > 3 or not all(1 <= s <= m for s, m in zip(sizes, limits)):
                raise ValueError(f"{self.name}: got {what} {tuple(given)}, expected 1 to {limits}")
            target[:] = [int(s) for s in sizes]
        if math.prod(launch.block) > 1024:
            raise ValueError(f"{self.name}: got block {tuple(block)}, expected 1 to 1024 threads")
        allowed = min(self.max_dynamic_shared_size_bytes, SHARED_ON_REQUEST)
        if not 0 <= shared <= allowed:
            raise ValueError(
                f"{self.name}: got {shared} bytes of shared memory, expected at most {allowed}; "
                "try setting max_dynamic_shared_size_bytes"
            )
        return launch

    def check(self, args: Sequence[Any]) -> list[Any]:
        """The arguments as C values; TypeError for one that is not what the signature says."""
        if len(args) != len(self._arguments):
            raise TypeError(
                f"{self.name}: got {len(args)} arguments, expected {len(self._arguments)}: "
                f"({self.signature})"
            )
        return [self._value(i, a, p) for i, (a, p) in enumerate(zip(args, self._arguments))]

    def _value(self, index: int, given: Any, parameter: _Argument) -> Any:
        if parameter.code == b"p":
            return ctypes.c_void_p(self._address(index, given, parameter))
        if isinstance(given, np.ndarray) and given.shape == ():
            given = given[()]
        if not isinstance(given, np.generic):
            raise self._refusal(index, f"{type(given).__name__} {given!r}", parameter)
        if given.dtype.itemsize != parameter.size or parameter.code not in _codes(given.dtype):
            raise self._refusal(index, str(given.dtype), parameter)
        return _several(ctypes.c_char, parameter.size).from_buffer_copy(given.tobytes())

    def _address(self, index: int, given: Any, parameter: _Argument) -> int:
        if given is None:
            return 0
        if isinstance(given, int | np.integer) and not isinstance(given, bool | np.bool_):
            return int(given)
        if not isinstance(given, np.ndarray):
            raise self._refusal(index, type(given).__name__, parameter)
        free = parameter.pointee in b"vs"
        fits = given.dtype.itemsize == parameter.pointee_size
        if not free and not (fits and parameter.pointee in _codes(given.dtype)):
            raise self._refusal(index, f"an array of {given.dtype}", parameter)
        if not parameter.is_const and not given.flags.writeable:
            raise self._refusal(index, "a read-only array", parameter)
        return int(given.ctypes.data)

    def _refusal(self, index: int, got: str, parameter: _Argument) -> TypeError:
        return TypeError(
            f"{self.name}: got {got} for argument {index}, expected {_describe(parameter)}"
        )


def _codes(dtype: np.dtype[Any]) -> bytes:
    """The C++ kinds that a NumPy dtype may stand for."""
    if dtype.name == "bfloat16":
        return b"g"
    if dtype == np.float16:
        return b"es"
    return {"b": b"bu", "i": b"iu", "u": b"iu", "f": b"f", "c": b"s", "V": b"s"}.get(
        dtype.kind, b""
    )


def _describe(parameter: _Argument) -> str:
    if parameter.code != b"p":
        return _type(parameter.code, parameter.size)
    const = "const " if parameter.is_const else ""
    return f"{const}{_type(parameter.pointee, parameter.pointee_size)}*"


def _type(code: bytes, size: int) -> str:
    names = {b"v": "void", b"b": "bool", b"e": "half", b"g": "bfloat16", b"p": "pointer"}
    if code == b"s":
        return f"struct of {size} bytes"
    return names.get(code) or f"{code.decode()}{size}"


def _schedule(name: str | None, seed: int | None) -> tuple[int, int]:
    name, _, number = (name or os.environ.get("TG_CUDA_SCHEDULE", "even")).partition(":")
    if name not in SCHEDULES:
        raise ValueError(f"schedule: got {name!r}, expected one of {', '.join(SCHEDULES)}")
    return SCHEDULES.index(name), seed if seed is not None else int(number or 1)
