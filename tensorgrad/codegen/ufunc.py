"""Machine code as functions of NumPy arrays: a ufunc for every case, an entry for small arrays."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from tensorgrad.codegen.entry import TEXT, Entry

_ALIVE: list[Any] = []
"""What machine code points to: it lives as long as the process."""

_FROM_FUNC_AND_DATA, _NEW_LIKE_ARRAY = 1, 277
_NO_IDENTITY = -1


def _table(name: str) -> Any:
    """A table of NumPy's C interface."""
    capsule = getattr(import_module("numpy._core._multiarray_umath"), name)
    prototype = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
    address = prototype(("PyCapsule_GetPointer", ctypes.pythonapi))(capsule, None)
    return ctypes.cast(address, ctypes.POINTER(ctypes.c_void_p))


def register(name: str, address: int, types: Sequence[int], inputs: int) -> Any:
    """A ufunc with the one loop at `address`; `types` are NumPy's numbers, inputs first."""
    functions, data = (ctypes.c_void_p * 1)(address), (ctypes.c_void_p * 1)(None)
    numbers = ctypes.create_string_buffer(bytes(types), len(types))
    text = ctypes.create_string_buffer(name.encode())
    doc = ctypes.create_string_buffer(b"A generated kernel.")
    _ALIVE.append((functions, data, numbers, text, doc))
    pointer, integer = ctypes.c_void_p, ctypes.c_int
    prototype = ctypes.PYFUNCTYPE(
        ctypes.py_object, pointer, pointer, pointer, *[integer] * 4, pointer, pointer, integer
    )
    create = prototype(_table("_UFUNC_API")[_FROM_FUNC_AND_DATA])
    buffers = [ctypes.addressof(b) for b in (functions, data, numbers)]
    outputs = len(types) - inputs
    names = [ctypes.addressof(b) for b in (text, doc)]
    return create(*buffers, 1, inputs, outputs, _NO_IDENTITY, *names, 0)


def arrays_only(ufunc: Any) -> Callable[..., Any]:
    """The ufunc as run(*arrays, out=None), whose results are arrays, also of no axes.

    Nothing else of the ufunc is reachable: its `reduce` would step over outputs in place.
    """
    if ufunc.nout == 1:

        def one(*arrays: Any, out: Any = None) -> Any:
            found = ufunc(*arrays, out=out)
            return found if type(found) is np.ndarray else np.asarray(found)

        return one

    def several(*arrays: Any, out: Any = None) -> Any:
        found = ufunc(*arrays) if out is None else ufunc(*arrays, out=out)
        if type(found[0]) is np.ndarray:
            return found
        return tuple([np.asarray(f) for f in found])

    return several


class Entries:
    """Makes vectorcall entries as long as this interpreter and this NumPy pass the tests."""

    def __init__(self) -> None:
        self.trusted: bool | None = None

    def wrap(
        self,
        name: str,
        address: int,
        dtype: np.dtype[Any],
        ufunc: Any,
        slow: Callable[..., Any],
        compiled: Callable[[str], int],
    ) -> Callable[..., Any]:
        """`slow`, or an entry that hands everything but small contiguous arrays to it."""
        if self.trusted is False:
            return slow
        if self.trusted is None and not layout_known():
            self.trusted = False
            return slow
        entry = Entry(name, address, dtype, (ufunc.nin, ufunc.nout), slow)
        _ALIVE.append(entry)
        call = entry.callable(compiled(TEXT), _new_like_array())
        if self.trusted is None:
            self.trusted = agrees(call, slow, ufunc.nin, dtype)
        return call if self.trusted else slow


def _new_like_array() -> int:
    return int(_table("_ARRAY_API")[_NEW_LIKE_ARRAY])


def layout_known() -> bool:
    """Whether objects lie in memory as the entry reads them: CPython with its lock, 64 bits."""
    plain = sys.implementation.name == "cpython" and not hasattr(sys, "gettotalrefcount")
    if not plain or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return False
    if ctypes.sizeof(ctypes.c_void_p) != 8 or bytes.__basicsize__ != 33:
        return False
    a = np.zeros((3, 5), np.float32)

    def word(offset: int, kind: Any = ctypes.c_int64) -> int:
        return int(kind.from_address(id(a) + offset).value)

    if np.ndarray.__basicsize__ < 72 or word(8) != id(np.ndarray):
        return False
    if word(16) != a.ctypes.data or word(24, ctypes.c_int32) != a.ndim:
        return False
    if word(56) != id(a.dtype) or word(64, ctypes.c_int32) & 0x501 != a.flags.num & 0x501:
        return False
    return [ctypes.c_int64.from_address(word(32) + 8 * k).value for k in range(2)] == [3, 5]


def agrees(
    call: Callable[..., Any], slow: Callable[..., Any], inputs: int, dtype: np.dtype[Any]
) -> bool:
    """Whether an entry gives what its slow way gives, in arrays of their own, and leaks nothing."""
    for shape in ((), (1,), (7,), (0, 3), (4, 9), (2, 3, 5)):
        base = np.linspace(0.5, 1.5, 1 + int(np.prod(shape)), dtype=dtype)[1:].reshape(shape)
        arrays = [base + dtype.type(k) for k in range(inputs)]
        arrays = [np.asarray(a) for a in arrays]
        counts = [sys.getrefcount(a) for a in arrays]
        for _ in range(3):
            got, want = call(*arrays), slow(*arrays)
            pairs = zip(got, want) if type(want) is tuple else [(got, want)]
            if not all(_alike(g, w) for g, w in pairs):
                return False
        del got, want, pairs
        if counts != [sys.getrefcount(a) for a in arrays]:
            return False
    return True


def _alike(got: Any, want: Any) -> bool:
    return (
        type(got) is np.ndarray
        and got.dtype is want.dtype
        and got.shape == want.shape
        and bool(got.flags.owndata and got.flags.c_contiguous)
        and sys.getrefcount(got) <= 5
        and got.tobytes() == want.tobytes()
    )
