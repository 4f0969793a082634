"""NumPy's allocation handler in machine code, and calls of functions under it.

NumPy itself gives a block back when the last view of its array has died, whatever thread that
happens on: nothing is guessed. The handler is set for the length of a call, in the caller's
context, so other arrays of the program stay where they were.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad.codegen import allocator
from tensorgrad.codegen.compiler import compiler
from tensorgrad.codegen.native import (
    FASTCALL,
    KEYWORDS,
    address,
    builtin,
    forever,
    loads,
    numpy_table,
    packed,
    prototype,
)

_SET_HANDLER = 304  # of NumPy's table of array functions

CALL = """; calls a function with our handler set, if an argument is an array of that many elements
define ptr @KERNEL(ptr %self, ptr %args, i64 %nargs, ptr %names) {
entry:
  %type = alloca ptr
  %value = alloca ptr
  %trace = alloca ptr
  %words = getelementptr i8, ptr %self, i64 32
FIRST
  %always = icmp eq i64 %least, 0
  br i1 %always, label %hold, label %check
check:
  %k = phi i64 [0, %entry], [%k.next, %next]
  %more = icmp slt i64 %k, %nargs
  br i1 %more, label %look, label %plain
look:
  %a.at = getelementptr ptr, ptr %args, i64 %k
  %a = load ptr, ptr %a.at
  %a.type.at = getelementptr i8, ptr %a, i64 8
  %a.type = load ptr, ptr %a.type.at
  %exact = icmp eq ptr %a.type, %ndarray
  br i1 %exact, label %array, label %next
array:
  %nd.at = getelementptr i8, ptr %a, i64 24
  %nd = load i32, ptr %nd.at
  %rank = sext i32 %nd to i64
  %dims.at = getelementptr i8, ptr %a, i64 32
  %dims = load ptr, ptr %dims.at
  br label %size
size:
  %j = phi i64 [0, %array], [%j.next, %axis]
  %n = phi i64 [1, %array], [%n.next, %axis]
  %j.more = icmp slt i64 %j, %rank
  br i1 %j.more, label %axis, label %sized
axis:
  %d.at = getelementptr i64, ptr %dims, i64 %j
  %d = load i64, ptr %d.at
  %n.next = mul i64 %n, %d
  %j.next = add i64 %j, 1
  br label %size
sized:
  %large = icmp sge i64 %n, %least
  br i1 %large, label %hold, label %next
next:
  %k.next = add i64 %k, 1
  br label %check
plain:
  %direct = call ptr %vectorcall(ptr %function, ptr %args, i64 %nargs, ptr %names)
  ret ptr %direct
hold:
HELD
  %before = call ptr %set(ptr %ours)
  %refused = icmp eq ptr %before, null
  br i1 %refused, label %error, label %run
run:
LARGE
  %answer = call ptr %vectorcall(ptr %large.function, ptr %args, i64 %nargs, ptr %names)
  %failed = icmp eq ptr %answer, null
  br i1 %failed, label %raised, label %returned
returned:
  %after = call ptr %set(ptr %before)
  call void %decref(ptr %before)
  %stuck = icmp eq ptr %after, null
  br i1 %stuck, label %lost, label %whole
whole:
  call void %decref(ptr %after)
  ret ptr %answer
lost:
  call void %decref(ptr %answer)
  ret ptr null
raised:
  ; setting a variable is no thing to do while an error is on its way
RAISED
  call void %fetch(ptr %type, ptr %value, ptr %trace)
  %then = call ptr %set(ptr %before)
  call void %decref(ptr %before)
  %kept = icmp ne ptr %then, null
  br i1 %kept, label %release, label %rethrow
release:
  call void %decref(ptr %then)
  br label %rethrow
rethrow:
  %e.type = load ptr, ptr %type
  %e.value = load ptr, ptr %value
  %e.trace = load ptr, ptr %trace
  call void %restore(ptr %e.type, ptr %e.value, ptr %e.trace)
  ret ptr null
error:
  ret ptr null
}
"""
CALL = (
    CALL.replace("FIRST", loads("words", "function vectorcall ndarray least:i64"))
    .replace("HELD", loads("words", "set ours decref", 4))
    .replace("RAISED", loads("words", "fetch restore", 7))
    .replace("LARGE", loads("words", "large.function", 9))
)


class Recycler:
    """The kept blocks, the handler that takes from them and gives to them, and calls under it.

    At most `bound` bytes are kept. What machine code points to is never freed.
    """

    def __init__(self, bound: int) -> None:
        process = ctypes.CDLL(None)
        self._words = words = forever((ctypes.c_int64 * allocator.WORDS)())
        for k, name in enumerate(allocator.LIBRARY, len(allocator.FUNCTIONS)):
            words[k] = address(getattr(process, name))
        if not hasattr(mmap, "MADV_HUGEPAGE") or os.environ.get("NUMPY_MADVISE_HUGEPAGE") == "0":
            words[allocator.MADVISE] = 0
        words[allocator.BOUND] = bound
        context = ctypes.addressof(words)
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(compiler().address(allocator.text()))(context)
        handler = packed("127sB5P", b"tensorgrad", 1, context, *words[: allocator.TRIM])
        pointer = ctypes.c_void_p
        capsule = prototype("PyCapsule_New", pointer, pointer, pointer)
        self._capsule = forever(capsule(handler, packed("12s", b"mem_handler"), None))
        self._code = compiler().address(CALL)
        self.empty = self.calling(np.empty, 0)

    def calling(
        self, function: Callable[..., Any], least: int, large: Callable[..., Any] | None = None
    ) -> Callable[..., Any]:
        """The function; under the handler, and `large` for it, if an argument is of that size."""
        api = ctypes.pythonapi
        then = (api.Py_DecRef, api.PyErr_Fetch, api.PyErr_Restore)
        words = [
            id(function),
            address(api.PyObject_Vectorcall),
            id(np.ndarray),
            least,
            int(numpy_table("_ARRAY_API")[_SET_HANDLER]),
            id(self._capsule),
            *map(address, then),
            id(function if large is None else forever(large)),
        ]
        return builtin("recycling", self._code, words, function, FASTCALL | KEYWORDS)

    @property
    def held(self) -> int:
        """Bytes of the kept blocks."""
        return int(self._words[allocator.HELD])

    @property
    def reused(self) -> int:
        """How often a kept block became an array again."""
        return int(self._words[allocator.REUSED])

    def trim(self) -> None:
        """Give every kept block back to the system."""
        run = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._words[allocator.TRIM])
        run(ctypes.addressof(self._words))
