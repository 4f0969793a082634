"""The expression IR: interned, immutable nodes over real, integer and bool scalars.

A node knows its operation, its arguments, its kind and its index set, and nothing of shapes,
dtypes or devices. The same operation on the same arguments is the same object. Only rewrites that
hold in IEEE 754 for every value are made; an integer constant adapts to what it meets, so that
`where(x > 0, x, 0)` keeps integer arrays integer.
"""

from __future__ import annotations

import threading
from typing import Any, NoReturn
from weakref import WeakValueDictionary

from tensorgrad.expr.fold import EXACT_INT, exact, fold
from tensorgrad.expr.graph import topo as topo
from tensorgrad.expr.leaf import Leaf, find_leaf
from tensorgrad.expr.show import show_expr
from tensorgrad.expr.ufuncs import FUNCTIONS, NumPyProtocols

SCALAR, ROW, COLUMN, ELEMENT = 0, 1, 2, 3

ARITY = {
    "input": 0, "const": 0, "add": 2, "sub": 2, "mul": 2, "div": 2, "neg": 1, "lt": 2, "le": 2,
    "eq": 2, "and": 2, "or": 2, "not": 1, "select": 3, "cast": 1, "bitand": 2, "bitor": 2,
    "bitxor": 2, "shl": 2, "shr": 2, "invert": 1, "index": 0, "rsum": 1, "rmax": 1, "isum": 1,
    "iota": 0, "at": 2, "bc": 1, "ncols": 0, "nrows": 0, "stop": 1,
}  # fmt: skip
"""Number of arguments per opcode; `call` has its leaf's."""

REDUCTIONS = frozenset({"rsum", "rmax", "isum", "iota", "at", "ncols", "nrows"})
"""Opcodes that need a (row, column) view: a formula with one of them is a reduce formula."""

_RANK = {"b": 0, "i": 1, "f": 2}
_TABLE: WeakValueDictionary[tuple[Any, ...], Expr] = WeakValueDictionary()
_LOCK = threading.RLock()


