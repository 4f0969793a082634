"""A reduce formula as the text of CUDA kernels: a group of lanes computes a row, pass by pass.

The order of a sum depends on the shape and the dtypes only. A lane adds its elements, every
`lanes`-th vector of the row, for each place in the vector by itself (in a long row tiles of 16
vectors, then the tiles); the places of a vector are added by halves, then the lanes as in
reduce.cuh, or by halves where rows lie side by side.
"""

from __future__ import annotations

from collections.abc import Sequence

from tensorgrad.codegen.cuda_rows_writer import Writer, used
from tensorgrad.codegen.cuda_types import MEMORY
from tensorgrad.codegen.rows_plan import root, value
from tensorgrad.expr.ir import COLUMN, ELEMENT, ROW, Expr

TILE = 16
"""Vectors that a lane adds one after the other in a long row."""

_OPERATIONS = {"rsum": "tg_plus()", "rmax": "tg_larger()"}


class Kernel(Writer):
    """Writes one kernel: the passes over a row, and what becomes of their results."""

    def write(self, name: str) -> str:
        """The text of the function."""
        t = self.t
        # Told no number of blocks, ptxas spills a register or two to make room for one more.
        self.begin(name, f"{t.threads}, {t.blocks}")
        self._enter()
        rows, parts = ("1", "1") if self.once else ("rows", "parts")
        self.open(f"for (i64 number = blockIdx.x; number < {parts}; number += gridDim.x)")
        self.put("const i64 first = number * part;")
        self.put(f"const i64 last = first + part < {rows} ? first + part : {rows};")
        self._sums()
        self.open(f"for (i64 base = first; base < last; base += {t.group})")
        self.write_row()
        self.close()
        self._fold()
        self.close()
        self.close()
        return "\n".join(used(self.lines))

    # -- a row -----------------------------------------------------------------------------------

    def write_row(self) -> None:
        """The passes over the row that the kernel computes, and its outputs."""
        t, plan = self.t, self.plan
        self.put("const bool live = base + group < last;")
        self.put("const i64 row = live ? base + group : last - 1;")
        if t.leading:
            kind = "i64" if t.wide else "u32"
            self.put(f"const i64 outer = static_cast<{kind}>(row) / static_cast<{kind}>(inner);")
            self.put("const i64 place = outer * inner * (columns - 1) + row;")
            if t.items:
                self.put(f"const i64 apart = {t.lanes} * inner;")
                self.put("i64 at = 0;")
        reached = {self.place[e] for e in plan.order if e.op == "input"}
        reached |= {k for k, o in plan.outputs if o.op != "isum"}
        for k, o in enumerate(self.operands):
            if o.index & ROW and k in reached:
                constant = "const " if k < len(self.formula.inputs) else ""
                start = "row" if o.index == ROW else "place" if t.leading else "row * columns"
                kind = MEMORY[self.stored[k].name]
                self.put(f"{constant}{kind}* __restrict__ const r{k} = p{k} + {start};")
        if t.items:
            self.put("tg_forget(lane);")
            self._hold()
        for number, reductions in enumerate(plan.passes):
            if self.stage is not None and number < self.stage:
                self._gather(reductions)
                continue
            self._pass(number, reductions)
            if number == self.stage:
                self._scatter(reductions)
                return
        self._last()

    def _hold(self) -> None:
        """The row in registers, all of it read before any of it is used."""
        t = self.t
        for e in self.whole:
            self.put(f"{self.nodes.type_of(e)} h{self.tag(e)}[{t.items}][{t.vector}];")
        for e in self.plan.kept:
            self.put(f"{self.real} h{self.tag(e)}[{t.items}][{t.vector}];")
        if not self.whole:
            return
        self._items(far=True)
        for e in self.whole:
            k = self.place[e]
            self.put(f"tg_take<{t.vector}>(h{k}[q], {self._address(k)}, wide);")
        self.close()
        self.close()

    def _forget(self) -> None:
        """Nothing but what the plan keeps stays in registers from here on."""
        kept = [e for e in self.plan.kept if e in self.saved]
        held = [f"h{self.tag(e)}" for e in (*self.whole, *kept)]
        for name in ("lane", *held) if self.t.items else ():
            self.put(f"tg_forget({name});")

    def _address(self, k: int) -> str:
        """Where the columns from j on of an operand begin."""
        if self.operands[k].index == COLUMN:
            return f"p{k} + j"
        if not self.t.leading:
            return f"r{k} + j"
        return f"r{k} + at" if self.t.items else f"r{k} + j * inner"

    def _items(self, far: bool) -> None:
        """The loop over the vectors that registers hold; `far`: arrays of the view are accessed.

        Where rows lie side by side a running offset takes one pair of registers, while products
        of column and distance would all be computed before the loops and kept, a pair each.
        """
        t = self.t
        far = far and t.leading
        if far:
            self.put("at = lane * inner;")
        self.put("#pragma unroll")
        self.open(f"for (int q = 0; q < {t.items}; q++{', at += apart' * far})")
        self.put(f"const int j = (q * {t.lanes} + lane) * {t.vector};")
        self.open("if (j < n)")

    def _settle(self, roots: Sequence[Expr]) -> None:
        """Computes the values of the row that `roots` rest on."""
        for e in self.plan.rows(roots):
            if e.op == "const" or e in self.known:
                continue
            if e.op == "input":
                self.known[e] = self.let(e, self.loaded(e, f"r{self.place[e]}[0]"))
            elif e.op == "at":
                self.known[e] = self._at(e)
            else:
                args = self.nodes.arguments(e, self.known.__getitem__)
                self.known[e] = self.let(e, self.nodes.node(e, args))

    def _at(self, e: Expr) -> str:
        """The value of a node at a column; one that is out of range is reported and not read."""
        source, label = root(e.args[0]), root(e.args[1])
        self.checks += 1
        column, mark = f"at{self.checks}", f"g{self.checks}_"
        known = f"i64({label.value})" if label.op == "const" else self.known[label]
        self.put(f"i64 {column} = {known};")
        self.open(f"if (u64({column}) >= u64(columns))")
        self.put(f"{column} = 0;")
        self.open("if (lane == 0 && live)")
        self.put("tg_raise(error, row);")
        self.close()
        self.close()
        found: dict[Expr, str] = {}
        for x in self.plan.cone([source]):
            if x.op == "input":
                k = self.place[x]
                far = x.index == ELEMENT and self.t.leading
                spot = f"{'r' if x.index & ROW else 'p'}{k}[{column}{' * inner' if far else ''}]"
                text = self.loaded(x, spot)
            elif x.op == "iota":
                text = column
            else:
                args = self.nodes.arguments(x, lambda a: found.get(a) or self.known[a])
                text = self.nodes.node(x, args)
            found[x] = self.let(x, text, mark + self.names[x])
        return found.get(source) or self._plain(source, e)

    def _plain(self, e: Expr, user: Expr) -> str:
        """A value without a column."""
        return self.nodes.literal(e, user) if e.op == "const" else self.known[e]

    # -- passes ----------------------------------------------------------------------------------

    def _pass(self, number: int, reductions: list[Expr]) -> None:
        """The values of reductions that read what earlier passes found."""
        t = self.t
        sources = [root(e.args[0]) for e in reductions]
        self._settle(sources)
        self._forget()
        totals = [f"a{self.names[e]}" for e in reductions]
        starts = [self._start(e) for e in reductions]
        for total, start in zip(totals, starts, strict=True):
            self.put(f"{self.real} {total}[{t.vector}];")
            self.put(f"tg_fill<{t.vector}>({total}, {start});")
        tiles = totals if t.items else [f"t{total}" for total in totals]
        self._vectors(list(zip(tiles, starts, strict=True)))
        found = self._cone(number)
        for e, source, tile in zip(reductions, sources, tiles, strict=True):
            x = found.get(source) or self._plain(source, e)
            self.put(f"{tile}[k] = {_OPERATIONS[e.op]}({tile}[k], {x});")
        self.close()
        self._keep(number)
        self.close()
        self.close()
        if not t.items:
            for e, tile, total in zip(reductions, tiles, totals, strict=True):
                self.put(f"tg_join<{t.vector}>({_OPERATIONS[e.op]}, {total}, {tile});")
            self.close()
        for e, total in zip(reductions, totals, strict=True):
            how = _OPERATIONS[e.op]
            self.known[e] = self.let(e, self._across(how, f"tg_halve<{t.vector}>({how}, {total})"))

    def _start(self, e: Expr) -> str:
        return self.zero() if e.op == "rsum" else f"-tg_inf<{self.real}>()"

    def _across(self, how: str, x: str) -> str:
        """The lanes of a row joined; each gets the result."""
        t = self.t
        if t.leading:
            return f"tg_across<{t.lanes}, {t.group}>({how}, {x}, fold)"
        if t.lanes > 32:
            return f"tg_block_reduce<{t.lanes}>({how}, {x}, fold)"
        return f"tg_warp_reduce({how}, {x}, {t.lanes})"

    def _vectors(
        self, tiles: Sequence[tuple[str, str]], before: Sequence[str] = (), far: bool = False
    ) -> None:
        """The loop over the vectors of a lane, in which `j` is the first column of one."""
        t = self.t
        if t.items:
            self._items(far)
            return
        self.open(f"for (int c = begin; c < end; c += {t.step * TILE})")
        for name, start in tiles:
            self.put(f"{self.real} {name}[{t.vector}];")
            self.put(f"tg_fill<{t.vector}>({name}, {start});")
        self.put(f"const int stop = end - c < {t.step * TILE} ? end : c + {t.step * TILE};")
        self.put(f"#pragma unroll {t.unroll}")
        self.open(f"for (int i = c; i < stop; i += {t.step})")
        self.put(f"const int j = i + lane * {t.vector};")
        for line in before:
            self.put(line)
        self.open("if (j < stop)")

    def _cone(self, number: int) -> dict[Expr, str]:
        """The nodes of a pass on element k of a vector; the loop over k is left open."""
        t, cone = self.t, self.plan.cones[number]
        found: dict[Expr, str] = {}
        for e in cone:
            held = t.items and (e in self.row or e in self.saved)
            if held:
                found[e] = f"h{self.tag(e)}[q][k]"
            elif e.op == "input":
                found[e] = f"x{self.place[e]}[k]"
                self._read(self.place[e], t.shared and e in self.saved)
        self.put("#pragma unroll")
        self.open(f"for (int k = 0; k < {t.vector}; k++)")
        for e in cone:
            if e in found:
                continue
            if e.op == "iota":
                found[e] = self.let(e, "i64(j + k)")
                continue
            args = self.nodes.arguments(e, lambda a: found.get(a) or self.known[a])
            found[e] = self.let(e, self.nodes.node(e, args))
            if e in self.kept:
                self.put(f"h{self.tag(e)}[q][k] = {found[e]};")
        return found

    def _read(self, k: int, near: bool) -> None:
        """A vector of an input, or of what an earlier pass left of it in shared memory."""
        width = self.t.vector
        self.put(f"{self.nodes.type_of(self.operands[k])} x{k}[{width}];")
        place, wide = (f"l{k} + j", "true") if near else (self._address(k), "wide")
        self.put(f"tg_take<{width}>(x{k}, {place}, {wide});")

    def _keep(self, number: int) -> None:
        """What later passes read goes to shared memory; in registers it stays anyway."""
        t, inside = self.t, set(self.plan.cones[number])
        for e in (*(self.held if t.shared else ()), *self.plan.kept):
            if e in inside and e not in self.saved:
                self.saved.add(e)
                if t.shared:
                    k = self.place[e]
                    self.put(f"tg_give<{t.vector}>(l{k} + j, x{k}, true);")

    # -- several blocks to a row -----------------------------------------------------------------

    def _partial(self, e: Expr, chunk: str) -> str:
        """The place of a reduction's value over one chunk of the row."""
        before = f"({len(self.columns)} * columns + {len(self.scalars)}) * parts"
        return f"scratch[{before} + ({self.number[e]} * chunks + {chunk}) * rows + row]"

    def _scatter(self, reductions: list[Expr]) -> None:
        self.open("if (live && lane == 0)")
        for e in reductions:
            self.put(f"{self._partial(e, 'blockIdx.y')} = {self.known[e]};")
        self.close()

    def _gather(self, reductions: list[Expr]) -> None:
        for e in reductions:
            own = f"lane < chunks ? {self._partial(e, 'lane')} : {self._start(e)}"
            self.known[e] = self.let(e, self._across(_OPERATIONS[e.op], f"({own})"))

    # -- outputs ---------------------------------------------------------------------------------

    def _last(self) -> None:
        """Writes the outputs of the row, or adds them up."""
        self._settle([value(o) for _, o in self.plan.outputs])
        if self.plan.wide:
            self._forget()
            self._wide()
        one = "live && lane == 0" + (" && blockIdx.y == 0" if self.t.split else "")
        for k, o in self.plan.narrow:
            x = self._plain(value(o), o)
            if o.op == "isum":
                self.put(f"if (live) s{k} = s{k} + {x};")
                continue
            place = f"r{k}[0]" if o.index & ROW else f"p{k}[0]"
            self.put(f"if ({one}) {place} = tg_store<{MEMORY[self.stored[k].name]}>({x});")

    def _wide(self) -> None:
        t = self.t
        looped = [k for k in self.columns if not t.items]
        side = [f"{self.real} u{k} = 0;" for k in looped if t.leading]
        far = any(o.index == ELEMENT and o.op != "isum" for _, o in self.plan.wide)
        self._vectors([], side, far)
        for k, o in self.plan.wide:
            if o.op != "isum" or (k in looped and not t.leading):
                self.put(f"{self.nodes.type_of(o)} y{k}[{t.vector}];")
        found = self._cone(-1)
        for k, o in self.plan.wide:
            e = value(o)
            x = found.get(e) or self._plain(e, o)
            if o.op != "isum" or (k in looped and not t.leading):
                self.put(f"y{k}[k] = {x};")
            elif t.items:
                self.put(f"if (live) s{k}[q][k] = s{k}[q][k] + {x};")
            else:
                self.put(f"if (live) u{k} = {x};")
        self.close()
        for k, o in self.plan.wide:
            if o.op != "isum":
                self.put(f"if (live) tg_give<{t.vector}>({self._address(k)}, y{k}, wide);")
            elif k in looped and not t.leading:
                self._add_to_line(k)
        self.close()
        for k in looped if t.leading else ():
            # Every lane of a warp takes part, whether it has a column or not.
            self.put(f"u{k} = tg_warp_reduce(tg_plus(), u{k}, {t.group});")
            self.open("if (group == 0 && j < stop)")
            self.put(f"line{k}[j] = base == first ? u{k} : line{k}[j] + u{k};")
            self.close()
        self.close()
        if not t.items:
            self.close()

    def _add_to_line(self, k: int) -> None:
        """A block has one row at a time, and a column one lane: nobody else touches the place."""
        width = self.t.vector
        self.open("if (base != first)")
        self.put(f"{self.real} z{k}[{width}];")
        self.put(f"tg_take<{width}>(z{k}, line{k} + j, false);")
        self.put(f"tg_join<{width}>(tg_plus(), y{k}, z{k});")
        self.close()
        self.put(f"tg_give<{width}>(line{k} + j, y{k}, false);")
