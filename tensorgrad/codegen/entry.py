"""A vectorcall entry: contiguous arrays go straight to the loop, into given or fresh outputs.

A call of a ufunc with several outputs costs microseconds, this one a fraction of one. The entry
is one function for all kernels: it finds what it needs in a table that its `self` carries.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgrad.codegen.native import FASTCALL, KEYWORDS, address, builtin

LIMIT = 8192
"""Elements up to which the interpreter's lock is kept."""


_WORDS = (
    "loop nin nout most other ndarray newarray newtuple vectorcall decref incref save restore items"
).split()
"""The table, 8 bytes each; then every operand's dtype and its size in bytes, inputs first."""

_NUMBERS = frozenset({"nin", "nout", "most", "items"})
_LOADS = "\n".join(
    f"  %{name}.at = getelementptr i64, ptr %table, i64 {k}\n"
    f"  %{name} = load {'i64' if name in _NUMBERS else 'ptr'}, ptr %{name}.at"
    for k, name in enumerate(_WORDS)
)

# Exact, aligned, contiguous arrays of their dtypes; the largest input has the result's shape.
_CHECK = f"""
define ptr @KERNEL(ptr %self, ptr %args, i64 %nargs, ptr %names) {{
entry:
  %pointers = alloca [32 x ptr]
  %steps = alloca [32 x i64]
  %advance = alloca [32 x i64]
  %sizes = alloca [32 x i64]
  %results = alloca [32 x ptr]
  %range = alloca [2 x i64]
  %table = getelementptr i8, ptr %self, i64 32
{_LOADS}
  %operands = getelementptr i64, ptr %table, i64 {len(_WORDS)}
  %all = add i64 %nin, %nout
  %bare = icmp eq ptr %names, null
  %fresh = icmp eq i64 %nargs, %nin
  %given = icmp eq i64 %nargs, %all
  %counted = or i1 %fresh, %given
  %direct = and i1 %bare, %counted
  br i1 %direct, label %kind, label %slow
kind:
  %k = phi i64 [0, %entry], [%k.next, %ranked]
  %like = phi ptr [null, %entry], [%like.next, %ranked]
  %n = phi i64 [-1, %entry], [%n.next, %ranked]
  %nd = phi i32 [-1, %entry], [%nd.next, %ranked]
  %a.at = getelementptr ptr, ptr %args, i64 %k
  %a = load ptr, ptr %a.at
  %a.type.at = getelementptr i8, ptr %a, i64 8
  %a.type = load ptr, ptr %a.type.at
  %exact = icmp eq ptr %a.type, %ndarray
  br i1 %exact, label %dtype, label %slow
dtype:
  %a.two = mul i64 %k, 2
  %a.operand = getelementptr i64, ptr %operands, i64 %a.two
  %a.wanted = load ptr, ptr %a.operand
  %a.descr.at = getelementptr i8, ptr %a, i64 56
  %a.descr = load ptr, ptr %a.descr.at
  %same = icmp eq ptr %a.descr, %a.wanted
  %a.input = icmp slt i64 %k, %nin
  %a.needs = select i1 %a.input, i32 257, i32 1281
  %a.flags.at = getelementptr i8, ptr %a, i64 64
  %a.flags = load i32, ptr %a.flags.at
  %a.has = and i32 %a.flags, %a.needs
  %plain = icmp eq i32 %a.has, %a.needs
  %fit = and i1 %same, %plain
  br i1 %fit, label %measure, label %slow
measure:
  %a.nd.at = getelementptr i8, ptr %a, i64 24
  %a.nd = load i32, ptr %a.nd.at
  %a.rank = sext i32 %a.nd to i64
  %a.dims.at = getelementptr i8, ptr %a, i64 32
  %a.dims = load ptr, ptr %a.dims.at
  br label %size
size:
  %j = phi i64 [0, %measure], [%j.next, %axis]
  %s = phi i64 [1, %measure], [%s.next, %axis]
  %j.more = icmp slt i64 %j, %a.rank
  br i1 %j.more, label %axis, label %ranked
axis:
  %d.at = getelementptr i64, ptr %a.dims, i64 %j
  %d = load i64, ptr %d.at
  %s.next = mul i64 %s, %d
  %j.next = add i64 %j, 1
  br label %size
ranked:
  %s.at = getelementptr i64, ptr %sizes, i64 %k
  store i64 %s, ptr %s.at
  %larger = icmp sgt i64 %s, %n
  %tied = icmp eq i64 %s, %n
  %deeper = icmp sgt i32 %a.nd, %nd
  %leads = and i1 %tied, %deeper
  %wins = or i1 %larger, %leads
  %model = and i1 %wins, %a.input
  %like.next = select i1 %model, ptr %a, ptr %like
  %n.next = select i1 %model, i64 %s, i64 %n
  %nd.next = select i1 %model, i32 %a.nd, i32 %nd
  %k.next = add i64 %k, 1
  %k.more = icmp slt i64 %k.next, %nargs
  br i1 %k.more, label %kind, label %shape
shape:
  %rank = sext i32 %nd.next to i64
  %dims.at = getelementptr i8, ptr %like.next, i64 32
  %dims = load ptr, ptr %dims.at
  %beyond = icmp sgt i64 %n.next, %most
  br i1 %beyond, label %slow, label %operand
"""