class Expr(NumPyProtocols):
    """A node. Build one with the functions of this module and Python's operators."""

    __slots__ = ("__weakref__", "args", "index", "kind", "op", "value")

    op: str
    args: tuple[Expr, ...]
    value: Any
    kind: str
    index: int

    def __add__(self, other: Any) -> Expr:
        return _arith("add", self, lift(other))

    def __radd__(self, other: Any) -> Expr:
        return _arith("add", lift(other), self)

    def __sub__(self, other: Any) -> Expr:
        return _arith("sub", self, lift(other))

    def __rsub__(self, other: Any) -> Expr:
        return _arith("sub", lift(other), self)

    def __mul__(self, other: Any) -> Expr:
        return _arith("mul", self, lift(other))

    def __rmul__(self, other: Any) -> Expr:
        return _arith("mul", lift(other), self)

    def __truediv__(self, other: Any) -> Expr:
        return _arith("div", self, lift(other))

    def __rtruediv__(self, other: Any) -> Expr:
        return _arith("div", lift(other), self)

    def __floordiv__(self, other: Any) -> Expr:
        return call("floor_divide", self, other)

    def __rfloordiv__(self, other: Any) -> Expr:
        return call("floor_divide", other, self)

    def __mod__(self, other: Any) -> Expr:
        return call("remainder", self, other)

    def __rmod__(self, other: Any) -> Expr:
        return call("remainder", other, self)

    def __pow__(self, other: Any) -> Expr:
        return _power(self, lift(other))

    def __rpow__(self, other: Any) -> Expr:
        return _power(lift(other), self)

    def __neg__(self) -> Expr:
        return _neg(self)

    def __pos__(self) -> Expr:
        return self

    def __abs__(self) -> Expr:
        return call("abs", self)

    def __lt__(self, other: Any) -> Expr:
        return _compare("lt", self, lift(other))

    def __gt__(self, other: Any) -> Expr:
        return _compare("lt", lift(other), self)

    def __le__(self, other: Any) -> Expr:
        return _compare("le", self, lift(other))

    def __ge__(self, other: Any) -> Expr:
        return _compare("le", lift(other), self)

    def __eq__(self, other: Any) -> Expr:  # type: ignore[override]
        return _compare("eq", self, lift(other))

    def __ne__(self, other: Any) -> Expr:  # type: ignore[override]
        return ~_compare("eq", self, lift(other))

    def __and__(self, other: Any) -> Expr:
        return _bitwise("and", self, lift(other))

    def __rand__(self, other: Any) -> Expr:
        return _bitwise("and", lift(other), self)

    def __or__(self, other: Any) -> Expr:
        return _bitwise("or", self, lift(other))

    def __ror__(self, other: Any) -> Expr:
        return _bitwise("or", lift(other), self)

    def __xor__(self, other: Any) -> Expr:
        return _bitwise("xor", self, lift(other))

    def __rxor__(self, other: Any) -> Expr:
        return _bitwise("xor", lift(other), self)

    def __lshift__(self, other: Any) -> Expr:
        return _shift("shl", self, lift(other))

    def __rlshift__(self, other: Any) -> Expr:
        return _shift("shl", lift(other), self)

    def __rshift__(self, other: Any) -> Expr:
        return _shift("shr", self, lift(other))

    def __rrshift__(self, other: Any) -> Expr:
        return _shift("shr", lift(other), self)

    def __invert__(self) -> Expr:
        return _invert(self)

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return show_expr(self)

    def __bool__(self) -> NoReturn:
        text = show_expr(self)
        raise TypeError(
            f"bool: got the traced value {text}, expected no Python branch on a value that is "
            f"known only when the kernel runs; instead of `a if {text} else b` "
            "(or `and`, `or`, `not`, `min`, `max`) try "
            f"where({self._condition()}, a, b) (or &, |, ~, minimum, maximum)"
        )

    def __float__(self) -> float:
        raise self._no_number("float")

    def __int__(self) -> int:
        raise self._no_number("int")

    def __index__(self) -> int:
        raise self._no_number("index")

    def __complex__(self) -> complex:
        raise self._no_number("complex")

    def _condition(self) -> str:
        return show_expr(self) if self.kind == "b" else f"{show_expr(self)} != 0"

    def _no_number(self, what: str) -> TypeError:
        text = show_expr(self)
        return TypeError(
            f"{what}: got the traced value {text}, expected a Python number; instead of "
            f"`math.f({what}({text}))` or `range({text})` try the function itself on {text}, and "
            f"where({self._condition()}, a, b) in place of a Python branch"
        )

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        text = show_expr(self)
        raise TypeError(
            f"asarray: got the traced value {text}, expected an array; instead of "
            f"`np.array([{text}, 0]).max()` try where({self._condition()}, {text}, 0)"
        )

    def __iter__(self) -> NoReturn:
        text = show_expr(self)
        raise TypeError(
            f"iter: got the traced scalar {text}, expected a sequence; instead of "
            f"`[f(v) for v in {text}]` try f({text}) (a formula is applied to every element), and "
            f"where({self._condition()}, a, b) in place of a Python branch"
        )


def new(op: str, args: tuple[Expr, ...], value: Any, kind: str, index: int) -> Expr:
    """The one node with this content, made if it does not live yet; checks and rewrites nothing."""
    # float.hex tells -0.0 from 0.0; the kind tells 1 from True.
    mark = value.hex() if isinstance(value, float) else value
    key = (op, tuple(map(id, args)), mark, kind, index)
    with _LOCK:
        e = _TABLE.get(key)
        if e is None:
            e = Expr()
            e.op, e.args, e.value, e.kind, e.index = op, args, value, kind, index
            _TABLE[key] = e
        return e


def _union(args: tuple[Expr, ...]) -> int:
    index = 0
    for a in args:
        index |= a.index
    return index


def _op(op: str, *args: Expr, kind: str, value: Any = None) -> Expr:
    return new(op, args, value, kind, _union(args))


