"""One index per element: take_along_axis and put_along_axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad import shapes
from tensorgrad._errors import DTypeError, need
from tensorgrad.core.primitive import Spec, operand
from tensorgrad.core.registry import operation
from tensorgrad.ops.gather import along_spec, put_along_p, take_along_p
from tensorgrad.ops.index import index_tensor
from tensorgrad.ops.shape import astype, reshape


def _along(op: str, a: Any, indices: Any, axis: int | None) -> tuple[Any, Any, int]:
    a = operand(a)
    index = index_tensor(op, indices, a)
    need(index.dtype.kind != "b", op, indices=index, want="integers", fix="nonzero(mask)",
         error=DTypeError)  # fmt: skip
    if axis is None:
        need(index.ndim == 1, op, indices=index, want="one axis where axis is None", fix="axis=-1")
        return reshape(a, (a.size,)), index, 0
    axis = shapes.axis_index(axis, a.ndim, op)
    along_spec(Spec(a.shape, a.dtype), Spec(index.shape, index.dtype), axis=axis)
    return a, index, axis


def _alongs(r: Any) -> Any:
    for shape, other, axis in (
        ((5,), (3,), 0), ((3, 4), (3, 2), 1), ((3, 4), (2, 4), 0), ((2, 3, 4), (2, 1, 4), 1),
        ((3, 4), (3, 6), -1), ((3, 4), (1, 2), 1), ((0, 3), (0, 2), 1), ((1, 3, 1), (1, 3, 2), 2),
        ((4,), (5,), None),
    ):  # fmt: skip
        size = shape[0 if axis is None else axis]
        yield (r.normal(*shape), r.integers(-size, size, *other)), {"axis": axis}
    yield (r.normal(4, 3).T, r.integers(0, 3, 3, 4)), {"axis": 0}


@operation(numpy="take_along_axis", oracle="take_along_axis", samples=_alongs)
def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    """The elements that `indices` name along an axis, one index per element of the result.

    out[i, j] = arr[i, indices[i, j]] for axis 1; `indices` has as many axes as `arr`. Raises
    `ShapeError` where it has not, `IndexError` out of range.

    >>> take_along_axis([[1.0, 2.0], [3.0, 4.0]], [[1], [0]])
    tensor([[2.],
            [3.]])
    """
    arr, index, axis = _along("take_along_axis", arr, indices, axis)
    return take_along_p.bind(arr, index, axis=axis)


def _put_oracle(arr: Any, indices: Any, values: Any, axis: int | None) -> Any:
    found = arr.copy()
    np.put_along_axis(found, indices, values, axis)
    return found


def _puts(r: Any) -> Any:
    for (x, index), options in _alongs(r):
        whole = options["axis"] is not None and index.shape[0] == x.shape[0]
        if whole and x.flags.c_contiguous:
            yield (x, index, r.normal(*index.shape)), options
    yield (r.normal(5), r.integers(0, 5, 3), r.normal()), {"axis": 0}
    yield (r.normal(5), np.asarray([1, 1, 1]), r.normal(3)), {"axis": 0}
    yield (r.normal(4, 3).T, r.integers(0, 3, 3, 4), r.normal(3, 4)), {"axis": 0}


@operation(oracle=_put_oracle, samples=_puts)
def put_along_axis(arr: Any, indices: Any, values: Any, axis: int | None = -1) -> Any:
    """A copy of `arr` with `values` where `take_along_axis` would read; of equal indices the last.

    NumPy's function of this name writes in place; this one returns the result.
    """
    shape = operand(arr).shape
    arr, index, axis = _along("put_along_axis", arr, indices, axis)
    values = astype(operand(values, (arr,)), arr.dtype, copy=False)
    return reshape(put_along_p.bind(arr, index, values, axis=axis), shape)
