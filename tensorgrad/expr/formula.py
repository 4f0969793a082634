"""Formulas: named expressions with inputs and outputs, and their derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from tensorgrad.expr import diff
from tensorgrad.expr.check import verify
from tensorgrad.expr.graph import topo
from tensorgrad.expr.ir import ELEMENT, REDUCTIONS, Expr, input, lift, new
from tensorgrad.expr.rows import bc

Source = tuple[Literal["in", "out", "ct"], int]
Result = tuple[Literal["kernel", "ct"], int] | None


@dataclass(frozen=True, eq=False)
class Formula:
    """An expression of `inputs`, one node per output; equal where the content is equal.

    `inner` pairs nodes with functions of the outputs that give their values: derivatives read
    these instead of computing the node again. It is no part of the content.
    """

    name: str
    inputs: tuple[Expr, ...]
    outputs: tuple[Expr, ...]
    inner: tuple[tuple[Expr, Callable[..., Expr]], ...] = ()
    _derivatives: dict[Any, Derivative] = field(default_factory=dict, init=False, repr=False)

    @staticmethod
    def trace(
        name: str,
        fn: Callable[..., Any],
        inputs: Sequence[Expr],
        inner: Callable[..., dict[Expr, Callable[..., Expr]]] | None = None,
    ) -> Formula:
        """Runs `fn` on the input nodes; it returns one expression or number, or a tuple of them.

        `inner` of the same nodes tells which values follow from the outputs, and how.
        Raises ValueError with the formula's text where the result is not well formed.
        """
        result = fn(*inputs)
        outputs = tuple(lift(o) for o in (result if isinstance(result, tuple) else (result,)))
        verify(name, inputs, outputs)
        known = tuple(inner(*inputs).items()) if inner is not None else ()
        formula = Formula(name, tuple(inputs), outputs, known)
        if formula.elementwise:
            return Formula(name, formula.inputs, tuple(bc(o, ELEMENT) for o in outputs))
        return formula

    @cached_property
    def elementwise(self) -> bool:
        """Whether it needs no (row, column) view: only inputs per element, no reduction."""
        return all(e.index == ELEMENT for e in self.inputs) and not any(
            e.op in REDUCTIONS for e in topo(self.outputs)
        )

    @cached_property
    def content(self) -> str:
        """The formula as canonical text, without its name and those of its inputs."""
        number = {id(e): k for k, e in enumerate(self.inputs)}
        rows = [f"input {e.kind} {e.index}" for e in self.inputs]
        for e in topo(self.outputs):
            if e.op == "input":
                continue
            number[id(e)] = len(rows)
            value = e.value.hex() if isinstance(e.value, float) else e.value
            args = " ".join(str(number[id(a)]) for a in e.args)
            rows.append(f"{e.op} {value} {e.kind} {e.index} ({args})")
        rows.append("return " + " ".join(str(number[id(o)]) for o in self.outputs))
        return "\n".join(rows)

    @cached_property
    def key(self) -> str:
        """A hash of the content, stable between processes and machines."""
        from hashlib import sha256  # late: for import time

        return sha256(self.content.encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Formula) and (self is other or self.content == other.content)

    def __hash__(self) -> int:
        return hash(self.content)

    def vjp(self, wanted: tuple[int, ...], cts: tuple[int, ...]) -> Derivative:
        """Cotangents of the inputs `wanted`, given those of the outputs `cts`; the rest are zero.

        Raises ValueError where an input or output named is not real.
        """
        mark = ("vjp", wanted, cts)
        if mark not in self._derivatives:
            self._derivatives[mark] = _vjp(self, wanted, cts)
        return self._derivatives[mark]

    def jvp(self, tangents: tuple[int, ...]) -> Derivative:
        """Tangents of all outputs, given those of the inputs `tangents`; the rest are zero.

        Raises ValueError where an input named is not real.
        """
        mark = ("jvp", tangents)
        if mark not in self._derivatives:
            self._derivatives[mark] = _jvp(self, tangents)
        return self._derivatives[mark]


@dataclass(frozen=True, eq=False)
class Derivative:
    """What computes cotangents or tangents, and where its arguments and results belong.

    formula: None if nothing has to be computed.
    sources: per input of `formula`: ("in", k) the primal's input, ("out", k) its output,
        ("ct", k) the cotangent of output k, or the tangent of input k.
    results: per wanted input (vjp) or per output (jvp): ("kernel", k) output k of `formula`,
        ("ct", k) that cotangent or tangent itself, None for zero.
    """

    formula: Formula | None
    sources: tuple[Source, ...]
    results: tuple[Result, ...]


def _real(formula: Formula, nodes: tuple[Expr, ...], numbers: tuple[int, ...], what: str) -> None:
    for k in numbers:
        if not 0 <= k < len(nodes) or nodes[k].kind != "f":
            raise ValueError(
                f"{formula.name}: got a derivative of {what} {k}, expected a real {what} among "
                f"{[i for i, e in enumerate(nodes) if e.kind == 'f']}; try leaving it out"
            )


def _fresh(formula: Formula, prefix: str, nodes: tuple[Expr, ...], numbers: Any) -> dict[int, Expr]:
    """New real inputs with the index sets of `nodes`, under names that are not taken."""
    taken = {e.value for e in formula.inputs}
    while any(f"{prefix}{k}" in taken for k in numbers):
        prefix += "_"
    return {k: input(f"{prefix}{k}", "f", nodes[k].index) for k in numbers}


def _vjp(formula: Formula, wanted: tuple[int, ...], cts: tuple[int, ...]) -> Derivative:
    _real(formula, formula.inputs, wanted, "input")
    _real(formula, formula.outputs, cts, "output")
    given = _fresh(formula, "ct", formula.outputs, cts)
    seeds = [given.get(k) for k in range(len(formula.outputs))]
    grads = diff.vjp(formula.outputs, [formula.inputs[k] for k in wanted], seeds)
    return assemble(f"{formula.name}_vjp", formula, given, grads)


def _jvp(formula: Formula, tangents: tuple[int, ...]) -> Derivative:
    _real(formula, formula.inputs, tangents, "input")
    given = _fresh(formula, "t", formula.inputs, tangents)
    results = diff.jvp(formula.outputs, [formula.inputs[k] for k in tangents], list(given.values()))
    return assemble(f"{formula.name}_jvp", formula, given, results)


def substitute(outputs: Sequence[Expr], table: dict[Expr, Expr]) -> list[Expr]:
    """`outputs` with every node of `table` replaced; what lies below a replaced node is dropped."""
    done = dict(table)
    stack = list(outputs)
    while stack:
        e = stack[-1]
        if e in done:
            stack.pop()
            continue
        missing = [a for a in e.args if a not in done]
        if missing:
            stack.extend(missing)
            continue
        args = tuple(done[a] for a in e.args)
        same = all(a is b for a, b in zip(args, e.args, strict=True))
        done[e] = e if same else new(e.op, args, e.value, e.kind, e.index)
        stack.pop()
    return [done[o] for o in outputs]


def assemble(
    name: str, primal: Formula, given: dict[int, Expr], results: Sequence[Expr | None]
) -> Derivative:
    """A derivative from its expressions: reads the primal's outputs, computes no identity."""
    outs: dict[int, Expr] = {
        k: o
        for k, o in enumerate(primal.outputs)
        if o.kind == "f" and o.op not in ("input", "const", "isum", "bc")
    }
    values = _fresh(primal, "y", primal.outputs, outs)
    read = [values.get(k, o) for k, o in enumerate(primal.outputs)]
    table = {e: value(*read) for e, value in primal.inner}
    table |= {o: values[k] for k, o in reversed(outs.items())}
    exprs = iter(substitute([e for e in results if e is not None], table))
    replaced = [None if e is None else next(exprs) for e in results]

    alias = {e: k for k, e in given.items()}
    outputs: dict[Expr, int] = {}
    where_to: list[Result] = []
    for e in replaced:
        if e is None:
            where_to.append(None)
        elif e in alias:
            where_to.append(("ct", alias[e]))
        else:
            where_to.append(("kernel", outputs.setdefault(e, len(outputs))))
    return _with_sources(name, primal, tuple(outputs), values, given, tuple(where_to))


