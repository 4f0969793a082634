"""Sliding windows over an array: a view, and its adjoint."""

from __future__ import annotations

from typing import Any

from tensorgrad import shapes
from tensorgrad._errors import need
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import operation, primitive
from tensorgrad.ops.shape import Sizes, sizes


def _windows_spec(x: Spec, *, axis: int, size: int) -> Spec:
    need(0 <= size <= x.shape[axis], "sliding_window_view", x=x, window=size, axis=axis,
         want=f"a window of 0 to {x.shape[axis]} elements", fix="a smaller window")  # fmt: skip
    count = x.shape[axis] - size + 1
    return Spec((*x.shape[:axis], count, *x.shape[axis + 1 :], size), x.dtype)


def _unwindows_spec(ct: Spec, *, axis: int) -> Spec:
    length = ct.shape[axis] + ct.shape[-1] - 1
    return Spec((*ct.shape[:axis], length, *ct.shape[axis + 1 : -1]), ct.dtype)


windows_p: Primitive = primitive(
    "windows",
    nin=1,
    spec=_windows_spec,
    vjp=(lambda ct, out, x, *, axis, size: unwindows_p.bind(ct, axis=axis),),
    linear=(0,),
    batch=lambda inputs, batched, *, axis, size: windows_p.bind(
        inputs[0], axis=axis + 1, size=size
    ),
    view=True,
)

unwindows_p: Primitive = primitive(
    "unwindows",
    nin=1,
    spec=_unwindows_spec,
    vjp=(lambda ct, out, x, *, axis: windows_p.bind(ct, axis=axis, size=x.shape[-1]),),
    linear=(0,),
    batch=lambda inputs, batched, *, axis: unwindows_p.bind(inputs[0], axis=axis + 1),
)


def _sample_windows(r: Any) -> Any:
    for shape, window, axis in (
        ((5,), 2, 0), ((5,), 5, None), ((3, 4), (2, 3), None), ((3, 4), 3, -1), ((3, 4), 2, 0),
        ((2, 3, 4), (2, 2), (0, -1)), ((5,), (2, 3), (0, 0)), ((0, 3), 2, 1), ((1, 3, 1), 1, 2),
        ((2, 6), 5, 1),
    ):  # fmt: skip
        yield (r.normal(*shape), window), {"axis": axis}
    yield (r.normal(4, 3).T, 2), {"axis": 0}


@operation(
    numpy="lib.stride_tricks.sliding_window_view",
    oracle="lib.stride_tricks.sliding_window_view",
    samples=_sample_windows,
)
def sliding_window_view(
    x: Any,
    window_shape: Sizes,
    axis: Sizes | None = None,
    *,
    subok: bool = False,
    writeable: bool = False,
) -> Any:
    """Every window of this shape, the places of the windows on their axes, the windows behind.

    out[i, k] = x[i + k]; without `axis` every axis has a window. A read-only view. Raises
    `ShapeError` for a window that does not fit.

    >>> sliding_window_view([1.0, 2.0, 3.0], 2)
    tensor([[1., 2.],
            [2., 3.]])
    """
    op = "sliding_window_view"
    need(not writeable, op, writeable=writeable, want="a read-only view: its elements overlap",
         fix="a copy", error=ValueError)  # fmt: skip
    x, window = operand(x), sizes(window_shape)
    chosen = tuple(range(x.ndim)) if axis is None else sizes(axis)
    need(len(window) == len(chosen), op, x=x, window_shape=window, axis=axis,
         want="a length for each axis", fix="axis=-1 for one of them")  # fmt: skip
    for size, one in zip(window, [shapes.axis_index(k, x.ndim, op) for k in chosen]):
        _windows_spec(Spec(x.shape, x.dtype), axis=one, size=size)
        x = windows_p.bind(x, axis=one, size=size)
    return x
