"""A reduce formula over trailing axes as the text of an LLVM function: lanes run along a row.

The order of a sum is fixed: lanes add every 32nd element (every 16th in float64) of a block of
1024 columns, the lanes of the blocks are added pairwise, and at the end the halves of the lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tensorgrad.codegen.body import bound
from tensorgrad.codegen.rows_lanes import REDUCERS, Lanes, Sum, fold
from tensorgrad.codegen.rows_plan import Plan, root, value
from tensorgrad.codegen.rows_text import SLOTS, Emitter
from tensorgrad.expr.formula import Formula
from tensorgrad.expr.ir import COLUMN, ELEMENT, ROW, Expr

BLOCK = 1024
"""Columns that lanes add one after the other; a multiple of every width."""

SPOTS, TURN = 8, 16
"""Accumulators of a sum over rows that has no column, and the rows that each takes in its turn."""

States = list[list[str]]
Step = Callable[[str, str | None], list[str]]


class Trailing(Emitter):
    """A loop over rows, in it the passes, in them blocks of columns, in them vectors."""

    def __init__(self, formula: Formula, double: bool, machine: str, width: int) -> None:
        super().__init__(formula, double, machine, "i32", width=width, keep=True)
        self.at: list[str] = []  # where the current row of each operand begins
        self.scratch: dict[Expr, str] = {}
        self.slots: list[str] = []
        self.spots: dict[int, str] = {}  # of sums over rows without a column
        self.i = self.since = ""  # the row, and its number in its part
        self.row: dict[Expr, str] = {}  # values of the row, each a vector of one
        self.spread: dict[Expr, str] = {}  # the same in every lane
        self.stored: set[Expr] = set()
        self.checks = 0

    def write(self) -> str:
        """The body of the function."""
        self.enter()
        self._memory()
        first, second = self.plans
        if first.sums_rows:
            self._parts(first)
        elif first.outputs:
            self._rows(first, "r", "%start", "%stop")
        if second.outputs:
            self._rows(second, "o", "0", "1")
        return self.leave(bool(self.scratch))

    def _memory(self) -> None:
        t, v = self.text, self.v
        most = max((_registers(p) for plan in self.plans for p in plan.passes), default=0)
        for _ in range(most):
            self.slots.append(t.value(f"alloca [{SLOTS} x {v.floats}], align 64"))
        for k, o in self.plans[0].narrow:
            if o.op == "isum":
                self.spots[k] = t.value(f"alloca [{SPOTS} x {v.scalar}], align 64")
        kept = [e for plan in self.plans for e in plan.kept]
        if kept:
            width = v.width
            padded = t.value(f"and i64 {t.value(f'add i64 %columns, {width - 1}')}, -{width}")
            line = t.value(f"mul i64 {padded}, {v.bytes(v.scalar)}")
            memory = self.allocate(t.value(f"mul i64 {line}, {len(kept)}"))
            for k, e in enumerate(kept):
                self.scratch[e] = self.shift(memory, "i8", t.value(f"mul i64 {line}, {k}"))

    # -- rows ----------------------------------------------------------------------------------

    def _parts(self, plan: Plan) -> None:
        """Rows in parts of %part: each part has a line of its own in the sums over rows."""
        t, size = self.text, self.v.bytes(self.v.scalar)
        t.declare("void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
        before = self.here
        self.go("parts")
        self.phi("first", "i64", "%start", before, "%last", "p.end")
        t.put(f"%last = call i64 @llvm.smin.i64(i64 {t.value('add i64 %first, %part')}, i64 %stop)")
        number = t.value("udiv i64 %first, %part")
        bases, lines = list(self.base), list[tuple[str, str]]()
        for k, o in plan.outputs:
            if o.op != "isum":
                continue
            length = "%columns" if o.index & COLUMN else "1"
            line = self.shift(bases[k], self.v.scalar, t.value(f"mul i64 {number}, {length}"))
            self.base[k] = self.spots.get(k, line)
            if k in self.spots:
                lines.append((self.spots[k], line))
                length = str(SPOTS)
            count = t.value(f"mul i64 {length}, {size}")
            t.put(f"call void @llvm.memset.p0.i64(ptr {self.base[k]}, i8 0, i64 {count}, i1 false)")
        self._rows(plan, "p", "%first", "%last")
        self.base = bases
        spots = Lanes(t, self.v.double, SPOTS)
        for spot, line in lines:
            self.s.store(self.s.scalar, fold(Sum(spots), spots.load(spots.scalar, spot)), line)
        self.choose(t.value("icmp slt i64 %last, %stop"), "parts", "parted")
        self.begin("parted")

    def _rows(self, plan: Plan, tag: str, first: str, last: str) -> None:
        t, before = self.text, self.here
        self.go(f"{tag}.row")
        self.i, self.since = f"%{tag}.i", f"%{tag}.since"
        self.phi(f"{tag}.i", "i64", first, before, f"%{tag}.next", f"{tag}.rowend")
        t.put(f"{self.since} = sub i64 {self.i}, {first}")
        offset = t.value(f"mul i64 {self.i}, %columns")
        self.at = list(self.base)
        for k, e in enumerate(self.operands):
            if e.index & ROW:
                count = offset if e.index == ELEMENT else self.i
                self.at[k] = self.shift(self.base[k], self.scalar(e), count)
        self.row, self.spread, self.stored = {}, {}, set()
        for number, reductions in enumerate(plan.passes):
            self._pass(plan, number, f"{tag}{number}", reductions)
        self._last(plan, f"{tag}z")
        self.go(f"{tag}.rowend")
        t.put(f"%{tag}.next = add i64 {self.i}, 1")
        self.choose(t.value(f"icmp slt i64 %{tag}.next, {last}"), f"{tag}.row", f"{tag}.end")
        self.begin(f"{tag}.end")

    def _value(self, e: Expr) -> str:
        found = self.row.get(e)
        return self.once[e] if found is None else found

    def _settle(self, plan: Plan, roots: Sequence[Expr]) -> None:
        """Computes the values of the row that `roots` rest on."""
        for e in plan.rows(roots):
            if e.op == "const" or e in self.row or e in self.once:
                continue
            if e.op == "input":
                self.row[e] = self.loaded(self.s, e, self.at[self.number[e]])
            elif e.op == "at":
                self.row[e] = self._gathered(plan, e)
            else:
                self.row[e] = self.one.node(e, self.one.arguments(e, self._value))

    def _gathered(self, plan: Plan, e: Expr) -> str:
        """The value of a node at a column, which is checked."""
        t = self.text
        source, label = root(e.args[0]), root(e.args[1])
        known = f"splat (i64 {label.value})" if label.op == "const" else self._value(label)
        column = t.value(f"extractelement <1 x i64> {known}, i32 0")
        self.checks += 1
        inside, outside = f"inside{self.checks}", f"outside{self.checks}"
        self.choose(t.value(f"icmp ult i64 {column}, %columns"), inside, outside)
        self.begin(outside)
        t.put(f"store i64 {self.i}, ptr %status")
        t.put("br label %done")
        self.begin(inside)
        found: dict[Expr, str] = {}
        for x in plan.cone([source]):
            if x.op == "input":
                at = self.shift(self.at[self.number[x]], self.scalar(x), column)
                found[x] = self.loaded(self.s, x, at)
            elif x.op == "iota":
                found[x] = known
            else:
                args = self.one.arguments(x, lambda a: found.get(a) or self._value(a))
                found[x] = self.one.node(x, args)
        return found.get(source) or self._value(source)

    # -- passes --------------------------------------------------------------------------------

    def _pass(self, plan: Plan, number: int, tag: str, reductions: list[Expr]) -> None:
        """The values of reductions that read what earlier passes found."""
        sources = [root(e.args[0]) for e in reductions]
        self._settle(plan, sources)
        self._spread_all(plan.cones[number], sources)
        hows = [REDUCERS[e.op](self.v) for e in reductions]

        def body(column: str, mask: str | None) -> list[str]:
            found = self._cone(plan, number, column, mask)
            return [self._lane(found, e) for e in sources]

        for e, how, state in zip(reductions, hows, self._blocks(tag, hows, body), strict=True):
            self.row[e] = fold(how, how.finish(state))
        self.stored |= set(plan.kept) & set(plan.cones[number])

    def _last(self, plan: Plan, tag: str) -> None:
        """Writes the outputs of the row."""
        v, s = self.v, self.s
        self._settle(plan, [value(o) for _, o in plan.outputs])
        if plan.wide:
            sources = [value(o) for _, o in plan.wide]
            self._spread_all(plan.cones[-1], sources)

            def body(column: str, mask: str | None) -> list[str]:
                found = self._cone(plan, -1, column, mask)
                for (k, o), e in zip(plan.wide, sources, strict=True):
                    pointer, x = self.shift(self.at[k], v.scalar, column), self._lane(found, e)
                    if o.op == "isum":
                        x = v.add(v.load(v.scalar, pointer, mask), x)
                    v.store(v.scalar, x, pointer, mask)
                return []

            self._vectors(tag, "0", "%columns", [], body)
        for k, o in plan.narrow:
            x = value(o)
            result = self.one.literal(x, o) if x.op == "const" else self._value(x)
            pointer = self.at[k]
            if o.op == "isum":
                turn = self.text.value(f"udiv i64 {self.since}, {TURN}")
                spot = self.text.value(f"and i64 {turn}, {SPOTS - 1}")
                pointer = self.shift(pointer, s.scalar, spot)
                result = s.add(s.load(s.scalar, pointer), result)
            s.store(s.scalar, result, pointer)

    def _spread_all(self, cone: list[Expr], sources: list[Expr]) -> None:
        """Puts what a pass reads of the row into every lane, ahead of its loop."""
        read = [root(a) for e in cone if e not in self.stored for a in e.args]
        for e in (*read, *sources):
            if e.index & COLUMN or e.op == "const" or e in self.spread:
                continue
            x, t = self._value(e), self.text
            if e.kind == "i":
                # The number of a column is below 2**31: what a label is beyond that is the same.
                for predicate, limit in (("slt", 2**31 - 1), ("sgt", -1)):
                    within = t.value(f"icmp {predicate} <1 x i64> {x}, splat (i64 {limit})")
                    x = t.value(
                        f"select <1 x i1> {within}, <1 x i64> {x}, <1 x i64> splat (i64 {limit})"
                    )
                x = t.value(f"trunc <1 x i64> {x} to <1 x i32>")
            self.spread[e] = self.v.splat(x, self.v.type_of(e.kind))

    def _lane(self, found: dict[Expr, str], e: Expr) -> str:
        """A node on the current vector."""
        if e.op == "const":
            return self.v.const(bound(e.value, self.v.double))
        return found.get(e) or self.spread[e]

    def _cone(self, plan: Plan, number: int, column: str, mask: str | None) -> dict[Expr, str]:
        """The nodes of a pass on the columns from `column` on."""
        v, found = self.v, dict[Expr, str]()
        for e in plan.cones[number]:
            if e in self.stored:
                found[e] = v.load(v.scalar, self.shift(self.scratch[e], v.scalar, column))
            elif e.op == "input":
                k = self.number[e]
                found[e] = self.loaded(v, e, self.shift(self.at[k], self.scalar(e), column), mask)
            elif e.op == "iota":
                found[e] = v.counting(column)
            else:
                found[e] = self.wide.node(
                    e, self.wide.arguments(e, lambda a: found.get(a) or self.spread[a])
                )
                if e in self.scratch:
                    v.store(v.scalar, found[e], self.shift(self.scratch[e], v.scalar, column))
        return found

    # -- columns -------------------------------------------------------------------------------

    def _vectors(self, tag: str, start: str, stop: str, hows: list[Sum], body: Step) -> States:
        """Whole vectors of the columns from `start` up to `stop`, and the rest under a mask."""
        t, v, before = self.text, self.v, self.here
        length = t.value(f"sub i64 {stop}, {start}")
        full = t.value(f"add i64 {start}, {t.value(f'and i64 {length}, {-v.width}')}")
        self.go(f"{tag}.head")
        self.phi(f"{tag}.j", "i64", start, before, f"%{tag}.jn", f"{tag}.body")
        state = []
        for k, how in enumerate(hows):
            names = [f"{tag}.a{k}.{part}" for part in range(len(how.start()))]
            for name, first in zip(names, how.start(), strict=True):
                self.phi(name, v.floats, first, before, f"%{name}.n", f"{tag}.body")
            state.append([f"%{name}" for name in names])
        self.choose(t.value(f"icmp slt i64 %{tag}.j, {full}"), f"{tag}.body", f"{tag}.rest")
        self.begin(f"{tag}.body")
        for k, x in enumerate(body(f"%{tag}.j", None)):
            for old, new in zip(state[k], hows[k].step(state[k], x), strict=True):
                t.put(f"{old}.n = bitcast {v.floats} {new} to {v.floats}")
        t.put(f"%{tag}.jn = add i64 %{tag}.j, {v.width}")
        t.put(f"br label %{tag}.head")
        self.begin(f"{tag}.rest")
        rest = t.value(f"sub i64 {stop}, {full}")
        self.choose(t.value(f"icmp sgt i64 {rest}, 0"), f"{tag}.tail", f"{tag}.over")
        self.begin(f"{tag}.tail")
        mask = v.mask(rest)
        ends = []
        for k, x in enumerate(body(full, mask)):
            ends.append(hows[k].step(state[k], v.select(mask, x, hows[k].blank())))
        self.go(f"{tag}.over")
        return [self._either(tag, a, b) for a, b in zip(state, ends, strict=True)]

    def _either(self, tag: str, a: list[str], b: list[str]) -> list[str]:
        """The state after the whole vectors, or after the tail."""
        return [
            self.text.value(f"phi {self.v.floats} [{x}, %{tag}.rest], [{y}, %{tag}.tail]")
            for x, y in zip(a, b, strict=True)
        ]

    def _blocks(self, tag: str, hows: list[Sum], body: Step) -> States:
        """The columns in blocks: a binary counter of slots adds them pairwise."""
        t, before = self.text, self.here
        self.go(f"{tag}.block")
        self.phi(f"{tag}.from", "i64", "0", before, f"%{tag}.to", f"{tag}.pushed")
        self.phi(f"{tag}.seen", "i64", "0", before, f"%{tag}.more", f"{tag}.pushed")
        reach = t.value(f"add i64 %{tag}.from, {BLOCK}")
        t.put(f"%{tag}.to = call i64 @llvm.smin.i64(i64 {reach}, i64 %columns)")
        state = self._vectors(tag, f"%{tag}.from", f"%{tag}.to", hows, body)
        t.put(f"%{tag}.more = add i64 %{tag}.seen, 1")
        ended = t.value(f"icmp sge i64 %{tag}.to, %columns")
        self.choose(ended, f"{tag}.drain", f"{tag}.push")
        # A block joins one slot for every 1 at the end of the count, as a carry does.
        self.begin(f"{tag}.push")
        carries = t.value(f"call i64 @llvm.cttz.i64(i64 %{tag}.more, i1 true)")
        t.put(f"br label %{tag}.carry")
        joined = self._collect(
            f"{tag}.carry", f"{tag}.push", hows, state, "0",
            lambda m: (f"icmp slt i64 {m}, {carries}", m, f"add i64 {m}, 1"),
        )  # fmt: skip
        for x, slot in zip(_flat(joined), self._slots(carries)):
            t.put(f"store {self.v.floats} {x}, ptr {slot}, align 64")
        self.go(f"{tag}.pushed")
        t.put(f"br label %{tag}.block")
        return self._collect(
            f"{tag}.drain", f"{tag}.over", hows, state, f"%{tag}.seen", self.lowest
        )

    def _slots(self, number: str) -> list[str]:
        """The places of a slot, one per register of the state."""
        return [self.shift(slot, self.v.floats, number) for slot in self.slots]

    def _collect(
        self,
        name: str,
        before: str,
        hows: list[Sum],
        state: States,
        first: str,
        turn: Callable[[str], tuple[str, str, str]],
    ) -> States:
        """Joins slots in front of the state; `turn` says of a counter: go on?, slot, the next."""
        t, v = self.text, self.v
        self.begin(name)
        self.phi(f"{name}.m", "i64", first, before, f"%{name}.next", f"{name}.in")
        registers = [f"{name}.s{k}" for k in range(len(_flat(state)))]
        for register, x in zip(registers, _flat(state), strict=True):
            self.phi(register, v.floats, x, before, f"%{register}.n", f"{name}.in")
        going, slot, following = turn(f"%{name}.m")
        self.choose(t.value(going), f"{name}.in", f"{name}.out")
        self.begin(f"{name}.in")
        places = iter(self._slots(slot))
        own = iter(registers)
        found: States = []
        for how, part in zip(hows, state, strict=True):
            current = [f"%{next(own)}" for _ in part]
            earlier = [t.value(f"load {v.floats}, ptr {next(places)}, align 64") for _ in part]
            for old, new in zip(current, how.join(earlier, current), strict=True):
                t.put(f"{old}.n = bitcast {v.floats} {new} to {v.floats}")
            found.append(current)
        t.put(f"%{name}.next = {following}")
        t.put(f"br label %{name}")
        self.begin(f"{name}.out")
        return found


def _flat(state: States) -> list[str]:
    return [x for part in state for x in part]


def _registers(reductions: list[Expr]) -> int:
    """How many vectors the state of a pass takes."""
    return sum(2 if e.op == "rmax" else 1 for e in reductions)