def _with_sources(
    name: str,
    primal: Formula,
    outputs: tuple[Expr, ...],
    values: dict[int, Expr],
    given: dict[int, Expr],
    results: tuple[Result, ...],
) -> Derivative:
    if not outputs:
        return Derivative(None, (), results)
    used = {e for e in topo(outputs) if e.op == "input"}
    known: list[tuple[Expr, Source]] = [(e, ("in", k)) for k, e in enumerate(primal.inputs)]
    known += [(e, ("out", k)) for k, e in values.items()]
    known += [(e, ("ct", k)) for k, e in given.items()]
    reached = [(e, s) for e, s in known if e in used]
    inputs = tuple(e for e, _ in reached)
    verify(name, inputs, outputs)
    return Derivative(Formula(name, inputs, outputs), tuple(s for _, s in reached), results)


def row_values(forward: Formula, backward: Derivative) -> tuple[Formula, Derivative]:
    """Lets the backward formula read the row-level reductions that it shares with the forward one.

    They become extra outputs of the forward formula and ("out", k) sources of the backward one, so
    this is for first-order backward passes: no gradient flows through them.
    """
    if backward.formula is None:
        return forward, backward
    saved = _shared_rows(forward, backward.formula)
    if not saved:
        return forward, backward
    first = len(forward.outputs)
    wider = Formula(forward.name, forward.inputs, forward.outputs + tuple(saved))
    taken = [e.value for e in (*forward.inputs, *backward.formula.inputs)]
    prefix = "row"
    while any(str(name).startswith(prefix) for name in taken):
        prefix += "_"
    values = [input(f"{prefix}{i}", "f", e.index) for i, e in enumerate(saved)]
    outputs = tuple(substitute(backward.formula.outputs, dict(zip(saved, values, strict=True))))
    used = {e for e in topo(outputs) if e.op == "input"}
    known = list(zip(backward.formula.inputs, backward.sources, strict=True))
    known += [(e, ("out", first + i)) for i, e in enumerate(values)]
    reached = [(e, s) for e, s in known if e in used]
    inputs = tuple(e for e, _ in reached)
    verify(backward.formula.name, inputs, outputs)
    inner = Formula(backward.formula.name, inputs, outputs)
    return wider, Derivative(inner, tuple(s for _, s in reached), backward.results)


def _shared_rows(forward: Formula, backward: Formula) -> list[Expr]:
    """The largest shared nodes without a column that rest on a reduction over columns."""
    inside = set(topo(forward.outputs))
    rests: set[Expr] = set()
    for e in topo(backward.outputs):
        if e.op in ("rsum", "rmax") or any(a in rests for a in e.args):
            rests.add(e)
    saved: list[Expr] = []
    seen: set[Expr] = set()
    stack = list(reversed(backward.outputs))
    while stack:
        e = stack.pop()
        if e in seen:
            continue
        seen.add(e)
        if e in inside and e in rests and e.index in (0, 1) and e.kind == "f":
            saved.append(e)
        else:
            stack.extend(reversed(e.args))
    return saved
