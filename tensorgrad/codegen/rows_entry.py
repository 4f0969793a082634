"""How Python calls the code of a reduce formula: straight, or by ctypes where that is not safe."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from tensorgrad.codegen import native
from tensorgrad.codegen.entry import LIMIT
from tensorgrad.codegen.native import builtin, loads
from tensorgrad.expr.ir import COLUMN, ROW, Expr

DONE, UNFIT, STARVED = -1, -2, -3
"""What a call returns besides the number of a row: computed, other arrays wanted, no memory."""

_PARTS = 4

TEXT = """; entry of a reduce kernel: f(rows, columns, start, stop, part, *arrays) -> int
define ptr @KERNEL(ptr %self, ptr %args, i64 %nargs) {
entry:
  %numbers = alloca [5 x i64]
  %pointers = alloca [32 x ptr]
  %table = getelementptr i8, ptr %self, i64 32
WORDS
  %wanted = add i64 %count, 5
  %full = icmp eq i64 %nargs, %wanted
  br i1 %full, label %number, label %unfit
number:
  %n = phi i64 [0, %entry], [%n.next, %number]
  %n.from = getelementptr ptr, ptr %args, i64 %n
  %n.object = load ptr, ptr %n.from
  %n.value = call i64 %aslong(ptr %n.object)
  %n.to = getelementptr i64, ptr %numbers, i64 %n
  store i64 %n.value, ptr %n.to
  %n.next = add i64 %n, 1
  %n.more = icmp slt i64 %n.next, 5
  br i1 %n.more, label %number, label %numbered
numbered:
NUMBERS
  %above = icmp sge i64 %start, 0
  %below = icmp sle i64 %stop, %rows
  %some = icmp slt i64 %start, %stop
  %wide = icmp sgt i64 %columns, 0
  %apart = icmp sgt i64 %part, 0
  %g1 = and i1 %above, %below
  %g2 = and i1 %some, %wide
  %g3 = and i1 %g1, %g2
  %given = and i1 %g3, %apart
  br i1 %given, label %sizes, label %unfit
sizes:
  %p1 = add i64 %rows, %part
  %p2 = sub i64 %p1, 1
  %parts = udiv i64 %p2, %part
  br label %operand
operand:
  %k = phi i64 [0, %sizes], [%k.next, %fit]
  %w1 = shl i64 %k, 1
  %w2 = add i64 %w1, 7
  %w.descr = getelementptr i64, ptr %table, i64 %w2
  %descr = load ptr, ptr %w.descr
  %w3 = add i64 %w1, 8
  %w.kind = getelementptr i64, ptr %table, i64 %w3
  %kind = load i64, ptr %w.kind
  %a.number = add i64 %k, 5
  %a.at = getelementptr ptr, ptr %args, i64 %a.number
  %a = load ptr, ptr %a.at
  %a.type.at = getelementptr i8, ptr %a, i64 8
  %a.type = load ptr, ptr %a.type.at
  %exact = icmp eq ptr %a.type, %ndarray
  br i1 %exact, label %layout, label %unfit
layout:
  %a.descr.at = getelementptr i8, ptr %a, i64 56
  %a.descr = load ptr, ptr %a.descr.at
  %same = icmp eq ptr %a.descr, %descr
  %a.flags.at = getelementptr i8, ptr %a, i64 64
  %a.flags = load i32, ptr %a.flags.at
  %a.needed = and i32 %a.flags, 257
  %plain = icmp eq i32 %a.needed, 257
  %usable = and i1 %same, %plain
  br i1 %usable, label %extent, label %unfit
extent:
  %by.rows = and i64 %kind, 1
  %has.rows = icmp ne i64 %by.rows, 0
  %s1 = select i1 %has.rows, i64 %rows, i64 1
  %by.columns = and i64 %kind, 2
  %has.columns = icmp ne i64 %by.columns, 0
  %s2 = select i1 %has.columns, i64 %columns, i64 1
  %by.parts = and i64 %kind, 4
  %has.parts = icmp ne i64 %by.parts, 0
  %s3 = select i1 %has.parts, i64 %parts, i64 1
  %s4 = mul i64 %s1, %s2
  %size = mul i64 %s3, %s4
  %nd.at = getelementptr i8, ptr %a, i64 24
  %nd = load i32, ptr %nd.at
  %rank = sext i32 %nd to i64
  %dims.at = getelementptr i8, ptr %a, i64 32
  %dims = load ptr, ptr %dims.at
  br label %axis
axis:
  %j = phi i64 [0, %extent], [%j.next, %length]
  %product = phi i64 [1, %extent], [%product.next, %length]
  %j.more = icmp slt i64 %j, %rank
  br i1 %j.more, label %length, label %measured
length:
  %d.at = getelementptr i64, ptr %dims, i64 %j
  %d = load i64, ptr %d.at
  %product.next = mul i64 %product, %d
  %j.next = add i64 %j, 1
  br label %axis
measured:
  %whole = icmp eq i64 %product, %size
  br i1 %whole, label %fit, label %unfit
fit:
  %data.at = getelementptr i8, ptr %a, i64 16
  %data = load ptr, ptr %data.at
  %pointer = getelementptr ptr, ptr %pointers, i64 %k
  store ptr %data, ptr %pointer
  %k.next = add i64 %k, 1
  %k.more = icmp slt i64 %k.next, %count
  br i1 %k.more, label %operand, label %run
run:
  %here = sub i64 %stop, %start
  %work = mul i64 %here, %columns
  %long = icmp sgt i64 %work, LIMIT
  br i1 %long, label %free, label %held
free:
  %state = call ptr %save()
  %f.status = call i64 %kernel(ptr %pointers, i64 %rows, i64 %columns, i64 %start, i64 %stop, \
i64 %part)
  call void %restore(ptr %state)
  %f.result = call ptr %fromlong(i64 %f.status)
  ret ptr %f.result
held:
  %h.status = call i64 %kernel(ptr %pointers, i64 %rows, i64 %columns, i64 %start, i64 %stop, \
i64 %part)
  %h.result = call ptr %fromlong(i64 %h.status)
  ret ptr %h.result
unfit:
  %u.result = call ptr %fromlong(i64 -2)
  ret ptr %u.result
}
"""
TEXT = (
    TEXT.replace("LIMIT", str(LIMIT))
    .replace("WORDS", loads("table", "kernel count:i64 ndarray aslong fromlong save restore"))
    .replace("NUMBERS", loads("numbers", "rows:i64 columns:i64 start:i64 stop:i64 part:i64"))
)


class Operand:
    """What one array of a call must be: its dtype, and its size in rows, columns and parts."""

    def __init__(self, e: Expr, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype if e.kind == "f" else np.dtype(np.int64 if e.kind == "i" else bool)
        self.kind = e.index & (ROW | COLUMN) | (_PARTS if e.op == "isum" else 0)

    def fits(self, a: Any, rows: int, columns: int, parts: int) -> bool:
        """Whether the code may work on the array."""
        kind = self.kind
        size = (rows if kind & ROW else 1) * (columns if kind & COLUMN else 1)
        size *= parts if kind & _PARTS else 1
        plain = type(a) is np.ndarray and a.flags.c_contiguous and a.flags.aligned
        return plain and a.dtype == self.dtype and prod(a.shape) == size


def by_ctypes(address: int, operands: Sequence[Operand]) -> Callable[..., int]:
    """The code at `address` as run(rows, columns, start, stop, part, *arrays)."""
    long = ctypes.c_int64
    code = ctypes.CFUNCTYPE(long, ctypes.c_void_p, *[long] * 5)(address)

    def run(rows: int, columns: int, start: int, stop: int, part: int, *arrays: Any) -> int:
        if not (0 <= start < stop <= rows and columns > 0 and part > 0):
            return UNFIT
        if len(arrays) != len(operands):
            return UNFIT
        parts = -(-rows // part)
        if not all(o.fits(a, rows, columns, parts) for o, a in zip(operands, arrays)):
            return UNFIT
        pointers = (ctypes.c_void_p * len(arrays))(*[a.ctypes.data for a in arrays])
        return int(code(ctypes.addressof(pointers), rows, columns, start, stop, part))

    return run


def straight(
    name: str, address: int, operands: Sequence[Operand], compiled: Callable[[str], int]
) -> Callable[..., int]:
    """The same as a built-in function; only where `ufunc.layout_known()`."""
    api = ctypes.pythonapi
    functions = (
        api.PyLong_AsLongLong, api.PyLong_FromLongLong,
        api.PyEval_SaveThread, api.PyEval_RestoreThread,
    )  # fmt: skip
    words = [address, len(operands), id(np.ndarray), *map(native.address, functions)]
    for o in operands:
        words += [id(o.dtype), o.kind]
    return builtin(name, compiled(TEXT), words, tuple(operands))
