"""Generated loops over all pairs of rows of two matrices: their distances, and what those pull.

    distance  out[i, j] = (Σ_k |x[i, k] - y[j, k]|^p)^(1/p) for p 1 and 2, the largest for inf
    ties      out[i, j] = the number of k with |x[i, k] - y[j, k]| = e[i, j]
    pull      out[i, k] = Σ_j r[i, j] φ(x[i, k] - y[j, k]), φ(d) = d for p 2, sign(d) for p 1,
              sign(d) where |d| = e[i, j] for inf

Rows are whole vectors, with zeros behind their elements. A tile of sums lies in registers, and the
lanes of each are folded half on half, whatever the tile. Where a tile reaches beyond the last row,
that row is computed again.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgrad.codegen.compiler import compiler
from tensorgrad.codegen.conv import WIDE, registers
from tensorgrad.codegen.conv_text import Vectors, loop
from tensorgrad.codegen.kernels import KERNELS
from tensorgrad.codegen.native import loads

BYTES = 64
"""Of the vectors, on every processor: the order of a sum is the same on all of them."""

_WORDS = "x y r e out batches:i64 P:i64 R:i64 K:i64 row:i64 column:i64 batch:i64"
"""r and e: bytes between rows, columns and batches; x, y and out are contiguous."""

_JOB = ctypes.c_int64 * len(_WORDS.split())
_CALL = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
Run = Callable[..., None]


class _Writer:
    """What the loops of one kind (a p, or "ties") have in common."""

    def __init__(self, v: Vectors, kind: str) -> None:
        self.v, self.kind = v, kind
        self.suffix = f"v{v.lanes}f{8 * v.size}"
        self.one = f"splat ({v.element} 1.0)"

    def call(self, name: str, function: str, *args: str) -> str:
        given = ", ".join(f"{self.v.type} {a}" for a in args)
        return f"  {name} = call {self.v.type} @llvm.{function}.{self.suffix}({given})"

    def chosen(self, name: str, test: str, total: str) -> list[str]:
        """name = name.m where the comparison holds, else `total`."""
        v = self.v.type
        return [
            f"  {name}.t = fcmp {test}",
            f"  {name} = select <{self.v.lanes} x i1> {name}.t, {v} {name}.m, {v} {total}",
        ]

    def term(self, name: str, a: str, b: str, total: str, e: str) -> list[str]:
        """name = `total` and the term of elements a and b of a pair."""
        v, d, size = self.v.type, f"{name}.d", f"{name}.a"
        lines = [f"  {d} = fsub {v} {a}, {b}"]
        if self.kind == "2":
            return [*lines, self.v.fma(name, d, d, total)]
        lines.append(self.call(size, "fabs", d))
        if self.kind == "1":
            return [*lines, f"  {name} = fadd {v} {total}, {size}"]
        if self.kind == "inf":
            return [*lines, self.call(name, "maximum", total, size)]
        lines.append(f"  {name}.m = fadd {v} {total}, {self.one}")
        return lines + self.chosen(name, f"oeq {v} {size}, {e}", total)

    def part(self, name: str, a: str, b: str, total: str, r: str, e: str) -> list[str]:
        """name = `total` + r φ(a - b)."""
        v, d, size = self.v.type, f"{name}.d", f"{name}.a"
        lines = [f"  {d} = fsub {v} {a}, {b}"]
        if self.kind == "2":
            return [*lines, self.v.fma(name, d, r, total)]
        lines.append(self.call(f"{name}.s", "copysign", self.one, d))
        lines.append(self.v.fma(f"{name}.m", f"{name}.s", r, total))
        if self.kind == "1":
            return lines + self.chosen(name, f"une {v} {d}, zeroinitializer", total)
        lines.append(self.call(size, "fabs", d))
        return lines + self.chosen(name, f"ueq {v} {size}, {e}", total)

    def folded(self, sums: Sequence[str]) -> tuple[list[str], str]:
        """A vector whose first lanes are what the lanes of each sum give, in order."""
        lines, level, width = [], list(sums), self.v.lanes
        while width > 1:
            pairs = [(k, k + 1) for k in range(0, len(level), 2)] if len(level) > 1 else [(0, 0)]
            names = [f"%fold{width}.{a}" for a, _ in pairs]
            for name, (a, b) in zip(names, pairs):
                lines += self._halves(name, level[a], level[b], width)
            level, width = names, width // 2
        return lines, level[0]

    def _halves(self, name: str, a: str, b: str, width: int) -> list[str]:
        """Groups of `width` lanes, those of a and then those of b, the one half on the other."""
        v, lanes, half = self.v.type, self.v.lanes, width // 2
        lines = []
        for which, shift in (("l", 0), ("h", half)):
            picked = [s + shift + k for s in range(0, 2 * lanes, width) for k in range(half)]
            mask = ", ".join(f"i32 {n}" for n in picked)
            lines.append(
                f"  {name}.{which} = shufflevector {v} {a}, {v} {b}, <{lanes} x i32> <{mask}>"
            )
        if self.kind == "inf":
            return [*lines, self.call(name, "maximum", f"{name}.l", f"{name}.h")]
        return [*lines, f"  {name} = fadd {v} {name}.l, {name}.h"]

    def row(self, name: str, base: str, tile: str, number: int, step: int, count: str) -> list[str]:
        """name: row `number` of a tile, or the last one there is; name.n: which it is."""
        return [
            f"  {name}.w = mul i64 {tile}, {step}",
            f"  {name}.u = add i64 {name}.w, {number}",
            f"  {name}.n = call i64 @llvm.smin.i64(i64 {name}.u, i64 %last.{count})",
            f"  {name}.o = mul i64 {name}.n, %bytes",
            f"  {name} = getelementptr i8, ptr {base}, i64 {name}.o",
        ]

    def scalar(self, name: str, base: str, i: str, j: str) -> list[str]:
        """The element of r or e of a pair, in every lane."""
        return [
            f"  {name}.i = mul i64 {i}, %row",
            f"  {name}.j = mul i64 {j}, %column",
            f"  {name}.ij = add i64 {name}.i, {name}.j",
            f"  {name}.p = getelementptr i8, ptr {base}, i64 {name}.ij",
            self.v.splat(name, f"{name}.p", 0),
        ]

    def function(self, body: Sequence[str]) -> str:
        """The function whose body runs for each batch; %xb, %yb, %rb, %eb, %first are its own."""
        v = self.v
        names = (("fabs", 1), ("sqrt", 1), ("maximum", 2), ("copysign", 2), ("fma", 3))
        known = [f"declare {v.type} @llvm.{n}.{self.suffix}({', '.join([v.type] * k)})"
                 for n, k in names]  # fmt: skip
        text = [
            loads("job", _WORDS),
            f"  %bytes = mul i64 %K, {v.bytes}",
            "  %last.P = sub i64 %P, 1",
            "  %last.R = sub i64 %R, 1",
            "  %last.K = sub i64 %K, 1",
            "  %x.all = mul i64 %P, %bytes",
            "  %y.all = mul i64 %R, %bytes",
            loop("b", "%batches", [
                "  %x.o = mul i64 %b.i, %x.all",
                "  %y.o = mul i64 %b.i, %y.all",
                "  %r.o = mul i64 %b.i, %batch",
                "  %xb = getelementptr i8, ptr %x, i64 %x.o",
                "  %yb = getelementptr i8, ptr %y, i64 %y.o",
                "  %rb = getelementptr i8, ptr %r, i64 %r.o",
                "  %eb = getelementptr i8, ptr %e, i64 %r.o",
                "  %first = mul i64 %b.i, %P",
                *body,
            ]),
        ]  # fmt: skip
        lines = "\n".join([*known, "declare i64 @llvm.smin.i64(i64, i64)"])
        return (
            f"; {self.kind} of pairs of rows\n{lines}\ndefine void @KERNEL(ptr %job) {{\n"
            + "\n".join(text)
            + "\n  ret void\n}\n"
        )


def distances(v: Vectors, kind: str, rows: int, columns: int) -> str:
    """The function `distance`, or `ties`, by tiles of `rows` times `columns` pairs."""
    w, pairs = _Writer(v, kind), [(a, b) for a in range(rows) for b in range(columns)]
    body, before, carried = [f"  %k.o = mul i64 %k.i, {v.bytes}"], [], []
    for n, base, count in (("x", "%xa", rows), ("y", "%ya", columns)):
        for a in range(count):
            body.append(f"  {base}{a}.k = getelementptr i8, ptr {base}{a}, i64 %k.o")
            body.append(v.load(f"%{n}{a}.v", f"{base}{a}.k"))
    for a, b in pairs:
        s = f"%s{a}.{b}"
        body += w.term(f"{s}.next", f"%x{a}.v", f"%y{b}.v", s, f"%e{a}.{b}")
        carried.append((s[1:], v.type, "zeroinitializer", f"{s}.next"))
        if kind == "ties":
            before += w.scalar(f"%e{a}.{b}", "%eb", f"%xa{a}.n", f"%ya{b}.n")
    outer, inner = [], []
    for b in range(columns):
        outer += w.row(f"%ya{b}", "%yb", "%tj.i", b, columns, "R")
    for a in range(rows):
        inner += w.row(f"%xa{a}", "%xb", "%ti.i", a, rows, "P")
        inner += [f"  %at.row{a} = add i64 %first, %xa{a}.n", f"  %out{a} = mul i64 %at.row{a}, %R"]
    inner += [*before, loop("k", "%K", body, carried), *_stored(w, pairs)]
    tiles = [*_tiles("P", rows), *_tiles("R", columns)]
    return w.function([*tiles, loop("tj", "%tiles.R", [*outer, loop("ti", "%tiles.P", inner)])])


def _stored(w: _Writer, pairs: Sequence[tuple[int, int]]) -> list[str]:
    """The distances of a tile's pairs, out of their sums."""
    v = w.v
    lines, found = w.folded([f"%s{a}.{b}.next" for a, b in pairs])
    if w.kind == "2":
        lines.append(w.call("%root", "sqrt", found))
        found = "%root"
    for k, (a, b) in enumerate(pairs):
        lines += [
            f"  %at{k} = add i64 %out{a}, %ya{b}.n",
            f"  %to{k} = getelementptr {v.element}, ptr %out, i64 %at{k}",
            f"  %one{k} = extractelement {v.type} {found}, i64 {k}",
            f"  store {v.element} %one{k}, ptr %to{k}",
        ]
    return lines


