"""The meaning of a formula: a flat list of NumPy calls. Generated kernels are held to this."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from importlib import import_module
from typing import Any

import numpy as np

from tensorgrad.expr.formula import Formula
from tensorgrad.expr.graph import topo
from tensorgrad.expr.ir import COLUMN, ROW, Expr
from tensorgrad.expr.leaf import LEAVES

Step = tuple[Callable[..., Any], int, int, int, int, int]
"""Function, up to three argument registers (-1: none), result register, and the register of an
argument that is not read again, in whose memory the result may be written (-1: none)."""

_DIRECT: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.true_divide,
    "neg": np.negative, "lt": np.less, "le": np.less_equal, "eq": np.equal,
    "and": np.logical_and, "or": np.logical_or, "not": np.logical_not, "select": np.where,
    "bitand": np.bitwise_and, "bitor": np.bitwise_or, "bitxor": np.bitwise_xor,
    "shl": np.left_shift, "shr": np.right_shift, "invert": np.invert,
}  # fmt: skip
_ALIASES = frozenset({"bc", "stop"})
"""Opcodes without a step: what is smaller than its index set is broadcast where it is read."""


def softplus(x: Any) -> Any:
    """log(1 + exp(x)) without overflow: max(x, 0) + log1p(exp(-|x|))."""
    return np.maximum(x, x.dtype.type(0)) + np.log1p(np.exp(-np.abs(x)))


def log_sigmoid(x: Any) -> Any:
    """-log(1 + exp(-x)) without overflow: min(x, 0) - log1p(exp(-|x|))."""
    return np.minimum(x, x.dtype.type(0)) - np.log1p(np.exp(-np.abs(x)))


def relu(x: Any) -> Any:
    """max(x, 0); a number that is not one stays so."""
    return np.maximum(x, x.dtype.type(0))


def round_even(x: Any) -> Any:
    """The nearest integer, halves to even; integers stay as they are."""
    return np.rint(x) if x.dtype.kind == "f" else x.copy()


def clip(x: Any, low: Any, high: Any) -> Any:
    """min(max(x, low), high); numpy.clip without its overhead."""
    return np.minimum(np.maximum(x, low), high)


@cache
def function(name: str) -> Callable[..., Any]:
    """The function of a dotted name, imported now; a name without a dot is NumPy's."""
    module, _, attribute = name.rpartition(".")
    found: Callable[..., Any] = getattr(import_module(module or "numpy"), attribute)
    return found


_add_reduce: Any = np.add.reduce
_max_reduce: Any = np.maximum.reduce


def _fit(a: Any, shape: tuple[int, ...]) -> Any:
    a = np.asarray(a)
    return a if a.shape == shape else np.broadcast_to(a, shape)


def _rows(a: Any) -> int:
    return int(a.shape[0]) if np.ndim(a) == 2 else 1


def _rsum(shape: tuple[int, int], a: Any) -> Any:
    a = _fit(a, (_rows(a), shape[1]))
    return _add_reduce(a, 1, a.dtype, None, True)


def _rmax(shape: tuple[int, int], a: Any) -> Any:
    return _max_reduce(_fit(a, (_rows(a), shape[1])), 1, None, None, True)


def _isum(shape: tuple[int, int], a: Any) -> Any:
    columns = a.shape[1] if np.ndim(a) == 2 else 1
    a = _fit(a, (shape[0], columns))
    return _add_reduce(a, 0, a.dtype, None, True)


def _iota(shape: tuple[int, int]) -> Any:
    return np.arange(shape[1])[None]


def _index(shape: tuple[int, ...]) -> Any:
    return np.arange(int(np.prod(shape))).reshape(shape)


def _gather(name: str) -> Callable[..., Any]:
    def at(shape: tuple[int, int], a: Any, label: Any) -> Any:
        t = np.asarray(label)
        if t.dtype.kind not in "iu":
            raise TypeError(
                f"{name}: got labels of type {t.dtype.name}, expected integers; "
                "try labels.astype(int)"
            )
        t = t.reshape(1, 1) if t.ndim < 2 else t
        _check_labels(name, t, shape[1])
        a = _fit(a, (_rows(a), shape[1]))
        row = np.arange(a.shape[0])[:, None] if a.shape[0] != 1 else 0
        return a[row, t]

    return at


