"""The linear recurrence as machine code: NumPy has no loop that reads what it wrote before."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad.codegen.compiler import compiler
from tensorgrad.codegen.kernels import KERNELS

_TYPES = {"float32": "float", "float64": "double"}

_TEXT = """; s = a s + b along rows
define void @KERNEL(ptr %a, ptr %b, ptr %out, i64 %rows, i64 %n, i64 %first, i64 %step, i64 %shift)
{
entry:
  %some = icmp sgt i64 %rows, 0
  %long = icmp sgt i64 %n, 0
  %any = and i1 %some, %long
  br i1 %any, label %row, label %done
row:
  %r = phi i64 [0, %entry], [%r.next, %row.end]
  %base = mul i64 %r, %n
  %start = add i64 %base, %first
  %b.at = getelementptr TYPE, ptr %b, i64 %start
  %s.first = load TYPE, ptr %b.at
  %out.at = getelementptr TYPE, ptr %out, i64 %start
  store TYPE %s.first, ptr %out.at
  %more = icmp sgt i64 %n, 1
  br i1 %more, label %loop, label %row.end
loop:
  %k = phi i64 [1, %row], [%k.next, %loop]
  %was = phi i64 [%start, %row], [%at, %loop]
  %s = phi TYPE [%s.first, %row], [%s.next, %loop]
  %at = add i64 %was, %step
  %at.a = add i64 %at, %shift
  %pa = getelementptr TYPE, ptr %a, i64 %at.a
  %pb = getelementptr TYPE, ptr %b, i64 %at
  %po = getelementptr TYPE, ptr %out, i64 %at
  %va = load TYPE, ptr %pa
  %vb = load TYPE, ptr %pb
  %scaled = fmul TYPE %va, %s
  %s.next = fadd TYPE %scaled, %vb
  store TYPE %s.next, ptr %po
  %k.next = add i64 %k, 1
  %again = icmp slt i64 %k.next, %n
  br i1 %again, label %loop, label %row.end
row.end:
  %r.next = add i64 %r, 1
  %go = icmp slt i64 %r.next, %rows
  br i1 %go, label %row, label %done
done:
  ret void
}
"""

Run = Callable[[Any, Any, Any, bool], None]


def recurrence(dtype: np.dtype[Any]) -> Run | None:
    """f(a, b, out, reverse) on contiguous arrays of one shape, along their last axis.

    s_j = a_j s_(j-1) + b_j; in reverse u_j = b_j + a_(j+1) u_(j+1). None where there is no such
    code: for other dtypes than float32 and float64, and without llvmlite.
    """
    if dtype.name not in _TYPES:
        return None
    return KERNELS.find(("recurrence", dtype.name), lambda: _build(dtype.name))  # type: ignore[no-any-return]


def _build(name: str) -> Run:
    address = compiler().address(_TEXT.replace("TYPE", _TYPES[name]))
    words = (*(ctypes.c_void_p,) * 3, *(ctypes.c_int64,) * 5)
    code = ctypes.CFUNCTYPE(None, *words)(address)

    def run(a: Any, b: Any, out: Any, reverse: bool) -> None:
        n = b.shape[-1]
        way = (n - 1, -1, 1) if reverse else (0, 1, 0)
        code(a.ctypes.data, b.ctypes.data, out.ctypes.data, b.size // max(n, 1), n, *way)

    return run
