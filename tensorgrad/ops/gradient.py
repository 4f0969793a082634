"""`gradient`: slopes of a sampled function by second-order differences, as NumPy has it.

>>> gradient([1.0, 4.0, 9.0, 16.0])
tensor([3., 4., 6., 7.])
"""

from __future__ import annotations

from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes, shapes
from tensorgrad._errors import ShapeError, need
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import operation, primitive
from tensorgrad.ops.calculus import along, neighbours_p
from tensorgrad.ops.join import concatenate
from tensorgrad.ops.shape import astype, reshape


def _moved(inputs: Any, op: Primitive, axis: int, edge: int) -> Any:
    return op.bind(*inputs, axis=axis + 1, edge=edge)


slopes_p: Primitive = primitive(
    "slopes",
    nin=1,
    spec=lambda x, *, axis, edge: x,
    vjp=(lambda ct, out, x, *, axis, edge: unslopes_p.bind(ct, axis=axis, edge=edge),),
    linear=(0,),
    batch=lambda inputs, batched, *, axis, edge: _moved(inputs, slopes_p, axis, edge),
)
"""(x[k + 1] - x[k - 1]) / 2 along an axis; at the ends the difference of two points or of three."""

unslopes_p: Primitive = primitive(
    "unslopes",
    nin=1,
    spec=lambda x, *, axis, edge: Spec(x.shape, x.dtype),
    vjp=(lambda ct, out, x, *, axis, edge: slopes_p.bind(ct, axis=axis, edge=edge),),
    linear=(0,),
    batch=lambda inputs, batched, *, axis, edge: _moved(inputs, unslopes_p, axis, edge),
)
"""The adjoint of `slopes`."""


def _uneven(f: Any, x: Any, axis: int, edge: int) -> Any:
    """Slopes where the samples are at x: (left d₊ + right d₋) / (left + right), d± one-sided."""
    n, shape = f.shape[axis], [1] * f.ndim
    shape[axis] = -1
    step = neighbours_p.bind(x, axis=0, sign=-1)
    rise = neighbours_p.bind(f, axis=axis, sign=-1) / reshape(step, tuple(shape))
    left, right = step[:-1], step[1:]
    share = reshape(left / (left + right), tuple(shape))
    low, high = along(rise, axis, slice(0, n - 2)), along(rise, axis, slice(1, n - 1))
    first, last = along(rise, axis, slice(0, 1)), along(rise, axis, slice(n - 2, n - 1))
    if edge == 2:
        second, before = along(rise, axis, slice(1, 2)), along(rise, axis, slice(n - 3, n - 2))
        first = first + (first - second) * (step[0] / (step[0] + step[1]))
        last = last + (last - before) * (step[n - 2] / (step[n - 2] + step[n - 3]))
    return concatenate([first, low + share * (high - low), last], axis)


def _slopes(r: Any) -> Any:
    for shape, spacing, options in (
        ((5,), (), {}), ((3, 4), (), {}), ((3, 4), (0.5,), {"axis": 0}),
        ((4, 3), (), {"axis": -1, "edge_order": 2}),
        ((2, 3, 4), (2.0,), {"axis": (1, -1)}), ((2, 3, 4), (0.5, 2.0), {"axis": (2, 0)}),
        ((0, 3), (), {"axis": 1}), ((2,), (3,), {}),
    ):  # fmt: skip
        yield (r.normal(*shape), *spacing), options
    yield (r.normal(4, 3).T,), {"axis": 0}
    for edge in (1, 2):
        x = np.cumsum(r.uniform(0.5, 1.5, 5))
        yield (r.normal(5), x), {"edge_order": edge}
        yield (r.normal(5, 4), x, 0.5), {"edge_order": edge}
        yield (r.normal(6, 5)[::2], x), {"axis": -1, "edge_order": edge}
    yield (r.normal(4) + 1j * r.normal(4), 0.5), {}
    yield (r.integers(0, 9, 5),), {}


@operation(numpy="gradient", oracle="gradient", samples=_slopes)
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """The slopes of f along each axis (a tuple, or one array where there is one axis).

    Inside (f[k + 1] - f[k - 1]) / 2h, or its like for uneven samples; at the ends of first order
    (two points) or second (`edge_order=2`, three). `varargs`: one step for all axes, or per axis a
    step or the positions of the samples. Raises `ShapeError` where an axis has too few of them.
    """
    f = operand(f, (), "gradient")
    axes = (
        tuple(range(f.ndim))
        if axis is None
        else tuple(shapes.axis_index(k, f.ndim, "gradient") for k in _tuple(axis))
    )
    need(edge_order in (1, 2), "gradient", edge_order=edge_order, want="1 or 2",
         fix="edge_order=1", error=ValueError)  # fmt: skip
    need(len(varargs) in (0, 1, len(axes)), "gradient", spacings=len(varargs), axes=len(axes),
         want="one spacing, or one per axis", fix="gradient(f, 1.0)", error=TypeError)  # fmt: skip
    if not dtypes.is_inexact(f.dtype):
        f = astype(f, dtypes.float64)
    given = varargs * len(axes) if len(varargs) == 1 else varargs or (1.0,) * len(axes)
    found = [_along_axis(f, h, k, edge_order) for h, k in zip(given, axes)]
    return found[0] if len(axes) == 1 else tuple(found)


def _tuple(axis: Any) -> tuple[int, ...]:
    return tuple(axis) if isinstance(axis, tuple | list) else (axis,)


def _along_axis(f: Any, h: Any, axis: int, edge: int) -> Any:
    """The slopes along one axis, for a step or for the positions of the samples."""
    need(f.shape[axis] > edge, "gradient", f=f, axis=axis, edge_order=edge,
         want=f"{edge + 1} samples at least", fix="another axis", error=ShapeError)  # fmt: skip
    if isinstance(h, int | float):
        found = slopes_p.bind(f, axis=axis, edge=edge)
        return found if h == 1 else found / h
    h = operand(h, (f,), "gradient")
    if not h.ndim:
        return slopes_p.bind(f, axis=axis, edge=edge) / h
    need(h.shape == (f.shape[axis],), "gradient", f=f, axis=axis, spacing=h,
         want="a number, or one position per sample", fix="gradient(f, 1.0)",
         error=ShapeError)  # fmt: skip
    found = _uneven(f, h if dtypes.is_inexact(h.dtype) else astype(h, f.dtype), axis, edge)
    return astype(found, f.dtype, copy=False)
