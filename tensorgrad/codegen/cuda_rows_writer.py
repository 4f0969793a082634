"""The frame of the CUDA kernels of reduce formulas: their arguments, their rows, sums over rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgrad.codegen.cuda_rows_nodes import Nodes
from tensorgrad.codegen.cuda_rows_tiling import Tiling, held
from tensorgrad.codegen.cuda_types import MEMORY
from tensorgrad.codegen.rows_plan import Plan, root
from tensorgrad.expr.formula import Formula
from tensorgrad.expr.ir import COLUMN, ELEMENT, Expr

NUMBERS = ("rows", "columns", "inner", "part", "parts", "chunks", "chunk")
"""The first arguments of every kernel, 64-bit integers; then scratch, error, the operands."""

_WORD = re.compile(r"\w+")
_CONSTANT = re.compile(r"[\w* ]*\bconst [\w* ]*?(\w+) = .*;$")
_LATE = frozenset({"const", "rsum", "rmax", "isum", "at"})


class Writer:
    """The frame of a kernel: what depends on no row, the loop over rows, sums over rows.

    `stage` is the pass that the kernel computes, None for all of them; `once` is for what every
    row would write alike. A subclass writes what is done with a row.
    """

    def __init__(
        self,
        formula: Formula,
        stored: Sequence[np.dtype[Any]],
        nodes: Nodes,
        plan: Plan,
        tiling: Tiling,
        stage: int | None = None,
        once: bool = False,
    ) -> None:
        self.formula, self.stored, self.nodes, self.plan = formula, stored, nodes, plan
        self.t, self.stage, self.once = tiling, stage, once
        self.real = nodes.real
        self.operands = (*formula.inputs, *formula.outputs)
        self.place = {e: k for k, e in enumerate(formula.inputs)}
        self.names = {e: f"v{k}" for k, e in enumerate(plan.order)}
        self.known: dict[Expr, str] = {}
        self.saved: set[Expr] = set()
        self.checks = self.depth = 0
        self.lines: list[str] = []
        inputs = [e for e in formula.inputs if e.index == ELEMENT]
        cones = [set(cone) for cone in plan.cones]
        self.whole = [e for e in inputs if any(e in c for c in cones)]
        self.row = set(self.whole)
        self.kept = set(plan.kept)
        self.number = {e: k for k, e in enumerate(e for p in plan.passes for e in p)}
        self.held = [formula.inputs[k] for k in held(plan, formula.inputs)]
        self.sums = [(k, o) for k, o in plan.outputs if o.op == "isum"]
        self.columns = [k for k, o in self.sums if o.index & COLUMN]
        self.scalars = [k for k, o in self.sums if not o.index & COLUMN]

    # -- text ----------------------------------------------------------------------------------

    def put(self, line: str) -> None:
        """One line."""
        self.lines.append("    " * self.depth + line if not line.startswith("#") else line)

    def open(self, line: str) -> None:
        """A line that begins a block."""
        self.put(line + " {")
        self.depth += 1

    def close(self) -> None:
        """The end of the innermost block."""
        self.depth -= 1
        self.put("}")

    def let(self, e: Expr, text: str, name: str = "") -> str:
        """Names the value of a node."""
        name = name or self.names[e]
        self.put(f"const {self.nodes.type_of(e)} {name} = {text};")
        return name

    def loaded(self, e: Expr, place: str) -> str:
        """An input's element at an address."""
        return f"static_cast<{self.nodes.type_of(e)}>(tg_load({place}))"

    # -- the kernel ----------------------------------------------------------------------------

    def begin(self, name: str, bounds: str) -> None:
        """The signature, the same for every kernel of a formula."""
        self.put(f'extern "C" __global__ void __launch_bounds__({bounds}) {name}(')
        self.put(f"    {', '.join(f'i64 {n}' for n in NUMBERS)},")
        self.put("    void* __restrict__ memory, int* __restrict__ error,")
        last = len(self.stored) - 1
        for k, d in enumerate(self.stored):
            constant = "const " if k < len(self.formula.inputs) else ""
            self.put(f"    {constant}{MEMORY[d.name]}* __restrict__ p{k}{',' if k < last else ''}")
        self.open(")")
        if self.sums or self.t.split:
            self.put(f"{self.real}* const scratch = static_cast<{self.real}*>(memory);")

    def _enter(self) -> None:
        """What depends on no row."""
        t = self.t
        self.put("const int n = static_cast<int>(columns);")
        a, b = ("%", "/") if t.leading else ("/", "%")
        width = t.group if t.leading else t.lanes
        self.put(f"const int group = threadIdx.x {a} {width};")
        self.put(f"{'' if t.items else 'const '}int lane = threadIdx.x {b} {width};")
        begin, end = "0", "n"
        if t.split:
            begin = "static_cast<int>(blockIdx.y * chunk)"
            end = "static_cast<int>((blockIdx.y + 1) * chunk < columns ? "
            end += "(blockIdx.y + 1) * chunk : columns)"
        if not t.items:
            self.put(f"const int begin = {begin};")
            self.put(f"const int end = {end};")
        if t.vector > 1:
            wide = [k for k, o in enumerate(self.operands) if o.index & COLUMN]
            wide = [k for k in wide if k not in self.columns]
            self.put(f"const bool wide = {' && '.join(f'tg_aligned(p{k})' for k in wide)};")
        else:
            self.put("const bool wide = false;")
        size = self._fold_size()
        if size:
            self.put(f"__shared__ {self.real} fold[{size}];")
        self._shared_lines()
        for e in self.plan.order:
            early = e.op not in _LATE and all(
                a.op == "const" or a in self.known for a in map(root, e.args)
            )
            if e.index == 0 and early:
                self.known[e] = self.let(e, self._scalar(e))

    def _scalar(self, e: Expr) -> str:
        if e.op == "input":
            return self.loaded(e, f"p{self.place[e]}[0]")
        if e.op in ("ncols", "nrows"):
            return f"static_cast<{self.real}>({'columns' if e.op == 'ncols' else 'rows'})"
        return self.nodes.node(e, self.nodes.arguments(e, self.known.__getitem__))

    def _fold_size(self) -> int:
        t = self.t
        reduces = any(self.plan.passes)
        if t.leading:
            return t.threads if reduces else 0
        if t.lanes > 32:
            return t.lanes // 32 if reduces else 0
        return t.threads * t.vector if self.columns else t.group if self.scalars else 0

    def _shared_lines(self) -> None:
        if not self.t.shared:
            return
        self.put("CUDA_DYN_SHARED(unsigned char, tg_lines);")
        self.put("i64 used = 0;")
        for e in self.held:
            kind, name = MEMORY[self.stored[self.place[e]].name], f"l{self.place[e]}"
            self.put(f"{kind}* const {name} = reinterpret_cast<{kind}*>(tg_lines + used);")
            self.put(f"used += (columns * static_cast<i64>(sizeof({kind})) + 15) / 16 * 16;")

    def tag(self, e: Expr) -> str:
        """What the arrays of a node are named after."""
        return str(self.place[e]) if e.op == "input" else self.names[e]

    # -- sums over rows --------------------------------------------------------------------------

    def line(self, k: int) -> str:
        """Where the partial sums of output k begin: those with columns first."""
        if k in self.columns:
            return f"scratch + ({self.columns.index(k)} * parts + number) * columns"
        before = f"{len(self.columns)} * columns + {self.scalars.index(k)}"
        return f"scratch + ({before}) * parts + number"

    def _sums(self) -> None:
        """Accumulators of a part, and where they go."""
        if self.stage is not None and self.stage < len(self.plan.passes):
            return
        t = self.t
        for k, _ in self.sums:
            self.put(f"{self.real}* const line{k} = {self.line(k)};")
            if k in self.scalars:
                self.put(f"{self.real} s{k} = 0;")
            elif t.items:
                self.put(f"{self.real} s{k}[{t.items}][{t.vector}];")
                self.put("#pragma unroll")
                fill = f"tg_fill<{t.vector}>(s{k}[q], {self.zero()});"
                self.put(f"for (int q = 0; q < {t.items}; q++) {fill}")

    def zero(self) -> str:
        """What a sum starts from."""
        return f"{self.real}(0)"

    def _fold(self) -> None:
        """Adds the rows of a block: groups one after the other, rows side by side by halves."""
        if self.stage is not None and self.stage < len(self.plan.passes):
            return
        for k in self.scalars:
            self._fold_scalar(k)
        if self.t.items:
            for k in self.columns:
                self._fold_columns(k)

    def _fold_scalar(self, k: int) -> None:
        t = self.t
        first = "threadIdx.x == 0" + (" && blockIdx.y == 0" if t.split else "")
        if t.leading:
            self.put(f"s{k} = tg_warp_reduce(tg_plus(), s{k}, {t.group});")
        elif t.group > 1:
            self.put("__syncthreads();")
            self.put(f"if (lane == 0) fold[group] = s{k};")
            self.put("__syncthreads();")
            self.open("if (threadIdx.x == 0)")
            self.put(f"for (int g = 1; g < {t.group}; g++) s{k} = s{k} + fold[g];")
            self.close()
        self.put(f"if ({first}) line{k}[0] = s{k};")

    def _fold_columns(self, k: int) -> None:
        t = self.t
        self.put("#pragma unroll")
        self.open(f"for (int q = 0; q < {t.items}; q++)")
        if t.leading:
            self.put(f"const {self.real} sum = tg_warp_reduce(tg_plus(), s{k}[q][0], {t.group});")
            self.put(f"const int j = q * {t.lanes} + lane;")
            self.put(f"if (group == 0 && j < n) line{k}[j] = sum;")
        elif t.group == 1:
            self.put(f"const int j = (q * {t.lanes} + lane) * {t.vector};")
            self.put(f"if (j < n) tg_give<{t.vector}>(line{k} + j, s{k}[q], false);")
        else:
            self.put("__syncthreads();")
            self.put(f"tg_give<{t.vector}>(fold + threadIdx.x * {t.vector}, s{k}[q], false);")
            self.put("__syncthreads();")
            self.open(f"for (int c = threadIdx.x; c < {t.step}; c += {t.threads})")
            self.put(f"{self.real} sum = fold[c];")
            self.put(f"for (int g = 1; g < {t.group}; g++) sum = sum + fold[g * {t.step} + c];")
            self.put(f"if (q * {t.step} + c < n) line{k}[q * {t.step} + c] = sum;")
            self.close()
        self.close()


def used(lines: Sequence[str]) -> list[str]:
    """The lines without constants that nobody reads."""
    count = Counter(word for line in lines for word in _WORD.findall(line))
    found: list[str] = []
    for line in reversed(lines):
        constant = _CONSTANT.match(line)
        if constant and count[constant[1]] == 1:
            count.subtract(_WORD.findall(line))
        else:
            found.append(line)
    return found[::-1]
