"""Rules about shapes and axes; numbers only, no array is touched here."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index

from tensorgrad._errors import DTypeError, ShapeError, need

Shape = tuple[int, ...]
Axis = int | Sequence[int] | None


def axis_index(axis: int, ndim: int, op: str) -> int:
    """`axis` as a number from 0 to ndim - 1; raises `ShapeError` when it is out of range."""
    try:
        axis = index(axis)
    except TypeError:
        need(False, op, axis=axis, want="whole numbers", fix="int(axis)", error=DTypeError)
    need(
        -ndim <= axis < ndim,
        op,
        axis=axis,
        ndim=ndim,
        want=f"{-ndim} <= axis < {ndim}",
        fix="an axis that the array has",
    )
    return axis % ndim


def axes(axis: Axis, ndim: int, op: str) -> Shape:
    """The axes meant by None (all), one axis or several, each from 0 to ndim - 1, ascending.

    A number alone has no axis, and 0 and -1 mean it, as in NumPy's reductions.
    """
    if axis is None or (not ndim and not isinstance(axis, Sequence) and axis in (0, -1)):
        return tuple(range(ndim))
    chosen = [axis] if not isinstance(axis, Sequence) else list(axis)
    found = sorted(axis_index(one, ndim, op) for one in chosen)
    need(len(set(found)) == len(found), op, axis=axis, want="each axis once", fix="drop the second")
    return tuple(found)


def broadcast(*shapes: Shape, op: str = "broadcast") -> Shape:
    """The shape to which all of `shapes` broadcast under NumPy's rule."""
    ndim = max((len(shape) for shape in shapes), default=0)
    result = [1] * ndim
    for shape in shapes:
        for position, size in enumerate(shape, ndim - len(shape)):
            if size != 1:
                if result[position] not in (1, size):
                    raise ShapeError(
                        f"{op}: got shapes {', '.join(map(str, shapes))}, expected sizes that are "
                        f"equal or 1 on every axis, counted from the right; try reshape or "
                        f"expand_dims on the one that does not fit"
                    )
                result[position] = size
    return tuple(result)


def broadcast_axes(shape: Shape, target: Shape) -> Shape:
    """The axes of `target` along which an array of `shape` was repeated to reach it."""
    lead = len(target) - len(shape)
    return tuple(range(lead)) + tuple(
        lead + k for k, size in enumerate(shape) if size == 1 and target[lead + k] != 1
    )


def reduced(shape: Shape, over: Shape, keepdims: bool) -> Shape:
    """The shape left after the axes `over` are reduced."""
    if keepdims:
        return tuple(1 if k in over else size for k, size in enumerate(shape))
    return tuple(size for k, size in enumerate(shape) if k not in over)


def size(shape: Shape) -> int:
    """How many elements an array of this shape has."""
    count = 1
    for extent in shape:
        count *= extent
    return count