def input(name: str, kind: str = "f", index: int = ELEMENT) -> Expr:
    """An input: kind "f" (any number type the formula is run in), "i" or "b"."""
    if kind not in _RANK or not SCALAR <= index <= ELEMENT:
        raise ValueError(
            f"input: got kind {kind!r}, index {index}, expected a kind of 'f', 'i', 'b' and an "
            "index from 0 to 3; try input(name)"
        )
    return new("input", (), name, kind, index)


def const(value: Any) -> Expr:
    """A constant from a bool, an int, a float, or a NumPy scalar."""
    v = value
    if not isinstance(v, (bool, int, float)) and getattr(v, "shape", None) == ():
        v = v.item() if hasattr(v, "item") else v
    if isinstance(v, bool):
        return new("const", (), v, "b", SCALAR)
    if isinstance(v, int):
        return new("const", (), int(v), "i", SCALAR)
    if isinstance(v, float):
        return new("const", (), float(v), "f", SCALAR)
    raise TypeError(
        f"const: got {type(value).__name__}, expected a bool, int or float; "
        "try passing it to the function as an argument"
    )


def lift(value: Any) -> Expr:
    """`value` itself when it is an expression, else a constant."""
    return value if isinstance(value, Expr) else const(value)


def _adapt(e: Expr, kind: str) -> Expr:
    """`e` as an argument of kind `kind`; integer constants stay, they take the type they meet."""
    if e.kind == kind:
        return e
    if e.op == "const":
        return const(int(e.value)) if e.kind == "b" else e
    weak = e.op == "select" and all(a.op == "const" for a in e.args[1:])
    if weak and kind == "f" and e.kind == "i":
        return new("select", e.args, None, "f", e.index)
    return cast(e, kind)


def _common(*args: Expr) -> tuple[tuple[Expr, ...], str]:
    kind = max((a.kind for a in args), key=_RANK.__getitem__)
    return tuple(_adapt(a, kind) for a in args), kind


def cast(value: Any, kind: str) -> Expr:
    """`value` as kind "f" (the compute dtype), "i" (a 64-bit integer) or "b" (true where not 0)."""
    e = lift(value)
    if kind not in _RANK:
        raise ValueError(f"cast: got kind {kind!r}, expected 'f', 'i' or 'b'; try cast(x, 'f')")
    if e.kind == kind:
        return e
    if e.op == "const" and kind == "b":
        return const(bool(e.value))
    if e.op == "const" and kind == "i" and e.kind == "b":
        return const(int(e.value))
    if e.op == "const" and kind == "f" and abs(e.value) <= EXACT_INT:
        return const(float(e.value))
    return _op("cast", e, kind=kind)


def _known(e: Expr) -> bool:
    """Whether the value of the constant `e` is the same number in every compute dtype."""
    return e.op == "const" and exact(e.value)


def _real(e: Expr) -> Expr:
    """`e` as a real argument; integer constants stay."""
    return e if e.op == "const" and e.kind == "i" else cast(e, "f")


def _is(e: Expr, value: int) -> bool:
    return e.op == "const" and e.kind != "b" and bool(e.value == value)


def _arith(op: str, a: Expr, b: Expr) -> Expr:
    if a.kind == b.kind == "b":
        raise TypeError(
            f"{op}: got two bool values {a} and {b}, expected numbers; "
            "try &, |, ^ or where(c, 1, 0)"
        )
    (a, b), kind = _common(a, b)
    if op == "div":
        a, b = _real(a), _real(b)
        if _is(b, 1) and a.kind == "f":
            return a
        return _op("div", a, b, kind="f")
    if op != "div" and _known(a) and _known(b):
        folded = fold(op, a.value, b.value)
        if folded is not None:
            return const(folded)
    if op == "mul":
        if _is(a, 1) and b.kind == kind:
            return b
        if _is(b, 1) and a.kind == kind:
            return a
    return _op(op, a, b, kind=kind)


