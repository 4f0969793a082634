"""The nodes of reduce formulas: sums and maxima over a (row, column) view, and what they need."""

from __future__ import annotations

from typing import Any

from tensorgrad.expr.ir import COLUMN, ROW, SCALAR, Expr, lift, new


def stop(value: Any) -> Expr:
    """`value` with its derivative declared zero (the shift of a logsumexp)."""
    e = lift(value)
    return e if e.op in ("const", "stop") else new("stop", (e,), None, e.kind, e.index)


def bc(value: Any, index: int) -> Expr:
    """`value` broadcast to the index set `index` (and its own)."""
    e = lift(value)
    if e.index | index == e.index:
        return e
    inner = e.args[0] if e.op == "bc" else e
    return new("bc", (inner,), None, e.kind, e.index | index)


def rsum(e: Any) -> Expr:
    """Σ over the columns of a row; what does not depend on the column is counted each time."""
    e = bc(e, COLUMN)
    return new("rsum", (e,), None, _number("rsum", e), e.index & ROW)


def rmax(e: Any) -> Expr:
    """The largest over the columns of a row; its derivative is shared equally among ties."""
    e = bc(e, COLUMN)
    return new("rmax", (e,), None, _number("rmax", e), e.index & ROW)


def isum(e: Any) -> Expr:
    """Σ over the rows; legal only as an output."""
    e = bc(e, ROW)
    return new("isum", (e,), None, _number("isum", e), e.index & COLUMN)


def _number(op: str, e: Expr) -> str:
    if e.kind == "b":
        raise TypeError(f"{op}: got the bool value {e}, expected a number; try where(c, 1, 0)")
    return e.kind


def iota() -> Expr:
    """The number of the column, from 0."""
    return new("iota", (), None, "i", COLUMN)


def at(e: Any, label: Any) -> Expr:
    """The value of `e` at column `label` of its row; labels are range-checked when it runs."""
    e, t = lift(e), lift(label)
    if not e.index & COLUMN or t.index & COLUMN or t.kind != "i":
        raise TypeError(
            f"at: got {e} and the label {t} of kind {t.kind!r}, expected a value with a column "
            "and an integer label without; try at(x, input('label', 'i', ROW))"
        )
    return new("at", (e, t), None, e.kind, t.index | (e.index & ROW))


def ncols() -> Expr:
    """The number of columns, as a real number."""
    return new("ncols", (), None, "f", SCALAR)


def nrows() -> Expr:
    """The number of rows, as a real number."""
    return new("nrows", (), None, "f", SCALAR)
