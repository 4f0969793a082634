"""The LLVM text of convolutions: products of matrices one of which is never written out.

A row of the large factor is a stretch of a plane (an image of one channel between zeros), from an
offset of its own on: a matrix of K offsets stands for K rows. Two functions read it, both with a
tile of sums in registers and vectors along the stretch.

    taps  y[g, o, p] = bias[g, o] + Σ_k w[g, o, b[k, 1]] x[g, b[k, 0] + p]
    dots  d[g, o, k] += Σ_p ct[g, o, p] x[g, off[k] + p]

p runs over `images` stretches, `image` apart, and w's terms are those of b, in any order. Where
rows of planes are short, or steps between outputs long, much of a stretch is computed in vain; a
third function has vectors along the channels instead, which are the innermost axis of all but x,
and serves for both sums:

    points  y[i, o] = first[i, o] + Σ_k x[a[i] + b[k, 0]] w[b[k, 1] + o]

Offsets and steps are in bytes. `_TAPS`, `_DOTS` and `_POINTS` name, in order, the words that the
one argument points to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorgrad.codegen.native import loads

_GRID = "groups:i64 xgroup:i64 images:i64 image:i64"
_TAPS = f"x b w y bias K:i64 blocks:i64 wblock:i64 tiles:i64 yrow:i64 {_GRID}"
_DOTS = f"x off ct d ktiles:i64 otiles:i64 steps:i64 crow:i64 drow:i64 {_GRID}"
_POINTS = "x a b wb y first tiles:i64 K:i64 yrow:i64 firstrow:i64"

Carried = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors of `lanes` floats of `size` bytes; `fused`: the processor multiplies and adds."""

    lanes: int
    size: int
    fused: bool

    @property
    def element(self) -> str:
        return "float" if self.size == 4 else "double"

    @property
    def type(self) -> str:
        return f"<{self.lanes} x {self.element}>"

    @property
    def bytes(self) -> int:
        return self.lanes * self.size

    @property
    def declaration(self) -> str:
        v = self.type
        return f"declare {v} {self._fma}({v}, {v}, {v})\n" if self.fused else ""

    @property
    def _fma(self) -> str:
        return f"@llvm.fma.v{self.lanes}f{8 * self.size}"

    def fma(self, name: str, a: str, b: str, c: str) -> str:
        """name = a b + c."""
        v = self.type
        if self.fused:
            return f"  {name} = call {v} {self._fma}({v} {a}, {v} {b}, {v} {c})"
        return f"  {name}.p = fmul {v} {a}, {b}\n  {name} = fadd {v} {name}.p, {c}"

    def load(self, name: str, base: str, vector: int = 0) -> str:
        """name = the vector of that number behind `base`."""
        at = f"  {name}.at = getelementptr i8, ptr {base}, i64 {vector * self.bytes}"
        return f"{at}\n  {name} = load {self.type}, ptr {name}.at, align {self.size}"

    def splat(self, name: str, base: str, index: int) -> str:
        """name = element `index` behind `base`, in every lane."""
        v, e = self.type, self.element
        return "\n".join([
            f"  {name}.at = getelementptr {e}, ptr {base}, i64 {index}",
            f"  {name}.s = load {e}, ptr {name}.at",
            f"  {name}.o = insertelement {v} poison, {e} {name}.s, i64 0",
            f"  {name} = shufflevector {v} {name}.o, {v} poison, "
            f"<{self.lanes} x i32> zeroinitializer",
        ])  # fmt: skip


def loop(name: str, count: str, body: Sequence[str], carried: Sequence[Carried] = ()) -> str:
    """`count` rounds, at least one; what is carried is (name, type, start, value of the next)."""
    phis = [(f"{name}.i", "i64", "0", f"%{name}.more"), *carried]
    return "\n".join([
        f"  br label %{name}.in",
        f"{name}.in:",
        f"  br label %{name}",
        f"{name}:",
        *[f"  %{n} = phi {t} [{a}, %{name}.in], [{b}, %{name}.end]" for n, t, a, b in phis],
        *body,
        f"  br label %{name}.end",
        f"{name}.end:",
        f"  %{name}.more = add i64 %{name}.i, 1",
        f"  %{name}.again = icmp slt i64 %{name}.more, {count}",
        f"  br i1 %{name}.again, label %{name}, label %{name}.out",
        f"{name}.out:",
    ])  # fmt: skip


def _function(kind: str, words: str, vectors: Vectors, body: str) -> str:
    return (
        f"; {kind} of a convolution\n{vectors.declaration}"
        f"define void @KERNEL(ptr %job) {{\n{loads('job', words)}\n{body}\n  ret void\n}}\n"
    )


def _grouped(body: str) -> str:
    """The body for each group."""
    return loop("group", "%groups", [
        "  %go = mul i64 %group.i, %xgroup",
        "  %xg = getelementptr i8, ptr %x, i64 %go",
        body,
    ])  # fmt: skip


# -- sums over taps ----------------------------------------------------------------------------


