"""The LLVM text of what surrounds a convolution's sums: copies, zeros, and steps in a row.

NumPy copies rows of a few elements at a tenth of what memory gives, and a convolution of small
images is hundreds of such calls: here it is one, a list of steps.

    rows      to[a.t + k] = from[a.f + k], k < lanes full + rest: five axes of rows side by side
    elements  to[a.t + k step] = from[a.f + k stride], k < count
    turns     to[a.t + c step + r] = from[a.f + r stride + c], r < rows, c < columns
    zeros     `count` vectors of zeros
    steps     calls each of `count` functions, [function, words, its words ...], one after another

`_ROWS`, `_ELEMENTS`, `_TURNS` and `_ZEROS` name the words that the one argument points to; steps in
bytes.
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
_TURNS = f"to0 from0 {_AXES} rows:i64 columns:i64 step:i64 stride:i64"
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


def below(vectors: Vectors, name: str, count: str) -> list[str]:
    """name = which lanes have a number below `count`."""
    lanes, each = vectors.lanes, f"<{vectors.lanes} x i64>"
    numbers = ", ".join(f"i64 {k}" for k in range(lanes))
    return [
        f"  {name}.one = insertelement {each} poison, i64 {count}, i64 0",
        f"  {name}.all = shufflevector {each} {name}.one, {each} poison, "
        f"<{lanes} x i32> zeroinitializer",
        f"  {name} = icmp slt {each} <{numbers}>, {name}.all",
    ]


class Masked:
    """Loads and stores of the lanes that a mask names."""

    def __init__(self, vectors: Vectors) -> None:
        v, suffix = vectors.type, f"v{vectors.lanes}f{8 * vectors.size}.p0"
        bools = f"<{vectors.lanes} x i1>"
        self._load, self._store = f"@llvm.masked.load.{suffix}", f"@llvm.masked.store.{suffix}"
        self._v, self._where = v, f"i32 {vectors.size}, {bools}"
        self.declarations = (
            f"declare {v} {self._load}(ptr, i32, {bools}, {v})\n"
            f"declare void {self._store}({v}, ptr, i32, {bools})\n"
        )

    def load(self, name: str, at: str, mask: str) -> str:
        where = f"{self._where} {mask}, {self._v} zeroinitializer"
        return f"  {name} = call {self._v} {self._load}(ptr {at}, {where})"

    def store(self, name: str, at: str, mask: str) -> str:
        return f"  call void {self._store}({self._v} {name}, ptr {at}, {self._where} {mask})"


def rows(vectors: Vectors) -> str:
    """The function `rows`: a row by vectors, the last one masked."""
    masked = Masked(vectors)
    last = [
        masked.load("%last", "%last.in", "%mask"),
        masked.store("%last", "%last.out", "%mask"),
    ]
    text = [
        loads("job", _ROWS),
        "  %some = icmp sgt i64 %full, 0",
        "  %more = icmp sgt i64 %rest, 0",
        f"  %done.bytes = mul i64 %full, {vectors.bytes}",
        *below(vectors, "%mask", "%rest"),
        _nested(_row(vectors, last)),
    ]
    return _function("rows side by side, copied", masked.declarations, text)


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


def turns(vectors: Vectors) -> str:
    """The function `turns`: square tiles, as many rows and columns as a vector has lanes."""
    masked, lanes = Masked(vectors), vectors.lanes
    tile = []
    for side, count in (("r", "%rows"), ("c", "%columns")):
        tile += [
            f"  %{side}0 = mul i64 %{side}t.i, {lanes}",
            f"  %{side}.left = sub i64 {count}, %{side}0",
            *below(vectors, f"%{side}.mask", f"%{side}.left"),
        ]
    for end, base, outer, inner, step in (
        ("in", "from", "r", "c", "%stride"),
        ("out", "to", "c", "r", "%step"),
    ):
        tile += [
            f"  %{end}.o = mul i64 %{outer}0, {step}",
            f"  %{end}.row = getelementptr i8, ptr %{base}{AXES}, i64 %{end}.o",
            f"  %{end}.i = mul i64 %{inner}0, {vectors.size}",
            f"  %{end}0 = getelementptr i8, ptr %{end}.row, i64 %{end}.i",
        ]
        for k in range(1, lanes):
            tile.append(f"  %{end}{k} = getelementptr i8, ptr %{end}{k - 1}, i64 {step}")
    tile += _exchanged(vectors, masked)
    text = [loads("job", _TURNS)]
    for name in ("rows", "columns"):
        text.append(f"  %{name}.up = add i64 %{name}, {lanes - 1}")
        text.append(f"  %{name}.tiles = sdiv i64 %{name}.up, {lanes}")
    inside = loop("ct", "%columns.tiles", tile)
    text.append(_nested([loop("rt", "%rows.tiles", [inside])]))
    return _function("rows and columns exchanged", masked.declarations, text)


def _exchanged(vectors: Vectors, masked: Masked) -> list[str]:
    """From the rows %in0 ... to the rows %out0 ...; none is touched that is not there."""
    lanes, text = vectors.lanes, []
    for k in range(lanes):
        for side, mask in (("r", "c"), ("c", "r")):
            text.append(f"  %{side}.has{k} = icmp sgt i64 %{side}.left, {k}")
            text.append(
                f"  %{mask}.mask{k} = select i1 %{side}.has{k}, <{lanes} x i1> %{mask}.mask, "
                f"<{lanes} x i1> zeroinitializer"
            )
        text.append(masked.load(f"%t{lanes}.{k}", f"%in{k}", f"%c.mask{k}"))
    width = lanes
    while width > 1:
        whole, width = width, width // 2
        for k in range(lanes):
            # Of two rows the blocks of `width` lanes at even places, or those at odd ones.
            pair = ", ".join(f"{vectors.type} %t{whole}.{row}" for row in (k & ~width, k | width))
            picks = [(j & ~width | k & width) + lanes * bool(j & width) for j in range(lanes)]
            order = ", ".join(f"i32 {j}" for j in picks)
            text.append(f"  %t{width}.{k} = shufflevector {pair}, <{lanes} x i32> <{order}>")
    return text + [masked.store(f"%t1.{k}", f"%out{k}", f"%r.mask{k}") for k in range(lanes)]


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
