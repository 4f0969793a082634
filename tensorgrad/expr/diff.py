"""Differentiation inside a formula: reverse mode with guards, and forward mode.

Reverse mode keeps, per node, one cotangent and one guard: the conditions under which the node is
used at all. A `where` only extends the guard; the select is applied when the cotangent reaches an
input, a reduction or a change of index set, or where differently guarded uses of one node meet.
So `where(x > 0, sqrt(x), 0)` has derivative 0 at 0, at every order, and each node is visited once.

A cotangent of a node without the row index that carries the row index is still to be summed over
the rows; that sum (`isum`) is applied last, at an input.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

from tensorgrad.expr.graph import topo
from tensorgrad.expr.ir import COLUMN, ROW, Expr, equal, lift, where
from tensorgrad.expr.leaves import LEAVES
from tensorgrad.expr.rows import at, bc, iota, isum, rsum

Guard = tuple[Expr, ...]
"""Conditions from the outermost `where` inwards; all hold where the node is used."""

_SMOOTH = {
    "add": (0, 1), "sub": (0, 1), "mul": (0, 1), "div": (0, 1), "neg": (0,), "select": (1, 2),
    "rsum": (0,), "rmax": (0,), "isum": (0,), "at": (0,), "bc": (0,),
}  # fmt: skip
"""Arguments that carry a derivative, per opcode."""

_GATHERS = ("rsum", "rmax", "isum", "at")


def scale(ct: Expr, partial: Any) -> Expr | None:
    """ct * partial, with selects outermost; None where the partial is exactly 0."""
    if partial is None:
        return None
    p = lift(partial)
    if p.op == "const":
        if p.value == 0:
            return None
        return ct if p.value == 1 else -ct if p.value == -1 else ct * p
    if p.op == "select":
        a, b = scale(ct, p.args[1]), scale(ct, p.args[2])
        return None if a is b is None else _select(p.args[0], a, b)
    if p.op == "neg":
        inner = scale(ct, p.args[0])
        return None if inner is None else -inner
    if p.op == "div" and p.args[0].op == "const":
        top = scale(ct, p.args[0])
        return None if top is None else top / p.args[1]
    return ct * p


def _select(condition: Expr, a: Expr | None, b: Expr | None) -> Expr:
    return where(condition, 0 if a is None else a, 0 if b is None else b)


def _apply(guard: Guard, ct: Expr) -> Expr:
    return where(reduce(lambda a, b: a & b, guard), ct, 0) if guard else ct


class _Reverse:
    """The state of one reverse pass."""

    def __init__(self, outputs: Sequence[Expr], wanted: Sequence[Expr]) -> None:
        self.order = topo(outputs)
        self.partials: dict[Expr, tuple[Any, ...]] = {}
        self.live = set(wanted)
        for n in self.order:
            if any(n.args[k] in self.live for k in self.smooth(n)):
                self.live.add(n)
        # Per node: (guard, cotangent) of every use, in the order in which they arrive.
        self.parts: dict[Expr, list[tuple[Guard, Expr]]] = {}

    def smooth(self, n: Expr) -> tuple[int, ...]:
        if n.kind != "f":
            return ()
        if n.op != "call":
            return _SMOOTH.get(n.op, ())
        leaf = LEAVES[n.value]
        if leaf.d is None:
            return ()
        if n not in self.partials:
            self.partials[n] = leaf.d(*n.args, n)
        return tuple(k for k, p in enumerate(self.partials[n]) if p is not None)

    def add(self, e: Expr, guard: Guard, ct: Expr | None) -> None:
        if ct is not None and e in self.live:
            self.parts.setdefault(e, []).append((guard, ct))

    def push(self, n: Expr, k: int, guard: Guard, ct: Expr | None) -> None:
        """Hands ct, a cotangent over n's index set, to argument k."""
        x = n.args[k]
        if ct is None or x not in self.live:
            return
        if x.index != n.index:
            ct, guard = _apply(guard, ct), ()
            lost = n.index & ~x.index
            if lost & COLUMN:
                ct = rsum(bc(ct, n.index))
            if lost & ROW:
                ct = bc(ct, ROW)
        self.add(x, guard, ct)

    def visit(self, n: Expr) -> None:
        guard, ct = merge(self.parts[n])
        if n.op == "select":
            self.push_branch(n, 1, guard, n.args[0], ct)
            self.push_branch(n, 2, guard, ~n.args[0], ct)
        elif n.op == "call":
            for k, p in enumerate(self.partials[n]):
                if n.args[k] in self.live:
                    self.push(n, k, guard, scale(ct, p))
        elif n.op in _GATHERS:
            self.gather(n, _apply(guard, ct))
        else:
            for k in self.smooth(n):
                if n.args[k] in self.live:
                    self.push(n, k, guard, _linear(n, k, ct))

    def push_branch(self, n: Expr, k: int, guard: Guard, c: Expr, ct: Expr) -> None:
        """Hands ct to a branch, used where the guard and c hold; nowhere, if they contradict."""
        if n.args[k] not in self.live or any(g is ~c for g in guard):
            return
        known = any(g is c for g in guard)
        self.push(n, k, guard if known else (*guard, c), ct)

    def gather(self, n: Expr, ct: Expr) -> None:
        x = n.args[0]
        if n.op == "rmax":
            tie = equal(x, n)
            ct = where(tie, ct / rsum(where(tie, 1.0, 0.0)), 0)
        elif n.op == "at":
            ct = where(equal(iota(), n.args[1]), ct, 0)
        elif n.op == "isum":
            ct = bc(ct, x.index)
        self.add(x, (), ct)