# An operand is whole, one element (step 0), or the last axes of the result: then rows of `inner`.
_MATCH = """
operand:
  %p = phi i64 [0, %shape], [%p.next, %placed]
  %inner = phi i64 [-1, %shape], [%inner.next, %placed]
  %b.at = getelementptr ptr, ptr %args, i64 %p
  %b = load ptr, ptr %b.at
  %b.nd.at = getelementptr i8, ptr %b, i64 24
  %b.nd = load i32, ptr %b.nd.at
  %b.rank = sext i32 %b.nd to i64
  %b.data.at = getelementptr i8, ptr %b, i64 16
  %b.data = load ptr, ptr %b.data.at
  %b.dims.at = getelementptr i8, ptr %b, i64 32
  %b.dims = load ptr, ptr %b.dims.at
  %b.size.at = getelementptr i64, ptr %sizes, i64 %p
  %b.size = load i64, ptr %b.size.at
  %b.two = mul i64 %p, 2
  %b.item.index = add i64 %b.two, 1
  %b.item.at = getelementptr i64, ptr %operands, i64 %b.item.index
  %b.item = load i64, ptr %b.item.at
  %b.input = icmp slt i64 %p, %nin
  %over = icmp sgt i64 %b.rank, %rank
  br i1 %over, label %slow, label %extent
extent:
  %q = phi i64 [0, %operand], [%q.next, %extent.same]
  %matched = phi i64 [1, %operand], [%matched.next, %extent.same]
  %q.next = add i64 %q, 1
  %q.more = icmp slt i64 %q, %b.rank
  br i1 %q.more, label %extent.next, label %extent.end
extent.next:
  %e.index = sub i64 %b.rank, %q.next
  %e.at = getelementptr i64, ptr %b.dims, i64 %e.index
  %e = load i64, ptr %e.at
  %f.index = sub i64 %rank, %q.next
  %f.at = getelementptr i64, ptr %dims, i64 %f.index
  %f = load i64, ptr %f.at
  %equal = icmp eq i64 %e, %f
  br i1 %equal, label %extent.same, label %partial
extent.same:
  %matched.next = mul i64 %matched, %e
  br label %extent
extent.end:
  %whole = icmp eq i64 %b.rank, %rank
  br i1 %whole, label %placed, label %partial
partial:
  %single = icmp eq i64 %b.size, 1
  %b.one = and i1 %single, %b.input
  br i1 %b.one, label %placed, label %row
row:
  %trailing = icmp eq i64 %matched, %b.size
  %some = icmp sgt i64 %b.size, 0
  %unset = icmp eq i64 %inner, -1
  %agreed = icmp eq i64 %inner, %b.size
  %usable = or i1 %unset, %agreed
  %r1 = and i1 %trailing, %some
  %r2 = and i1 %r1, %usable
  %r3 = and i1 %r2, %b.input
  br i1 %r3, label %placed, label %slow
placed:
  %b.step = phi i64 [%b.item, %extent.end], [0, %partial], [%b.item, %row]
  %b.full = phi i64 [%b.item, %extent.end], [0, %partial], [0, %row]
  %inner.next = phi i64 [%inner, %extent.end], [%inner, %partial], [%b.size, %row]
  %b.pointer = getelementptr ptr, ptr %pointers, i64 %p
  store ptr %b.data, ptr %b.pointer
  %b.steps = getelementptr i64, ptr %steps, i64 %p
  store i64 %b.step, ptr %b.steps
  %b.advance = getelementptr i64, ptr %advance, i64 %p
  store i64 %b.full, ptr %b.advance
  %p.next = add i64 %p, 1
  %p.more = icmp slt i64 %p.next, %nargs
  br i1 %p.more, label %operand, label %matching
matching:
  br i1 %fresh, label %output, label %taken
"""

