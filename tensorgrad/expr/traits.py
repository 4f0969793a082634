"""What can be said of a whole formula by looking at its nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorgrad.expr.graph import topo
from tensorgrad.expr.leaf import find_leaf

if TYPE_CHECKING:
    from tensorgrad.expr.ir import Expr

_HOLOMORPHIC = frozenset(
    {"input", "const", "add", "sub", "mul", "div", "neg", "bc", "stop", "select"}
)
_SILENT = frozenset("input const neg lt le eq and or not select bc stop".split())
_SILENT_LEAVES = frozenset("relu abs sign maximum minimum fmax fmin floor ceil trunc".split())
_STRUCTURE = frozenset({"input", "const"})


@dataclass(frozen=True, slots=True)
class Traits:
    """Facts about a formula that its users ask for.

    holomorphic: it may be differentiated at complex arguments
    inexact: it needs floating point, integers are promoted (it divides or calls a real leaf)
    silent: none of its steps can raise a floating-point warning
    sums_rows: it mixes rows (a sum over rows, their number), so a batch must not become rows
    single: the one node that computes the only output from the inputs in order, if it is so
    """

    holomorphic: bool
    inexact: bool
    silent: bool
    sums_rows: bool
    single: Expr | None


def traits(inputs: tuple[Expr, ...], outputs: tuple[Expr, ...]) -> Traits:
    """The facts about the formula with these inputs and outputs."""
    nodes = topo(outputs)
    return Traits(
        holomorphic=all(_is_holomorphic(e) for e in nodes),
        inexact=any(_is_inexact(e) for e in nodes),
        silent=all(_is_silent(e) for e in nodes),
        sums_rows=any(e.op in ("isum", "nrows") for e in nodes),
        single=_single(inputs, outputs),
    )


def _is_holomorphic(e: Expr) -> bool:
    if e.kind == "b":
        return e.op != "lt" and e.op != "le"
    if e.op == "call":
        return find_leaf(e.value).holomorphic
    return e.op in _HOLOMORPHIC


def _is_silent(e: Expr) -> bool:
    return e.op in _SILENT or (e.op == "call" and e.value in _SILENT_LEAVES)


def _is_inexact(e: Expr) -> bool:
    if e.op == "call":
        return find_leaf(e.value).kind == "f"
    return e.op == "div" or (e.op == "const" and isinstance(e.value, float))


def _single(inputs: tuple[Expr, ...], outputs: tuple[Expr, ...]) -> Expr | None:
    if len(outputs) != 1 or outputs[0].op in _STRUCTURE or not inputs:
        return None
    out = outputs[0]
    in_order = len(out.args) == len(inputs) and all(a is b for a, b in zip(out.args, inputs))
    return out if in_order else None
