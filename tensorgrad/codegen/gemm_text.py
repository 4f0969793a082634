"""The LLVM text of a product of matrices, called as a BLAS's `cblas_gemm` is.

    c[i, j] = Σ_k a[i, k] b[k, j], rows of c contiguous; alpha and beta are taken for 1 and 0

Tiles of c stay in registers for DEPTH terms: of b a row of vectors is read, of a single elements.
So a may lie in any way; b is copied, DEPTH rows of a panel at a time, where its rows are not
contiguous, end within a vector, or are read often. A sum is made term by term in their order,
wherever its element lies: a part of a product has the bits of the whole.
"""

from __future__ import annotations

from tensorgrad.codegen.conv_copies import AXES, Masked, below, turns
from tensorgrad.codegen.conv_text import Vectors, loop

PANEL, DEPTH = 4, 512
"""Vectors of a panel of b, and terms that are added before c is met again: both stay in L2."""

OFTEN = 96
"""Rows of a from which on a panel of b is copied for its own sake."""

ROWS = (6, 2)
"""Rows of a tile, and of those that take what is left of fewer than five."""


def text(vectors: Vectors) -> str:
    """The function, with its tiles and copies."""
    declarations = Masked(vectors).declarations
    declarations += "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)\n"
    turn = turns(vectors).partition("define")[2].replace("@KERNEL(", "@KERNEL.turn(", 1)
    tiles = [_tile(vectors, rows, wide) for rows in ROWS for wide in range(1, PANEL + 1)]
    parts = [vectors.declaration, declarations, *tiles, _copy(vectors), f"define internal{turn}"]
    return "; product of matrices\n" + "\n".join(parts) + _main(vectors)


def _tile(vectors: Vectors, rows: int, wide: int) -> str:
    """tileRxV: up to `rows` of c, by vectors of which the last is masked.

    Rows that are not there are the last one once more: what is stored twice is the same.
    """
    v, bools, masked = vectors.type, f"<{vectors.lanes} x i1>", Masked(vectors)
    each = [(r, w) for r in range(rows) for w in range(wide)]
    first = [f"  %f{r}.{w} = phi {v} [zeroinitializer, %entry], [%o{r}.{w}, %old]" for r, w in each]
    old, end = [], []
    for r, w in each:
        if w == wide - 1:
            old.append(masked.load(f"%o{r}.{w}", f"%c{r}.{w}", "%mask"))
            end.append(masked.store(f"%n{r}.{w}", f"%c{r}.{w}", "%mask"))
        else:
            old.append(f"  %o{r}.{w} = load {v}, ptr %c{r}.{w}, align {vectors.size}")
            end.append(f"  store {v} %n{r}.{w}, ptr %c{r}.{w}, align {vectors.size}")
    return "\n".join([
        f"define internal void @KERNEL.tile{rows}x{wide}(ptr %a, i64 %arow, i64 %ak, i64 %rows, "
        f"ptr %b, i64 %bk, i64 %K, ptr %c, i64 %crow, i1 %again, {bools} %mask) {{",
        "entry:",
        *_places(vectors, rows, wide),
        "  br i1 %again, label %old, label %start",
        "old:", *old,
        "  br label %start",
        "start:", *first,
        "  br label %k",
        "k:", *_sums(vectors, rows, wide),
        "  br i1 %k.again, label %k, label %end",
        "end:", *end,
        "  ret void",
        "}\n",
    ])  # fmt: skip


def _places(vectors: Vectors, rows: int, wide: int) -> list[str]:
    """Where the rows of a and of c begin, and each vector of c."""
    lines = ["  %last = sub i64 %rows, 1"]
    for r in range(rows):
        lines += [
            f"  %past{r} = icmp slt i64 {r}, %last",
            f"  %r{r} = select i1 %past{r}, i64 {r}, i64 %last",
        ]
        for side in "ac":
            lines.append(f"  %{side}o{r} = mul i64 %r{r}, %{side}row")
            lines.append(f"  %{side}{r} = getelementptr i8, ptr %{side}, i64 %{side}o{r}")
        for w in range(wide):
            lines.append(f"  %c{r}.{w} = getelementptr i8, ptr %c{r}, i64 {w * vectors.bytes}")
    return lines


def _sums(vectors: Vectors, rows: int, wide: int) -> list[str]:
    """One term of every sum."""
    lines = [
        "  %k.i = phi i64 [0, %start], [%k.more, %k]",
        "  %ko = phi i64 [0, %start], [%ko.next, %k]",
        "  %bp = phi ptr [%b, %start], [%bp.next, %k]",
    ]
    for r in range(rows):
        for w in range(wide):
            ends = f"[%f{r}.{w}, %start], [%n{r}.{w}, %k]"
            lines.append(f"  %s{r}.{w} = phi {vectors.type} {ends}")
    lines += [vectors.load(f"%b{w}", "%bp", w) for w in range(wide)]
    for r in range(rows):
        lines.append(f"  %x{r} = getelementptr i8, ptr %a{r}, i64 %ko")
        lines.append(vectors.splat(f"%e{r}", f"%x{r}", 0))
        for w in range(wide):
            lines.append(vectors.fma(f"%n{r}.{w}", f"%b{w}", f"%e{r}", f"%s{r}.{w}"))
    return [
        *lines,
        "  %ko.next = add i64 %ko, %ak",
        "  %bp.next = getelementptr i8, ptr %bp, i64 %bk",
        "  %k.more = add i64 %k.i, 1",
        "  %k.again = icmp slt i64 %k.more, %K",
    ]


