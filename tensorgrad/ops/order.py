"""The orders in which NumPy reads elements (C, Fortran, as in memory), and permuted axes."""

from __future__ import annotations

from typing import Any

from tensorgrad import shapes
from tensorgrad._errors import need
from tensorgrad.core.primitive import Primitive, Spec
from tensorgrad.core.registry import primitive


def _inverse(axes: shapes.Shape) -> shapes.Shape:
    return tuple([axes.index(k) for k in range(len(axes))])


def _transpose_spec(x: Spec, *, axes: shapes.Shape) -> Spec:
    need(
        sorted(axes) == list(range(x.ndim)),
        "transpose",
        x=x,
        axes=axes,
        want=f"each of the {x.ndim} axes once",
        fix="moveaxis, to name only the axes that move",
    )
    return Spec(tuple(x.shape[k] for k in axes), x.dtype)


transpose_p: Primitive = primitive(
    "transpose",
    nin=1,
    spec=_transpose_spec,
    vjp=(lambda ct, out, x, *, axes: transpose_p.bind(ct, axes=_inverse(axes)),),
    linear=(0,),
    batch=lambda inputs, batched, *, axes: transpose_p.bind(
        inputs[0], axes=(0, *(k + 1 for k in axes))
    ),
    view=True,
)


def letter(op: str, order: Any, allowed: str) -> str:
    """An order as a capital letter; raises `ShapeError` for one that `op` does not know."""
    found = "K" if order is None else str(order).upper()[:1]
    need(
        found and found in allowed,
        op,
        order=order,
        want=f"one of {' '.join(allowed)}",
        fix="order='C'",
    )
    return found


def _steps(a: Any) -> shapes.Shape:
    """The strides of a tensor's own axes in memory, whatever batch is hidden in front of them."""
    return tuple(a.value().strides[-a.ndim :]) if a.ndim else ()


def by_memory(a: Any) -> str:
    """What order A is for an array: F where it lies in Fortran order and not in C order, else C."""
    steps, block, fortran = _steps(a), a.dtype.itemsize, True
    for size, step in zip(a.shape, steps):
        fortran = fortran and (size == 1 or step == block)
        block *= size
    block, plain = a.dtype.itemsize, True
    for size, step in zip(a.shape[::-1], steps[::-1]):
        plain = plain and (size == 1 or step == block)
        block *= size
    return "F" if fortran and not plain else "C"


def reversed_axes(a: Any) -> Any:
    """The array with its axes the other way round; a view."""
    return transpose_p.bind(a, axes=tuple(range(a.ndim - 1, -1, -1)))


def along_memory(a: Any) -> Any:
    """The array with its axes sorted by their strides, the longest first: order K; a view."""
    steps = _steps(a)
    axes = tuple(sorted(range(a.ndim), key=lambda k: -abs(steps[k])))
    return a if axes == tuple(range(a.ndim)) else transpose_p.bind(a, axes=axes)
