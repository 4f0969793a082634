"""Vectors of any width, the nodes of reduce formulas on them, and how reductions accumulate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tensorgrad.codegen.body import Body, bound
from tensorgrad.codegen.rows_plan import integer, root
from tensorgrad.codegen.vectors import Text, Vectors
from tensorgrad.expr.ir import Expr

_ICMP = {"lt": "slt", "le": "sle", "eq": "eq"}


class Lanes(Vectors):
    """Vectors of `width` lanes; integer values beside them have the type `whole`."""

    def __init__(self, text: Text, double: bool, width: int = 0, whole: str = "i64") -> None:
        super().__init__(text, double)
        self.whole = whole
        if width:
            self.width = width
            self.floats, self.ints = self.of(self.scalar), self.of(self.integer)
            self.bools = self.of("i1")

    def type_of(self, kind: str) -> str:
        """The scalar type of values of that kind."""
        return {"f": self.scalar, "i": self.whole, "b": "i1"}[kind]

    def splat(self, x: str, scalar: str) -> str:
        """Every lane the one of `x`, a vector of one."""
        one, indices = f"<1 x {scalar}>", f"<{self.width} x i32> zeroinitializer"
        return self.text.value(f"shufflevector {one} {x}, {one} poison, {indices}")

    def half(self, x: str, scalar: str, upper: bool) -> str:
        """The lower or the upper half of the lanes."""
        start = self.width // 2 if upper else 0
        lanes = ", ".join(f"i32 {start + k}" for k in range(self.width // 2))
        kind, indices = self.of(scalar), f"<{self.width // 2} x i32> <{lanes}>"
        return self.text.value(f"shufflevector {kind} {x}, {kind} poison, {indices}")

    def counting(self, start: str) -> str:
        """The numbers from `start`, an i64, one per lane; as 32-bit integers."""
        t, kind = self.text, self.of("i32")
        first = t.value(f"trunc i64 {start} to i32")
        one = t.value(f"insertelement <1 x i32> poison, i32 {first}, i32 0")
        lanes = ", ".join(f"i32 {k}" for k in range(self.width))
        return t.value(f"add {kind} {self.splat(one, 'i32')}, <{lanes}>")

    def mask(self, rest: str) -> str:
        """Which lanes lie below `rest`, an i64 of at most the width."""
        t, kind = self.text, self.of("i32")
        small = t.value(f"trunc i64 {rest} to i32")
        one = t.value(f"insertelement <1 x i32> poison, i32 {small}, i32 0")
        lanes = ", ".join(f"i32 {k}" for k in range(self.width))
        return t.value(f"icmp slt {kind} <{lanes}>, {self.splat(one, 'i32')}")

    def load(self, scalar: str, pointer: str, mask: str | None = None) -> str:
        """The lanes from `pointer` on; those that are masked off are 1, or False."""
        kind, t = self.of(scalar), self.text
        if mask is None:
            return t.value(f"load {kind}, ptr {pointer}, align {self.bytes(scalar)}")
        name = f"@llvm.masked.load.v{self.width}{_SUFFIX[scalar]}.p0"
        t.declare(f"{kind} {name}(ptr, i32, {self.bools}, {kind})")
        other = "zeroinitializer" if scalar[0] == "i" else self.const(1)
        given = f"i32 {self.bytes(scalar)}, {self.bools} {mask}, {kind} {other}"
        return t.value(f"call {kind} {name}(ptr {pointer}, {given})")

    def store(self, scalar: str, x: str, pointer: str, mask: str | None = None) -> None:
        """Writes the lanes, those that are masked off excepted."""
        kind, t = self.of(scalar), self.text
        if mask is None:
            t.put(f"store {kind} {x}, ptr {pointer}, align {self.bytes(scalar)}")
            return
        name = f"@llvm.masked.store.v{self.width}{_SUFFIX[scalar]}.p0"
        t.declare(f"void {name}({kind}, ptr, i32, {self.bools})")
        given = f"i32 {self.bytes(scalar)}, {self.bools} {mask}"
        t.put(f"call void {name}({kind} {x}, ptr {pointer}, {given})")

    @staticmethod
    def bytes(scalar: str) -> int:
        """The size of an element in memory."""
        return {"float": 4, "double": 8, "i8": 1, "i32": 4, "i64": 8}[scalar]


_SUFFIX = {"float": "f32", "double": "f64", "i8": "i8"}


class Nodes(Body):
    """The nodes of reduce formulas on lanes, given the registers of their arguments."""

    v: Lanes

    def node(self, e: Expr, args: list[str]) -> str:
        v, t = self.v, self.v.text
        kinds, longs = [root(a).kind for a in e.args], v.of(v.whole)
        if e.op in _ICMP and integer(e):
            return t.value(f"icmp {_ICMP[e.op]} {longs} {args[0]}, {args[1]}")
        if e.op == "cast" and kinds[0] == "i" and e.kind == "f":
            if root(e.args[0]).op == "const":
                return args[0]
            return t.value(f"sitofp {longs} {args[0]} to {v.floats}")
        if e.kind != "i":
            return super().node(e, args)
        if e.op == "select":
            return v.select(args[0], args[1], args[2], longs)
        if e.op == "neg":
            return t.value(f"sub {longs} zeroinitializer, {args[0]}")
        return t.value(f"{e.op} {longs} {args[0]}, {args[1]}")

    def literal(self, constant: Expr, user: Expr) -> str:
        """A constant as an argument of `user`."""
        v = self.v
        if constant.kind == "b":
            return v.bool_const(constant.value)
        if not integer(user):
            return v.const(bound(constant.value, v.double))
        limit = 2 ** (31 if v.whole == "i32" else 63) - 1
        return f"splat ({v.whole} {min(max(constant.value, -limit), limit)})"

    def arguments(self, e: Expr, value: Callable[[Expr], str]) -> list[str]:
        """The registers of the arguments of `e`, `value` giving those that are no constants."""
        roots = [root(a) for a in e.args]
        return [self.literal(a, e) if a.op == "const" else value(a) for a in roots]


class Sum:
    """Σ in lanes that start at 0."""

    def __init__(self, v: Lanes) -> None:
        self.v = v

    def start(self) -> list[str]:
        return [self.v.const(0)]

    def blank(self) -> str:
        """What an element that is not there counts as."""
        return self.v.const(0)

    def step(self, state: list[str], x: str) -> list[str]:
        """The state after one more vector."""
        return [self.v.add(state[0], x)]

    def join(self, a: list[str], b: list[str]) -> list[str]:
        """The state of two blocks, `a` before `b`."""
        return [self.v.add(a[0], b[0])]

    def finish(self, state: list[str]) -> str:
        """The lanes of the result."""
        return state[0]

    def pair(self, v: Lanes, a: str, b: str) -> str:
        """The result of two halves of the lanes."""
        return v.add(a, b)


class Max(Sum):
    """The largest in lanes that start at -inf; beside them the last NaN, which wins."""

    def start(self) -> list[str]:
        return [self.blank(), self.v.const(0)]

    def blank(self) -> str:
        return self.v.const(float("-inf"))

    def step(self, state: list[str], x: str) -> list[str]:
        return self.join(state, [x, x])

    def join(self, a: list[str], b: list[str]) -> list[str]:
        # A comparison with NaN is false, so the first lane drops it and the second keeps it: two
        # short chains in place of one long.
        v = self.v
        larger = v.select(v.compare("ogt", b[0], a[0]), b[0], a[0])
        return [larger, v.select(v.compare("uno", b[1], b[1]), b[1], a[1])]

    def finish(self, state: list[str]) -> str:
        v = self.v
        return v.select(v.compare("uno", state[1], state[1]), state[1], state[0])

    def pair(self, v: Lanes, a: str, b: str) -> str:
        wins = v.logic("or", v.compare("ogt", a, b), v.compare("uno", a, a))
        return v.select(wins, a, b)


def fold(how: Sum, x: str) -> str:
    """One lane of a vector: halves joined until one is left."""
    v = how.v
    while v.width > 1:
        parts = [v.half(x, v.scalar, upper) for upper in (False, True)]
        v = Lanes(v.text, v.double, v.width // 2)
        x = how.pair(v, *parts)
    return x


REDUCERS: dict[str, Any] = {"rsum": Sum, "rmax": Max}