def _copy(vectors: Vectors) -> str:
    """copy: to[k, j] = b[k, j] by `wide` vectors a row, of which the last is masked."""
    bools, all_lanes = f"<{vectors.lanes} x i1>", ", ".join(["i1 true"] * vectors.lanes)
    one = [
        "  %edge = icmp eq i64 %w.i, %final",
        f"  %lanes = select i1 %edge, {bools} %mask, {bools} <{all_lanes}>",
        f"  %o = mul i64 %w.i, {vectors.bytes}",
        "  %in = getelementptr i8, ptr %bp, i64 %o",
        "  %out = getelementptr i8, ptr %tp, i64 %o",
        Masked(vectors).load("%x", "%in", "%lanes"),
        f"  store {vectors.type} %x, ptr %out, align {vectors.size}",
    ]
    row = [
        loop("w", "%wide", one),
        "  %bp.next = getelementptr i8, ptr %bp, i64 %bk",
        "  %tp.next = getelementptr i8, ptr %tp, i64 %step",
    ]
    carried = [("bp", "ptr", "%b", "%bp.next"), ("tp", "ptr", "%to", "%tp.next")]
    return "\n".join([
        f"define internal void @KERNEL.copy(ptr %b, i64 %bk, i64 %K, i64 %wide, {bools} %mask, "
        "ptr %to, i64 %step) {",
        "  %final = sub i64 %wide, 1",
        loop("k", "%K", row, carried),
        "  ret void",
        "}\n",
    ])  # fmt: skip


def _main(vectors: Vectors) -> str:
    size, e = vectors.size, vectors.element
    zero = loop("zero", "%M", [
        "  %zo = mul i64 %zero.i, %crow",
        "  %zp = getelementptr i8, ptr %c, i64 %zo",
        "  call void @llvm.memset.p0.i64(ptr %zp, i8 0, i64 %row.bytes, i1 false)",
    ])  # fmt: skip
    return "\n".join([
        f"define void @KERNEL(i32 %order, i32 %ta, i32 %tb, i64 %M, i64 %N, i64 %K, {e} %alpha, "
        f"ptr %a, i64 %lda, ptr %b, i64 %ldb, {e} %beta, ptr %c, i64 %ldc) {{",
        *_begin(vectors),
        "  br i1 %some, label %begin, label %done",
        "begin:",
        "  %terms.there = icmp sgt i64 %K, 0",
        "  br i1 %terms.there, label %sums, label %none",
        "none:",
        f"  %row.bytes = mul i64 %N, {size}",
        zero,
        "  br label %done",
        "sums:",
        loop("panel", "%panels", _panel(vectors)),
        "  br label %done",
        "done:",
        "  ret void",
        "}\n",
    ])  # fmt: skip


def _begin(vectors: Vectors) -> list[str]:
    """What is the same for all panels: room, steps in bytes, counts."""
    size, panel = vectors.size, PANEL * vectors.lanes
    lines = [
        f"  %pack = alloca {vectors.element}, i64 {DEPTH * panel}, align 64",
        f"  %job = alloca [{len(_JOB)} x i64]",
    ]
    for n, word in enumerate(_JOB):
        lines.append(f"  %job{n} = getelementptr i64, ptr %job, i64 {n}")
        lines.append(f"  store i64 {word}, ptr %job{n}")
    return [
        *lines,
        "  %rows.there = icmp sgt i64 %M, 0",
        "  %columns.there = icmp sgt i64 %N, 0",
        "  %some = and i1 %rows.there, %columns.there",
        f"  %astep = mul i64 %lda, {size}",
        "  %a.turned = icmp eq i32 %ta, 112",
        f"  %arow = select i1 %a.turned, i64 {size}, i64 %astep",
        f"  %ak = select i1 %a.turned, i64 %astep, i64 {size}",
        f"  %bstep = mul i64 %ldb, {size}",
        "  %b.turned = icmp eq i32 %tb, 112",
        f"  %bk = select i1 %b.turned, i64 {size}, i64 %bstep",
        f"  %bj = select i1 %b.turned, i64 %bstep, i64 {size}",
        f"  %crow = mul i64 %ldc, {size}",
        f"  %often = icmp sge i64 %M, {OFTEN}",
        f"  %N.up = add i64 %N, {panel - 1}",
        f"  %panels = sdiv i64 %N.up, {panel}",
        f"  %K.up = add i64 %K, {DEPTH - 1}",
        f"  %depths = sdiv i64 %K.up, {DEPTH}",
    ]


_JOB = (0, 0, *(1,) * AXES, *(0,) * (2 * AXES), 0, 0, 0, 0)
"""What `conv_copies.turns` is told: to, from, axes around, rows, columns, step, stride."""