# A given output may lie exactly in an input of its shape and size, and touch nothing else.
_GIVEN = """
taken:
  %g = phi i64 [0, %matching], [%g.next, %kept]
  %g.place = add i64 %nin, %g
  %g.two = mul i64 %g.place, 2
  %g.item.index = add i64 %g.two, 1
  %g.item.at = getelementptr i64, ptr %operands, i64 %g.item.index
  %g.item = load i64, ptr %g.item.at
  %g.pointer = getelementptr i64, ptr %pointers, i64 %g.place
  %g.first = load i64, ptr %g.pointer
  %g.bytes = mul i64 %n.next, %g.item
  %g.last = add i64 %g.first, %g.bytes
  br label %other.check
other.check:
  %h = phi i64 [0, %taken], [%h.next, %apart]
  %h.more = icmp slt i64 %h, %g.place
  br i1 %h.more, label %other.one, label %kept
other.one:
  %h.two = mul i64 %h, 2
  %h.item.index = add i64 %h.two, 1
  %h.item.at = getelementptr i64, ptr %operands, i64 %h.item.index
  %h.item = load i64, ptr %h.item.at
  %h.pointer = getelementptr i64, ptr %pointers, i64 %h
  %h.first = load i64, ptr %h.pointer
  %h.size.at = getelementptr i64, ptr %sizes, i64 %h
  %h.size = load i64, ptr %h.size.at
  %h.bytes = mul i64 %h.size, %h.item
  %h.last = add i64 %h.first, %h.bytes
  %h.next = add i64 %h, 1
  %before = icmp ule i64 %g.last, %h.first
  %after = icmp ule i64 %h.last, %g.first
  %away = or i1 %before, %after
  br i1 %away, label %apart, label %exactly
exactly:
  %h.input = icmp slt i64 %h, %nin
  %h.start = icmp eq i64 %h.first, %g.first
  %h.alike = icmp eq i64 %h.item, %g.item
  %h.advance = getelementptr i64, ptr %advance, i64 %h
  %h.full = load i64, ptr %h.advance
  %h.whole = icmp sgt i64 %h.full, 0
  %x1 = and i1 %h.input, %h.start
  %x2 = and i1 %h.alike, %h.whole
  %x3 = and i1 %x1, %x2
  br i1 %x3, label %apart, label %slow
apart:
  br label %other.check
kept:
  %g.at = getelementptr ptr, ptr %args, i64 %g.place
  %g.array = load ptr, ptr %g.at
  %g.result = getelementptr ptr, ptr %results, i64 %g
  store ptr %g.array, ptr %g.result
  %g.next = add i64 %g, 1
  %g.more = icmp slt i64 %g.next, %nout
  br i1 %g.more, label %taken, label %owned
owned:
  %o = phi i64 [0, %kept], [%o.next, %owned]
  %o.at = getelementptr ptr, ptr %results, i64 %o
  %o.array = load ptr, ptr %o.at
  call void %incref(ptr %o.array)
  %o.next = add i64 %o, 1
  %o.more = icmp slt i64 %o.next, %nout
  br i1 %o.more, label %owned, label %run
"""

_FRESH = """
output:
  %r = phi i64 [0, %matching], [%r.next, %made]
  %place = add i64 %nin, %r
  %c.two = mul i64 %place, 2
  %c.descr.at = getelementptr i64, ptr %operands, i64 %c.two
  %c.descr = load ptr, ptr %c.descr.at
  %c.item.index = add i64 %c.two, 1
  %c.item.at = getelementptr i64, ptr %operands, i64 %c.item.index
  %c.item = load i64, ptr %c.item.at
  call void %incref(ptr %c.descr)
  %new = call ptr %newarray(ptr %ndarray, ptr %c.descr, i32 %nd.next, ptr %dims,
    ptr null, ptr null, i32 0, ptr null)
  %failed = icmp eq ptr %new, null
  br i1 %failed, label %undo, label %made
made:
  %result = getelementptr ptr, ptr %results, i64 %r
  store ptr %new, ptr %result
  %new.data.at = getelementptr i8, ptr %new, i64 16
  %new.data = load ptr, ptr %new.data.at
  %new.pointer = getelementptr ptr, ptr %pointers, i64 %place
  store ptr %new.data, ptr %new.pointer
  %new.step = getelementptr i64, ptr %steps, i64 %place
  store i64 %c.item, ptr %new.step
  %new.advance = getelementptr i64, ptr %advance, i64 %place
  store i64 %c.item, ptr %new.advance
  %r.next = add i64 %r, 1
  %r.more = icmp slt i64 %r.next, %nout
  br i1 %r.more, label %output, label %run
"""

