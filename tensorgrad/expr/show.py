"""Expressions and formulas as readable text."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tensorgrad.expr.graph import topo

if TYPE_CHECKING:
    from tensorgrad.expr.formula import Formula
    from tensorgrad.expr.ir import Expr

_INFIX = {
    "or": ("|", 1),
    "bitor": ("|", 1),
    "bitxor": ("^", 2),
    "and": ("&", 3),
    "bitand": ("&", 3),
    "lt": ("<", 4),
    "le": ("<=", 4),
    "eq": ("==", 4),
    "shl": ("<<", 5),
    "shr": (">>", 5),
    "add": ("+", 6),
    "sub": ("-", 6),
    "mul": ("*", 7),
    "div": ("/", 7),
}
_PREFIX = {"neg": "-", "not": "~", "invert": "~"}
_COMPARISON, _ABOVE_COMPARISON, _PREFIX_LEVEL, _ATOM = 4, 5, 8, 9
_INDEX_NAME = ("scalar", "row", "column", "element")
_LONGEST = 72


def _render(e: Expr, args: list[tuple[str, int]]) -> tuple[str, int]:
    """(text, binding level) of one node, given those of its arguments."""
    if e.op in _INFIX and len(args) == 2:
        sign, level = _INFIX[e.op]
        # Comparisons do not chain here, and Python binds & and | tighter than they do.
        low = _ABOVE_COMPARISON if level <= _COMPARISON else level
        (a, la), (b, lb) = args
        low_b = low if level <= _COMPARISON else level + 1
        a = a if la >= low else f"({a})"
        b = b if lb >= low_b else f"({b})"
        return f"{a} {sign} {b}", level
    if e.op in _PREFIX and len(args) == 1:
        a, la = args[0]
        return _PREFIX[e.op] + (a if la >= _PREFIX_LEVEL else f"({a})"), _PREFIX_LEVEL
    inside = ", ".join(a for a, _ in args)
    if e.op == "const":
        return repr(e.value), _ATOM if not repr(e.value).startswith("-") else _PREFIX_LEVEL
    if e.op == "input":
        return str(e.value), _ATOM
    if e.op == "bc":
        return f"bc({inside}, {_INDEX_NAME[e.index]})", _ATOM
    if e.op == "cast":
        return f"cast({inside}, {e.kind!r})", _ATOM
    name = {"select": "where", "call": e.value}.get(e.op, e.op)
    return f"{name}({inside})", _ATOM


def lines(outputs: tuple[Expr, ...]) -> tuple[list[str], list[str]]:
    """(definitions of the shared nodes, texts of the outputs)."""
    order = topo(outputs)
    uses = Counter(id(a) for e in order for a in e.args)
    texts: dict[int, tuple[str, int]] = {}
    defined: list[str] = []
    for e in order:
        text, level = _render(e, [texts[id(a)] for a in e.args])
        if e.args and (uses[id(e)] > 1 or (uses[id(e)] and len(text) > _LONGEST)):
            name = f"%{len(defined)}"
            defined.append(f"{name} = {text}")
            text, level = name, _ATOM
        texts[id(e)] = (text, level)
    return defined, [texts[id(o)][0] for o in outputs]


def show_expr(e: Expr) -> str:
    """One expression as one line; shared parts follow after `with`."""
    defined, (text,) = lines((e,))
    return text if not defined else f"{text} with {'; '.join(defined)}"


def show(formula: Formula) -> str:
    """A formula, one line per shared node, in infix notation.

    >>> from tensorgrad.expr import Formula, call, input
    >>> print(show(Formula.trace("f", lambda x: call("exp", x) * call("exp", x), (input("x"),))))
    f(x):
      %0 = exp(x)
      return %0 * %0
    """
    suffix = {"f": "", "i": ": int", "b": ": bool"}
    inputs = ", ".join(
        f"{e.value}{suffix[e.kind]}{'' if e.index == 3 else ' @' + _INDEX_NAME[e.index]}"
        for e in formula.inputs
    )
    defined, outputs = lines(formula.outputs)
    joined = ", ".join(outputs)
    listed = len(outputs) > 1 and len(joined) > _LONGEST
    result = ["return (", *(f"  {o}," for o in outputs), ")"] if listed else [f"return {joined}"]
    body = [*defined, *result]
    return f"{formula.name}({inputs}):\n" + "\n".join("  " + line for line in body)
