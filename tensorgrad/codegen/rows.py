"""Reduce formulas as generated code: sums and maxima over the columns of a (row, column) view."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad.codegen.compiler import compiler
from tensorgrad.codegen.kernels import KERNELS
from tensorgrad.codegen.rows_entry import Operand, by_ctypes, straight
from tensorgrad.codegen.rows_leading import Leading
from tensorgrad.codegen.rows_plan import supports
from tensorgrad.codegen.rows_text import HEAD, Emitter
from tensorgrad.codegen.rows_trailing import Trailing
from tensorgrad.codegen.ufunc import layout_known
from tensorgrad.expr.formula import Formula
from tensorgrad.expr.show import show

NARROW = (16, 8)
"""Columns up to which rows take vectors of half the width, by float32 and float64.

What is not there adds 0 to a sum: the lanes of the other half make no difference.
"""


def function(
    formula: Formula, dtype: Any, leading: bool, narrow: bool = False, machine: str = ""
) -> str:
    """`i64 @KERNEL(ptr operands, i64 rows, i64 columns, i64 start, i64 stop, i64 part)` as text.

    The first line is a comment with the formula. `machine` is the name of the processor's family,
    by default this one's. KeyError where its floating-point flags cannot be kept.
    """
    double = np.dtype(dtype) == np.dtype(np.float64)
    machine = machine or platform.machine()
    emitter: Emitter
    if leading:
        emitter = Leading(formula, double, machine)
    else:
        emitter = Trailing(formula, double, machine, NARROW[double] if narrow else 0)
    body = emitter.write()
    comment = "; " + " ".join(show(formula).split())
    return "\n".join([comment, HEAD, body, "}", *emitter.text.below(), ""])


def _build(
    formula: Formula, dtype: np.dtype[Any], leading: bool, narrow: bool
) -> Callable[..., int] | None:
    if not supports(formula, dtype, leading):
        return None
    address = compiler().address(function(formula, dtype, leading, narrow))
    operands = [Operand(e, dtype) for e in (*formula.inputs, *formula.outputs)]
    if layout_known():
        return straight(formula.name, address, operands, compiler().address)
    return by_ctypes(address, operands)


def reduction(
    formula: Formula, dtype: Any, leading: bool, columns: int = 2**31 - 1
) -> Callable[..., int] | None:
    """run(rows, columns, start, stop, part, *arrays) -> int; None where there is no kernel.

    Computes the rows from `start` up to `stop`. `arrays` are the inputs, then the outputs: exact,
    contiguous, aligned ndarrays of `dtype` (float32 or float64; int64 or bool where the formula
    wants integers or bools), of any shape, with the elements of their index set. In memory rows
    lie one after the other and `part` is the number of rows in each partial sum: an output that is
    a sum over rows has ceil(rows / part) lines, to be added up, and `start` is a multiple of
    `part`. With `leading` rows lie side by side: (columns, part) in memory, rows / part times.

    Returns -1, or the first row whose label is out of range, -2 where the arrays are others, -3
    out of memory; unless it is -1 the outputs are undefined. Code made for few `columns` may be
    quicker on them: its results are the same, bit for bit.
    """
    wanted = np.dtype(dtype)
    narrow = not leading and columns <= NARROW[wanted.itemsize == 8]
    mark = ("rows", formula, wanted.str, leading, narrow)
    return KERNELS.find(mark, lambda: _build(formula, wanted, leading, narrow))  # type: ignore[no-any-return]
