"""An elementwise formula as the text of an LLVM function: NumPy's inner loop over any strides."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np

from tensorgrad.codegen.body import Body, supported
from tensorgrad.codegen.vectors import Text, Vectors
from tensorgrad.expr.formula import Formula
from tensorgrad.expr.graph import topo
from tensorgrad.expr.ir import Expr
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


def supports(formula: Formula, dtype: Any) -> bool:
    """Whether `formula` has a generated kernel in `dtype`; the interpreter runs the rest."""
    nodes = topo(formula.outputs)
    if np.dtype(dtype) not in (np.dtype(np.float32), np.dtype(np.float64)):
        return False
    work = len(nodes) + _CALL_WORK * sum(e.op == "call" for e in nodes)
    if not formula.elementwise or not formula.inputs or work > MOST_WORK:
        return False
    if len(formula.inputs) + len(formula.outputs) > MOST_OPERANDS:
        return False
    seen = (*formula.inputs, *nodes)
    return all(map(supported, seen)) and all(o.kind in "fb" for o in formula.outputs)


class _Operand:
    """One argument of the loop: where it lies, and the stack blocks that stand in for it."""

    def __init__(self, text: Text, e: Expr, v: Vectors, position: int) -> None:
        self.name = f"p{position}"
        self.real = e.kind == "f"
        self.scalar = v.scalar if self.real else "i8"
        self.size = (8 if v.double else 4) if self.real else 1
        self.vector = v.of(self.scalar)
        self.pad = v.const(1) if self.real else "zeroinitializer"
        self.block = text.value(f"alloca [{BLOCK} x {self.scalar}], align 64")
        self.tail = text.value(f"alloca {self.vector}, align 64")
        at = text.value(f"getelementptr ptr, ptr %args, i64 {position}")
        self.base = text.value(f"load ptr, ptr {at}")
        at = text.value(f"getelementptr i64, ptr %steps, i64 {position}")
        self.step = text.value(f"load i64, ptr {at}")
        self.packed = text.value(f"icmp eq i64 {self.step}, {self.size}")
        self.at = self.first = self.direct = ""


class _Loop:
    """Writes the function: blocks, staging of what is not contiguous, whole vectors, the tail."""

    def __init__(self, formula: Formula, double: bool, machine: str) -> None:
        self.formula, self.text = formula, Text()
        self.v = Vectors(self.text, double)
        self.enter, self.leave, declarations = FLAGS[machine]
        for d in declarations:
            self.text.declare(d)
        self.operands: list[_Operand] = []

    def write(self) -> str:
        t, count = self.text, len(self.formula.inputs)
        t.label("entry")
        for line in self.enter:
            t.put(line)
        nodes = (*self.formula.inputs, *self.formula.outputs)
        self.operands = [_Operand(t, e, self.v, k) for k, e in enumerate(nodes)]
        ins, outs = self.operands[:count], self.operands[count:]
        t.declare("i64 @llvm.smin.i64(i64, i64)")
        total = t.value("load i64, ptr %dims")
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
            # A broadcast scalar stays in its block: every element of it is the same.
            still = t.value(f"icmp eq i64 {k.step}, 0")
            later = t.value("icmp sgt i64 %start, 0")
            once = t.value(f"and i1 {still}, {later}")
            skip = t.value(f"or i1 {k.packed}, {once}")
            last = self._copy(f"a{k.name}", k, skip, k.at, k.step, k.block, k.size, last)
        for k in self.operands:
            k.first = t.value(f"select i1 {k.packed}, ptr {k.at}, ptr {k.block}")
        return last

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
        offset = t.value(f"mul i64 %{tag}.i, {source_step}")
        at = t.value(f"getelementptr i8, ptr {source}, i64 {offset}")
        element = t.value(f"load {k.scalar}, ptr {at}, align 1")
        offset = t.value(f"mul i64 %{tag}.i, {target_step}")
        at = t.value(f"getelementptr i8, ptr {target}, i64 {offset}")
        t.put(f"store {k.scalar} {element}, ptr {at}, align 1")
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
            k.direct = t.value(f"getelementptr {k.scalar}, ptr {k.first}, i64 %i")
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
            given.append(x if k.real else t.value(f"icmp ne {k.vector} {x}, zeroinitializer"))
        # Every load stands before every store, so outputs may lie in the inputs' memory.
        for k, x in zip(outs, Body(v).values(self.formula, given), strict=True):
            value = x if k.real else t.value(f"zext {v.bools} {x} to {k.vector}")
            t.put(f"store {k.vector} {value}, ptr %{k.name}, align 1")
        t.put("br label %computed")
        t.label("computed")
        t.put(f"%i.next = add i64 %i, {v.width}")
        whole = t.value("icmp sle i64 %i.next, %count")
        t.put(f"br i1 {whole}, label %vector, label %scatter")

    def _mask(self, rest: str) -> str:
        """Which lanes lie below `rest`."""
        t, lanes = self.text, self.v.of("i32")
        small = t.value(f"trunc i64 {rest} to i32")
        one = t.value(f"insertelement {lanes} poison, i32 {small}, i32 0")
        every = t.value(f"shufflevector {lanes} {one}, {lanes} poison, {lanes} zeroinitializer")
        numbers = ", ".join(f"i32 {k}" for k in range(self.v.width))
        return t.value(f"icmp slt {lanes} <{numbers}>, {every}")

    def _suffix(self, k: _Operand) -> str:
        return f"v{self.v.width}" + {"float": "f32", "double": "f64", "i8": "i8"}[k.scalar]

    def _load(self, k: _Operand, mask: str) -> str:
        name, bools = f"@llvm.masked.load.{self._suffix(k)}.p0", self.v.bools
        self.text.declare(f"{k.vector} {name}(ptr, i32, {bools}, {k.vector})")
        return self.text.value(
            f"call {k.vector} {name}(ptr {k.direct}, i32 1, {bools} {mask}, {k.vector} {k.pad})"
        )

    def _store(self, k: _Operand, value: str, mask: str) -> None:
        name, bools = f"@llvm.masked.store.{self._suffix(k)}.p0", self.v.bools
        self.text.declare(f"void {name}({k.vector}, ptr, i32, {bools})")
        self.text.put(
            f"call void {name}({k.vector} {value}, ptr {k.direct}, i32 1, {bools} {mask})"
        )


def function(formula: Formula, dtype: Any, machine: str = "") -> str:
    """`void @KERNEL(char **args, intp *dims, intp *steps, void *)`, NumPy's inner loop.

    The first line is a comment with the formula. Outputs may lie exactly in the memory of inputs.
    `machine` is the name of the processor's family, by default this one's. KeyError where its
    floating-point flags cannot be kept.
    """
    loop = _Loop(formula, np.dtype(dtype) == np.dtype(np.float64), machine or platform.machine())
    body = loop.write()
    comment = "; " + " ".join(show(formula).split())
    head = "define void @KERNEL(ptr %args, ptr %dims, ptr %steps, ptr %data) {"
    return "\n".join([comment, head, body, "}", *sorted(loop.text.declared), ""])
