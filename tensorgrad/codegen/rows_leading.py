"""A reduce formula over leading axes as the text of an LLVM function: lanes run across rows.

Rows lie side by side in memory. They are taken in strips; each pass streams the columns of a strip
once, in groups: a vector of rows stays in registers for a group, its accumulators and what was
found for the rows lie in lines of scratch. Sums take the columns of a group one after the other,
then the groups of a block, and add the blocks pairwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tensorgrad.codegen.body import bound
from tensorgrad.codegen.rows_lanes import REDUCERS, Sum
from tensorgrad.codegen.rows_plan import root, value
from tensorgrad.codegen.rows_text import Emitter
from tensorgrad.expr.formula import Formula
from tensorgrad.expr.ir import COLUMN, ELEMENT, ROW, Expr

STRIP, BLOCK, GROUP = 1024, 128, 8
"""Rows of a strip; columns that are added one after the other; columns that share registers."""

Body = Callable[[str, str | None], None]


class Leading(Emitter):
    """A loop over strips of rows, in it the passes, in them the columns, in them vectors."""

    def __init__(self, formula: Formula, double: bool, machine: str) -> None:
        super().__init__(formula, double, machine, "i64", keep=False)
        self.plan = self.plans[0]
        self.at: list[str] = []  # where the strip of each operand begins
        self.lines: dict[Expr, list[str]] = {}  # of values and accumulators, one number per row
        self.slots: list[str] = []
        self.size = self.v.bytes(self.v.scalar)

    def write(self) -> str:
        """The body of the function."""
        t = self.text
        self.enter()
        self._memory()
        before = self.here
        self.go("strip")
        self.phi("first", "i64", "%start", before, "%next", "ended")
        inner = t.value("urem i64 %first, %part")
        space = self.smaller(t.value(f"sub i64 %part, {inner}"), str(STRIP))
        left = self.smaller(t.value("sub i64 %stop, %first"), space)
        t.put(f"%length = add i64 {left}, 0")
        outer = t.value(f"sub i64 %first, {inner}")
        place = t.value(f"add i64 {t.value(f'mul i64 {outer}, %columns')}, {inner}")
        self.at = list(self.base)
        for k, e in enumerate(self.operands):
            if e.index & ROW:
                count = place if e.index == ELEMENT else "%first"
                self.at[k] = self.shift(self.base[k], self.scalar(e), count)
        self._settle("s0", 0)
        for number, reductions in enumerate(self.plan.passes):
            self._pass(number, f"p{number}", reductions)
            self._settle(f"s{number + 1}", number + 1)
        self._last()
        self.go("ended")
        t.put("%next = add i64 %first, %length")
        self.choose(t.value("icmp slt i64 %next, %stop"), "strip", "over")
        self.begin("over")
        return self.leave(bool(self.lines))

    # -- scratch -------------------------------------------------------------------------------

    def _memory(self) -> None:
        t, plan = self.text, self.plan
        counts = {e: len(REDUCERS[e.op](self.v).start()) for p in plan.passes for e in p}
        counts |= dict.fromkeys(self._remembered(), 1)
        if not counts:
            return
        most = max((sum(counts[e] for e in p) for p in plan.passes), default=0)
        t.declare("i64 @llvm.ctlz.i64(i64, i1)")
        blocks = t.value(f"udiv i64 %columns, {BLOCK}")
        zeros = t.value(f"call i64 @llvm.ctlz.i64(i64 {blocks}, i1 false)")
        levels = t.value(f"sub i64 65, {zeros}")
        line = STRIP * self.size
        fixed = sum(counts.values()) * line
        shared = t.value(f"mul i64 {levels}, {most * line}")
        memory = self.allocate(t.value(f"add i64 {shared}, {fixed}"))
        place = 0
        for e, count in counts.items():
            self.lines[e] = []
            for _ in range(count):
                self.lines[e].append(self.shift(memory, "i8", str(place)))
                place += line
        for k in range(most):
            offset = t.value(f"mul i64 {levels}, {k * line}")
            self.slots.append(self.shift(memory, "i8", t.value(f"add i64 {offset}, {place}")))

    def _remembered(self) -> list[Expr]:
        """Values of rows that a pass or a later stage reads."""
        plan, found = self.plan, set[Expr]()
        for cone in plan.cones:
            found |= {root(a) for e in cone for a in e.args}
        found |= {root(e.args[0]) for p in plan.passes for e in p}
        found |= {value(o) for _, o in plan.wide}
        for e in plan.order:
            found |= {a for a in map(root, e.args) if plan.depth[a] < plan.depth[e]}
        return [e for e in plan.order if e in found and self._computed(e)]

    def _computed(self, e: Expr) -> bool:
        """Whether the node is a value of the row that some stage computes."""
        plain = e.op in ("const", "input", "rsum", "rmax") or e in self.once
        return not plain and not e.index & COLUMN

    # -- rows ----------------------------------------------------------------------------------

    def _rows(self, tag: str, body: Body) -> None:
        """`body` on whole vectors of the strip's rows, and on the rest under a mask."""
        t, width, before = self.text, self.v.width, self.here
        full = t.value(f"and i64 %length, {-width}")
        self.go(f"{tag}.row")
        self.phi(f"{tag}.r", "i64", "0", before, f"%{tag}.rn", f"{tag}.again")
        self.choose(t.value(f"icmp slt i64 %{tag}.r, {full}"), f"{tag}.whole", f"{tag}.rest")
        self.begin(f"{tag}.whole")
        body(f"%{tag}.r", None)
        self.go(f"{tag}.again")
        t.put(f"%{tag}.rn = add i64 %{tag}.r, {width}")
        t.put(f"br label %{tag}.row")
        self.begin(f"{tag}.rest")
        rest = t.value(f"sub i64 %length, {full}")
        self.choose(t.value(f"icmp sgt i64 {rest}, 0"), f"{tag}.tail", f"{tag}.end")
        self.begin(f"{tag}.tail")
        body(full, self.v.mask(rest))
        self.go(f"{tag}.end")

    def _stored(self, lines: Sequence[str], r: str) -> list[str]:
        """Vectors of lines."""
        v = self.v
        return [v.load(v.scalar, self.shift(line, v.scalar, r)) for line in lines]

    def _store(self, lines: Sequence[str], xs: Sequence[str], r: str) -> None:
        for line, x in zip(lines, xs, strict=True):
            self.v.store(self.v.scalar, x, self.shift(line, self.v.scalar, r))

    def _known(self, e: Expr, r: str, mask: str | None) -> str:
        """A value that does not depend on the column, on a vector of rows."""
        if e in self.once:
            return self.v.splat(self.once[e], self.v.type_of(e.kind))
        if e.op == "input":
            k = self.number[e]
            return self.loaded(self.v, e, self.shift(self.at[k], self.scalar(e), r), mask)
        x = self._stored(self.lines[e][:1], r)[0]
        return x if e.kind == "f" else self.v.compare("une", x, self.v.const(0))

    def _settle(self, tag: str, stage: int) -> None:
        """Computes, after `stage` passes, the values of rows that are known now."""
        plan, v = self.plan, self.v
        reductions = plan.passes[stage - 1] if stage else []
        nodes = [e for e in plan.order if plan.depth[e] == stage and self._computed(e)]
        outs = [(k, value(o)) for k, o in plan.narrow if plan.depth[value(o)] == stage]
        if not (reductions or nodes or outs):
            return

        def body(r: str, mask: str | None) -> None:
            found: dict[Expr, str] = {}

            def read(e: Expr) -> str:
                if e not in found:
                    found[e] = self._known(e, r, mask)
                return found[e]

            for e in reductions:
                found[e] = REDUCERS[e.op](v).finish(self._stored(self.lines[e], r))
                self._store(self.lines[e][:1], [found[e]], r)
            for e in nodes:
                found[e] = self.wide.node(e, self.wide.arguments(e, read))
                if e in self.lines:
                    x = found[e] if e.kind == "f" else v.select(found[e], v.const(1), v.const(0))
                    self._store(self.lines[e], [x], r)
            for k, e in outs:
                x = v.const(bound(e.value, v.double)) if e.op == "const" else read(e)
                v.store(v.scalar, x, self.shift(self.at[k], v.scalar, r), mask)

        self._rows(tag, body)

    # -- passes --------------------------------------------------------------------------------

    def _pass(self, number: int, tag: str, reductions: list[Expr]) -> None:
        """Accumulates reductions over the columns, block by block."""
        t, before = self.text, self.here
        hows: list[Sum] = [REDUCERS[e.op](self.v) for e in reductions]
        lines = [line for e in reductions for line in self.lines[e]]
        starts = [x for how in hows for x in how.start()]
        self.go(f"{tag}.block")
        self.phi(f"{tag}.from", "i64", "0", before, f"%{tag}.to", f"{tag}.pushed")
        self.phi(f"{tag}.seen", "i64", "0", before, f"%{tag}.more", f"{tag}.pushed")
        reach = t.value(f"add i64 %{tag}.from, {BLOCK}")
        t.put(f"%{tag}.to = call i64 @llvm.smin.i64(i64 {reach}, i64 %columns)")
        self._rows(f"{tag}.i", lambda r, mask: self._store(lines, starts, r))
        self._accumulate(number, f"{tag}.g", (f"%{tag}.from", f"%{tag}.to"), hows, reductions)
        t.put(f"%{tag}.more = add i64 %{tag}.seen, 1")
        ended = t.value(f"icmp sge i64 %{tag}.to, %columns")
        self.choose(ended, f"{tag}.drain", f"{tag}.push")
        # A block joins one slot for every 1 at the end of the count, as a carry does.
        self.begin(f"{tag}.push")
        carries = t.value(f"call i64 @llvm.cttz.i64(i64 %{tag}.more, i1 true)")
        t.put(f"br label %{tag}.carry")
        self._collect(
            f"{tag}.carry", f"{tag}.push", hows, lines, "0",
            lambda m: (f"icmp slt i64 {m}, {carries}", m, f"add i64 {m}, 1"),
        )  # fmt: skip
        slots = self._slots(carries, len(lines))
        self._rows(f"{tag}.k", lambda r, mask: self._store(slots, self._stored(lines, r), r))
        self.go(f"{tag}.pushed")
        t.put(f"br label %{tag}.block")
        over = f"{tag}.g.over"
        self._collect(f"{tag}.drain", over, hows, lines, f"%{tag}.seen", self.lowest)

    def _accumulate(
        self,
        number: int,
        tag: str,
        columns: tuple[str, str],
        hows: list[Sum],
        reductions: list[Expr],
    ) -> None:
        """Adds the columns of a block to the lines of the reductions, a group at a time."""
        sources = [root(e.args[0]) for e in reductions]
        lines = [line for e in reductions for line in self.lines[e]]
        starts = [x for how in hows for x in how.start()]

        def vector(r: str, mask: str | None, start: str, stop: str, name: str) -> None:
            rows = self._row_values(number, sources, r, mask)

            def step(c: str, state: list[str]) -> list[str]:
                return self._steps(hows, state, self._cone(number, sources, rows, c, r, mask))

            state = self._columns(name, start, stop, starts, step)
            self._store(lines, self._joined(hows, self._stored(lines, r), state), r)

        self._groups(tag, *columns, vector)

    def _steps(self, hows: list[Sum], state: list[str], xs: list[str]) -> list[str]:
        """Accumulators after one more vector each."""
        found: list[str] = []
        for how, x in zip(hows, xs, strict=True):
            count = len(how.start())
            found += how.step(state[len(found) : len(found) + count], x)
        return found

    def _joined(self, hows: list[Sum], a: list[str], b: list[str]) -> list[str]:
        """Accumulators of two runs of columns, `a` before `b`."""
        found: list[str] = []
        for how in hows:
            part = slice(len(found), len(found) + len(how.start()))
            found += how.join(a[part], b[part])
        return found

    def _last(self) -> None:
        """Writes the outputs that have a column."""
        v, wide = self.v, self.plan.wide
        if not wide:
            return
        sources = [value(o) for _, o in wide]

        def vector(r: str, mask: str | None, start: str, stop: str, name: str) -> None:
            rows = self._row_values(-1, sources, r, mask)

            def step(c: str, state: list[str]) -> list[str]:
                xs = self._cone(-1, sources, rows, c, r, mask)
                for (k, _), x in zip(wide, xs, strict=True):
                    v.store(v.scalar, x, self._element(k, c, r), mask)
                return []

            self._columns(name, start, stop, [], step)

        self._groups("z", "0", "%columns", vector)

    def _row_values(
        self, number: int, sources: list[Expr], r: str, mask: str | None
    ) -> dict[Expr, str]:
        """What a pass reads of a vector of rows, whatever the column."""
        read = [root(a) for e in self.plan.cones[number] for a in e.args] + sources
        found: dict[Expr, str] = {}
        for e in read:
            narrow = not e.index & COLUMN and e.op != "const"
            # Integers without a column meet integers without a row only, one by one.
            if narrow and e not in found and e.kind != "i":
                found[e] = self._known(e, r, mask)
        return found

    def _element(self, k: int, c: str, r: str) -> str:
        """Where the element of an operand at a column and a vector of rows lies."""
        line = self.shift(self.at[k], self.scalar(self.operands[k]), self._line(c))
        return self.shift(line, self.scalar(self.operands[k]), r)

    def _line(self, c: str) -> str:
        return self.text.value(f"mul i64 {c}, %part")

    def _cone(
        self,
        number: int,
        sources: list[Expr],
        rows: dict[Expr, str],
        c: str,
        r: str,
        mask: str | None,
    ) -> list[str]:
        """The nodes `sources` of a pass at one column, on a vector of rows."""
        v, s, found, single = self.v, self.s, dict(rows), dict(self.once)

        def lane(e: Expr) -> str:
            if e.op == "const":
                return v.const(bound(e.value, v.double))
            if e not in found:
                found[e] = v.splat(single[e], s.type_of(e.kind))
            return found[e]

        for e in self.plan.cones[number]:
            if e.op == "input" and e.index == ELEMENT:
                k = self.number[e]
                found[e] = self.loaded(v, e, self._element(k, c, r), mask)
            elif e.op == "input":
                single[e] = self.loaded(
                    s, e, self.shift(self.at[self.number[e]], self.scalar(e), c)
                )
            elif e.op == "iota":
                single[e] = self.text.value(f"insertelement <1 x i64> poison, i64 {c}, i32 0")
            elif e.index == ELEMENT:
                found[e] = self.wide.node(e, self.wide.arguments(e, lane))
            else:
                single[e] = self.one.node(e, self.one.arguments(e, single.__getitem__))
        return [lane(e) for e in sources]

    # -- columns -------------------------------------------------------------------------------

    def _groups(self, tag: str, start: str, stop: str, vector: Callable[..., None]) -> None:
        """`vector` on groups of columns from `start` up to `stop`, for every vector of rows."""
        t, before = self.text, self.here
        self.go(f"{tag}.group")
        self.phi(f"{tag}.g", "i64", start, before, f"%{tag}.gn", f"{tag}.next")
        reach = t.value(f"add i64 %{tag}.g, {GROUP}")
        t.put(f"%{tag}.gn = call i64 @llvm.smin.i64(i64 {reach}, i64 {stop})")
        self._rows(tag, lambda r, mask: vector(
            r, mask, f"%{tag}.g", f"%{tag}.gn", f"{tag}.{'w' if mask is None else 't'}"
        ))  # fmt: skip
        self.go(f"{tag}.next")
        self.choose(t.value(f"icmp slt i64 %{tag}.gn, {stop}"), f"{tag}.group", f"{tag}.over")
        self.begin(f"{tag}.over")

    def _columns(
        self,
        name: str,
        start: str,
        stop: str,
        state: list[str],
        step: Callable[[str, list[str]], list[str]],
    ) -> list[str]:
        """`step` at every column, its state in registers."""
        t, floats, before = self.text, self.v.floats, self.here
        self.go(f"{name}.column")
        self.phi(f"{name}.c", "i64", start, before, f"%{name}.cn", f"{name}.in")
        names = [f"{name}.s{k}" for k in range(len(state))]
        for register, x in zip(names, state, strict=True):
            self.phi(register, floats, x, before, f"%{register}.n", f"{name}.in")
        self.choose(t.value(f"icmp slt i64 %{name}.c, {stop}"), f"{name}.in", f"{name}.out")
        self.begin(f"{name}.in")
        current = [f"%{register}" for register in names]
        for old, new in zip(current, step(f"%{name}.c", current), strict=True):
            t.put(f"{old}.n = bitcast {floats} {new} to {floats}")
        t.put(f"%{name}.cn = add i64 %{name}.c, 1")
        t.put(f"br label %{name}.column")
        self.begin(f"{name}.out")
        return current

    def _slots(self, number: str, count: int) -> list[str]:
        """The lines of a slot."""
        offset = self.text.value(f"mul i64 {number}, {STRIP}")
        return [self.shift(slot, self.v.scalar, offset) for slot in self.slots[:count]]

    def _collect(
        self,
        name: str,
        before: str,
        hows: list[Sum],
        lines: list[str],
        first: str,
        turn: Callable[[str], tuple[str, str, str]],
    ) -> None:
        """Joins slots in front of the lines; `turn` says of a counter: go on?, slot, the next."""
        t = self.text
        self.begin(name)
        self.phi(f"{name}.m", "i64", first, before, f"%{name}.following", f"{name}.turn")
        going, slot, following = turn(f"%{name}.m")
        self.choose(t.value(going), f"{name}.in", f"{name}.out")
        self.begin(f"{name}.in")
        slots = self._slots(slot, len(lines))

        def body(r: str, mask: str | None) -> None:
            earlier, own = self._stored(slots, r), self._stored(lines, r)
            self._store(lines, self._joined(hows, earlier, own), r)

        self._rows(name, body)
        self.go(f"{name}.turn")
        t.put(f"%{name}.following = {following}")
        t.put(f"br label %{name}")
        self.begin(f"{name}.out")
