"""A vectorcall entry: small, contiguous arrays of one shape go straight to the loop.

A call of a ufunc with several outputs costs microseconds, this one a fraction of one. The entry
is one function for all kernels: it finds what it needs in a table that its `self` carries.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

LIMIT = 8192
"""Elements up to which the interpreter's lock is kept, as it is here."""

_VECTORCALL, _KEYWORDS = 0x80, 0x02

TEXT = """; entry of a kernel: f(*arrays) for exact arrays of one dtype and shape, or of no axes
define ptr @KERNEL(ptr %self, ptr %args, i64 %nargs, ptr %names) {
entry:
  %pointers = alloca [32 x ptr]
  %steps = alloca [32 x i64]
  %results = alloca [32 x ptr]
  %total = alloca i64
  %table = getelementptr i8, ptr %self, i64 32
  %loop = load ptr, ptr %table
  %t1 = getelementptr i64, ptr %table, i64 1
  %nin = load i64, ptr %t1
  %t2 = getelementptr i64, ptr %table, i64 2
  %nout = load i64, ptr %t2
  %t3 = getelementptr i64, ptr %table, i64 3
  %descr = load ptr, ptr %t3
  %t4 = getelementptr i64, ptr %table, i64 4
  %itemsize = load i64, ptr %t4
  %t5 = getelementptr i64, ptr %table, i64 5
  %other = load ptr, ptr %t5
  %t6 = getelementptr i64, ptr %table, i64 6
  %ndarray = load ptr, ptr %t6
  %t7 = getelementptr i64, ptr %table, i64 7
  %newlike = load ptr, ptr %t7
  %t8 = getelementptr i64, ptr %table, i64 8
  %newtuple = load ptr, ptr %t8
  %t9 = getelementptr i64, ptr %table, i64 9
  %vectorcall = load ptr, ptr %t9
  %t10 = getelementptr i64, ptr %table, i64 10
  %decref = load ptr, ptr %t10
  %t11 = getelementptr i64, ptr %table, i64 11
  %items = load i64, ptr %t11
  %bare = icmp eq ptr %names, null
  %full = icmp eq i64 %nargs, %nin
  %direct = and i1 %bare, %full
  br i1 %direct, label %kind, label %slow
kind:
  %k = phi i64 [0, %entry], [%k.next, %model]
  %first = phi ptr [null, %entry], [%first.next, %model]
  %a.at = getelementptr ptr, ptr %args, i64 %k
  %a = load ptr, ptr %a.at
  %a.type.at = getelementptr i8, ptr %a, i64 8
  %a.type = load ptr, ptr %a.type.at
  %exact = icmp eq ptr %a.type, %ndarray
  br i1 %exact, label %dtype, label %slow
dtype:
  %a.descr.at = getelementptr i8, ptr %a, i64 56
  %a.descr = load ptr, ptr %a.descr.at
  %same = icmp eq ptr %a.descr, %descr
  %a.flags.at = getelementptr i8, ptr %a, i64 64
  %a.flags = load i32, ptr %a.flags.at
  %a.needed = and i32 %a.flags, 257
  %plain = icmp eq i32 %a.needed, 257
  %fit = and i1 %same, %plain
  br i1 %fit, label %model, label %slow
model:
  %a.nd.at = getelementptr i8, ptr %a, i64 24
  %a.nd = load i32, ptr %a.nd.at
  %axes = icmp sgt i32 %a.nd, 0
  %none = icmp eq ptr %first, null
  %chosen = and i1 %axes, %none
  %first.next = select i1 %chosen, ptr %a, ptr %first
  %k.next = add i64 %k, 1
  %k.more = icmp slt i64 %k.next, %nin
  br i1 %k.more, label %kind, label %shape
shape:
  %zero = load ptr, ptr %args
  %empty = icmp eq ptr %first.next, null
  %like = select i1 %empty, ptr %zero, ptr %first.next
  %nd.at = getelementptr i8, ptr %like, i64 24
  %nd = load i32, ptr %nd.at
  %rank = sext i32 %nd to i64
  %dims.at = getelementptr i8, ptr %like, i64 32
  %dims = load ptr, ptr %dims.at
  br label %size
size:
  %j = phi i64 [0, %shape], [%j.next, %axis]
  %n = phi i64 [1, %shape], [%n.next, %axis]
  %j.more = icmp slt i64 %j, %rank
  br i1 %j.more, label %axis, label %small
axis:
  %d.at = getelementptr i64, ptr %dims, i64 %j
  %d = load i64, ptr %d.at
  %n.next = mul i64 %n, %d
  %j.next = add i64 %j, 1
  br label %size
small:
  %few = icmp sle i64 %n, LIMIT
  br i1 %few, label %operand, label %slow
operand:
  %p = phi i64 [0, %small], [%p.next, %alike]
  %b.at = getelementptr ptr, ptr %args, i64 %p
  %b = load ptr, ptr %b.at
  %b.nd.at = getelementptr i8, ptr %b, i64 24
  %b.nd = load i32, ptr %b.nd.at
  %b.data.at = getelementptr i8, ptr %b, i64 16
  %b.data = load ptr, ptr %b.data.at
  %b.dims.at = getelementptr i8, ptr %b, i64 32
  %b.dims = load ptr, ptr %b.dims.at
  %scalar = icmp eq i32 %b.nd, 0
  %b.step = select i1 %scalar, i64 0, i64 %itemsize
  %pointer = getelementptr ptr, ptr %pointers, i64 %p
  store ptr %b.data, ptr %pointer
  %step = getelementptr i64, ptr %steps, i64 %p
  store i64 %b.step, ptr %step
  br i1 %scalar, label %alike, label %ranks
ranks:
  %ranked = icmp eq i32 %b.nd, %nd
  br i1 %ranked, label %extent, label %slow
extent:
  %q = phi i64 [0, %ranks], [%q.next, %extent.same]
  %e.at = getelementptr i64, ptr %b.dims, i64 %q
  %e = load i64, ptr %e.at
  %f.at = getelementptr i64, ptr %dims, i64 %q
  %f = load i64, ptr %f.at
  %equal = icmp eq i64 %e, %f
  br i1 %equal, label %extent.same, label %slow
extent.same:
  %q.next = add i64 %q, 1
  %q.more = icmp slt i64 %q.next, %rank
  br i1 %q.more, label %extent, label %alike
alike:
  %p.next = add i64 %p, 1
  %p.more = icmp slt i64 %p.next, %nin
  br i1 %p.more, label %operand, label %output
output:
  %r = phi i64 [0, %alike], [%r.next, %made]
  %new = call ptr %newlike(ptr %like, i32 0, ptr null, i32 0)
  %failed = icmp eq ptr %new, null
  br i1 %failed, label %undo, label %made
made:
  %result = getelementptr ptr, ptr %results, i64 %r
  store ptr %new, ptr %result
  %new.data.at = getelementptr i8, ptr %new, i64 16
  %new.data = load ptr, ptr %new.data.at
  %place = add i64 %nin, %r
  %new.pointer = getelementptr ptr, ptr %pointers, i64 %place
  store ptr %new.data, ptr %new.pointer
  %new.step = getelementptr i64, ptr %steps, i64 %place
  store i64 %itemsize, ptr %new.step
  %r.next = add i64 %r, 1
  %r.more = icmp slt i64 %r.next, %nout
  br i1 %r.more, label %output, label %run
run:
  store i64 %n, ptr %total
  call void %loop(ptr %pointers, ptr %total, ptr %steps, ptr null)
  %single = icmp eq i64 %nout, 1
  br i1 %single, label %one, label %several
one:
  %only = load ptr, ptr %results
  ret ptr %only
several:
  %tuple = call ptr %newtuple(i64 %nout)
  %tuple.failed = icmp eq ptr %tuple, null
  br i1 %tuple.failed, label %undo, label %fill
fill:
  %s = phi i64 [0, %several], [%s.next, %fill]
  %s.at = getelementptr ptr, ptr %results, i64 %s
  %s.result = load ptr, ptr %s.at
  %s.items = getelementptr i8, ptr %tuple, i64 %items
  %s.item = getelementptr ptr, ptr %s.items, i64 %s
  store ptr %s.result, ptr %s.item
  %s.next = add i64 %s, 1
  %s.more = icmp slt i64 %s.next, %nout
  br i1 %s.more, label %fill, label %whole
whole:
  ret ptr %tuple
undo:
  %made.count = phi i64 [%r, %output], [%nout, %several]
  br label %undo.check
undo.check:
  %u = phi i64 [%made.count, %undo], [%u.next, %undo.one]
  %u.more = icmp sgt i64 %u, 0
  br i1 %u.more, label %undo.one, label %error
undo.one:
  %u.next = sub i64 %u, 1
  %u.at = getelementptr ptr, ptr %results, i64 %u.next
  %u.result = load ptr, ptr %u.at
  call void %decref(ptr %u.result)
  br label %undo.check
error:
  ret ptr null
slow:
  %answer = call ptr %vectorcall(ptr %other, ptr %args, i64 %nargs, ptr %names)
  ret ptr %answer
}
""".replace("LIMIT", str(LIMIT))


