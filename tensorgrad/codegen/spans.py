"""Generated loops over spans of an axis: their sums, and the largest elements of windows.

    sums    y[o, q, t] = Σ_i x[o, i, t], i in span q, one after another, by vectors along t
    argmax  y[o, a, b, c] = the place in image o (D, H, W) of the first largest element of a window
            (less than 2^31 elements an image)

A span is two words, (start, stop), and has an element.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad.codegen.compiler import compiler
from tensorgrad.codegen.conv import registers
from tensorgrad.codegen.conv_copies import Masked, below
from tensorgrad.codegen.conv_text import Vectors, loop
from tensorgrad.codegen.kernels import KERNELS
from tensorgrad.codegen.native import loads

_SUMS = "x y spans outer:i64 n:i64 count:i64 tail:i64 blocks:i64"
_ARGMAX = "x y da db dc outer:i64 D:i64 H:i64 W:i64 na:i64 nb:i64 nc:i64"
_CALL = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
Run = Callable[..., None]


def _span(name: str, spans: str, number: str) -> list[str]:
    """name.start, and name.count of its elements."""
    return [
        f"  {name}.two = mul i64 {number}, 2",
        f"  {name}.p = getelementptr i64, ptr {spans}, i64 {name}.two",
        f"  {name}.start = load i64, ptr {name}.p",
        f"  {name}.e = getelementptr i64, ptr {name}.p, i64 1",
        f"  {name}.stop = load i64, ptr {name}.e",
        f"  {name}.count = sub i64 {name}.stop, {name}.start",
    ]


def _moved(name: str, base: str, number: str, step: str) -> list[str]:
    return [
        f"  {name}.o = mul i64 {number}, {step}",
        f"  {name} = getelementptr i8, ptr {base}, i64 {name}.o",
    ]


def _function(title: str, declarations: str, words: str, body: list[str]) -> str:
    text = "\n".join([loads("job", words), *body])
    return f"; {title}\n{declarations}define void @KERNEL(ptr %job) {{\n{text}\n  ret void\n}}\n"


def sums(v: Vectors) -> str:
    """The function `sums`: whole vectors, the last of them masked; alone, elements."""
    kind, single = (v.element, True) if v.lanes == 1 else (v.type, False)
    declarations, mask, read, write = _elements(kind) if single else _masked(v)
    zero, step = "0.0" if single else "zeroinitializer", str(v.bytes)
    added = loop("i", "%q.count", [
        read,
        f"  %s.next = fadd {kind} %s, %v",
        "  %p.next = getelementptr i8, ptr %p, i64 %row",
    ], [("s", kind, zero, "%s.next"), ("p", "ptr", "%from", "%p.next")])  # fmt: skip
    column = [*_moved("%from", "%xq", "%t.i", step), *_moved("%to", "%yq", "%t.i", step), *mask]
    one = [
        *_span("%q", "%spans", "%q.i"),
        *_moved("%xq", "%xo", "%q.start", "%row"),
        *_moved("%yq", "%yo", "%q.i", "%row"),
        loop("t", "%blocks", [*column, added, write]),
    ]
    body = [
        f"  %row = mul i64 %tail, {v.size}",
        "  %x.all = mul i64 %n, %row",
        "  %y.all = mul i64 %count, %row",
        loop("o", "%outer", [
            *_moved("%xo", "%x", "%o.i", "%x.all"),
            *_moved("%yo", "%y", "%o.i", "%y.all"),
            loop("q", "%count", one),
        ]),
    ]  # fmt: skip
    return _function("sums of spans", declarations, _SUMS, body)


_Access = tuple[str, list[str], str, str]
"""Declarations, what goes before, how %v is read at %p, how %s.next is written to %to."""


def _elements(kind: str) -> _Access:
    return "", [], f"  %v = load {kind}, ptr %p", f"  store {kind} %s.next, ptr %to"


def _masked(v: Vectors) -> _Access:
    masked = Masked(v)
    mask = [
        f"  %done = mul i64 %t.i, {v.lanes}",
        "  %left = sub i64 %tail, %done",
        *below(v, "%mask", "%left"),
    ]
    read, write = masked.load("%v", "%p", "%mask"), masked.store("%s.next", "%to", "%mask")
    return masked.declarations, mask, read, write


def _splat(name: str, kind: str, lanes: int, value: str) -> list[str]:
    return [
        f"  {name}.one = insertelement <{lanes} x {kind}> poison, {kind} {value}, i64 0",
        f"  {name} = shufflevector <{lanes} x {kind}> {name}.one, <{lanes} x {kind}> poison, "
        f"<{lanes} x i32> zeroinitializer",
    ]


NOWHERE = 2**31 - 1
"""The place of a lane that saw nothing above -inf."""


def argmax(v: Vectors) -> str:
    """The function `argmax`: each lane keeps its first largest element; a NaN is the largest."""
    row = [
        "  %line = add i64 %b.start, %h.i",
        "  %plane.h = mul i64 %slab, %H",
        "  %row.n = add i64 %plane.h, %line",
        "  %row.w = mul i64 %row.n, %W",
        "  %first = add i64 %row.w, %c.start",
        loop("w", "%c.blocks", _block(v), _kept(v, 2)),
    ]
    plane = ["  %slab = add i64 %a.start, %d.i", loop("h", "%b.count", row, _kept(v, 1))]
    window = [
        *_span("%c", "%dc", "%qc.i"),
        f"  %c.more = add i64 %c.count, {v.lanes - 1}",
        f"  %c.blocks = udiv i64 %c.more, {v.lanes}",
        loop("d", "%a.count", plane, _kept(v, 0)),
        *_chosen(v),
    ]
    columns = [*_span("%b", "%db", "%qb.i"), loop("qc", "%nc", window)]
    rows = [*_span("%a", "%da", "%qa.i"), loop("qb", "%nb", columns)]
    body = [
        "  %xh = mul i64 %D, %H",
        "  %xw = mul i64 %xh, %W",
        f"  %x.all = mul i64 %xw, {v.size}",
        "  %yb = mul i64 %na, %nb",
        "  %yc = mul i64 %yb, %nc",
        "  %y.all = mul i64 %yc, 8",
        loop("o", "%outer", [
            *_moved("%xo", "%x", "%o.i", "%x.all"),
            *_moved("%yo", "%y", "%o.i", "%y.all"),
            loop("qa", "%na", rows),
        ]),
    ]  # fmt: skip
    kind, bools, suffix = v.type, f"<{v.lanes} x i1>", f"v{v.lanes}f{8 * v.size}"
    declarations = (
        f"declare {kind} @llvm.masked.load.{suffix}.p0(ptr, i32, {bools}, {kind})\n"
        f"declare {v.element} @llvm.vector.reduce.fmaximum.{suffix}({kind})\n"
        f"declare i32 @llvm.vector.reduce.umin.v{v.lanes}i32(<{v.lanes} x i32>)\n"
    )
    return _function("largest elements of windows", declarations, _ARGMAX, body)


def _lowest(v: Vectors) -> str:
    return f"splat ({v.element} 0xFFF0000000000000)"


def _kept(v: Vectors, level: int) -> list[tuple[str, str, str, str]]:
    """What a loop carries: the largest elements so far, and their places."""
    ints = f"<{v.lanes} x i32>"
    first = (f"%m{level - 1}", f"%k{level - 1}")
    m, k = first if level else (_lowest(v), f"splat (i32 {NOWHERE})")
    return [(f"m{level}", v.type, m, "%m3"), (f"k{level}", ints, k, "%k3")]


def _block(v: Vectors) -> list[str]:
    """A vector of a row: what is larger than what was seen so far."""
    lanes, kind, ints, bools = v.lanes, v.type, f"<{v.lanes} x i32>", f"<{v.lanes} x i1>"
    iota = "<" + ", ".join(f"i32 {k}" for k in range(lanes)) + ">"
    load = f"@llvm.masked.load.v{lanes}f{8 * v.size}.p0"
    return [
        f"  %done = mul i64 %w.i, {lanes}",
        "  %left = sub i64 %c.count, %done",
        "  %left.i = trunc i64 %left to i32",
        *_splat("%lefts", "i32", lanes, "%left.i"),
        f"  %mask = icmp slt {ints} {iota}, %lefts",
        "  %at = add i64 %first, %done",
        "  %at.i = trunc i64 %at to i32",
        *_splat("%ats", "i32", lanes, "%at.i"),
        f"  %places = add {ints} %ats, {iota}",
        f"  %p = getelementptr {v.element}, ptr %xo, i64 %at",
        f"  %v = call {kind} {load}(ptr %p, i32 {v.size}, {bools} %mask, {kind} {_lowest(v)})",
        f"  %more = fcmp ugt {kind} %v, %m2",
        f"  %number = fcmp ord {kind} %m2, %m2",
        f"  %better = and {bools} %more, %number",
        f"  %m3 = select {bools} %better, {kind} %v, {kind} %m2",
        f"  %k3 = select {bools} %better, {ints} %places, {ints} %k2",
    ]


def _chosen(v: Vectors) -> list[str]:
    """The first place of the largest element of all lanes, written."""
    kind, ints, bools = v.type, f"<{v.lanes} x i32>", f"<{v.lanes} x i1>"
    top = f"@llvm.vector.reduce.fmaximum.v{v.lanes}f{8 * v.size}"
    return [
        f"  %top = call {v.element} {top}({kind} %m3)",
        *_splat("%tops", v.element, v.lanes, "%top"),
        # Out are the lanes below it, and where it is NaN those that are not.
        f"  %below = fcmp olt {kind} %m3, %tops",
        f"  %none = fcmp ord {kind} %m3, %m3",
        f"  %holes = fcmp uno {kind} %tops, %tops",
        f"  %passed = and {bools} %holes, %none",
        f"  %other = or {bools} %below, %passed",
        f"  %hits = select {bools} %other, {ints} splat (i32 {NOWHERE}), {ints} %k3",
        f"  %hit = call i32 @llvm.vector.reduce.umin.v{v.lanes}i32({ints} %hits)",
        "  %hit.n = zext i32 %hit to i64",
        # Of elements that are all -inf the first one is the largest.
        "  %corner.h = mul i64 %a.start, %H",
        "  %corner.y = add i64 %corner.h, %b.start",
        "  %corner.w = mul i64 %corner.y, %W",
        "  %corner = add i64 %corner.w, %c.start",
        f"  %nowhere = icmp eq i32 %hit, {NOWHERE}",
        "  %found = select i1 %nowhere, i64 %corner, i64 %hit.n",
        "  %q1 = mul i64 %qa.i, %nb",
        "  %q2 = add i64 %q1, %qb.i",
        "  %q3 = mul i64 %q2, %nc",
        "  %q4 = add i64 %q3, %qc.i",
        "  %to = getelementptr i64, ptr %yo, i64 %q4",
        "  store i64 %found, ptr %to",
    ]


def loops(dtype: np.dtype[Any]) -> tuple[Run, Run] | None:
    """(sums, argmax) for float32 or float64; None where nothing can be generated.

    sums(x, y, spans): x (outer, n, tail), y (outer, count, tail), spans (count, 2);
    argmax(x, y, spans): x (outer, D, H, W), y (outer, a, b, c), spans an array for each axis; all
    contiguous, the integers int64.
    """
    if dtype.char not in "fd":
        return None
    return KERNELS.find(("spans", dtype), lambda: _build(dtype))  # type: ignore[no-any-return]


def _job(words: tuple[int, ...]) -> Any:
    return (ctypes.c_int64 * len(words))(*words)


def _address(x: Any) -> int:
    return int(x.__array_interface__["data"][0])


def _build(dtype: np.dtype[Any]) -> tuple[Run, Run]:
    size, find = dtype.itemsize, compiler().address
    lanes = registers().bytes // size
    vectors, single = (Vectors(n, size, False) for n in (lanes, 1))
    by_vectors, by_elements, places = (
        _CALL(find(text)) for text in (sums(vectors), sums(single), argmax(vectors))
    )

    def add(x: Any, y: Any, spans: Any) -> None:
        outer, n, tail = x.shape
        code, step = (by_elements, 1) if tail < lanes // 2 else (by_vectors, lanes)
        words = (*map(_address, (x, y, spans)), outer, n, len(spans), tail, -(-tail // step))
        code(_job(words))

    def search(x: Any, y: Any, spans: Any) -> None:
        words = (*map(_address, (x, y, *spans)), *x.shape, *y.shape[1:])
        places(_job(words))

    return add, search
