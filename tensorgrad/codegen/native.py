"""What machine code and Python need of one another: addresses, C structures, built-in functions."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from importlib import import_module
from typing import Any

FASTCALL, KEYWORDS = 0x80, 0x02
"""CPython's METH_FASTCALL and METH_KEYWORDS."""


def forever(thing: Any) -> Any:
    """The thing, never freed: machine code points to it, also while the interpreter shuts down."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
    return thing


def packed(form: str, *values: Any) -> int:
    """The address of a C structure (in `struct`'s notation) that lives as long as the process."""
    return id(forever(struct.pack(form, *values))) + bytes.__basicsize__ - 1


def address(function: Any) -> int:
    """Where a C function lies."""
    return int(ctypes.cast(function, ctypes.c_void_p).value or 0)


def prototype(name: str, *kinds: Any) -> Any:
    """A function of CPython that returns an object, by its name and the kinds of its arguments."""
    return ctypes.PYFUNCTYPE(ctypes.py_object, *kinds)((name, ctypes.pythonapi))


def numpy_table(name: str) -> Any:
    """A table of NumPy's C interface: `_ARRAY_API` or `_UFUNC_API`."""
    capsule = getattr(import_module("numpy._core._multiarray_umath"), name)
    kind = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
    found = kind(("PyCapsule_GetPointer", ctypes.pythonapi))(capsule, None)
    return ctypes.cast(found, ctypes.POINTER(ctypes.c_void_p))


def loads(base: str, names: str, first: int = 0) -> str:
    """LLVM text that loads the 8-byte words of `base`, from number `first` on, by name and kind.

    >>> print(loads("table", "f count:i64"))
      %f.at = getelementptr i64, ptr %table, i64 0
      %f = load ptr, ptr %f.at
      %count.at = getelementptr i64, ptr %table, i64 1
      %count = load i64, ptr %count.at
    """
    lines = []
    for k, word in enumerate(names.split(), first):
        name, _, kind = word.partition(":")
        lines.append(f"  %{name}.at = getelementptr i64, ptr %{base}, i64 {k}")
        lines.append(f"  %{name} = load {kind or 'ptr'}, ptr %{name}.at")
    return "\n".join(lines)


def builtin(
    name: str, code: int, words: list[int], kept: Any = None, flags: int = FASTCALL
) -> Callable[..., Any]:
    """The machine code at `code` as a built-in function.

    Its `self` is a bytes object of the `words`; it keeps alive what they point to, `kept`.
    """
    title = packed(f"{len(name.encode()) + 1}s", name.encode())
    method = packed("PPiP", title, code, flags, 0)
    create = prototype("PyCFunction_NewEx", ctypes.c_void_p, ctypes.py_object, ctypes.py_object)
    # A function owns what is called its module.
    return create(method, struct.pack(f"={len(words)}q", *words), kept)  # type: ignore[no-any-return]