def _linear(n: Expr, k: int, ct: Expr) -> Expr:
    """The cotangent of argument k of an arithmetic node."""
    if n.op == "mul":
        return ct * n.args[1 - k]
    if n.op == "div":
        part = ct / n.args[1]
        return part if k == 0 else -(part * n)
    return -ct if n.op == "neg" or (n.op == "sub" and k == 1) else ct


def merge(parts: list[tuple[Guard, Expr]]) -> tuple[Guard, Expr]:
    """One guard and one cotangent for all uses of a node.

    The guard is the union of theirs, so it still protects wherever no use takes place.
    """
    sums: dict[tuple[int, ...], tuple[Guard, Expr]] = {}
    for guard, ct in parts:
        mark = tuple(map(id, guard))
        sums[mark] = (guard, sums[mark][1] + ct) if mark in sums else (guard, ct)
    left = list(sums.values())
    while len(left) > 1:
        # The innermost guard joins the one it shares the longest path with.
        deep = max(range(len(left)), key=lambda i: len(left[i][0]))
        a = left.pop(deep)
        near = max(range(len(left)), key=lambda i: _shared(a[0], left[i][0]))
        left[near] = _join(left[near], a)
    return left[0]


def _shared(a: Guard, b: Guard) -> int:
    n = 0
    while n < len(a) and n < len(b) and a[n] is b[n]:
        n += 1
    return n


def _join(a: tuple[Guard, Expr], b: tuple[Guard, Expr]) -> tuple[Guard, Expr]:
    n = _shared(a[0], b[0])
    path, rest_a, rest_b = a[0][:n], a[0][n:], b[0][n:]
    if not rest_a or not rest_b:
        return path, _apply(rest_a, a[1]) + _apply(rest_b, b[1])
    if rest_b[0] is ~rest_a[0]:
        ct = where(rest_a[0], _apply(rest_a[1:], a[1]), _apply(rest_b[1:], b[1]))
        if len(rest_a) == len(rest_b) == 1:
            return path, ct
    else:
        ct = _apply(rest_a, a[1]) + _apply(rest_b, b[1])
    either = reduce(lambda p, q: p & q, rest_a) | reduce(lambda p, q: p & q, rest_b)
    return (*path, either), ct


def vjp(
    outputs: Sequence[Expr], wanted: Sequence[Expr], cts: Sequence[Expr | None]
) -> list[Expr | None]:
    """Cotangents of the nodes `wanted`, each over its own index set; None is zero.

    Raises ValueError where a value without the row index is used by the rows and is an output too.
    """
    state = _Reverse(outputs, wanted)
    for o, ct in zip(outputs, cts, strict=True):
        state.add(o, (), ct)
    for n in reversed(state.order):
        if n in state.parts and n.args:
            _check_rows(n, state.parts[n])
            state.visit(n)
    return [_collect(w, state.parts.get(w)) for w in wanted]


def _check_rows(n: Expr, parts: list[tuple[Guard, Expr]]) -> None:
    if not n.index & ROW and len({ct.index & ROW for _, ct in parts}) > 1:
        raise ValueError(
            f"vjp: got {n}, which the rows use and which is an output without rows, expected one "
            "or the other; try two formulas"
        )


def _collect(w: Expr, parts: list[tuple[Guard, Expr]] | None) -> Expr | None:
    if parts is None:
        return None
    _check_rows(w, parts)
    ct = _apply(*merge(parts))
    if ct.index & ROW and not w.index & ROW:
        return isum(bc(ct, w.index))
    return bc(ct, w.index)


def jvp(
    outputs: Sequence[Expr], wanted: Sequence[Expr], tangents: Sequence[Expr]
) -> list[Expr | None]:
    """Tangents of the outputs, each over its own index set; None is zero."""
    state = _Reverse(outputs, wanted)
    t: dict[Expr, Expr] = dict(zip(wanted, tangents, strict=True))
    for n in state.order:
        if n in state.live and n.args:
            ts = {k: t[n.args[k]] for k in state.smooth(n) if n.args[k] in t}
            tangent = _forward(n, ts, state)
            if tangent is not None:
                t[n] = tangent
    return [bc(t[o], o.index) if o in t else None for o in outputs]


def _forward(n: Expr, ts: dict[int, Expr], state: _Reverse) -> Expr | None:
    """The tangent of n from those of its arguments."""
    if not ts:
        return None
    if n.op == "call":
        terms = (scale(t, state.partials[n][k]) for k, t in ts.items())
        return reduce(lambda a, b: b if a is None else a if b is None else a + b, terms)
    if n.op == "select":
        return _select(n.args[0], ts.get(1), ts.get(2))
    if n.op == "div" and 1 in ts:
        moved = ts[1] * n
        return (ts[0] - moved if 0 in ts else -moved) / n.args[1]
    if n.op in _GATHERS:
        return _forward_gather(n, bc(ts[0], n.args[0].index))
    if n.op == "bc":
        return bc(ts[0], n.index)
    return reduce(lambda a, b: a + b, (_linear(n, k, t) for k, t in ts.items()))


def _forward_gather(n: Expr, t: Expr) -> Expr:
    if n.op == "rmax":
        tie = equal(n.args[0], n)
        return rsum(where(tie, t, 0)) / rsum(where(tie, 1.0, 0.0))
    return at(t, n.args[1]) if n.op == "at" else {"rsum": rsum, "isum": isum}[n.op](t)
