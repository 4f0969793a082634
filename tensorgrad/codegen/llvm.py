"""An elementwise formula as the text of an LLVM function: NumPy's inner loop over any strides."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgrad.codegen.body import Body
from tensorgrad.codegen.storage import Storage, stored
from tensorgrad.codegen.typed import INT64, RefusedError, Types
from tensorgrad.codegen.vectors import Text, Vectors
from tensorgrad.expr.formula import Formula
from tensorgrad.expr.graph import topo
from tensorgrad.expr.show import show

BLOCK = 512
"""Elements between two copies to and from the stack; a multiple of every vector's width."""

MOST_OPERANDS, MOST_WORK = 32, 2000
"""Bounds of a kernel: the entry's room for arguments, and what compiles in half a second."""

_CALL_WORK = 20


_X86 = (
    ["%csr = alloca i32", "call void @llvm.x86.sse.stmxcsr(ptr %csr)"],
    ["call void @llvm.x86.sse.ldmxcsr(ptr %csr)"],
    ["void @llvm.x86.sse.stmxcsr(ptr)", "void @llvm.x86.sse.ldmxcsr(ptr)"],
)
_ARM = (
    ["%fpsr = call i64 @llvm.aarch64.get.fpsr()"],
    ["call void @llvm.aarch64.set.fpsr(i64 %fpsr)"],
    ["i64 @llvm.aarch64.get.fpsr()", "void @llvm.aarch64.set.fpsr(i64)"],
)
FLAGS: dict[str, tuple[list[str], list[str], list[str]]] = {
    "x86_64": _X86, "AMD64": _X86, "aarch64": _ARM, "arm64": _ARM,
}  # fmt: skip
"""How a processor keeps and restores its floating-point flags: on entry, on exit, declarations."""


def supports(formula: Formula, dtype: Any, integers: Sequence[Any] | None = None) -> bool:
    """Whether `formula` has a generated kernel in `dtype`; the interpreter runs the rest.

    `integers` are the dtypes of its integer inputs, by default all int64.
    """
    return types_of(formula, dtype, integers) is not None


def types_of(formula: Formula, dtype: Any, integers: Sequence[Any] | None = None) -> Types | None:
    """The dtypes of the formula's nodes, or None where it has no generated kernel."""
    nodes = topo(formula.outputs)
    if not stored(np.dtype(dtype)) or not formula.elementwise or not formula.inputs:
        return None
    work = len(nodes) + _CALL_WORK * sum(e.op == "call" for e in nodes)
    if work > MOST_WORK or len(formula.inputs) + len(formula.outputs) > MOST_OPERANDS:
        return None
    if integers is None:
        integers = [INT64] * sum(e.kind == "i" for e in formula.inputs)
    try:
        return Types(formula, dtype, integers)
    except RefusedError:
        return None


def operands(formula: Formula, dtype: Any, types: Types) -> list[np.dtype[Any]]:
    """The dtypes of a kernel's arrays, inputs first: real ones are stored in `dtype`."""
    ins = [np.dtype(dtype) if e.kind == "f" else types.of[e] for e in formula.inputs]
    outs = [np.dtype(dtype) if o.kind == "f" else types.output(o) for o in formula.outputs]
    return ins + outs


class _Operand:
    """One argument of the loop: where it lies, and the stack blocks that stand in for it."""

    def __init__(self, text: Text, dtype: np.dtype[Any], v: Vectors, position: int) -> None:
        self.name = f"p{position}"
        self.storage = Storage(v, dtype)
        self.scalar, self.vector = self.storage.scalar, self.storage.vector
        self.size, self.pad = self.storage.size, self.storage.pad
        self.block = text.value(f"alloca [{BLOCK} x {self.scalar}], align 64")
        self.tail = text.value(f"alloca {self.vector}, align 64")
        at = text.value(f"getelementptr ptr, ptr %args, i64 {position}")
        self.base = text.value(f"load ptr, ptr {at}")
        at = text.value(f"getelementptr i64, ptr %steps, i64 {position}")
        self.step = text.value(f"load i64, ptr {at}")
        self.packed = text.value(f"icmp eq i64 {self.step}, {self.size}")
        self.still = text.value(f"icmp eq i64 {self.step}, 0")
        moves = text.value(f"icmp ne i64 {self.step}, 0")
        self.moving = text.value(f"sext i1 {moves} to i64")
        self.at = self.first = self.direct = ""


