"""What the functions of reduce formulas share, whichever way the rows lie in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod

from tensorgrad.codegen.llvm import FLAGS
from tensorgrad.codegen.rows_lanes import Lanes, Nodes
from tensorgrad.codegen.rows_plan import Plan, root, split
from tensorgrad.codegen.vectors import Text
from tensorgrad.expr.formula import Formula
from tensorgrad.expr.ir import Expr

SLOTS = 24
"""Levels of the pairwise sum of blocks; more than 2**31 columns have."""

HEAD = (
    "define i64 @KERNEL(ptr %operands, i64 %rows, i64 %columns, i64 %start, i64 %stop, i64 %part) {"
)
_LATE = frozenset({"const", "rsum", "rmax", "isum", "at"})


class Emitter(ABC):
    """Writes one function; a subclass writes its loops.

    The function computes the rows from `start` up to `stop` (there is at least one row and one
    column) and returns -1, the first row whose label is out of range, or -3 out of memory.
    """

    def __init__(
        self,
        formula: Formula,
        double: bool,
        machine: str,
        whole: str,
        *,
        width: int = 0,
        keep: bool,
    ) -> None:
        self.formula, self.text = formula, Text()
        self.v = Lanes(self.text, double, width, whole)
        self.s = Lanes(self.text, double, 1)
        self.wide, self.one = Nodes(self.v), Nodes(self.s)
        self.plans: tuple[Plan, Plan] = split(formula, keep)
        self.operands = (*formula.inputs, *formula.outputs)
        self.number = {e: k for k, e in enumerate(formula.inputs)}
        self._enter, self._leave, declarations = FLAGS[machine]
        for d in (*declarations, "i64 @llvm.smin.i64(i64, i64)", "i64 @llvm.cttz.i64(i64, i1)"):
            self.text.declare(d)
        self.here = ""
        self.base: list[str] = []
        self.once: dict[Expr, str] = {}

    @abstractmethod
    def write(self) -> str:
        """The body of the function."""

    # -- text ----------------------------------------------------------------------------------

    def begin(self, label: str) -> None:
        """A new basic block."""
        self.text.label(label)
        self.here = label

    def go(self, label: str) -> None:
        """Jumps to a new basic block and goes on there."""
        self.text.put(f"br label %{label}")
        self.begin(label)

    def choose(self, condition: str, yes: str, no: str) -> None:
        self.text.put(f"br i1 {condition}, label %{yes}, label %{no}")

    def phi(self, name: str, kind: str, first: str, source: str, later: str, again: str) -> None:
        """%name: `first` coming from the block `source`, `later` coming from `again`."""
        self.text.put(f"%{name} = phi {kind} [{first}, %{source}], [{later}, %{again}]")

    def smaller(self, a: str, b: str) -> str:
        return self.text.value(f"call i64 @llvm.smin.i64(i64 {a}, i64 {b})")

    def shift(self, pointer: str, scalar: str, count: str) -> str:
        """A pointer `count` elements further on."""
        return self.text.value(f"getelementptr {scalar}, ptr {pointer}, i64 {count}")

    def scalar(self, e: Expr) -> str:
        """The type of an operand's elements in memory."""
        return "i8" if e.kind == "b" else self.s.type_of(e.kind)

    def loaded(self, v: Lanes, e: Expr, pointer: str, mask: str | None = None) -> str:
        """Lanes of an input; bools are bytes in memory."""
        x = v.load(self.scalar(e), pointer, mask)
        if e.kind != "b":
            return x
        return self.text.value(f"icmp ne {v.of('i8')} {x}, zeroinitializer")

    def lowest(self, count: str) -> tuple[str, str, str]:
        """Of the blocks counted: whether any is left, the slot of the latest, the others."""
        t = self.text
        slot = t.value(f"call i64 @llvm.cttz.i64(i64 {count}, i1 false)")
        less = t.value(f"sub i64 {count}, 1")
        return f"icmp ne i64 {count}, 0", slot, f"and i64 {count}, {less}"

    # -- the function --------------------------------------------------------------------------

    def enter(self) -> None:
        """The first block: the processor's flags, the operands, what depends on no row."""
        t = self.text
        self.begin("entry")
        for line in self._enter:
            t.put(line)
        t.put("%status = alloca i64")
        t.put("store i64 -1, ptr %status")
        for k in range(len(self.operands)):
            t.put(f"%operand{k} = load ptr, ptr {self.shift('%operands', 'ptr', str(k))}")
            self.base.append(f"%operand{k}")
        for plan in self.plans:
            for e in plan.order:
                if e.index == 0 and e not in self.once and self._early(e):
                    self.once[e] = self._once(e)

    def _early(self, e: Expr) -> bool:
        if e.op in _LATE:
            return False
        return all(a.op == "const" or a in self.once for a in map(root, e.args))

    def _once(self, e: Expr) -> str:
        t = self.text
        if e.op == "input":
            return self.loaded(self.s, e, self.base[self.number[e]])
        if e.op in ("ncols", "nrows"):
            count = "%columns" if e.op == "ncols" else "%rows"
            real = t.value(f"sitofp i64 {count} to {self.s.scalar}")
            return t.value(f"insertelement {self.s.floats} poison, {self.s.scalar} {real}, i32 0")
        return self.one.node(e, self.one.arguments(e, self.once.__getitem__))

    def allocate(self, size: str) -> str:
        """Memory of `size` bytes on a line of the cache; `free` gives it back."""
        t = self.text
        t.declare("ptr @malloc(i64)")
        t.declare("void @free(ptr)")
        t.put(f"%memory = call ptr @malloc(i64 {t.value(f'add i64 {size}, 64')})")
        self.choose(t.value("icmp eq ptr %memory, null"), "starved", "fed")
        self.begin("starved")
        t.put("store i64 -3, ptr %status")
        t.put("br label %done")
        self.begin("fed")
        number = t.value("ptrtoint ptr %memory to i64")
        line = t.value(f"and i64 {t.value(f'add i64 {number}, 63')}, -64")
        return t.value(f"inttoptr i64 {line} to ptr")

    def leave(self, allocated: bool) -> str:
        """The last block; returns the text."""
        t = self.text
        self.go("done")
        if allocated:
            t.put("call void @free(ptr %memory)")
        for line in self._leave:
            t.put(line)
        t.put(f"ret i64 {t.value('load i64, ptr %status')}")
        return "\n".join(t.lines)