@lru_cache(maxsize=64)
def _row_starts(shape: tuple[int, int]) -> Any:
    """The flat position of each row's first element, (rows, 1)."""
    return np.arange(0, shape[0] * shape[1], shape[1])[:, None] if shape[1] else 0


def _check_labels(name: str, t: Any, columns: int) -> None:
    # Seen as unsigned, a negative label is too large as well: one pass instead of two.
    seen = t.astype(np.int64, copy=False).view(np.uint64) if t.dtype.kind == "i" else t
    if t.size and seen.max() >= columns:
        row = int(np.flatnonzero((t < 0) | (t >= columns))[0])
        raise IndexError(
            f"{name}: got label {t.flat[row]} in row {row}, expected 0 <= label < {columns}; "
            "try labels from 0, or more columns"
        )


_SHAPED: dict[str, Callable[..., Any]] = {
    "rsum": _rsum, "rmax": _rmax, "isum": _isum, "iota": _iota, "index": _index,
}  # fmt: skip
_NEED_SHAPE = frozenset({*_SHAPED, "at", "ncols", "nrows"})


class _Program:
    """A formula on its way to becoming steps: registers are inputs, shape, constants, others."""

    def __init__(self, formula: Formula, dtype: np.dtype[Any]) -> None:
        self.formula, self.dtype = formula, dtype
        self.order = topo(formula.outputs)
        self.steps: list[Step] = []
        self.shape_register = len(formula.inputs)
        self.tail: list[Any] = []
        self.register: dict[Expr, int] = {e: k for k, e in enumerate(formula.inputs)}
        self.constants: dict[tuple[Expr, bool], int] = {}
        self.free: list[int] = []
        self.uses = self._count_uses()
        self.dropped: list[int] = []
        self.outputs: list[int] = []

    def _root(self, e: Expr) -> Expr:
        while e.op in _ALIASES:
            e = e.args[0]
        return e

    def _count_uses(self) -> dict[Expr, int]:
        uses: dict[Expr, int] = {}
        for e in self.order:
            if e.op not in _ALIASES:
                for a in e.args:
                    root = self._root(a)
                    uses[root] = uses.get(root, 0) + 1
        for o in self.formula.outputs:
            root = self._root(o)
            uses[root] = uses.get(root, 0) + 1
        return uses

    def hold(self, value: Any = None) -> int:
        """A register, preset to `value`."""
        self.tail.append(value)
        return self.shape_register + len(self.tail)

    def constant(self, e: Expr, real: bool) -> int:
        mark = (e, real)
        if mark not in self.constants:
            self.constants[mark] = self.hold(_bind(e.value, self.dtype, real, self.formula.name))
        return self.constants[mark]

    def arguments(self, e: Expr) -> list[int]:
        if e.op in ("lt", "le", "eq", "call"):
            real = any(a.kind == "f" for a in e.args) or e.kind == "f"
        else:
            real = e.kind == "f"
        roots = map(self._root, e.args)
        return [self.constant(a, real) if a.op == "const" else self.register[a] for a in roots]

    def result(self, e: Expr) -> int:
        """The register for e's value: one whose value is not read any more, or a new one."""
        dead = []
        for a in e.args:
            root = self._root(a)
            self.uses[root] -= 1
            if not self.uses[root] and root.op != "const":
                dead.append(self.register[root])
        if not dead:
            return self.free.pop() if self.free else self.hold()
        # Overwriting frees an array; the caller's inputs live on anyway, so they go last.
        first, *others = sorted(dead, key=lambda k: k < self.shape_register)
        self.free.extend(others)
        self.dropped.extend(k for k in others if k > self.shape_register)
        return first

    def reusable(self, e: Expr, fn: Callable[..., Any]) -> int:
        """The register of an intermediate value of e's type that only e still reads, or -1."""
        if isinstance(fn, np.ufunc) and e.kind == "f" and self.dtype.kind == "f":
            for a in map(self._root, e.args):
                last = self.uses[a] == sum(self._root(b) is a for b in e.args)
                if last and a.kind == "f" and a.op not in ("input", "const"):
                    return self.register[a]
        return -1

    def emit(self, fn: Callable[..., Any], args: list[int], out: int, reuse: int = -1) -> None:
        a, b, c = (*args, -1, -1)[:3]
        self.steps.append((fn, a, b, c, out, reuse))

    def lower(self) -> None:
        for e in self.order:
            if e.op in _ALIASES or e.op in ("input", "const"):
                continue
            self.dropped = []
            args = self.arguments(e)
            if e.op in _NEED_SHAPE:
                args.insert(0, self.shape_register)
            fn = _step_function(e, self.formula.name, self.dtype)
            reuse = self.reusable(e, fn)
            out = self.result(e)
            self.register[e] = out
            self.emit(fn, args, out, reuse)
            for register in self.dropped:
                self.emit(_forget, [register], register)
        self.finish()

    def finish(self) -> None:
        """Outputs are arrays of their own, of the full shape of their index set."""
        taken: set[int] = set()
        for o in self.formula.outputs:
            root = self._root(o)
            own = root.op not in ("input", "const")
            at = self.constant(root, o.kind == "f") if root.op == "const" else self.register[root]
            if not own or at in taken or self._smaller(o):
                out = self.hold()
                fresh = own and at not in taken
                settle = _settle(o.index, self.formula.elementwise, fresh)
                self.emit(settle, [self.shape_register, at], out)
                at = out
            taken.add(at)
            self.outputs.append(at)

    def _smaller(self, o: Expr) -> bool:
        """Whether the natural result may have fewer elements than the output has."""
        reached = {e for e in topo((o,)) if e.op == "input"}
        if self.formula.elementwise:
            return len(reached) < len(self.formula.inputs)
        return True