_RUN = f"""
run:
  %rowless = icmp eq i64 %inner.next, -1
  %count = select i1 %rowless, i64 %n.next, i64 %inner.next
  store i64 %count, ptr %range
  %start = getelementptr i64, ptr %range, i64 1
  store i64 0, ptr %start
  %big = icmp sgt i64 %n.next, {LIMIT}
  br i1 %big, label %release, label %first
release:
  %thread = call ptr %save()
  br label %first
first:
  %state = phi ptr [null, %run], [%thread, %release]
  call void %loop(ptr %pointers, ptr %range, ptr %steps, ptr null)
  br i1 %rowless, label %finished, label %next
next:
  %t = phi i64 [%count, %first], [%t.next, %again]
  %t.more = icmp slt i64 %t, %n.next
  br i1 %t.more, label %move, label %finished
move:
  %m = phi i64 [0, %next], [%m.next, %move]
  %m.advance = getelementptr i64, ptr %advance, i64 %m
  %m.size = load i64, ptr %m.advance
  %m.bytes = mul i64 %m.size, %count
  %m.at = getelementptr ptr, ptr %pointers, i64 %m
  %m.pointer = load ptr, ptr %m.at
  %m.moved = getelementptr i8, ptr %m.pointer, i64 %m.bytes
  store ptr %m.moved, ptr %m.at
  %m.next = add i64 %m, 1
  %m.more = icmp slt i64 %m.next, %all
  br i1 %m.more, label %move, label %again
again:
  store i64 %t, ptr %start
  call void %loop(ptr %pointers, ptr %range, ptr %steps, ptr null)
  %t.next = add i64 %t, %count
  br label %next
finished:
  br i1 %big, label %acquire, label %answer
acquire:
  call void %restore(ptr %state)
  br label %answer
answer:
  %lone = icmp eq i64 %nout, 1
  br i1 %lone, label %one, label %several
one:
  %only = load ptr, ptr %results
  ret ptr %only
several:
  %tuple = call ptr %newtuple(i64 %nout)
  %tuple.failed = icmp eq ptr %tuple, null
  br i1 %tuple.failed, label %undo, label %fill
fill:
  %i = phi i64 [0, %several], [%i.next, %fill]
  %i.at = getelementptr ptr, ptr %results, i64 %i
  %i.result = load ptr, ptr %i.at
  %i.items = getelementptr i8, ptr %tuple, i64 %items
  %i.item = getelementptr ptr, ptr %i.items, i64 %i
  store ptr %i.result, ptr %i.item
  %i.next = add i64 %i, 1
  %i.more = icmp slt i64 %i.next, %nout
  br i1 %i.more, label %fill, label %filled
filled:
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
  %handed = call ptr %vectorcall(ptr %other, ptr %args, i64 %nargs, ptr %names)
  ret ptr %handed
}}
"""

TEXT = "; entry of a kernel: f(*inputs, *outputs) for contiguous arrays" + "".join(
    [_CHECK, _MATCH, _GIVEN, _FRESH, _RUN]
)


class Entry:
    """What an entry is made of: the table that it reads, and all that this points to.

    `address` is the loop's; `arrays` are the dtypes of the operands, `inputs` of them inputs;
    `slow` takes every call that the entry does not, and those on more than `most` elements.
    """

    def __init__(
        self,
        name: str,
        address: int,
        arrays: Sequence[np.dtype[Any]],
        inputs: int,
        slow: Callable[..., Any],
        most: int,
    ) -> None:
        counts = (inputs, len(arrays) - inputs)
        self._words = [address, *counts, most, id(slow), id(np.ndarray)]
        self._operands = [word for d in arrays for word in (id(d), d.itemsize)]
        self._name = name
        self._kept = (tuple(arrays), slow)

    def callable(self, code: int, new_array: int) -> Callable[..., Any]:
        """The entry as a built-in function; `code` is where TEXT was compiled to."""
        api = ctypes.pythonapi
        functions = (
            api.PyTuple_New, api.PyObject_Vectorcall, api.Py_DecRef, api.Py_IncRef,
            api.PyEval_SaveThread, api.PyEval_RestoreThread,
        )  # fmt: skip
        words = [*self._words, new_array, *map(address, functions), tuple.__basicsize__]
        return builtin(self._name, code, [*words, *self._operands], self._kept, FASTCALL | KEYWORDS)
