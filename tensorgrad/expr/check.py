"""The verifier: what every formula must satisfy, after tracing and after every transformation."""

from __future__ import annotations

from collections.abc import Sequence

from tensorgrad.expr.graph import topo
from tensorgrad.expr.ir import ARITY, COLUMN, ROW, Expr
from tensorgrad.expr.leaf import LEAVES
from tensorgrad.expr.show import lines

_INTEGER = frozenset({"bitand", "bitor", "bitxor", "shl", "shr", "invert"})
_LOGIC = frozenset({"and", "or", "not"})
_ARITHMETIC = frozenset({"add", "sub", "mul", "div", "neg"})
_OWN_INDEX = {"index": ROW | COLUMN, "iota": COLUMN, "ncols": 0, "nrows": 0}


def verify(name: str, inputs: Sequence[Expr], outputs: Sequence[Expr]) -> None:
    """Raises ValueError, with the formula's text, unless the formula is well formed.

    Checked: arity, kinds, index sets, that `isum` is nothing but an output, that labels are
    integers without a column, that every input that is used is declared, once.
    """
    fault = _fault_of_inputs(inputs, outputs)
    for e in topo(outputs):
        if fault:
            break
        fault = _fault(e)
    if fault:
        defined, texts = lines(tuple(outputs))
        text = "\n  ".join([*defined, f"return {', '.join(texts)}"])
        raise ValueError(f"{name}: got {fault}; try building it with tensorgrad.expr\n  {text}")


def _fault_of_inputs(inputs: Sequence[Expr], outputs: Sequence[Expr]) -> str | None:
    for e in inputs:
        if e.op != "input":
            return f"the input {e}, expected an input node"
    names = [e.value for e in inputs]
    if len(set(names)) < len(names):
        return f"the input names {names}, expected each once"
    declared = set(inputs)
    for e in topo(outputs):
        if e.op == "input" and e not in declared:
            return f"the input {e} in use, expected only {names}"
        if any(a.op == "isum" for a in e.args):
            return "a sum over rows inside the formula, expected it only as an output"
    return None


def _fault(e: Expr) -> str | None:
    if e.op == "call":
        leaf = LEAVES.get(e.value)
        if leaf is None:
            return f"a call of {e.value!r}, expected the name of a leaf"
        arity = leaf.arity
    elif e.op in ARITY:
        arity = ARITY[e.op]
    else:
        return f"the opcode {e.op!r}, expected one of {', '.join(ARITY)}"
    if len(e.args) != arity:
        return f"{e.op} with {len(e.args)} arguments, expected {arity}"
    return _fault_of_kind(e) or _fault_of_index(e)


def _weak(e: Expr, kind: str) -> bool:
    """Whether `e` may stand where `kind` is expected: integer constants adapt."""
    return e.kind == kind or (kind == "f" and e.kind == "i" and e.op == "const")


def _fault_of_kind(e: Expr) -> str | None:
    kinds = tuple(a.kind for a in e.args)
    ok = True
    if e.op in _INTEGER:
        ok = e.kind == "i" and set(kinds) == {"i"}
    elif e.op in _LOGIC:
        ok = e.kind == "b" and set(kinds) == {"b"}
    elif e.op in _ARITHMETIC:
        ok = e.kind != "b" and all(_weak(a, e.kind) for a in e.args)
    elif e.op in ("lt", "le", "eq"):
        common = "f" if "f" in kinds else kinds[0]
        ok = e.kind == "b" and all(_weak(a, common) for a in e.args)
    elif e.op == "select":
        ok = kinds[0] == "b" and all(_weak(a, e.kind) for a in e.args[1:])
    elif e.op == "call":
        wanted = LEAVES[e.value].kind
        real = wanted == "f" or (wanted == "same" and e.kind == "f")
        ok = not real or (e.kind == "f" and all(_weak(a, "f") for a in e.args))
    elif e.op in ("rsum", "rmax", "isum", "bc", "stop"):
        ok = kinds == (e.kind,) and (e.kind != "b" or e.op in ("bc", "stop"))
    elif e.op == "at":
        ok = kinds == (e.kind, "i")
    if ok:
        return None
    return f"{e.op} of kind {e.kind!r} with arguments of kinds {kinds}, expected kinds that agree"


def _fault_of_index(e: Expr) -> str | None:
    union = 0
    for a in e.args:
        union |= a.index
    if e.op == "input":
        want = e.index
    elif e.op in _OWN_INDEX:
        want = _OWN_INDEX[e.op]
    elif e.op in ("rsum", "rmax"):
        want = union & ROW if union & COLUMN else -1
    elif e.op == "isum":
        want = union & COLUMN if union & ROW else -1
    elif e.op == "at":
        x, label = e.args
        good = x.index & COLUMN and not label.index & COLUMN
        want = label.index | (x.index & ROW) if good else -1
    elif e.op == "bc":
        want = e.index if e.index | union == e.index else -1
    else:
        want = union
    return None if want == e.index else f"{e.op} of index set {e.index}, expected {want}"