def _forget(_: Any) -> None:
    return None


def _settle(index: int, elementwise: bool, fresh: bool) -> Callable[..., Any]:
    """A step that gives an output its full shape, and memory of its own unless it is `fresh`."""

    def settle(shape: tuple[int, ...], a: Any) -> Any:
        a = np.asarray(a)
        if not elementwise:
            shape = (shape[0] if index & ROW else 1, shape[1] if index & COLUMN else 1)
        if fresh and a.shape == shape:
            return a
        return np.broadcast_to(a, shape).copy()

    return settle


def _bind(value: Any, dtype: np.dtype[Any], real: bool, name: str) -> Any:
    """A constant as it enters a NumPy call; an integer among integers takes their type."""
    if isinstance(value, bool):
        return np.asarray(value)
    if not real:
        return value
    fits = dtype.kind in "fc" or isinstance(value, int)
    if fits and dtype.kind == "b":
        fits = value in (0, 1)
    elif fits and dtype.kind in "iu":
        info = np.iinfo(dtype)
        fits = info.min <= value <= info.max
    if not fits:
        raise TypeError(
            f"{name}: got the constant {value!r} with {dtype.name} arrays, expected a value of "
            "that type; try casting the arrays to a type that holds it"
        )
    return np.asarray(value, dtype)


def _step_function(e: Expr, name: str, dtype: np.dtype[Any]) -> Callable[..., Any]:
    if dtype.kind == "c":
        need_complex(e, name, dtype)
    if e.op in _DIRECT:
        if e.op == "div":
            _need_float(name, "divide", dtype)
        return _DIRECT[e.op]
    if e.op in _SHAPED:
        return _SHAPED[e.op]
    if e.op == "call":
        leaf = LEAVES[e.value]
        if leaf.kind == "f":
            _need_float(name, leaf.name, dtype)
        return function(leaf.numpy)
    if e.op == "at":
        return _gather(name)
    if e.op == "cast":
        integer = dtype if dtype.kind in "iu" else np.dtype(np.int64)
        target = {"f": dtype, "i": integer, "b": np.dtype(bool)}[e.kind]
        return lambda a: a.astype(target)
    axis = 1 if e.op == "ncols" else 0
    return lambda shape: np.asarray(shape[axis], dtype)