def _tiles(count: str, step: int) -> list[str]:
    return [
        f"  %more.{count} = add i64 %{count}, {step - 1}",
        f"  %tiles.{count} = udiv i64 %more.{count}, {step}",
    ]


def pull(v: Vectors, kind: str, rows: int, wide: int) -> str:
    """The function `pull`, by tiles of `rows` times `wide` vectors."""
    w, tile = _Writer(v, kind), [(a, c) for a in range(rows) for c in range(wide)]
    outer: list[str] = []
    for c in range(wide):
        outer += [
            f"  %c{c}.w = mul i64 %tk.i, {wide}",
            f"  %c{c}.u = add i64 %c{c}.w, {c}",
            f"  %c{c}.n = call i64 @llvm.smin.i64(i64 %c{c}.u, i64 %last.K)",
            f"  %c{c}.o = mul i64 %c{c}.n, {v.bytes}",
        ]
    inner: list[str] = []
    for a in range(rows):
        inner += w.row(f"%xa{a}", "%xb", "%ti.i", a, rows, "P")
        inner += [
            f"  %oa{a} = getelementptr i8, ptr %ob, i64 %xa{a}.o",
            f"  %ro{a} = mul i64 %xa{a}.n, %row",
            f"  %r{a}.row = getelementptr i8, ptr %rb, i64 %ro{a}",
            f"  %e{a}.row = getelementptr i8, ptr %eb, i64 %ro{a}",
        ]
    for a, c in tile:
        inner.append(f"  %x{a}.{c}.p = getelementptr i8, ptr %xa{a}, i64 %c{c}.o")
        inner.append(v.load(f"%x{a}.{c}", f"%x{a}.{c}.p"))
    sums = [(f"s{a}.{c}", v.type, "zeroinitializer", f"%s{a}.{c}.next") for a, c in tile]
    inner.append(loop("j", "%R", _against(w, rows, wide), sums))
    for a, c in tile:
        inner += [
            f"  %to{a}.{c} = getelementptr i8, ptr %oa{a}, i64 %c{c}.o",
            f"  store {v.type} %s{a}.{c}.next, ptr %to{a}.{c}, align {v.size}",
        ]
    begun = ["  %ob = getelementptr i8, ptr %out, i64 %x.o", *_tiles("P", rows), *_tiles("K", wide)]
    return w.function([*begun, loop("tk", "%tiles.K", [*outer, loop("ti", "%tiles.P", inner)])])