def taps(vectors: Vectors, rows: int, wide: int) -> str:
    """The function `taps`, whose tile is `rows` of y by `wide` vectors.

    w is [g, block, term, row], its blocks `wblock` apart; bias and y have `rows` rows a block; of
    each row of y `tiles` tiles are written, and of x as much is read behind each offset.
    """
    one = [
        "  %io = mul i64 %n.i, %image",
        "  %xi = getelementptr i8, ptr %xg, i64 %io",
        "  %yi = getelementptr i8, ptr %yb, i64 %io",
        loop("tile", "%tiles", _tile(vectors, rows, wide)),
    ]
    block = [
        "  %bg = mul i64 %group.i, %blocks",
        "  %bi = add i64 %bg, %block.i",
        f"  %first = mul i64 %bi, {rows}",
        "  %wo = mul i64 %bi, %wblock",
        "  %wb = getelementptr i8, ptr %w, i64 %wo",
        "  %yo = mul i64 %first, %yrow",
        "  %yb = getelementptr i8, ptr %y, i64 %yo",
        f"  %bb = getelementptr {vectors.element}, ptr %bias, i64 %first",
        *[vectors.splat(f"%b{a}", "%bb", a) for a in range(rows)],
        loop("n", "%images", one),
    ]
    return _function("taps", _TAPS, vectors, _grouped(loop("block", "%blocks", block)))


_TERM = (
    "  %k.at = getelementptr [2 x i64], ptr %b, i64 %k.i",
    "  %xk = load i64, ptr %k.at",
    "  %wk.at = getelementptr i64, ptr %k.at, i64 1",
    "  %wk.o = load i64, ptr %wk.at",
    "  %wk = getelementptr i8, ptr %wb, i64 %wk.o",
)
"""Of the term with number %k.i the offset %xk in the planes, and the weights' place %wk."""


def _tile(vectors: Vectors, rows: int, wide: int) -> list[str]:
    """One tile of `taps`, of %xi and %yi on."""
    v = vectors.type
    each = [(a, b) for a in range(rows) for b in range(wide)]
    term = [*_TERM, "  %xo = getelementptr i8, ptr %xt, i64 %xk"]
    term += [vectors.load(f"%x{b}", "%xo", b) for b in range(wide)]
    for a in range(rows):
        term.append(vectors.splat(f"%w{a}", "%wk", a))
        term += [
            vectors.fma(f"%s{a}.{b}.next", f"%x{b}", f"%w{a}", f"%s{a}.{b}") for b in range(wide)
        ]
    carried = [(f"s{a}.{b}", v, f"%b{a}", f"%s{a}.{b}.next") for a, b in each]
    tile = [
        f"  %px = mul i64 %tile.i, {wide * vectors.bytes}",
        "  %xt = getelementptr i8, ptr %xi, i64 %px",
        "  %y0 = getelementptr i8, ptr %yi, i64 %px",
        loop("k", "%K", term, carried),
        *[f"  %y{a} = getelementptr i8, ptr %y{a - 1}, i64 %yrow" for a in range(1, rows)],
    ]
    for a, b in each:
        tile.append(f"  %y{a}.{b} = getelementptr i8, ptr %y{a}, i64 {b * vectors.bytes}")
        tile.append(f"  store {v} %s{a}.{b}.next, ptr %y{a}.{b}, align {vectors.size}")
    return tile


# -- products of stretches ---------------------------------------------------------------------


def dots(vectors: Vectors, rows: int, many: int) -> str:
    """The function `dots`, whose tile is `rows` of ct by `many` offsets.

    `many` is a power of two, at most the lanes; a row of ct and what is read of x is `steps`
    vectors. d has `rows` rows an o-tile and `many` columns a k-tile.
    """
    each = [(a, b) for a in range(rows) for b in range(many)]
    term = [f"  %qi = mul i64 %q.i, {vectors.bytes}", "  %qo = add i64 %io, %qi"]
    for b in range(many):
        term.append(f"  %xq{b} = getelementptr i8, ptr %xb{b}, i64 %qo")
        term.append(vectors.load(f"%x{b}", f"%xq{b}"))
    for a in range(rows):
        term.append(f"  %cq{a} = getelementptr i8, ptr %cb{a}, i64 %qo")
        term.append(vectors.load(f"%c{a}", f"%cq{a}"))
        term += [
            vectors.fma(f"%s{a}.{b}.next", f"%x{b}", f"%c{a}", f"%s{a}.{b}") for b in range(many)
        ]
    v, more = vectors.type, [(f"%s{a}.{b}.next", f"{a}.{b}") for a, b in each]
    one = [
        "  %io = mul i64 %n.i, %image",
        loop("q", "%steps", term, [(f"s{at}", v, f"%t{at}", new) for new, at in more]),
    ]
    tile = [f"  %k0 = mul i64 %kt.i, {many}", "  %o.at = getelementptr i64, ptr %off, i64 %k0"]
    for b in range(many):
        tile.append(f"  %o{b}.at = getelementptr i64, ptr %o.at, i64 {b}")
        tile.append(f"  %o{b} = load i64, ptr %o{b}.at")
        tile.append(f"  %xb{b} = getelementptr i8, ptr %xg, i64 %o{b}")
    tile.append(
        loop("n", "%images", one, [(f"t{at}", v, "zeroinitializer", new) for new, at in more])
    )
    for a in range(rows):
        tile += _added(vectors, a, [f"%s{a}.{b}.next" for b in range(many)])
    block = [
        "  %bg = mul i64 %group.i, %otiles",
        "  %bi = add i64 %bg, %ot.i",
        f"  %first = mul i64 %bi, {rows}",
        "  %do = mul i64 %first, %drow",
        "  %db0 = getelementptr i8, ptr %d, i64 %do",
        "  %co = mul i64 %first, %crow",
        "  %cb0 = getelementptr i8, ptr %ct, i64 %co",
    ]
    for a in range(1, rows):
        block.append(f"  %db{a} = getelementptr i8, ptr %db{a - 1}, i64 %drow")
        block.append(f"  %cb{a} = getelementptr i8, ptr %cb{a - 1}, i64 %crow")
    block.append(loop("kt", "%ktiles", tile))
    return _function("dots", _DOTS, vectors, _grouped(loop("ot", "%otiles", block)))