def need_complex(e: Expr, name: str, dtype: np.dtype[Any]) -> None:
    """Complex numbers have no order, and `abs` and its like are other functions on them."""
    leaf = LEAVES[e.value] if e.op == "call" else None
    real = leaf is not None and not leaf.holomorphic and leaf.kind != "b"
    ordered = e.op in ("lt", "le", "rmax") and any(a.kind == "f" for a in e.args)
    if real or ordered:
        raise TypeError(
            f"{name}: got {dtype.name} arrays for {leaf.name if leaf else e.op}, expected a real "
            "type; try x.real, x.imag or abs(x)"
        )


def _need_float(name: str, op: str, dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "fc":
        raise TypeError(
            f"{name}: got {dtype.name} arrays for {op}, expected a floating type; "
            "try x.astype(float)"
        )


def plan(formula: Formula, dtype: Any) -> Callable[..., tuple[Any, ...]]:
    """run(arrays, shape=None) -> one new array per output, computed in `dtype`.

    Real inputs come in `dtype`, integer and bool ones in their own. An elementwise formula takes
    arrays that broadcast against one another. A reduce formula needs shape = (rows, columns); by
    index set its arrays are (rows, columns), (rows, 1), (1, columns) or (1, 1), and its outputs
    likewise. Floating-point warnings are the caller's matter.

    Raises TypeError (now) where the formula does not exist in `dtype`, and IndexError (when run)
    for a label out of range, naming its row.
    """
    program = _Program(formula, np.dtype(dtype))
    program.lower()
    names: dict[str, Any] = {"nd": np.ndarray, "asarray": np.asarray, "common": _common_shape}
    names |= {f"f{k}": step[0] for k, step in enumerate(program.steps)}
    first = program.shape_register + 1
    names |= {f"r{first + k}": value for k, value in enumerate(program.tail) if value is not None}
    exec(compile(_source(program), f"<{formula.name}>", "exec"), names)
    return names["run"]  # type: ignore[no-any-return]


def _source(program: _Program) -> str:
    """The steps as a Python function, a line each: a loop over them would cost as much as they."""
    at = program.shape_register
    name = (
        [f"r{k}" for k in range(at)]
        + ["shape"]
        + [f"r{at + 1 + k}" for k in range(len(program.tail))]
    )
    lines = ["def run(arrays, shape=None):", f"    ({', '.join(name[:at])},) = arrays"]
    if program.formula.elementwise and any(at in step[1:4] for step in program.steps):
        lines.append("    shape = common(arrays)")
    for k, (fn, *args, out, reuse) in enumerate(program.steps):
        given = [name[i] for i in args if i >= 0]
        memory = _reused(given, name[reuse]) if reuse >= 0 else ""
        text = "None" if fn is _forget else f"f{k}({', '.join(given)}{memory})"
        lines.append(f"    {name[out]} = {text}")
    outs = [f"{name[k]} if type({name[k]}) is nd else asarray({name[k]})" for k in program.outputs]
    return "\n".join([*lines, f"    return ({', '.join(outs)},)"])


def _reused(given: list[str], own: str) -> str:
    """The argument `out=` of a step whose result may lie in the memory of an argument."""
    fits = f"type({own}) is nd"
    for other in given:
        if other != own:
            fits += f" and (not {other}.ndim or {other}.shape == {own}.shape)"
    return f", out={own} if {fits} else None"


def _common_shape(arrays: Sequence[Any]) -> tuple[int, ...]:
    found = {a.shape for a in arrays if a.ndim}
    return found.pop() if len(found) == 1 else np.broadcast_shapes(*found)


def numpy_function(step: Expr) -> Callable[..., Any] | None:
    """The NumPy function that computes a node from its arguments, if one alone does."""
    if step.op == "call":
        return function(LEAVES[step.value].numpy)
    return _DIRECT.get(step.op)
