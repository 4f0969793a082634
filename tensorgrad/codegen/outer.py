"""Outer products as machine code: every element of one row times every element of another.

NumPy starts its loop anew for each element on the left, which for 4 on the right costs four times
what the products do.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad.codegen.compiler import compiler
from tensorgrad.codegen.kernels import KERNELS

_TYPES = {"float32": ("float", 8), "float64": ("double", 4)}

_TEXT = """; out[r, i, j] = a[r, i] b[r, j]
define void @KERNEL(ptr %a, ptr %b, ptr %out, i64 %rows, i64 %m, i64 %n) {
entry:
  %rest = urem i64 %n, WIDTH
  %whole = sub i64 %n, %rest
  br label %row
row:
  %r = phi i64 [0, %entry], [%r.next, %row.end]
  %row.more = icmp slt i64 %r, %rows
  br i1 %row.more, label %left, label %done
left:
  %r.m = mul i64 %r, %m
  %r.n = mul i64 %r, %n
  %b.row = getelementptr TYPE, ptr %b, i64 %r.n
  br label %element
element:
  %i = phi i64 [0, %left], [%i.next, %element.end]
  %i.more = icmp slt i64 %i, %m
  br i1 %i.more, label %right, label %row.end
right:
  %at = add i64 %r.m, %i
  %a.at = getelementptr TYPE, ptr %a, i64 %at
  %x = load TYPE, ptr %a.at
  %one = insertelement <WIDTH x TYPE> poison, TYPE %x, i32 0
  %xs = shufflevector <WIDTH x TYPE> %one, <WIDTH x TYPE> poison, <WIDTH x i32> zeroinitializer
  %place = mul i64 %at, %n
  %out.row = getelementptr TYPE, ptr %out, i64 %place
  br label %vector
vector:
  %j = phi i64 [0, %right], [%j.next, %vector.one]
  %j.more = icmp slt i64 %j, %whole
  br i1 %j.more, label %vector.one, label %single
vector.one:
  %b.at = getelementptr TYPE, ptr %b.row, i64 %j
  %ys = load <WIDTH x TYPE>, ptr %b.at, align BYTES
  %zs = fmul <WIDTH x TYPE> %xs, %ys
  %out.at = getelementptr TYPE, ptr %out.row, i64 %j
  store <WIDTH x TYPE> %zs, ptr %out.at, align BYTES
  %j.next = add i64 %j, WIDTH
  br label %vector
single:
  %k = phi i64 [%whole, %vector], [%k.next, %single.one]
  %k.more = icmp slt i64 %k, %n
  br i1 %k.more, label %single.one, label %element.end
single.one:
  %c.at = getelementptr TYPE, ptr %b.row, i64 %k
  %y = load TYPE, ptr %c.at
  %z = fmul TYPE %x, %y
  %c.out = getelementptr TYPE, ptr %out.row, i64 %k
  store TYPE %z, ptr %c.out
  %k.next = add i64 %k, 1
  br label %single
element.end:
  %i.next = add i64 %i, 1
  br label %element
row.end:
  %r.next = add i64 %r, 1
  br label %row
done:
  ret void
}
"""

Run = Callable[[Any, Any, Any], None]


def outer(dtype: np.dtype[Any]) -> Run | None:
    """f(a, b, out): out[r, i, j] = a[r, i] b[r, j], on contiguous arrays of these shapes.

    None where there is no such code: for other dtypes than float32 and float64, and without
    llvmlite.
    """
    if dtype.name not in _TYPES:
        return None
    return KERNELS.find(("outer", dtype.name), lambda: _build(dtype.name))  # type: ignore[no-any-return]


def _build(dtype: str) -> Run:
    name, width = _TYPES[dtype]
    text = _TEXT.replace("TYPE", name).replace("WIDTH", str(width))
    address = compiler().address(text.replace("BYTES", str(np.dtype(dtype).itemsize)))
    code = ctypes.CFUNCTYPE(None, *(ctypes.c_void_p,) * 3, *(ctypes.c_int64,) * 3)(address)

    def run(a: Any, b: Any, out: Any) -> None:
        places = (x.__array_interface__["data"][0] for x in (a, b, out))
        code(*places, *a.shape, b.shape[1])

    return run