def _neg(a: Expr) -> Expr:
    if a.kind == "b":
        raise TypeError(f"negative: got the bool value {a}, expected a number; try ~x")
    if a.op == "const":
        return const(-a.value)
    if a.op == "neg":
        return a.args[0]
    return _op("neg", a, kind=a.kind)


def _power(a: Expr, b: Expr) -> Expr:
    if b.op == "const" and b.kind != "b" and a.kind != "b":
        if b.value == 1 and (b.kind == "i" or a.kind == "f"):
            return a
        name = {2: "square", 0.5: "sqrt", -1: "reciprocal"}.get(b.value)
        if name is not None:
            return call(name, cast(a, "f") if b.kind == "f" and a.op != "const" else a)
    return call("pow", a, b)


def _compare(op: str, a: Expr, b: Expr) -> Expr:
    (a, b), _ = _common(a, b)
    if _known(a) and _known(b):
        x, y = a.value, b.value
        return const(x < y if op == "lt" else x <= y if op == "le" else x == y)
    return _op(op, a, b, kind="b")


def _bitwise(op: str, a: Expr, b: Expr) -> Expr:
    (a, b), kind = _common(a, b)
    if kind == "f":
        raise TypeError(
            f"bitwise_{op}: got the real values {a} and {b}, expected integers or bools; "
            "try comparisons, or logical_and(x != 0, y != 0)"
        )
    if kind == "i":
        return _op("bit" + op, a, b, kind="i")
    if op == "xor":
        return ~_compare("eq", a, b)
    return _logic(op, a, b)


def _logic(op: str, a: Expr, b: Expr) -> Expr:
    if a is b:
        return a
    for c, other in ((a, b), (b, a)):
        if c.op == "const":
            return other if c.value is (op == "and") else c
    return _op(op, a, b, kind="b")


def _shift(op: str, a: Expr, b: Expr) -> Expr:
    (a, b), kind = _common(a, b)
    if kind != "i":
        raise TypeError(f"{op}: got {a} and {b}, expected integers; try x * 2**n")
    return _op(op, a, b, kind="i")


def _invert(a: Expr) -> Expr:
    if a.kind == "f":
        raise TypeError(f"invert: got the real value {a}, expected an integer or bool; try -x")
    if a.kind == "i":
        return _op("invert", a, kind="i")
    if a.op == "const":
        return const(not a.value)
    return a.args[0] if a.op == "not" else _op("not", a, kind="b")


def where(condition: Any, a: Any, b: Any) -> Expr:
    """a where the condition holds, else b; a branch not taken never touches a derivative."""
    c = lift(condition)
    if c.kind != "b":
        raise TypeError(f"where: got the condition {c}, expected a bool value; try {c} != 0")
    (x, y), kind = _common(lift(a), lift(b))
    if c.op == "const":
        return x if c.value else y
    if x is y:
        return x
    if c.op == "not":
        c, x, y = c.args[0], y, x
    return _op("select", c, x, y, kind=kind)


def equal(a: Any, b: Any) -> Expr:
    """a == b, also where neither is an expression."""
    return _compare("eq", lift(a), lift(b))


def call(leaf: str | Leaf, *args: Any) -> Expr:
    """The leaf's function of `args`.

    Raises KeyError for an unknown leaf, TypeError for a wrong number of arguments.
    """
    entry = find_leaf(leaf)
    if len(args) != entry.arity:
        raise TypeError(
            f"{entry.name}: got {len(args)} arguments, expected {entry.arity}; "
            f"try {entry.name}({', '.join('xyz'[: entry.arity])})"
        )
    exprs, kind = _common(*map(lift, args))
    if entry.kind == "f":
        exprs, kind = tuple(_real(e) for e in exprs), "f"
    elif entry.kind != "same":
        kind = entry.kind
    return _op("call", *exprs, kind=kind, value=entry.name)


def element_index() -> Expr:
    """The position of the element in row-major order, from 0."""
    return new("index", (), None, "i", ELEMENT)


FUNCTIONS |= {"call": call, "lift": lift, "where": where}
