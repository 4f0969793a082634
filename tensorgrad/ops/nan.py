"""Reductions and running operations of what is a number: NaNs are left out.

Their gradient is 0 where an element is NaN. A result of nothing is what NumPy gives: 0 for sums, 1
for products, NaN for the rest.
"""

from __future__ import annotations

from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes, shapes
from tensorgrad._errors import TensorgradError, describe, need
from tensorgrad.core.formula import Reduce
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import known, operation
from tensorgrad.expr import ELEMENT, SCALAR, call, rsum, where
from tensorgrad.ops.compare import isnan, logical_not
from tensorgrad.ops.cumulative import cumprod, cumsum
from tensorgrad.ops.elementwise import fmax, fmin
from tensorgrad.ops.elementwise import where as select
from tensorgrad.ops.extremes import extreme, place, reduced_extreme, single_axis
from tensorgrad.ops.reduce import (
    counted,
    floating,
    freedom_less,
    masked,
    prod,
    start_value,
    std_root_p,
    sum,
    var,
    with_kept,
)
from tensorgrad.ops.shape import astype

NAN = float("nan")

# -- formulas ----------------------------------------------------------------------------------


def _count(x: Any) -> Any:
    return rsum(where(call("isnan", x), 0.0, 1.0))


def _total(x: Any) -> Any:
    return rsum(where(call("isnan", x), 0.0, x))


def _var(x: Any, less: Any) -> Any:
    d = where(call("isnan", x), 0.0, x - _total(x) / _count(x))
    left = _count(x) - less
    return where(left <= 0.0, NAN, rsum(d * d) / left)


nansum_p = known(Reduce.trace("nansum", _total, {"x": ("f", ELEMENT)}))
nanmean_p = known(Reduce.trace("nanmean", lambda x: _total(x) / _count(x), {"x": ("f", ELEMENT)}))
nanvar_p = known(Reduce.trace("nanvar", _var, {"x": ("f", ELEMENT), "less": ("f", SCALAR)}))
nanmax_p, nanmin_p = extreme("nanmax"), extreme("nanmin")


def _staged(found: Any, a: Any, axis: shapes.Shape, keepdims: bool, *more: Any) -> Any:
    return with_kept(found.bind(a, *more, axis=axis, shape=a.shape), a, axis, keepdims)


def _formula(a: Any, axis: shapes.Shape) -> bool:
    """Whether a staged formula computes it: real floats, an element at least."""
    return dtypes.is_float(a.dtype) and bool(a.size and axis)


def without(a: Any, value: float) -> Any:
    """The array with `value` in the place of every NaN."""
    return select(isnan(a), value, a) if dtypes.is_inexact(a.dtype) else a


def holes(r: Any, make: Any = None) -> Any:
    """`several_axes` with some NaNs, never along a whole axis."""
    for (x,), options in r.several_axes(make or r.normal):
        x = np.array(x) if 0 in x.strides else x
        if x.size > 3:
            x[(0,) * (x.ndim - 1) + (1,)] = np.nan
            x[(-1,) * x.ndim] = np.nan
        yield (x,), options


# -- sums, products, means ---------------------------------------------------------------------


def _totals(r: Any) -> Any:
    yield from holes(r)
    for (x,), options in list(holes(r))[-2:]:
        mask = r.bools(3, 1)
        yield (x,), {**options, "where": mask, "initial": 2.0}
    yield (r.normal(3, 4) + 1j * r.normal(3, 4),), {"axis": 0}