def _added(vectors: Vectors, row: int, sums: list[str]) -> list[str]:
    """The lanes of each sum added up, and the results, side by side, added to a row of d."""
    many, width, text = len(sums), vectors.lanes, []

    def halved(name: str, left: str, right: str, width: int, kept: int) -> str:
        v = f"<{width} x {vectors.element}>"
        for side in (0, 1):
            lanes = ", ".join(f"i32 {2 * j + side}" for j in range(kept))
            pair = f"{v} {left}, {v} {right}"
            text.append(f"  {name}.{side} = shufflevector {pair}, <{kept} x i32> <{lanes}>")
        text.append(f"  {name} = fadd <{kept} x {vectors.element}> {name}.0, {name}.1")
        return name

    level = 0
    while len(sums) > 1:
        pairs = zip(sums[::2], sums[1::2])
        sums = [
            halved(f"%h{row}.{level}.{k}", left, right, width, width)
            for k, (left, right) in enumerate(pairs)
        ]
        level += 1
    while width > many:
        sums = [halved(f"%f{row}.{width}", sums[0], "poison", width, width // 2)]
        width //= 2
    v = f"<{many} x {vectors.element}>"
    return [
        *text,
        f"  %d{row}.at = getelementptr {vectors.element}, ptr %db{row}, i64 %k0",
        f"  %d{row}.old = load {v}, ptr %d{row}.at, align {vectors.size}",
        f"  %d{row} = fadd {v} %d{row}.old, {sums[0]}",
        f"  store {v} %d{row}, ptr %d{row}.at, align {vectors.size}",
    ]


# -- sums at points ----------------------------------------------------------------------------


def points(vectors: Vectors, rows: int, wide: int) -> str:
    """The function `points`, whose tile is `rows` of y by `wide` vectors: all of a row."""
    v = vectors.type
    each = [(a, b) for a in range(rows) for b in range(wide)]
    term = [*_TERM, *[vectors.load(f"%w{b}", "%wk", b) for b in range(wide)]]
    for a in range(rows):
        term.append(f"  %xo{a} = getelementptr i8, ptr %x{a}, i64 %xk")
        term.append(vectors.splat(f"%e{a}", f"%xo{a}", 0))
        term += [
            vectors.fma(f"%s{a}.{b}.next", f"%w{b}", f"%e{a}", f"%s{a}.{b}") for b in range(wide)
        ]
    carried = [(f"s{a}.{b}", v, f"%f{a}.{b}", f"%s{a}.{b}.next") for a, b in each]
    tile = [f"  %i0 = mul i64 %tile.i, {rows}"]
    for name in ("y", "first"):
        tile.append(f"  %{name}.o = mul i64 %i0, %{name}row")
        tile.append(f"  %{name}0 = getelementptr i8, ptr %{name}, i64 %{name}.o")
        tile += [
            f"  %{name}{a} = getelementptr i8, ptr %{name}{a - 1}, i64 %{name}row"
            for a in range(1, rows)
        ]
    tile.append("  %at = getelementptr i64, ptr %a, i64 %i0")
    for a in range(rows):
        tile.append(f"  %a{a}.at = getelementptr i64, ptr %at, i64 {a}")
        tile.append(f"  %a{a} = load i64, ptr %a{a}.at")
        tile.append(f"  %x{a} = getelementptr i8, ptr %x, i64 %a{a}")
    tile += [vectors.load(f"%f{a}.{b}", f"%first{a}", b) for a, b in each]
    tile.append(loop("k", "%K", term, carried))
    for a, b in each:
        tile.append(f"  %y{a}.{b} = getelementptr i8, ptr %y{a}, i64 {b * vectors.bytes}")
        tile.append(f"  store {v} %s{a}.{b}.next, ptr %y{a}.{b}, align {vectors.size}")
    return _function("points", _POINTS, vectors, loop("tile", "%tiles", tile))