class _Loop:
    """Writes the function: blocks, staging of what is not contiguous, whole vectors, the tail."""

    def __init__(self, formula: Formula, dtype: Any, types: Types, machine: str) -> None:
        self.formula, self.text, self.types = formula, Text(), types
        self.arrays = operands(formula, dtype, types)
        self.v = Vectors(self.text, types.real.itemsize == 8)
        self.indexed = has_index(formula)
        self.enter, self.leave, declarations = FLAGS[machine]
        for d in declarations:
            self.text.declare(d)
        self.operands: list[_Operand] = []

    def write(self) -> str:
        t, count = self.text, len(self.formula.inputs)
        t.label("entry")
        for line in self.enter:
            t.put(line)
        self.operands = [_Operand(t, d, self.v, k) for k, d in enumerate(self.arrays)]
        ins, outs = self.operands[:count], self.operands[count:]
        t.declare("i64 @llvm.smin.i64(i64, i64)")
        total = t.value("load i64, ptr %dims")
        if self.indexed:
            at = t.value("getelementptr i64, ptr %dims, i64 1")
            t.put(f"%offset = load i64, ptr {at}")
        t.put("br label %block")
        t.label("block")
        t.put("%start = phi i64 [0, %entry], [%start.next, %stored]")
        more = t.value(f"icmp slt i64 %start, {total}")
        t.put(f"br i1 {more}, label %inside, label %done")
        t.label("inside")
        left = t.value(f"sub i64 {total}, %start")
        t.put(f"%count = call i64 @llvm.smin.i64(i64 {left}, i64 {BLOCK})")
        self._vectors(ins, outs, self._stage_all(ins))
        last = "finished"
        for k in outs:
            last = self._copy(f"b{k.name}", k, k.packed, k.block, k.size, k.at, k.step, last)
        t.put("br label %stored")
        t.label("stored")
        t.put(f"%start.next = add i64 %start, {BLOCK}")
        t.put("br label %block")
        t.label("done")
        for line in self.leave:
            t.put(line)
        t.put("ret void")
        return "\n".join(t.lines)

    def _stage_all(self, ins: list[_Operand]) -> str:
        """Copies inputs that are not contiguous to their stack blocks; the last label."""
        t, last = self.text, "inside"
        for k in self.operands:
            offset = t.value(f"mul i64 %start, {k.step}")
            k.at = t.value(f"getelementptr i8, ptr {k.base}, i64 {offset}")
        for k in ins:
            last = self._fill(k)
            skip = t.value(f"or i1 {k.packed}, {k.still}")
            last = self._copy(f"a{k.name}", k, skip, k.at, k.step, k.block, k.size, last)
        for k in self.operands:
            k.first = t.value(f"select i1 {k.packed}, ptr {k.at}, ptr {k.block}")
        return last

    def _fill(self, k: _Operand) -> str:
        """Writes a broadcast scalar all over its block, for the first block of elements only."""
        t, tag = self.text, f"s{k.name}"
        first = t.value("icmp eq i64 %start, 0")
        wanted = t.value(f"and i1 {k.still}, {first}")
        t.put(f"br i1 {wanted}, label %{tag}.one, label %{tag}.end")
        t.label(f"{tag}.one")
        one = self._every(k.scalar, t.value(f"load {k.scalar}, ptr {k.base}, align 1"))
        t.put(f"store {k.vector} {one}, ptr {k.block}, align {min(k.size * self.v.width, 64)}")
        t.put(f"br label %{tag}.end")
        t.label(f"{tag}.end")
        return f"{tag}.end"

    def _copy(
        self,
        tag: str,
        k: _Operand,
        skip: str,
        source: str,
        source_step: str | int,
        target: str,
        target_step: str | int,
        before: str,
    ) -> str:
        """A loop over %count elements, unless `skip`; returns the label after it."""
        t = self.text
        t.put(f"br i1 {skip}, label %{tag}.end, label %{tag}")
        t.label(tag)
        t.put(f"%{tag}.i = phi i64 [0, %{before}], [%{tag}.next, %{tag}]")
        t.put(f"%{tag}.from = phi ptr [{source}, %{before}], [%{tag}.from.next, %{tag}]")
        t.put(f"%{tag}.to = phi ptr [{target}, %{before}], [%{tag}.to.next, %{tag}]")
        element = t.value(f"load {k.scalar}, ptr %{tag}.from, align 1")
        t.put(f"store {k.scalar} {element}, ptr %{tag}.to, align 1")
        t.put(f"%{tag}.from.next = getelementptr i8, ptr %{tag}.from, i64 {source_step}")
        t.put(f"%{tag}.to.next = getelementptr i8, ptr %{tag}.to, i64 {target_step}")
        t.put(f"%{tag}.next = add i64 %{tag}.i, 1")
        again = t.value(f"icmp slt i64 %{tag}.next, %count")
        t.put(f"br i1 {again}, label %{tag}, label %{tag}.end")
        t.label(f"{tag}.end")
        return f"{tag}.end"

    def _vectors(self, ins: list[_Operand], outs: list[_Operand], last: str) -> None:
        """Whole vectors in place, the rest through the stack: one body serves both."""
        t, width = self.text, self.v.width
        t.put("br label %vector")
        t.label("vector")
        t.put(f"%i = phi i64 [0, %{last}], [%i.next, %computed]")
        rest = t.value("sub i64 %count, %i")
        whole = t.value(f"icmp sge i64 {rest}, {width}")
        for k in self.operands:
            at = t.value(f"and i64 %i, {k.moving}")
            k.direct = t.value(f"getelementptr {k.scalar}, ptr {k.first}, i64 {at}")
        t.put(f"br i1 {whole}, label %body, label %rest")
        t.label("rest")
        some = t.value(f"icmp sgt i64 {rest}, 0")
        t.put(f"br i1 {some}, label %gather, label %finished")
        t.label("gather")
        mask = self._mask(rest)
        for k in ins:
            t.put(f"store {k.vector} {self._load(k, mask)}, ptr {k.tail}, align 64")
        t.put("br label %body")
        self._body(ins, outs)
        t.label("scatter")
        mask = self._mask(rest)
        for k in outs:
            value = t.value(f"load {k.vector}, ptr {k.tail}, align 64")
            self._store(k, value, mask)
        t.put("br label %finished")
        t.label("finished")

    def _body(self, ins: list[_Operand], outs: list[_Operand]) -> None:
        t, v = self.text, self.v
        t.label("body")
        for k in self.operands:
            t.put(f"%{k.name} = phi ptr [{k.direct}, %vector], [{k.tail}, %gather]")
        given = []
        for k in ins:
            x = t.value(f"load {k.vector}, ptr %{k.name}, align 1")
            given.append(k.storage.unpack(x))
        body = Body(v, self.types, self._positions() if self.indexed else "")
        # Every load stands before every store, so outputs may lie in the inputs' memory.
        for k, x in zip(outs, body.values(self.formula, given), strict=True):
            t.put(f"store {k.vector} {k.storage.pack(x)}, ptr %{k.name}, align 1")
        t.put("br label %computed")
        t.label("computed")
        t.put(f"%i.next = add i64 %i, {v.width}")
        whole = t.value("icmp sle i64 %i.next, %count")
        t.put(f"br i1 {whole}, label %vector, label %scatter")

    def _positions(self) -> str:
        """The positions of the elements of a vector in the whole result."""
        t = self.text
        start = t.value("add i64 %offset, %start")
        first = t.value(f"add i64 {start}, %i")
        return t.value(f"add {self.v.of('i64')} {self._every('i64', first)}, {self._lanes('i64')}")

    def _every(self, scalar: str, x: str) -> str:
        """A vector of one scalar."""
        t, kind, lanes = self.text, self.v.of(scalar), self.v.of("i32")
        one = t.value(f"insertelement {kind} poison, {scalar} {x}, i32 0")
        return t.value(f"shufflevector {kind} {one}, {kind} poison, {lanes} zeroinitializer")

    def _lanes(self, scalar: str) -> str:
        return f"<{', '.join(f'{scalar} {k}' for k in range(self.v.width))}>"

    def _mask(self, rest: str) -> str:
        """Which lanes lie below `rest`."""
        t = self.text
        small = t.value(f"trunc i64 {rest} to i32")
        every = self._every("i32", small)
        return t.value(f"icmp slt {self.v.of('i32')} {self._lanes('i32')}, {every}")

    def _load(self, k: _Operand, mask: str) -> str:
        name, bools = f"@llvm.masked.load.{k.storage.suffix}.p0", self.v.bools
        self.text.declare(f"{k.vector} {name}(ptr, i32, {bools}, {k.vector})")
        return self.text.value(
            f"call {k.vector} {name}(ptr {k.direct}, i32 1, {bools} {mask}, {k.vector} {k.pad})"
        )

    def _store(self, k: _Operand, value: str, mask: str) -> None:
        name, bools = f"@llvm.masked.store.{k.storage.suffix}.p0", self.v.bools
        self.text.declare(f"void {name}({k.vector}, ptr, i32, {bools})")
        self.text.put(
            f"call void {name}({k.vector} {value}, ptr {k.direct}, i32 1, {bools} {mask})"
        )


def has_index(formula: Formula) -> bool:
    """Whether the formula asks for the position of its element."""
    return any(e.op == "index" for e in topo(formula.outputs))


def function(
    formula: Formula, dtype: Any, machine: str = "", integers: Sequence[Any] | None = None
) -> str:
    """`void @KERNEL(char **args, intp *dims, intp *steps, void *)`, NumPy's inner loop.

    The first line is a comment with the formula. Outputs may lie exactly in the memory of inputs.
    Where the formula asks for positions, dims[1] is that of the first element. `machine` is the
    name of the processor's family, by default this one's. KeyError where its floating-point flags
    cannot be kept, ValueError for a formula that `supports` refuses.
    """
    types = types_of(formula, dtype, integers)
    if types is None:
        raise ValueError(
            f"{formula.name}: got a formula without a generated form in {np.dtype(dtype)}, "
            "expected one that `supports` accepts; try the interpreter"
        )
    loop = _Loop(formula, dtype, types, machine or platform.machine())
    body = loop.write()
    comment = "; " + " ".join(show(formula).split())
    head = "define void @KERNEL(ptr %args, ptr %dims, ptr %steps, ptr %data) {"
    return "\n".join([comment, head, body, "}", *loop.text.below(), ""])