def _against(w: _Writer, rows: int, wide: int) -> list[str]:
    """What row j of y pulls of a tile."""
    lines = ["  %yo = mul i64 %j.i, %bytes", "  %yj = getelementptr i8, ptr %yb, i64 %yo"]
    for c in range(wide):
        lines.append(f"  %yc{c} = getelementptr i8, ptr %yj, i64 %c{c}.o")
        lines.append(w.v.load(f"%y{c}.v", f"%yc{c}"))
    lines.append("  %jo = mul i64 %j.i, %column")
    for a in range(rows):
        for n in "re" if w.kind == "inf" else "r":
            lines.append(f"  %{n}{a}.p = getelementptr i8, ptr %{n}{a}.row, i64 %jo")
            lines.append(w.v.splat(f"%{n}{a}", f"%{n}{a}.p", 0))
    for a in range(rows):
        for c in range(wide):
            s = f"%s{a}.{c}"
            lines += w.part(f"{s}.next", f"%x{a}.{c}", f"%y{c}.v", s, f"%r{a}", f"%e{a}")
    return lines


def pairs(kind: str, what: str, dtype: np.dtype[Any]) -> Run | None:
    """run(x, y, r, e, out) for float32 or float64; None where nothing can be generated.

    kind: "1", "2" or "inf"; what: "distance", "ties" or "pull". x (batches, P, K), y and out are
    contiguous, K whole vectors; r and e have the same strides.
    """
    if dtype.char not in "fd":
        return None
    return KERNELS.find(("pairs", kind, what, dtype), lambda: _build(kind, what, dtype))  # type: ignore[no-any-return]


def lanes(dtype: Any) -> int:
    """Elements of a vector."""
    return BYTES // int(dtype.itemsize)


def _build(kind: str, what: str, dtype: np.dtype[Any]) -> Run:
    has = registers()
    v, wide = Vectors(lanes(dtype), dtype.itemsize, has.fused), has is WIDE
    if what == "pull":
        text = pull(v, kind, 4 if wide else 2, 2 if wide else 1)
    elif what == "ties":
        text = distances(v, "ties", 2, 2)
    else:
        text = distances(v, kind, 4 if wide else 2, 4 if wide and v.lanes > 8 else 2)
    code = _CALL(compiler().address(text))

    def run(x: Any, y: Any, r: Any, e: Any, out: Any) -> None:
        batches, rows, size = x.shape
        places = [a.__array_interface__["data"][0] for a in (x, y, out)]
        for one in (e, r):
            places.insert(2, places[-1] if one is out else one.__array_interface__["data"][0])
        steps = (*r.strides[1:], r.strides[0])
        code(_JOB(*places, batches, rows, y.shape[1], size // v.lanes, *steps))

    return run