def _panel(vectors: Vectors) -> list[str]:
    """All rows of c of one panel of columns."""
    size, lanes, panel = vectors.size, vectors.lanes, PANEL * vectors.lanes
    return [
        f"  %j0 = mul i64 %panel.i, {panel}",
        "  %j.left = sub i64 %N, %j0",
        f"  %j.part = icmp slt i64 %j.left, {panel}",
        f"  %width = select i1 %j.part, i64 %j.left, i64 {panel}",
        f"  %width.up = add i64 %width, {lanes - 1}",
        f"  %wide = sdiv i64 %width.up, {lanes}",
        f"  %row.lanes = mul i64 %wide, {lanes}",
        f"  %step = mul i64 %row.lanes, {size}",
        "  %short = sub i64 %row.lanes, %width",
        f"  %count = sub i64 {lanes}, %short",
        *below(vectors, "%mask", "%count"),
        "  %ragged = icmp ne i64 %short, 0",
        "  %copied.once = or i1 %ragged, %often",
        "  %copied = or i1 %copied.once, %b.turned",
        "  %jo = mul i64 %j0, %bj",
        "  %bpanel = getelementptr i8, ptr %b, i64 %jo",
        f"  %cj = mul i64 %j0, {size}",
        "  %cpanel = getelementptr i8, ptr %c, i64 %cj",
        loop("depth", "%depths", _depth(vectors)),
    ]


def _depth(vectors: Vectors) -> list[str]:
    """Some terms of all sums of a panel."""
    turn = {0: "%pack.word", 1: "%b.word", 17: "%width", 18: "%kc", 19: "%step", 20: "%bj"}
    return [
        f"  %k0 = mul i64 %depth.i, {DEPTH}",
        "  %k.left = sub i64 %K, %k0",
        f"  %k.part = icmp slt i64 %k.left, {DEPTH}",
        f"  %kc = select i1 %k.part, i64 %k.left, i64 {DEPTH}",
        "  %again = icmp sgt i64 %depth.i, 0",
        "  %ko = mul i64 %k0, %bk",
        "  %bp = getelementptr i8, ptr %bpanel, i64 %ko",
        "  %ak0 = mul i64 %k0, %ak",
        "  %ap = getelementptr i8, ptr %a, i64 %ak0",
        "  br i1 %copied, label %apart, label %tiles",
        "apart:",
        "  br i1 %b.turned, label %turn, label %copy",
        "turn:",
        "  %pack.word = ptrtoint ptr %pack to i64",
        "  %b.word = ptrtoint ptr %bp to i64",
        *[f"  store i64 {value}, ptr %job{n}" for n, value in turn.items()],
        "  call void @KERNEL.turn(ptr %job)",
        "  br label %tiles",
        "copy:",
        "  call void @KERNEL.copy(ptr %bp, i64 %bk, i64 %kc, i64 %wide, "
        f"<{vectors.lanes} x i1> %mask, ptr %pack, i64 %step)",
        "  br label %tiles",
        "tiles:",
        "  %given = select i1 %copied, ptr %pack, ptr %bp",
        "  %given.k = select i1 %copied, i64 %step, i64 %bk",
        *_rows(vectors),
    ]


def _rows(vectors: Vectors) -> list[str]:
    """The tiles of a panel, from the first row of c to the last."""
    high, low = ROWS
    lines = [
        "  br label %next",
        "next:",
        "  %i = phi i64 [0, %tiles], [%i.more, %made]",
        "  %i.left = sub i64 %M, %i",
        "  %ai = mul i64 %i, %arow",
        "  %at = getelementptr i8, ptr %ap, i64 %ai",
        "  %ci = mul i64 %i, %crow",
        "  %ct = getelementptr i8, ptr %cpanel, i64 %ci",
        f"  %many = icmp sge i64 %i.left, {high - 1}",
        f"  %tall = select i1 %many, i64 {high}, i64 {low}",
        "  %i.part = icmp slt i64 %i.left, %tall",
        "  %rows = select i1 %i.part, i64 %i.left, i64 %tall",
        "  %i.more = add i64 %i, %tall",
        f"  %kind.tall = select i1 %many, i64 0, i64 {PANEL}",
        "  %kind = add i64 %kind.tall, %wide",
    ]
    names = [(f"{rows}x{wide}", n * PANEL + wide) for n, rows in enumerate(ROWS)
             for wide in range(1, PANEL + 1)]  # fmt: skip
    cases = " ".join(f"i64 {number}, label %is{name}" for name, number in names)
    lines.append(f"  switch i64 %kind, label %made [{cases}]")
    for name, _ in names:
        lines += [
            f"is{name}:",
            f"  call void @KERNEL.tile{name}(ptr %at, i64 %arow, i64 %ak, i64 %rows, ptr %given, "
            f"i64 %given.k, i64 %kc, ptr %ct, i64 %crow, i1 %again, "
            f"<{vectors.lanes} x i1> %mask)",
            "  br label %made",
        ]
    return [
        *lines,
        "made:",
        "  %i.again = icmp slt i64 %i.more, %M",
        "  br i1 %i.again, label %next, label %rows.done",
        "rows.done:",
    ]
