"""The nodes of an elementwise formula on one element, as CUDA C++ statements."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tensorgrad.codegen.cuda_types import NAMES, DType
from tensorgrad.codegen.typed import BOOL, Types, bound, root
from tensorgrad.expr.formula import Formula
from tensorgrad.expr.graph import topo
from tensorgrad.expr.ir import Expr
from tensorgrad.expr.leaf import LEAVES

_SIGNS = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<=", "eq": "==",
    "bitand": "&", "bitor": "|", "bitxor": "^", "and": "&&", "or": "||",
}  # fmt: skip
_COMPARISONS = frozenset({"lt", "le", "eq"})
_WRAPPING = frozenset({"add", "sub", "mul", "bitand", "bitor", "bitxor"})

_ON_BOOLS: dict[str, Callable[..., str]] = {
    "and": lambda a, b: f"{a} && {b}",
    "or": lambda a, b: f"{a} || {b}",
    "not": lambda a: f"!{a}",
    "add": lambda a, b: f"{a} || {b}",
    "mul": lambda a, b: f"{a} && {b}",
    "eq": lambda a, b: f"{a} == {b}",
    "lt": lambda a, b: f"!{a} && {b}",
    "le": lambda a, b: f"!{a} || {b}",
    "maximum": lambda a, b: f"{a} || {b}",
    "fmax": lambda a, b: f"{a} || {b}",
    "minimum": lambda a, b: f"{a} && {b}",
    "fmin": lambda a, b: f"{a} && {b}",
    "clip": lambda x, low, high: f"({x} || {low}) && {high}",
    "relu": lambda x: x,
}
"""What opcodes and leaves are on bools, as NumPy has it: a sum is an `or`."""


def number(value: Any, double: bool) -> str:
    """A real constant, exactly."""
    x, real = bound(value, double), "double" if double else "float"
    if math.isnan(x):
        return f"tg_nan<{real}>()"
    if math.isinf(x):
        return f"({'-' if x < 0 else ''}tg_inf<{real}>())"
    text = x.hex() + ("" if double else "f")
    return f"({text})" if text.startswith("-") else text


def whole(value: int, dtype: DType) -> str:
    """An integer constant of exactly that dtype."""
    text = f"{value}{'ull' if dtype.kind == 'u' else 'll'}"
    if value == -(2**63):  # C++ has no negative literals
        text = f"(-{2**63 - 1}ll - 1)"
    return f"static_cast<{NAMES[dtype.name]}>({text})"


def converted(x: str, source: DType, target: DType) -> str:
    """The value x as another dtype, as NumPy casts it."""
    if source == target:
        return x
    return f"({x} != 0)" if target.kind == "b" else f"static_cast<{NAMES[target.name]}>({x})"


class Body:
    """Statements that compute the outputs of a formula; `index` is the text of the position."""

    def __init__(self, types: Types, index: str) -> None:
        self.types, self.index = types, index
        self.lines: list[str] = []

    def write(self, formula: Formula, inputs: Sequence[str]) -> list[str]:
        """One expression per output, given the names of the inputs; fills `lines`."""
        known = dict(zip(formula.inputs, inputs, strict=True))
        for e in topo(formula.outputs):
            if e in known or e.op in ("const", "bc", "stop"):
                continue
            name = f"t{len(self.lines)}"
            text = self._node(e, self._arguments(e, known))
            self.lines.append(f"const {NAMES[self.types.of[e].name]} {name} = {text};")
            known[e] = name
        return [self._argument(o, self.types.output(o), known) for o in formula.outputs]

    def _arguments(self, e: Expr, known: dict[Expr, str]) -> list[str]:
        met = self.types.met.get(e)
        if met is None:
            return []
        kinds = [BOOL if e.op == "select" and k == 0 else met for k in range(len(e.args))]
        return [self._argument(a, t, known) for a, t in zip(e.args, kinds, strict=True)]

    def _argument(self, e: Expr, met: DType, known: dict[Expr, str]) -> str:
        """The text of e's value, or of its constant, in the dtype that meets it."""
        e = root(e)
        if e.op != "const":
            return converted(known[e], self.types.of[e], met)
        if met.kind == "b":
            return "true" if e.value else "false"
        return number(e.value, met.itemsize == 8) if met.kind == "f" else whole(e.value, met)

    def _node(self, e: Expr, args: list[str]) -> str:
        if e.op == "index":
            return f"static_cast<i64>({self.index})"
        met = self.types.met[e]
        if e.op == "select":
            return f"{args[0]} ? {args[1]} : {args[2]}"
        if e.op == "cast":
            return converted(args[0], met, self.types.of[e])
        if met.kind == "b":
            return _ON_BOOLS[e.value if e.op == "call" else e.op](*args)
        if met.kind == "f":
            return _real(e, args, NAMES[met.name])
        return _integer(e, args, met)


def _real(e: Expr, args: list[str], name: str) -> str:
    if e.op == "call":
        return LEAVES[e.value].cuda.format(*args, T=name)
    return f"-{args[0]}" if e.op == "neg" else f"{args[0]} {_SIGNS[e.op]} {args[1]}"


def _integer(e: Expr, args: list[str], met: DType) -> str:
    """Arithmetic is done unsigned, so that it wraps; C++ leaves signed overflow undefined."""
    name, bits = NAMES[met.name], "u64" if met.itemsize == 8 else "u32"
    if e.op in _COMPARISONS:
        return f"{args[0]} {_SIGNS[e.op]} {args[1]}"
    if e.op in ("shl", "shr"):
        return f"tg_{e.op}({args[0]}, {args[1]})"
    if e.op == "call":
        if e.value == "fmod":
            return f"tg_modulo({args[0]}, {args[1]})"
        if e.value != "square":
            return LEAVES[e.value].cuda.format(*args, T=name)
        args = [args[0], args[0]]
    sign = _SIGNS["mul" if e.op == "call" else e.op] if e.op in {*_WRAPPING, "call"} else ""
    wide = [f"static_cast<{bits}>({a})" for a in args]
    if e.op == "neg":
        return f"static_cast<{name}>({bits}(0) - {wide[0]})"
    if e.op == "invert":
        return f"static_cast<{name}>(~{wide[0]})"
    return f"static_cast<{name}>({wide[0]} {sign} {wide[1]})"
