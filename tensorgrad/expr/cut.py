"""Formulas too large for one kernel, cut into a sequence of smaller ones.

Every value that crosses from one part to another costs an array, so few do: a node is computed as
late as its readers allow, and what is cheap to compute again is never handed on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

from tensorgrad.expr.check import verify
from tensorgrad.expr.formula import Formula
from tensorgrad.expr.graph import topo
from tensorgrad.expr.ir import ELEMENT, Expr, input, new
from tensorgrad.expr.rows import bc

_AGAIN = 4
"""Nodes that are computed again in another part rather than handed to it."""
_SOURCES = 2
"""Arrays that such nodes may read; at most one of them an intermediate value."""


@dataclass(frozen=True, slots=True)
class Part:
    """A formula of its own over earlier values; `alone`: it is one call of a leaf.

    `sources` number the values that it reads: the inputs of the whole formula from 0, then the
    outputs of the parts in order.
    """

    formula: Formula
    sources: tuple[int, ...]
    alone: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """Parts in the order in which they run, and the number of the value that each output is.

    An output may be an input of the formula, or the same value as another output.
    """

    parts: tuple[Part, ...]
    outputs: tuple[int, ...]


def cut(
    formula: Formula,
    *,
    nodes: int,
    inputs: int,
    outputs: int,
    alone: Callable[[Expr], bool] = lambda e: False,
    work: Callable[[Expr], int] = lambda e: 1,
) -> Cut:
    """Parts of at most `nodes` nodes (each counted as `work` says), `inputs` and `outputs`.

    A node for which `alone` holds is a part by itself. Run in order, the parts compute exactly
    what the formula does, each node by the same operation on the same values.

    Raises ValueError for a formula that reduces or reads the element's position, or has no input,
    and for caps that a single node with its constants may exceed.
    """
    positions = any(e.op == "index" for e in topo(formula.outputs))
    if not formula.elementwise or positions or not formula.inputs:
        raise ValueError(
            f"{formula.name}: got a formula that is not a map over elements, expected one with "
            "inputs and without reductions or positions; try running it whole"
        )
    return _Cutter(formula, (nodes, inputs, outputs), alone, work).run()


class _Cutter:
    """A formula on its way to parts.

    A node is either `kept`, computed in one part and handed to the others, or computed again
    wherever it is read.
    """

    def __init__(
        self,
        formula: Formula,
        caps: tuple[int, int, int],
        alone: Callable[[Expr], bool],
        work: Callable[[Expr], int],
    ) -> None:
        self.formula, self.caps, self.work = formula, caps, work
        self.inputs = dict.fromkeys(formula.inputs)
        self.goals = tuple(bc(o, ELEMENT) for o in formula.outputs)
        self.order = topo(self.goals)
        self.alone = {e for e in self.order if e.op == "call" and alone(e)}
        self.results = set(self.goals) - set(self.inputs)
        self.reads: dict[Expr, tuple[Expr, ...]] = {}
        self.kept = dict.fromkeys(self._choose())
        self.readers = {e: int(e in self.results) for e in self.kept}
        for e in self.kept:
            for r in self.reads[e]:
                if r in self.readers:
                    self.readers[r] += 1
        self.number = {e: k for k, e in enumerate(formula.inputs)}
        self.variables = dict(zip(formula.inputs, formula.inputs, strict=True))
        self.prefix = "t"
        while any(str(e.value).startswith(self.prefix) for e in formula.inputs):
            self.prefix += "_"
        self.parts: list[Part] = []

    def _choose(self) -> list[Expr]:
        """The kept nodes; notes what each node reads from kept nodes and inputs."""
        arguments = {a for e in self.alone for a in e.args}
        kept, far = set(self.inputs), {*self.inputs, *self.alone}
        again: dict[Expr, int] = {}
        chosen = []
        for e in self.order:
            if e.op in ("input", "const"):
                self.reads[e], again[e] = (), 0
                continue
            reads = dict.fromkeys(r for a in e.args for r in ((a,) if a in kept else self.reads[a]))
            self.reads[e] = tuple(reads)
            again[e] = 1 + sum(again[a] for a in e.args if a not in kept)
            near = sum(r not in far for r in reads)
            cheap = e.op != "call" and again[e] <= _AGAIN and len(reads) <= _SOURCES and near < 2
            if not cheap or e in arguments or e in self.results:
                kept.add(e)
                chosen.append(e)
        return chosen

    def _levels(self) -> dict[int, list[Expr]]:
        """The kept nodes by level, counted from the end: even for kernels, odd for lone calls."""
        level = dict.fromkeys(self.order, 0)
        for e in reversed(self.order):
            if e in self.kept:
                level[e] += (level[e] + (e in self.alone)) % 2
            for a in e.args:
                level[a] = max(level[a], level[e])
        found: dict[int, list[Expr]] = {}
        for e in self.kept:
            found.setdefault(level[e], []).append(e)
        return found

    def run(self) -> Cut:
        """The parts, the farthest from the outputs first."""
        for level, members in sorted(self._levels().items(), reverse=True):
            while members:
                size = 1 if level % 2 else self._fitting(members)
                self._emit(members[:size], bool(level % 2))
                members = members[size:]
        return Cut(tuple(self.parts), tuple(self.number[o] for o in self.goals))

    def _fitting(self, members: list[Expr]) -> int:
        """How many of the first nodes make the largest part that keeps to the caps."""
        nodes, inputs, outputs = self.caps
        left: dict[Expr, int] = {}
        seen: set[Expr] = set()
        read: set[Expr] = set()
        total = handed = best = 0
        for k, e in enumerate(members):
            total += self._weight(e, seen)
            read.update(r for r in self.reads[e] if r not in left)
            if total > nodes or len(read) > inputs:
                break
            left[e] = self.readers[e]
            handed += left[e] > 0
            for r in self.reads[e]:
                if r in left:
                    left[r] -= 1
                    handed -= not left[r]
            if handed <= outputs:
                best = k + 1
        if not best:
            raise ValueError(
                f"{self.formula.name}: got caps of {nodes} nodes, {inputs} inputs and {outputs} "
                f"outputs, expected room for one {members[0].op}; try larger caps"
            )
        return best

    def _weight(self, e: Expr, seen: set[Expr]) -> int:
        """The work of a kept node and of what is computed again for it, each once per part."""
        total, stack = 0, [e]
        while stack:
            n = stack.pop()
            if n not in seen and n not in self.inputs:
                seen.add(n)
                total += self.work(n)
                stack.extend(a for a in n.args if a not in self.kept)
        return total

    def _emit(self, members: list[Expr], alone: bool) -> None:
        """Adds the part that computes `members`."""
        inside = dict.fromkeys(members)
        uses = Counter(r for e in members for r in self.reads[e] if r in inside)
        outputs = [e for e in members if self.readers[e] > uses[e]]
        read = {r for e in members for r in self.reads[e] if r not in inside}
        # A formula has an input: one that only computes constants is given one to ignore.
        sources = sorted(read or self.formula.inputs[:1], key=self.number.__getitem__)
        variables = tuple(self.variables[s] for s in sources)
        exprs = tuple(bc(e, ELEMENT) for e in self._rebuilt(outputs))
        name = f"{self.formula.name}_{len(self.parts)}"
        verify(name, variables, exprs)
        numbers = tuple(self.number[s] for s in sources)
        self.parts.append(Part(Formula(name, variables, exprs), numbers, alone))
        for e in outputs:
            self.variables[e] = input(f"{self.prefix}{len(self.number)}", e.kind)
            self.number[e] = len(self.number)

    def _rebuilt(self, outputs: Sequence[Expr]) -> list[Expr]:
        """The nodes over the variables of what earlier parts computed."""
        done = dict(self.variables)
        stack = list(outputs)
        while stack:
            e = stack[-1]
            missing = [a for a in e.args if a not in done] if e not in done else []
            stack.extend(missing)
            if not missing:
                stack.pop()
                if e not in done:
                    args = tuple(done[a] for a in e.args)
                    # A value that was the same for all elements is an array once it is handed on.
                    index = reduce(or_, (a.index for a in args), e.index)
                    done[e] = new(e.op, args, e.value, e.kind, index)
        return [done[o] for o in outputs]