class _Method(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    ]


class Entry:
    """The table behind an entry, and all that it points to; it must outlive the callable.

    `address` is the loop's, `counts` are the inputs and outputs, all of `dtype`; `slow` takes
    every other call.
    """

    def __init__(
        self,
        name: str,
        address: int,
        dtype: np.dtype[Any],
        counts: tuple[int, int],
        slow: Callable[..., Any],
    ) -> None:
        self._words = [address, *counts, id(dtype), dtype.itemsize, id(slow), id(np.ndarray)]
        self._name = name.encode()
        self._table = b""
        self._method = _Method()
        self._kept = (dtype, slow)

    def callable(self, code: int, new_like_array: int) -> Callable[..., Any]:
        """The entry as a built-in function; `code` is where TEXT was compiled to."""
        api = ctypes.pythonapi
        functions = [api.PyTuple_New, api.PyObject_Vectorcall, api.Py_DecRef]
        addresses = [int(ctypes.cast(f, ctypes.c_void_p).value or 0) for f in functions]
        words = [*self._words, new_like_array, *addresses, tuple.__basicsize__]
        self._table = struct.pack(f"={len(words)}q", *words)
        self._method = _Method(self._name, code, _VECTORCALL | _KEYWORDS, None)
        kinds: Any = (ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
        make = ctypes.PYFUNCTYPE(ctypes.py_object, *kinds)(("PyCFunction_NewEx", api))
        made: Callable[..., Any] = make(ctypes.addressof(self._method), self._table, None)
        return made
