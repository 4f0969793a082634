"""The LLVM text of what surrounds a convolution's sums: copies, zeros, and steps in a row.

NumPy copies rows of a few elements at a tenth of what memory gives, and a convolution of small
images is hundreds of such calls: here it is one, a list of steps.

    rows      to[a.t + k] = from[a.f + k], k < lanes full + rest: five axes of rows side by side
    elements  to[a.t + k step] = from[a.f + k stride], k < count
    zeros     `count` vectors of zeros
    steps     calls each of `count` functions, [function, words, its words ...], one after another

`_ROWS`, `_ELEMENTS` and `_ZEROS` name the words that the one argument points to; steps in bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from tensorgrad.codegen.conv_text import Vectors, loop
from tensorgrad.codegen.native import loads

AXES = 5
"""Axes around the innermost one."""

_AXES = " ".join([f"{name}{a}:i64" for name in "ntf" for a in range(AXES)])
_ROWS = f"to0 from0 {_AXES} full:i64 rest:i64"
_ELEMENTS = f"to0 from0 {_AXES} count:i64 step:i64 stride:i64"
_ZEROS = "to count:i64"


def _nested(body: Sequence[str]) -> str:
    """The body in loops over the axes, which move `to` and `from`."""
    for a in reversed(range(AXES)):
        body = [loop(f"axis{a}", f"%n{a}", [
            f"  %to{a}.o = mul i64 %axis{a}.i, %t{a}",
            f"  %from{a}.o = mul i64 %axis{a}.i, %f{a}",
            f"  %to{a + 1} = getelementptr i8, ptr %to{a}, i64 %to{a}.o",
            f"  %from{a + 1} = getelementptr i8, ptr %from{a}, i64 %from{a}.o",
            *body,
        ])]  # fmt: skip
    return body[0]


def _function(title: str, declarations: str, body: Sequence[str]) -> str:
    text = "\n".join(body)
    return f"; {title}\n{declarations}define void @KERNEL(ptr %job) {{\n{text}\n  ret void\n}}\n"


def rows(vectors: Vectors) -> str:
    """The function `rows`: a row by vectors, the last one masked."""
    v, lanes = vectors.type, vectors.lanes
    bools, suffix = f"<{lanes} x i1>", f"v{lanes}f{8 * vectors.size}.p0"
    load, store = f"@llvm.masked.load.{suffix}", f"@llvm.masked.store.{suffix}"
    declarations = (
        f"declare {v} {load}(ptr, i32, {bools}, {v})\n"
        f"declare void {store}({v}, ptr, i32, {bools})\n"
    )
    size = vectors.size
    last = [
        f"  %last = call {v} {load}(ptr %last.in, i32 {size}, {bools} %mask, {v} zeroinitializer)",
        f"  call void {store}({v} %last, ptr %last.out, i32 {size}, {bools} %mask)",
    ]
    numbers, each = ", ".join(f"i64 {k}" for k in range(lanes)), f"<{lanes} x i64>"
    text = [
        loads("job", _ROWS),
        "  %some = icmp sgt i64 %full, 0",
        "  %more = icmp sgt i64 %rest, 0",
        f"  %done.bytes = mul i64 %full, {vectors.bytes}",
        f"  %rest.one = insertelement {each} poison, i64 %rest, i64 0",
        f"  %rest.all = shufflevector {each} %rest.one, {each} poison, "
        f"<{lanes} x i32> zeroinitializer",
        f"  %mask = icmp slt {each} <{numbers}>, %rest.all",
        _nested(_row(vectors, last)),
    ]
    return _function("rows side by side, copied", declarations, text)


def _row(vectors: Vectors, last: Sequence[str]) -> list[str]:
    """One row: whole vectors, then the last one, of %last.in and %last.out."""
    whole = [
        f"  %o = mul i64 %vector.i, {vectors.bytes}",
        f"  %in = getelementptr i8, ptr %from{AXES}, i64 %o",
        f"  %out = getelementptr i8, ptr %to{AXES}, i64 %o",
        f"  %x = load {vectors.type}, ptr %in, align {vectors.size}",
        f"  store {vectors.type} %x, ptr %out, align {vectors.size}",
    ]
    return [
        "  br i1 %some, label %whole, label %behind",
        "whole:",
        loop("vector", "%full", whole),
        "  br label %behind",
        "behind:",
        "  br i1 %more, label %masked, label %done",
        "masked:",
        f"  %last.in = getelementptr i8, ptr %from{AXES}, i64 %done.bytes",
        f"  %last.out = getelementptr i8, ptr %to{AXES}, i64 %done.bytes",
        *last,
        "  br label %done",
        "done:",
    ]


def elements(vectors: Vectors) -> str:
    """The function `elements`."""
    e = vectors.element
    ends = (("in", f"%from{AXES}"), ("out", f"%to{AXES}"))
    carried = [(name, "ptr", first, f"%{name}.next") for name, first in ends]
    body = loop("k", "%count", [
        f"  %x = load {e}, ptr %in",
        f"  store {e} %x, ptr %out",
        "  %in.next = getelementptr i8, ptr %in, i64 %stride",
        "  %out.next = getelementptr i8, ptr %out, i64 %step",
    ], carried)  # fmt: skip
    return _function("elements copied", "", [loads("job", _ELEMENTS), _nested([body])])


def zeros(vectors: Vectors) -> str:
    """The function `zeros`."""
    body = loop("k", "%count", [
        f"  %o = mul i64 %k.i, {vectors.bytes}",
        "  %out = getelementptr i8, ptr %to, i64 %o",
        f"  store {vectors.type} zeroinitializer, ptr %out, align {vectors.size}",
    ])  # fmt: skip
    return _function("zeros", "", [loads("job", _ZEROS), body])


def steps() -> str:
    """The function `steps`."""
    body = loop("step", "%count", [
        "  %size.at = getelementptr i64, ptr %at, i64 1",
        "  %words = getelementptr i64, ptr %at, i64 2",
        "  %function = load ptr, ptr %at",
        "  %size = load i64, ptr %size.at",
        "  call void %function(ptr %words)",
        "  %at.next = getelementptr i64, ptr %words, i64 %size",
    ], [("at", "ptr", "%first", "%at.next")])  # fmt: skip
    first = "  %first = getelementptr i64, ptr %job, i64 1"
    return _function("steps", "", [loads("job", "count:i64"), first, body])
