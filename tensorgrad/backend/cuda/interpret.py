"""Formulas by CuPy's own functions, a launch for every step: for what has no generated text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Any

import cupy
import numpy as np

from tensorgrad._errors import DTypeError
from tensorgrad.backend.numpy_formula import single_ufunc
from tensorgrad.expr import COLUMN, ROW, Expr, Formula
from tensorgrad.expr.evaluate import need_complex
from tensorgrad.expr.graph import topo
from tensorgrad.expr.leaf import LEAVES

Array = Any

_DIRECT = {
    "add": "add", "sub": "subtract", "mul": "multiply", "div": "true_divide", "neg": "negative",
    "lt": "less", "le": "less_equal", "eq": "equal", "and": "logical_and", "or": "logical_or",
    "not": "logical_not", "select": "where", "bitand": "bitwise_and", "bitor": "bitwise_or",
    "bitxor": "bitwise_xor", "shl": "left_shift", "shr": "right_shift", "invert": "invert",
}  # fmt: skip


def _softplus(x: Any) -> Any:
    return cupy.maximum(x, x.dtype.type(0)) + cupy.log1p(cupy.exp(-cupy.absolute(x)))


def _log_sigmoid(x: Any) -> Any:
    return cupy.minimum(x, x.dtype.type(0)) - cupy.log1p(cupy.exp(-cupy.absolute(x)))


_OWN: dict[str, Callable[..., Any]] = {
    "softplus": _softplus,
    "log_sigmoid": _log_sigmoid,
    "relu": lambda x: cupy.maximum(x, x.dtype.type(0)),
    "round": lambda x: cupy.rint(x) if x.dtype.kind == "f" else x.copy(),
    "clip": lambda x, low, high: cupy.minimum(cupy.maximum(x, low), high),
}
"""Leaves whose definition is a function of `expr.evaluate`."""


@cache
def function(name: str) -> Callable[..., Any]:
    """What computes a leaf: a function of CuPy, or of `cupyx.scipy`."""
    if name in _OWN:
        return _OWN[name]
    module, _, attribute = LEAVES[name].numpy.rpartition(".")
    found: Callable[..., Any] = getattr(
        import_module(f"cupyx.{module}" if module else "cupy"), attribute
    )
    return found


class Interpreter:
    """run(arrays, shape) -> one new array per output, computed in `dtype`.

    As `expr.evaluate.plan`: real arrays come in `dtype`; `shape` is that of the elements, or
    (rows, columns), and the arrays of a staged formula are (rows, columns), (rows, 1), (1, columns)
    or (1, 1).
    """

    def __init__(self, formula: Formula, dtype: Any) -> None:
        self._formula, self._dtype = formula, np.dtype(dtype)
        self._order = [e for e in topo(formula.outputs) if e.op not in ("input", "const")]
        if self._dtype.kind == "c" and single_ufunc(formula) is None:
            for e in self._order:
                need_complex(e, formula.name, self._dtype)

    def __call__(self, arrays: Sequence[Array], shape: tuple[int, ...]) -> list[Array]:
        values: dict[Expr, Any] = {  # CuPy's logic takes no complex numbers
            v: a != 0 if v.kind == "b" and a.dtype.kind == "c" else a
            for v, a in zip(self._formula.inputs, arrays, strict=True)
        }
        for e in self._order:
            values[e] = self._value(e, values, shape)
        outs: list[Array] = []
        for o in self._formula.outputs:
            value = values[o] if o in values else self._constant(o, o.kind == "f")
            outs.append(self._settled(value, o, shape, [*arrays, *outs]))
        return outs

    def _constant(self, e: Expr, real: bool) -> Any:
        if isinstance(e.value, bool):
            return np.bool_(e.value)
        return self._dtype.type(e.value) if real else e.value

    def _value(self, e: Expr, values: dict[Expr, Any], shape: tuple[int, ...]) -> Any:
        if e.op in ("lt", "le", "eq", "call"):
            real = any(a.kind == "f" for a in e.args) or e.kind == "f"
        else:
            real = e.kind == "f"
        args = [self._constant(a, real) if a.op == "const" else values[a] for a in e.args]
        if e.op in ("bc", "stop"):
            return args[0]
        if e.op == "call":
            return self._called(e.value, args)
        if e.op in _DIRECT:
            return getattr(cupy, _DIRECT[e.op])(*args)
        if e.op == "cast":
            return self._cast(e.kind, args[0])
        return _SHAPED[e.op](self, shape, *args)

    def _called(self, leaf: str, args: Sequence[Any]) -> Any:
        try:
            return function(leaf)(*args)
        except TypeError:
            if self._dtype.kind != "c":
                raise
        raise DTypeError(
            f"{self._formula.name}: got {self._dtype.name} arrays for {leaf} on a GPU, where it is "
            "known for real numbers alone, expected a real dtype; try x.to('cpu')"
        )

    def _cast(self, kind: str, a: Any) -> Any:
        integer = self._dtype if self._dtype.kind in "iu" else np.dtype(np.int64)
        return a.astype({"f": self._dtype, "i": integer, "b": np.dtype(bool)}[kind])

    def _count(self, axis: int, shape: tuple[int, ...]) -> Any:
        return self._dtype.type(shape[axis])

    def _at(self, shape: tuple[int, ...], a: Any, label: Any) -> Any:
        """One element of every row; a label out of range raises, which waits for the device."""
        t = _fit(label, (_rows(label), 1))
        bad = (t < 0) | (t >= shape[1])
        if bool(bad.any()):
            row = int(cupy.argmax(bad.reshape(-1)))
            raise IndexError(
                f"{self._formula.name}: got label {int(t[row, 0])} in row {row}, expected "
                f"0 <= label < {shape[1]}; try labels from 0, or more columns"
            )
        rows = _rows(t) if _rows(a) == 1 else _rows(a)
        wide = _fit(a, (rows, shape[1]))
        return wide[cupy.arange(rows)[:, None], _fit(t, (rows, 1))]

    def _settled(self, value: Any, o: Expr, shape: tuple[int, ...], taken: Sequence[Any]) -> Array:
        """An output of its full shape, in memory of its own."""
        if not self._formula.elementwise:
            shape = whole(o.index, (shape[0], shape[1]))
        if not isinstance(value, cupy.ndarray):
            kind = {"f": self._dtype, "i": np.int64, "b": np.bool_}[o.kind]
            return cupy.full(shape, value, kind)
        if value.shape == shape and all(value is not a for a in taken) and value.base is None:
            return value
        return cupy.broadcast_to(value, shape).copy()


def _rows(a: Any) -> int:
    return int(a.shape[0]) if getattr(a, "ndim", 0) == 2 else 1


def _fit(a: Any, shape: tuple[int, ...]) -> Any:
    found = a if isinstance(a, cupy.ndarray) else cupy.full((), a)
    return found if found.shape == shape else cupy.broadcast_to(found, shape)


def _rsum(_: Any, shape: tuple[int, ...], a: Any) -> Any:
    wide = _fit(a, (_rows(a), shape[1]))
    return cupy.sum(wide, axis=1, dtype=wide.dtype, keepdims=True)


def _rmax(_: Any, shape: tuple[int, ...], a: Any) -> Any:
    return cupy.max(_fit(a, (_rows(a), shape[1])), axis=1, keepdims=True)


def _isum(_: Any, shape: tuple[int, ...], a: Any) -> Any:
    columns = int(a.shape[1]) if getattr(a, "ndim", 0) == 2 else 1
    wide = _fit(a, (shape[0], columns))
    return cupy.sum(wide, axis=0, dtype=wide.dtype, keepdims=True)


_SHAPED: dict[str, Callable[..., Any]] = {
    "rsum": _rsum,
    "rmax": _rmax,
    "isum": _isum,
    "iota": lambda _, shape: cupy.arange(shape[1])[None],
    "index": lambda _, shape: cupy.arange(int(np.prod(shape))).reshape(shape),
    "ncols": lambda own, shape: own._count(1, shape),
    "nrows": lambda own, shape: own._count(0, shape),
    "at": lambda own, shape, a, label: own._at(shape, a, label),
}


def whole(index: int, extent: tuple[int, int]) -> tuple[int, int]:
    """The shape in which the interpreter takes and gives an array of this index set."""
    return (extent[0] if index & ROW else 1, extent[1] if index & COLUMN else 1)
