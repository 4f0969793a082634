"""From arrays to plans: how the shapes and strides of x, y and out fit one call of cuBLASLt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NoReturn

from tensorgrad import shapes
from tensorgrad._errors import DTypeError, ShapeError, need
from tensorgrad.backend.cuda.plan import (
    AUX,
    BGRADA,
    BGRADB,
    BIAS,
    DRELU,
    EPILOGUES,
    GELU,
    OUTPUTS,
    RELU,
    NeedsCopy,
    Plan,
    aux_ld,
    halves,
    itemsize,
)

Array = Any
Operand = tuple[tuple[int, ...], tuple[int, ...], Any]
"""Shape, strides in bytes and dtype of an array: all that a plan reads of it."""


def matmul_plan(
    x: Array,
    y: Array,
    out: Array,
    *,
    epilogue: str = "none",
    bias: Array | None = None,
    aux: Array | None = None,
    alpha: float = 1.0,
    beta: float = 0.0,
    tf32: bool = False,
) -> Plan:
    """The plan of out = epilogue(alpha x @ y + beta out), from shapes, strides and dtypes alone.

    NumPy's rules: vectors, stacks of matrices, broadcasting; views are read where they are.
    `epilogue` is a name of `EPILOGUES`, or "bgrad_x" (bias = Σ of x over k) or "bgrad_y" (of y).
    `bias` is a vector in out's dtype, one for all matrices of a stack: in, or, for a gradient, out.
    `aux` is (rows, columns) in out's dtype for GELU and (rows, aux_ld / 8) in uint8 for ReLU; its
    rows may be longer.
    Raises `NeedsCopy` for what cannot be read in place, `ShapeError` and `DTypeError` for the rest;
    a product with no element anywhere is no plan.
    """
    bias, aux = (None if v is None else (v.shape, v.strides, v.dtype) for v in (bias, aux))
    return _plan(
        (x.shape, x.strides, x.dtype),
        (y.shape, y.strides, y.dtype),
        (out.shape, out.strides, out.dtype),
        (bias, aux),
        epilogue,
        (alpha, beta),
        tf32,
    )


@lru_cache(maxsize=4096)
def _plan(
    x: Operand,
    y: Operand,
    out: Operand,
    extra: tuple[Operand | None, Operand | None],
    epilogue: str,
    scale: tuple[float, float],
    tf32: bool,
) -> Plan:
    _check_dtypes(x[2], y[2], out[2])
    grid = _Grid(x, y, out)
    grid.fold()
    plain = grid.plan(x[2].name, out[2].name, tf32)
    plan = replace(plain, alpha=float(scale[0]), beta=float(scale[1]))
    if epilogue == "none":
        need(
            extra == (None, None),
            "matmul",
            epilogue=epilogue,
            want="no bias and no aux",
            fix='epilogue="bias"',
        )
        return plan
    return _with_epilogue(plan, epilogue, grid, *extra)


def _check_dtypes(x: Any, y: Any, out: Any) -> None:
    if x != y or out.name not in OUTPUTS.get(x.name, ()) or not (x.isnative and out.isnative):
        raise DTypeError(
            f"matmul: got {x.name} @ {y.name} into {out.name}, expected x and y of one floating "
            "dtype and an out of the same (float32 also for 16-bit floats); try x.astype(y.dtype)"
        )


class _Grid:
    """The product as three strided grids over the indices (batch ..., row, column, k)."""

    def __init__(self, x: Operand, y: Operand, out: Operand) -> None:
        (xs, xt), (ys, yt) = _elements("x", x), _elements("y", y)
        os, ot = _elements("out", out)
        need(xs and ys, "matmul", x=xs, y=ys, want="at least one axis", fix="np.multiply")
        if len(xs) == 1:
            xs, xt, os, ot = [1, *xs], [0, *xt], _insert(os, 1, ys), _insert(ot, 0, ys)
        if len(ys) == 1:
            ys, yt, os, ot = [*ys, 1], [*yt, 0], [*os, 1], [*ot, 0]
        self.m, self.k, self.n = xs[-2], xs[-1], ys[-1]
        lead = shapes.broadcast(tuple(xs[:-2]), tuple(ys[:-2]), op="matmul")
        if ys[-2] != self.k or os != [*lead, self.m, self.n]:
            raise ShapeError(
                f"matmul: got shapes {x[0]} @ {y[0]} into {out[0]}, expected (..., m, k) @ "
                "(..., k, n) into (..., m, n); try y.swapaxes(-1, -2)"
            )
        if not all((*os, self.k)):
            raise ShapeError(
                f"matmul: got shapes {x[0]} @ {y[0]}, expected at least one element everywhere; "
                "try out.fill(0)"
            )
        self.x, self.y, self.out = xt[-2:], yt[-2:], ot[-2:]
        wide = [_broadcast(size[:-2], step[:-2], lead) for size, step in ((xs, xt), (ys, yt))]
        axes = [axis for axis in zip(lead, *wide, ot[:-2]) if axis[0] > 1]
        self.batch = sorted(axes, key=lambda axis: -axis[3])
        """(size, stride of x, of y, of out), the axis that is longest in out's memory first."""

    def fold(self) -> None:
        """Make batch axes that y (or x) lacks more rows (or columns), and merge the rest."""
        while self.batch and (self._taller() or self._wider()):
            self.batch.pop()
        merged: list[tuple[int, int, int, int]] = []
        for axis in self.batch:
            size, *steps = axis
            if merged and list(merged[-1][1:]) == [size * step for step in steps]:
                axis = (merged.pop()[0] * size, *axis[1:])
            merged.append(axis)
        self.batch = merged

    def _taller(self) -> bool:
        """Whether the last batch axis became more rows of x and out."""
        size, sx, sy, so = self.batch[-1]
        rows = self.m * size
        x = [sx if self.m == 1 else self.x[0], self.x[1]]
        out = [so if self.m == 1 else self.out[0], self.out[1]]
        if (
            sy != 0
            or (sx, so) != (self.m * x[0], self.m * out[0])
            or not (_lies(rows, self.k, x) and _lies(rows, self.n, out))
        ):
            return False
        self.m, self.x, self.out = rows, x, out
        return True

    def _wider(self) -> bool:
        """Whether the last batch axis became more columns of y and out."""
        size, sx, sy, so = self.batch[-1]
        columns = self.n * size
        y = [self.y[0], sy if self.n == 1 else self.y[1]]
        out = [self.out[0], so if self.n == 1 else self.out[1]]
        if (
            sx != 0
            or (sy, so) != (self.n * y[1], self.n * out[1])
            or not (_lies(self.k, columns, y) and _lies(self.m, columns, out))
        ):
            return False
        self.n, self.y, self.out = columns, y, out
        return True

    def plan(self, dtype: str, out_dtype: str, tf32: bool) -> Plan:
        """The plan of the product alone; raises `NeedsCopy`."""
        by_column, ldd = _layout("out", self.m, self.n, self.out)
        x_turned, ldx = _layout("x", self.m, self.k, self.x)
        y_turned, ldy = _layout("y", self.k, self.n, self.y)
        for which, name in enumerate(("x", "y", "out"), 1):
            if any(axis[which] < 0 for axis in self.batch):
                raise NeedsCopy(name, "with a reversed axis")
        # A matrix that lies by rows is, read by columns, its own transpose.
        if by_column:
            m, n, a, b = self.m, self.n, (not x_turned, ldx), (not y_turned, ldy)
            axes = self.batch
        else:
            m, n, a, b = self.n, self.m, (y_turned, ldy), (x_turned, ldx)
            axes = [(size, sy, sx, so) for size, sx, sy, so in self.batch]
        inner = max(axes, key=lambda axis: axis[0], default=(1, 0, 0, 0))
        wide = "float64" if dtype in ("float64", "complex128") else "float32"
        return Plan(
            *(m, n, self.k, a[0], b[0], a[1], b[1], ldd, dtype, out_dtype),
            compute="tf32" if tf32 and wide == "float32" and not halves(dtype) else wide,
            swap=not by_column,
            batch=inner[0],
            stride_a=inner[1],
            stride_b=inner[2],
            stride_d=inner[3],
            outer=tuple(axis for axis in axes if axis is not inner),
        )


