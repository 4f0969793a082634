"""Operations that put slices in and take slices out: insert, delete, trim_zeros."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad import shapes
from tensorgrad._errors import need
from tensorgrad.backend import base
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import operation
from tensorgrad.core.tensor import make
from tensorgrad.ops.axes import moveaxis
from tensorgrad.ops.index import concrete, index_tensor, nonzero, take
from tensorgrad.ops.join import concatenate
from tensorgrad.ops.shape import astype, broadcast_to, copy, ravel, reshape
from tensorgrad.ops.slicing import index_p
from tensorgrad.ops.splitting import piece

Places = np.ndarray[Any, Any]


def _places(op: str, obj: Any, size: int) -> tuple[Places, bool]:
    """The indices that a slice, a number, numbers or bools mean, on the host; whether it is one."""
    if isinstance(obj, slice):
        return np.arange(size)[obj], False
    given = index_tensor(op, obj)
    found = concrete(op, given)
    array = base.of(found).to_numpy(found)
    if array.dtype == np.bool_:
        need(array.shape == (size,), op, obj=given, want=f"{size} bools", fix="nonzero(mask)[0]")
        return np.flatnonzero(array), False
    need(array.ndim < 2, op, obj=given, want="one axis at most", fix="obj.reshape(-1)",
         error=ValueError)  # fmt: skip
    return np.atleast_1d(array), not array.ndim


def _checked(op: str, places: Places, size: int, most: int) -> Places:
    for k in places[(places < -size) | (places > most)][:1]:
        raise IndexError(
            f"{op}: got index {k} on an axis of length {size}, expected {-size} <= index <= "
            f"{most}; try a smaller one"
        )
    return np.asarray(np.where(places < 0, places + size, places))


def _beside(a: Any, places: Places) -> Any:
    """Indices as a tensor on the device of an array."""
    return make(base.of(a.value()).asarray(places))


def _flat(op: str, arr: Any, axis: int | None) -> tuple[Any, int]:
    a = operand(arr)
    if axis is None:
        return (ravel(a) if a.ndim != 1 else a), 0
    return a, shapes.axis_index(axis, a.ndim, op)


# -- delete ------------------------------------------------------------------------------------


def _deletions(r: Any) -> Any:
    for shape, obj, axis in (
        ((5,), 2, None), ((5,), [0, 0, 3], 0), ((3, 4), 1, 1), ((3, 4), -1, 0), ((3, 4), 5, None),
        ((3, 4), slice(None, None, 2), 1), ((3, 4), [True, False, True], 0), ((0, 3), [1], 1),
        ((1, 3, 1), 0, 0), ((5,), [], 0), ((2, 6), slice(1, 4), -1), ((2, 6), [4, -1, 1], 1),
    ):  # fmt: skip
        yield (r.normal(*shape), obj), {"axis": axis}
    yield (r.normal(4, 3).T, 1), {"axis": 0}


@operation(numpy="delete", oracle="delete", samples=_deletions)
def delete(arr: Any, obj: Any, axis: int | None = None) -> Any:
    """A copy without the slices that `obj` names along an axis (of the flat array without one).

    Raises `IndexError` out of range.

    >>> delete([1.0, 2.0, 3.0], 1)
    tensor([1., 3.])
    """
    a, axis = _flat("delete", arr, axis)
    size = a.shape[axis]
    places, _ = _places("delete", obj, size)
    gone = np.unique(_checked("delete", places, size, size - 1))
    if not gone.size:
        return copy(a)
    if gone[-1] - gone[0] == gone.size - 1:
        start, stop = int(gone[0]), int(gone[-1]) + 1
        before, after = piece(axis, 0, start), piece(axis, stop, size)
        return concatenate([index_p.bind(a, key=before), index_p.bind(a, key=after)], axis)
    return take(a, _beside(a, np.delete(np.arange(size), gone)), axis)


# -- insert ------------------------------------------------------------------------------------


def _insertions(r: Any) -> Any:
    some = np.asarray([True, False, True])
    for shape, obj, other, axis in (
        ((5,), 2, (), None), ((5,), [0, 0, 3], (3,), 0), ((3, 4), 1, (3,), 1),
        ((3, 4), -1, (4,), 0), ((3, 4), 5, (2,), None), ((3, 4), [1], (3, 1), 1),
        ((3, 4), slice(None, None, 2), (3, 2), 1), ((3, 4), some, (2, 4), 0),
        ((0, 3), 1, (0,), 1), ((1, 3, 1), 3, (1,), 1), ((5,), [5, 1], (), 0),
        ((3, 4), 1, (2, 3), 1), ((2, 3, 4), [2, -1], (4,), 1),
    ):  # fmt: skip
        yield (r.normal(*shape), obj, r.normal(*other)), {"axis": axis}
    yield (r.normal(4, 3).T, 1, r.normal(4)), {"axis": 0}


@operation(numpy="insert", oracle="insert", samples=_insertions)
def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Any:
    """A copy with values in front of the slices that `obj` names along an axis, flat without one.

    One index takes all values as one block; of several each takes its own. The dtype is arr's.
    Raises `IndexError` out of range.

    >>> insert([1.0, 2.0], 1, 9.0)
    tensor([1., 9., 2.])
    """
    a, axis = _flat("insert", arr, axis)
    size = a.shape[axis]
    places, single = _places("insert", obj, size)
    values = astype(operand(values, (a,)), a.dtype, copy=False)
    if places.size == 1:
        return _block(a, axis, int(_checked("insert", places, size, size)[0]), values, single)
    places = _checked("insert", places, size, size)
    count = places.size
    new = broadcast_to(values, (*a.shape[:axis], count, *a.shape[axis + 1 :]))
    order = np.argsort(places, kind="stable")
    at = places.copy()
    at[order] += np.arange(count)
    source = np.empty(size + count, np.int64)
    old = np.ones(size + count, bool)
    old[at] = False
    source[old], source[at] = np.arange(size), size + np.arange(count)
    return take(concatenate([a, new], axis), _beside(a, source), axis)


def _block(a: Any, axis: int, at: int, values: Any, single: bool) -> Any:
    """All values in front of one index."""
    if values.ndim < a.ndim:
        values = reshape(values, (*(1,) * (a.ndim - values.ndim), *values.shape))
    if single:
        values = moveaxis(values, 0, axis)
    count = values.shape[axis]
    new = broadcast_to(values, (*a.shape[:axis], count, *a.shape[axis + 1 :]))
    front, behind = piece(axis, 0, at), piece(axis, at, a.shape[axis])
    return concatenate([index_p.bind(a, key=front), new, index_p.bind(a, key=behind)], axis)


# -- trim_zeros --------------------------------------------------------------------------------


def _with_zeros(r: Any) -> Any:
    # Whole numbers: zeros that move off 0 change the shape.
    for lead, size, tail, trim in (
        (0, 3, 2, "fb"), (2, 3, 0, "f"), (2, 3, 2, "b"), (1, 1, 1, "fb"), (0, 4, 0, "fb"),
        (3, 0, 0, "fb"), (0, 0, 0, "fb"), (2, 3, 1, "bf"),
    ):  # fmt: skip
        yield (np.pad(r.integers(1, 9, size), (lead, tail)),), {"trim": trim}
    yield (np.pad(r.integers(1, 9, 4), (1, 2))[::-1],), {}


@operation(numpy="trim_zeros", oracle="trim_zeros", samples=_with_zeros)
def trim_zeros(filt: Any, trim: str = "fb", axis: shapes.Axis = None) -> Any:
    """The array without the slices of zeros at its front ("f") and back ("b"), along its axes.

    Which slices are zero is decided by the values; the result is a view.

    >>> trim_zeros([0.0, 1.0, 2.0, 0.0])
    tensor([1., 2.])
    """
    a, ends = operand(filt), trim.lower()
    need(ends in ("fb", "bf", "f", "b"), "trim_zeros", trim=trim, want="'f', 'b' or both",
         fix="trim='fb'", error=ValueError)  # fmt: skip
    found = nonzero(a)
    chosen = shapes.axes(axis, a.ndim, "trim_zeros")
    key = []
    for k, (size, at) in enumerate(zip(a.shape, found)):
        if k not in chosen:
            key.append(slice(None))
        elif not at.size:
            key.append(slice(0, 0))
        else:
            first, last = int(at.min().item()), int(at.max().item())
            key.append(slice(first if "f" in ends else 0, last + 1 if "b" in ends else size))
    return index_p.bind(a, key=tuple(key))
