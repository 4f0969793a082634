"""The expression IR: scalar formulas as data, their derivatives and their meaning on NumPy."""

from tensorgrad.expr.check import verify
from tensorgrad.expr.formula import Derivative, Formula, row_values
from tensorgrad.expr.graph import topo
from tensorgrad.expr.ir import (
    COLUMN,
    ELEMENT,
    ROW,
    SCALAR,
    Expr,
    call,
    cast,
    const,
    element_index,
    equal,
    input,
    lift,
    where,
)
from tensorgrad.expr.leaf import LEAVES, Leaf, find_leaf
from tensorgrad.expr.rows import at, bc, iota, isum, ncols, nrows, rmax, rsum, stop
from tensorgrad.expr.show import show

__all__ = [
    "COLUMN",
    "ELEMENT",
    "LEAVES",
    "ROW",
    "SCALAR",
    "Derivative",
    "Expr",
    "Formula",
    "Leaf",
    "at",
    "bc",
    "call",
    "cast",
    "const",
    "element_index",
    "equal",
    "find_leaf",
    "input",
    "iota",
    "isum",
    "lift",
    "ncols",
    "nrows",
    "rmax",
    "row_values",
    "rsum",
    "show",
    "stop",
    "topo",
    "verify",
    "where",
]