def _elements(name: str, operand: Operand) -> tuple[list[int], list[int]]:
    """Shape, and strides in elements."""
    shape, strides, dtype = operand
    if any(step % dtype.itemsize for step in strides):
        raise NeedsCopy(name, f"of strides {strides} bytes")
    return list(shape), [step // dtype.itemsize for step in strides]


def _insert(values: list[int], value: int, y_shape: Sequence[int]) -> list[int]:
    """The value of the row that a vector x lacks, before that of the column if there is one."""
    place = max(len(values) - (len(y_shape) > 1), 0)
    return [*values[:place], value, *values[place:]]


def _broadcast(shape: list[int], steps: list[int], lead: tuple[int, ...]) -> list[int]:
    missing = len(lead) - len(shape)
    return [0] * missing + [0 if size == 1 else step for size, step in zip(shape, steps)]


def _lies(rows: int, columns: int, steps: list[int]) -> tuple[bool, int] | None:
    """Whether a matrix lies by columns in memory, and its leading dimension; None for neither."""
    down, across = steps
    if (across == 1 or columns == 1) and (down >= columns or rows == 1):
        return False, down if rows > 1 else columns
    if (down == 1 or rows == 1) and (across >= rows or columns == 1):
        return True, across if columns > 1 else rows
    return None


def _layout(name: str, rows: int, columns: int, steps: list[int]) -> tuple[bool, int]:
    """As `_lies`; raises `NeedsCopy` for neither."""
    if columns == 1 and steps[0] == 1 and rows > 1 and name != "out":
        return True, rows  # a vector is better one column than many rows of one element
    found = _lies(rows, columns, steps)
    if found is None:
        down, across = steps
        raise NeedsCopy(name, f"({rows}, {columns}) with strides ({down}, {across}) elements")
    return found


def _with_epilogue(
    plan: Plan, epilogue: str, grid: _Grid, bias: Operand | None, aux: Operand | None
) -> Plan:
    sides = {"bgrad_x": plan.swap, "bgrad_y": not plan.swap}
    if epilogue in sides:
        epilogue = "bgradb" if sides[epilogue] else "bgrada"
    elif epilogue not in EPILOGUES or epilogue in ("bgrada", "bgradb"):
        names = " ".join(sorted({*EPILOGUES, *sides} - {"bgrada", "bgradb"}))
        raise ShapeError(f"matmul: got epilogue={epilogue!r}, expected one of {names}; try 'none'")
    if plan.dtype.startswith("complex"):
        raise DTypeError(
            f"matmul: got {plan.dtype} with epilogue={epilogue!r}, expected a real dtype; "
            "try the product alone, and a kernel"
        )
    flags = EPILOGUES[epilogue]
    if grid.batch and flags & ~(RELU | GELU | BIAS):
        _refuse_batch(grid, epilogue)
    if not plan.swap and flags & ~(RELU | GELU | BGRADA | BGRADB):
        raise NeedsCopy("out", "that lies by columns")
    found = replace(plan, epilogue=epilogue, aux_ld=_aux(plan, epilogue, aux))
    _check_bias(found, bias)
    return found


def _check_bias(plan: Plan, bias: Operand | None) -> None:
    length, size = plan.bias_length, itemsize(plan.out_dtype)
    shape, strides, dtype = bias or ((), (), None)
    if bias is None and not length:
        return
    if (
        dtype is None
        or not length
        or (shape, dtype.name) != ((length,), plan.out_dtype)
        or (length > 1 and strides != (size,))
    ):
        shown = "no bias" if dtype is None else f"a bias of {dtype.name}{shape} strides {strides}"
        want = f"a contiguous {plan.out_dtype}({length})" if length else "none"
        raise ShapeError(
            f"matmul: got {shown} with epilogue={plan.epilogue!r}, expected {want}; "
            f"try {'bias.astype(out.dtype)' if length else 'bias=None'}"
        )


def _refuse_batch(grid: _Grid, epilogue: str) -> NoReturn:
    _, sx, sy, _ = grid.batch[-1]
    if not sy:
        raise NeedsCopy("x" if sx != grid.m * grid.x[0] else "out", "whose rows are not one stack")
    raise ShapeError(
        f"matmul: got a stack of matrices with epilogue={epilogue!r}, expected one matrix y; "
        "try the product alone, and a kernel"
    )


def _aux(plan: Plan, epilogue: str, aux: Operand | None) -> int:
    """The leading dimension of an aux buffer, after a check of it."""
    flags = EPILOGUES[epilogue]
    if not flags & AUX:
        if aux:
            raise ShapeError(
                f"matmul: got aux with epilogue={epilogue!r}, expected none; try no aux"
            )
        return 0
    rows, columns, mask = plan.n, plan.m, flags & (RELU | DRELU)
    least = aux_ld(columns, epilogue)
    size, unit = (1, 16) if mask else (itemsize(plan.out_dtype), 8)
    kind, width = ("uint8", least // 8) if mask else (plan.out_dtype, columns)
    shape, strides, dtype = aux or ((), (), None)
    if (
        dtype is None
        or (shape, dtype.name) != ((rows, width), kind)
        or (width > 1 and strides[1] != size)
        or (rows > 1 and (strides[0] < width * size or strides[0] % (unit * size)))
    ):
        shown = "no aux" if dtype is None else f"aux of {dtype.name}{shape} strides {strides}"
        raise ShapeError(
            f"matmul: got {shown} with epilogue={epilogue!r}, expected {kind}({rows}, {width}) "
            f"whose rows start multiples of {unit * size} bytes apart; "
            f"try empty(({rows}, {least // 8 if mask else least}), {kind!r})[:, :{width}]"
        )
    ld = least if rows == 1 else strides[0] // size * (8 if mask else 1)
    return max(ld, least)