@operation(numpy="nansum", oracle="nansum", samples=_totals)
def nansum(
    a: Any,
    axis: shapes.Axis = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """`sum` of what is a number.

    >>> nansum([1.0, float("nan"), 2.0])
    tensor(3.)
    """
    a = operand(a)
    if dtype is not None:
        a = astype(a, dtype, copy=False)
    over = shapes.axes(axis, a.ndim, "nansum")
    a = masked("nansum", a, where, 0)
    if _formula(a, over):
        found = _staged(nansum_p, a, over, keepdims)
        return found if initial is None else found + start_value("nansum", initial, found)
    return sum(without(a, 0.0), over, dtype, keepdims=keepdims, initial=initial)


def _products(r: Any) -> Any:
    yield from holes(r, lambda *shape: r.uniform(0.5, 1.5, *shape))
    yield (r.uniform(0.5, 1.5, 3, 4),), {"axis": 0, "where": r.bools(3, 4), "initial": 2.0}


@operation(numpy="nanprod", oracle="nanprod", samples=_products)
def nanprod(
    a: Any,
    axis: shapes.Axis = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """`prod` of what is a number."""
    a = without(operand(a), 1.0)
    return prod(a, axis, dtype, keepdims=keepdims, initial=initial, where=where)


def _means(r: Any) -> Any:
    yield from holes(r)
    mask = r.bools(3, 4)
    mask[:, 0] = True
    yield (r.normal(3, 4),), {"axis": 1, "where": mask}
    yield (r.normal(3, 4) + 1j * r.normal(3, 4),), {"axis": 0}


@operation(numpy="nanmean", oracle="nanmean", samples=_means)
def nanmean(
    a: Any,
    axis: shapes.Axis = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    where: Any = True,
) -> Any:
    """`mean` of what is a number.

    >>> nanmean([1.0, float("nan"), 2.0])
    tensor(1.5)
    """
    freedom_less("nanmean", dtype, 0, None)
    a = floating(a, dtype)
    over = shapes.axes(axis, a.ndim, "nanmean")
    a = masked("nanmean", a, where, NAN)
    if _formula(a, over):
        return _staged(nanmean_p, a, over, keepdims)
    count = counted("nanmean", a, over, logical_not(isnan(a)), keepdims)
    return sum(without(a, 0.0), over, keepdims=keepdims) / count


# -- variances ---------------------------------------------------------------------------------


def _moments(r: Any) -> Any:
    yield from holes(r)
    mask = r.bools(3, 4)
    mask[:, :2] = True
    yield (r.normal(3, 4),), {"axis": 1, "where": mask, "ddof": 1}
    x = r.normal(2, 3, 4)
    yield (x,), {"axis": 2, "mean": x.mean(2, keepdims=True) + 0.5, "correction": 1}
    yield (r.normal(3, 4) + 1j * r.normal(3, 4),), {"axis": 0}


@operation(numpy="nanvar", oracle="nanvar", samples=_moments)
def nanvar(
    a: Any,
    axis: shapes.Axis = None,
    dtype: Any = None,
    *,
    ddof: float = 0,
    keepdims: bool = False,
    where: Any = True,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """`var` of what is a number; NaN where no degree of freedom is left."""
    a = floating(a, dtype)
    over = shapes.axes(axis, a.ndim, "nanvar")
    less = freedom_less("nanvar", dtype, ddof, correction)
    a = masked("nanvar", a, where, NAN)
    if mean is None and _formula(a, over):
        return _staged(nanvar_p, a, over, keepdims, operand(float(less), (a,)))
    there = logical_not(isnan(a))
    found = var(without(a, 0.0), over, ddof=less, keepdims=keepdims, where=there, mean=mean)
    left = counted("nanvar", a, over, there, keepdims) - less
    return select(left > 0, found, NAN)


def _roots(r: Any) -> Any:
    for (x,), options in _moments(r):
        if x.ndim:
            yield (x,), options


@operation(numpy="nanstd", oracle="nanstd", samples=_roots)
def nanstd(
    a: Any,
    axis: shapes.Axis = None,
    dtype: Any = None,
    *,
    ddof: float = 0,
    keepdims: bool = False,
    where: Any = True,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """`std` of what is a number."""
    options: Any = {"ddof": ddof, "keepdims": keepdims, "correction": correction}
    return std_root_p.bind(nanvar(a, axis, dtype, **options, where=where, mean=mean))


# -- extremes ----------------------------------------------------------------------------------


def _peaks(r: Any) -> Any:
    yield from holes(r, r.apart)
    yield (r.apart(3, 4),), {"axis": 1, "where": r.bools(3, 4), "initial": 0.0}


@operation(numpy="nanmax", oracle="nanmax", samples=_peaks)
def nanmax(
    a: Any,
    axis: shapes.Axis = None,
    *,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """`max` of what is a number; ties share the gradient equally."""
    return reduced_extreme("nanmax", nanmax_p, fmax, a, axis, keepdims, initial, where)


@operation(numpy="nanmin", oracle="nanmin", samples=_peaks)
def nanmin(
    a: Any,
    axis: shapes.Axis = None,
    *,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """`min` of what is a number; ties share the gradient equally."""
    return reduced_extreme("nanmin", nanmin_p, fmin, a, axis, keepdims, initial, where)


nanargmax_p, nanargmin_p = place("nanargmax"), place("nanargmin")


def _one_axis(r: Any) -> Any:
    for (x,), options in holes(r, r.apart):
        if x.size and not isinstance(options.get("axis"), tuple):
            yield (x,), options


def _where(name: str, found: Any, a: Any, axis: int | None, keepdims: bool) -> Any:
    a = operand(a)
    need(a.dtype.kind != "c", name, a=a, want="a real array", fix="abs(a)", error=TypeError)
    axis = single_axis(name, axis, a.ndim)
    try:
        return found.bind(a, axis=axis, keepdims=keepdims)
    except ValueError as error:
        if isinstance(error, TensorgradError):
            raise
        raise ValueError(
            f"{name}: got a={describe(a)}, axis={axis}, expected a number in every slice "
            f"({error}); try nan_to_num(a, nan=...) with what is to stand for NaN"
        ) from None


@operation(numpy="nanargmax", oracle="nanargmax", samples=_one_axis, orders=0)
def nanargmax(a: Any, axis: int | None = None, *, keepdims: bool = False) -> Any:
    """The position of the largest number, the first of several; flat without axis.

    int64. Raises `ValueError` on the CPU where all elements are NaN.
    """
    return _where("nanargmax", nanargmax_p, a, axis, keepdims)


@operation(numpy="nanargmin", oracle="nanargmin", samples=_one_axis, orders=0)
def nanargmin(a: Any, axis: int | None = None, *, keepdims: bool = False) -> Any:
    """The position of the smallest number, the first of several; flat without axis.

    int64. Raises `ValueError` on the CPU where all elements are NaN.
    """
    return _where("nanargmin", nanargmin_p, a, axis, keepdims)


# -- running sums and products -----------------------------------------------------------------


def _running(r: Any) -> Any:
    for (x,), options in holes(r):
        if not isinstance(options.get("axis"), tuple):
            yield (x,), {"axis": options["axis"]} if "axis" in options else {}


@operation(numpy="nancumsum", oracle="nancumsum", samples=_running)
def nancumsum(a: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """`cumsum` with 0 in the place of NaN."""
    return cumsum(without(operand(a), 0.0), axis, dtype)


@operation(numpy="nancumprod", oracle="nancumprod", samples=_running)
def nancumprod(a: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """`cumprod` with 1 in the place of NaN."""
    return cumprod(without(operand(a), 1.0), axis, dtype)
