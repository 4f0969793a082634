"""A function of NumPy's users applied slice by slice, or axis by axis."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad import shapes
from tensorgrad._errors import need
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import operation
from tensorgrad.ops.axes import moveaxis, transpose
from tensorgrad.ops.join import stack
from tensorgrad.ops.shape import Sizes, expand_dims, reshape, sizes
from tensorgrad.ops.splitting import unstack


def _norm(v: Any) -> Any:
    return np.sum(v * v)


def _need_function(op: str, function: Any) -> None:
    if not callable(function):
        raise TypeError(
            f"{op}: got {function!r}, expected a function of an array; try {op}(np.sum, ...)"
        )


def _outer(v: Any) -> Any:
    return np.outer(v, v)


def _double(v: Any, *, by: float = 2.0) -> Any:
    return v * by


def _slices(r: Any) -> Any:
    for shape, function, axis in (
        ((5,), _norm, 0), ((3, 4), _norm, 0), ((3, 4), _double, -1), ((2, 3, 4), _norm, 1),
        ((2, 3, 2), _outer, 1), ((1, 3, 1), _double, 1), ((3, 2), _outer, 0),
    ):  # fmt: skip
        yield (function, axis, r.normal(*shape)), {}
    yield (_double, 0, r.normal(4, 3).T), {"by": 3.0}
    yield (_norm, 1, r.normal(6, 4)[::2, ::-1]), {}


@operation(numpy="apply_along_axis", oracle="apply_along_axis", samples=_slices)
def apply_along_axis(
    func1d: Callable[..., Any], axis: int, arr: Any, *args: Any, **kwargs: Any
) -> Any:
    """func1d(slice, *args, **kwargs) of every slice along an axis, in the place of that axis.

    One call per slice: an operation that takes `axis=` is faster. Raises `ShapeError` for no slice.
    """
    op, a = "apply_along_axis", operand(arr)
    _need_function(op, func1d)
    axis = shapes.axis_index(axis, a.ndim, op)
    moved = moveaxis(a, axis, -1)
    lead, size = moved.shape[:-1], a.shape[axis]
    count = math.prod(lead)
    need(count, op, arr=a, axis=axis, want="one slice at least", fix="zeros of the result's shape",
         error=ValueError)  # fmt: skip
    rows = unstack(reshape(moved, (count, size)))
    found = [operand(func1d(row, *args, **kwargs), (a,)) for row in rows]
    inner = found[0].shape
    full = reshape(stack(found), (*lead, *inner))
    width, last = len(inner), len(lead)
    order = (*range(axis), *range(last, last + width), *range(axis, last))
    return full if order == tuple(range(full.ndim)) else transpose(full, order)


def _several(r: Any) -> Any:
    for shape, function, axes in (
        ((5,), np.sum, 0), ((3, 4), np.sum, (0, 1)), ((3, 4), np.mean, -1),
        ((2, 3, 4), np.sum, [0, 2]), ((0, 3), np.sum, 0), ((1, 3, 1), np.sum, (0, 2)),
        ((2, 3, 4), np.cumsum, (1,)), ((3, 4), np.sum, [-1, 0]),
    ):  # fmt: skip
        yield (function, r.normal(*shape), axes), {}
    yield (np.sum, r.normal(4, 3).T, (0,)), {}


@operation(numpy="apply_over_axes", oracle="apply_over_axes", samples=_several)
def apply_over_axes(func: Callable[..., Any], a: Any, axes: Sizes) -> Any:
    """func(a, axis) axis after axis, each with length 1 where func takes it away.

    Raises `ShapeError` where it does otherwise to the axes.
    """
    found = operand(a)
    _need_function("apply_over_axes", func)
    for axis in sizes(axes):
        axis = shapes.axis_index(axis, found.ndim, "apply_over_axes")
        result = operand(func(found, axis), (found,))
        if result.ndim != found.ndim:
            result = expand_dims(result, axis)
        need(result.ndim == found.ndim, "apply_over_axes", before=found, after=result,
             want="as many axes as before, or one less", fix="keepdims=True",
             error=ValueError)  # fmt: skip
        found = result
    return found
