"""Machine code as functions of NumPy arrays: a ufunc for any layout, an entry for the usual one."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgrad.codegen.entry import TEXT, Entry
from tensorgrad.codegen.native import forever, numpy_table

_FROM_FUNC_AND_DATA, _NEW_FROM_DESCR = 1, 94
_NO_IDENTITY = -1


def register(name: str, address: int, types: Sequence[int], inputs: int) -> Any:
    """A ufunc with the one loop at `address`; `types` are NumPy's numbers, inputs first."""
    functions, data = (ctypes.c_void_p * 1)(address), (ctypes.c_void_p * 1)(None)
    numbers = ctypes.create_string_buffer(bytes(types), len(types))
    text = ctypes.create_string_buffer(name.encode())
    doc = ctypes.create_string_buffer(b"A generated kernel.")
    forever((functions, data, numbers, text, doc))
    pointer, integer = ctypes.c_void_p, ctypes.c_int
    prototype = ctypes.PYFUNCTYPE(
        ctypes.py_object, pointer, pointer, pointer, *[integer] * 4, pointer, pointer, integer
    )
    create = prototype(numpy_table("_UFUNC_API")[_FROM_FUNC_AND_DATA])
    buffers = [ctypes.addressof(b) for b in (functions, data, numbers)]
    outputs = len(types) - inputs
    names = [ctypes.addressof(b) for b in (text, doc)]
    return create(*buffers, 1, inputs, outputs, _NO_IDENTITY, *names, 0)


def arrays_only(ufunc: Any) -> Callable[..., Any]:
    """The ufunc as run(*inputs, *outputs, out=None), whose results are arrays, also of no axes.

    Nothing else of the ufunc is reachable: its `reduce` would step over outputs in place.
    """
    inputs, outputs = ufunc.nin, ufunc.nout
    if outputs == 1:

        def one(*arrays: Any, out: Any = None) -> Any:
            counted(arrays, inputs, outputs)
            found = ufunc(*arrays) if out is None else ufunc(*arrays, out=out)
            return found if type(found) is np.ndarray else np.asarray(found)

        return one

    def several(*arrays: Any, out: Any = None) -> Any:
        counted(arrays, inputs, outputs)
        found = ufunc(*arrays) if out is None else ufunc(*arrays, out=out)
        if type(found[0]) is np.ndarray:
            return found
        return tuple([np.asarray(f) for f in found])

    return several


def counted(arrays: Sequence[Any], inputs: int, outputs: int) -> None:
    """Raises TypeError unless these are all inputs, and either all outputs or none."""
    if len(arrays) not in (inputs, inputs + outputs):
        raise TypeError(
            f"kernel: got {len(arrays)} arrays, expected {inputs} inputs and none or {outputs} "
            "outputs; try out=(...)"
        )


def as_words(
    run: Callable[..., Any], arrays: Sequence[np.dtype[Any]], inputs: int
) -> Callable[..., Any]:
    """`run`, whose operands of a dtype that NumPy has no number for are 16-bit words."""
    foreign = [d if d.kind == "V" else None for d in arrays]
    single = len(arrays) == inputs + 1

    def words(*given: Any, out: Any = None) -> Any:
        if out is not None:
            given = (*given, *(out if isinstance(out, tuple) else (out,)))
        views = [a if d is None else _viewed(a, d) for a, d in zip(given, foreign)]
        outs = _several(run(*views, *given[len(views) :]))
        fresh = [o if d is None else o.view(d) for o, d in zip(outs, foreign[inputs:])]
        outs = given[inputs:] or tuple(fresh)
        return outs[0] if single else outs

    return words


def _viewed(a: Any, dtype: np.dtype[Any]) -> Any:
    a = np.asarray(a)
    if a.dtype != dtype:
        raise TypeError(
            f"kernel: got an array of {a.dtype.name}, expected {dtype.name}; "
            f"try x.astype({dtype.name})"
        )
    return a.view(np.uint16)


class Entries:
    """Makes vectorcall entries as long as this interpreter and this NumPy pass the tests."""

    def __init__(self) -> None:
        self.trusted: bool | None = None

    def wrap(
        self,
        name: str,
        address: int,
        arrays: Sequence[np.dtype[Any]],
        inputs: int,
        slow: Callable[..., Any],
        compiled: Callable[[str], int],
    ) -> Callable[..., Any]:
        """`slow`, or an entry that hands everything but contiguous arrays to it.

        `arrays` are the dtypes of the operands of the loop at `address`, the `inputs` first.
        """
        if self.trusted is None and not layout_known():
            self.trusted = False
        if self.trusted is False:
            return slow
        entry = Entry(name, address, arrays, inputs, slow, sys.maxsize)
        call = self.open(entry, compiled)
        if self.trusted is None:
            self.trusted = agrees(call, slow, arrays, inputs)
        return call if self.trusted else slow

    def open(self, entry: Entry, compiled: Callable[[str], int]) -> Callable[..., Any]:
        """The callable of an entry."""
        return entry.callable(compiled(TEXT), int(numpy_table("_ARRAY_API")[_NEW_FROM_DESCR]))


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
    call: Callable[..., Any],
    slow: Callable[..., Any],
    arrays: Sequence[np.dtype[Any]],
    inputs: int,
) -> bool:
    """Whether an entry gives what its slow way gives, fresh or given outputs, and leaks nothing."""
    for shape in ((), (1,), (7,), (0, 3), (4, 9), (2, 3, 5), (91, 101)):
        base = np.linspace(0.5, 1.5, 1 + int(np.prod(shape)))[1:].reshape(shape)
        given = [np.asarray(base + k).astype(d) for k, d in enumerate(arrays[:inputs])]
        if len(shape) == 2:
            given[1:2] = [a[:1] for a in given[1:2]]
        outs = [np.empty(shape, d) for d in arrays[inputs:]]
        objects = [*given, *outs, *arrays]
        counts = [sys.getrefcount(a) for a in objects]
        for _ in range(3):
            got, want, kept = call(*given), slow(*given), call(*given, *outs)
            pairs = zip(got, want) if type(want) is tuple else [(got, want)]
            same = zip(kept, outs) if type(kept) is tuple else [(kept, outs[0])]
            if not all(_alike(g, w) for g, w in pairs) or not all(k is o for k, o in same):
                return False
            if [o.tobytes() for o in outs] != [w.tobytes() for w in _several(want)]:
                return False
        del got, want, kept, pairs, same
        if counts != [sys.getrefcount(a) for a in objects]:
            return False
    return True


def _several(found: Any) -> tuple[Any, ...]:
    return found if type(found) is tuple else (found,)


def _alike(got: Any, want: Any) -> bool:
    return (
        type(got) is np.ndarray
        and got.dtype is want.dtype
        and got.shape == want.shape
        and bool(got.flags.owndata and got.flags.c_contiguous)
        and sys.getrefcount(got) <= 5
        and got.tobytes() == want.tobytes()
    )
