"""Running operations as machine code: loops that read what they wrote, a row at a time.

NumPy's own running sum spends three times as long on an element, and it has no linear recurrence.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad.codegen.compiler import compiler
from tensorgrad.codegen.kernels import KERNELS

_TYPES = {"float32": "float", "float64": "double"}

_STEPS = {
    "sum": "%s.next = fadd TYPE %s, %vb",
    "product": "%s.next = fmul TYPE %s, %vb",
    "recurrence": """%at.a = add i64 %at, %shift
  %pa = getelementptr TYPE, ptr %a, i64 %at.a
  %va = load TYPE, ptr %pa
  %scaled = fmul TYPE %va, %s
  %s.next = fadd TYPE %scaled, %vb""",
}

_TEXT = """; running STEPNAME along rows
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
  %pb = getelementptr TYPE, ptr %b, i64 %at
  %vb = load TYPE, ptr %pb
  STEPTEXT
  %po = getelementptr TYPE, ptr %out, i64 %at
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


def running(name: str, dtype: np.dtype[Any]) -> Run | None:
    """f(a, b, out, reverse) on contiguous arrays of one shape, along their last axis.

    name: "sum" or "product" of b; or "recurrence", s_j = a_j s_(j-1) + b_j, in reverse u_j =
    b_j + a_(j+1) u_(j+1). The others do not read `a`. None where there is no such code: for other
    dtypes than float32 and float64, and without llvmlite.
    """
    if dtype.name not in _TYPES:
        return None
    return KERNELS.find(("running", name, dtype.name), lambda: _build(name, dtype.name))  # type: ignore[no-any-return]


def _build(name: str, dtype: str) -> Run:
    text = _TEXT.replace("STEPTEXT", _STEPS[name]).replace("STEPNAME", name)
    address = compiler().address(text.replace("TYPE", _TYPES[dtype]))
    words = (*(ctypes.c_void_p,) * 3, *(ctypes.c_int64,) * 5)
    code = ctypes.CFUNCTYPE(None, *words)(address)

    def run(a: Any, b: Any, out: Any, reverse: bool) -> None:
        n = b.shape[-1]
        way = (n - 1, -1, 1) if reverse else (0, 1, 0)
        places = (x.ctypes.data for x in (a, b, out))
        code(*places, b.size // max(n, 1), n, *way)

    return run
