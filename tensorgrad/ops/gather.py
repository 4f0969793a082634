"""Gathers: elements by integer arrays, along axes or one per element, and their adjoints.

The adjoint of a gather adds into zeros, where repeated indices accumulate; its adjoint is the
gather again, so both are closed under differentiation of every order.
"""

from __future__ import annotations

from typing import Any

from tensorgrad import dtypes, shapes
from tensorgrad._errors import need
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import primitive
from tensorgrad.ops.axes import transpose
from tensorgrad.ops.join import concatenate
from tensorgrad.ops.shape import all_batched, astype, broadcast_to, reshape

# -- gather along axes -------------------------------------------------------------------------


def _gather_spec(x: Spec, index: Spec, *, axes: shapes.Shape, at: int) -> Spec:
    kept = shapes.reduced(x.shape, axes, False)
    return Spec((*kept[:at], *index.shape[1:], *kept[at:]), x.dtype)


def batch_rows(index: Any, size: int, stacked: bool) -> Any:
    """Batched indices (batch, n, ...) as (n, batch, ...), and the batch's own number in front."""
    order = (1, 0, *range(2, index.ndim))
    moved = transpose(index, order)
    if not stacked:
        return moved
    numbers = reshape(operand(list(range(size)), near=index), (1, size, *(1,) * (moved.ndim - 2)))
    return concatenate((broadcast_to(numbers, (1, *moved.shape[1:])), moved))


def _behind_batch(found: Any, width: int, at: int) -> Any:
    """(batch, width index axes, kept axes) with the index axes at `at` of the kept ones."""
    if not at or not width:
        return found
    kept = range(1 + width, found.ndim)
    return transpose(found, (0, *kept[:at], *range(1, 1 + width), *kept[at:]))


def _gather_batch(inputs: Any, batched: Any, *, axes: shapes.Shape, at: int) -> Any:
    x, index = inputs
    moved = tuple(k + 1 for k in axes)
    if not batched[1]:
        return gather_p.bind(x, index, axes=moved, at=at + 1)
    rows = batch_rows(index, index.shape[0], batched[0])
    found = gather_p.bind(x, rows, axes=(0, *moved) if batched[0] else axes, at=0)
    return _behind_batch(found, index.ndim - 2, at)


gather_p: Primitive = primitive(
    "gather",
    nin=2,
    spec=_gather_spec,
    vjp=(
        lambda ct, out, x, index, *, axes, at: scatter_add_p.bind(
            ct, index, axes=axes, at=at, shape=x.shape
        ),
        lambda *_, **__: None,
    ),
    linear=(0,),
    reads=((1,), ()),
    batch=_gather_batch,
)


def _scatter_batch(
    inputs: Any, batched: Any, *, axes: shapes.Shape, at: int, shape: shapes.Shape
) -> Any:
    ct, index = inputs
    moved = tuple(k + 1 for k in axes)
    if not batched[1]:
        return scatter_add_p.bind(ct, index, axes=moved, at=at + 1, shape=(ct.shape[0], *shape))
    size, width = index.shape[0], index.ndim - 2
    if not batched[0]:
        ct = broadcast_to(ct, (size, *ct.shape))
    block = range(1 + at, 1 + at + width)
    ct = transpose(ct, (0, *block, *(k for k in range(1, ct.ndim) if k not in block)))
    rows = batch_rows(index, size, True)
    return scatter_add_p.bind(ct, rows, axes=(0, *moved), at=0, shape=(size, *shape))


scatter_add_p: Primitive = primitive(
    "scatter_add",
    nin=2,
    spec=lambda ct, index, *, axes, at, shape: Spec(shape, ct.dtype),
    vjp=(
        lambda ct, out, x, index, *, axes, at, shape: gather_p.bind(ct, index, axes=axes, at=at),
        lambda *_, **__: None,
    ),
    linear=(0,),
    reads=((1,), ()),
    batch=_scatter_batch,
)


# -- one index per element ---------------------------------------------------------------------


def along_spec(x: Spec, index: Spec, *, axis: int) -> Spec:
    need(
        x.ndim == index.ndim,
        "take_along_axis",
        x=x,
        indices=index,
        want="as many axes in the indices as in the array",
        fix="expand_dims(indices, axis)",
    )
    kept = [1 if k == axis else size for k, size in enumerate(x.shape)]
    flat = shapes.broadcast(tuple(kept), index.shape, op="take_along_axis")
    return Spec(tuple(index.shape[k] if k == axis else n for k, n in enumerate(flat)), x.dtype)


take_along_p: Primitive = primitive(
    "take_along_axis",
    nin=2,
    spec=along_spec,
    vjp=(
        lambda ct, out, x, index, *, axis: add_along_p.bind(ct, index, axis=axis, shape=x.shape),
        lambda *_, **__: None,
    ),
    linear=(0,),
    reads=((1,), ()),
    batch=lambda inputs, batched, *, axis: take_along_p.bind(
        *all_batched(inputs, batched), axis=axis + 1
    ),
)


def _add_along_batch(inputs: Any, batched: Any, *, axis: int, shape: shapes.Shape) -> Any:
    ct, index = all_batched(inputs, batched)
    return add_along_p.bind(ct, index, axis=axis + 1, shape=(ct.shape[0], *shape))


add_along_p: Primitive = primitive(
    "add_along_axis",
    nin=2,
    spec=lambda ct, index, *, axis, shape: Spec(shape, ct.dtype),
    vjp=(
        lambda ct, out, x, index, *, axis, shape: take_along_p.bind(ct, index, axis=axis),
        lambda *_, **__: None,
    ),
    linear=(0,),
    reads=((1,), ()),
    batch=_add_along_batch,
)


def _last_batch(inputs: Any, batched: Any, *, axis: int, shape: shapes.Shape) -> Any:
    return last_along_p.bind(inputs[0], axis=axis + 1, shape=(inputs[0].shape[0], *shape))


last_along_p: Primitive = primitive(
    "last_along_axis",
    nin=1,
    spec=lambda index, *, axis, shape: Spec(index.shape, dtypes.bool_),
    batch=_last_batch,
)


def _put_ct(ct: Any, out: Any, x: Any, index: Any, values: Any, *, axis: int) -> Any:
    zero = astype(reshape(operand(0.0, near=ct), (1,) * ct.ndim), ct.dtype)
    return put_along_p.bind(ct, index, zero, axis=axis)


def _put_values(ct: Any, out: Any, x: Any, index: Any, values: Any, *, axis: int) -> Any:
    last = last_along_p.bind(index, axis=axis, shape=ct.shape)
    return take_along_p.bind(ct, index, axis=axis) * last


def _put_tangent(t: Any, out: Any, x: Any, index: Any, values: Any, *, axis: int) -> Any:
    last = last_along_p.bind(index, axis=axis, shape=out.shape)
    return add_along_p.bind(broadcast_to(t, index.shape) * last, index, axis=axis, shape=out.shape)


def _put_batch(inputs: Any, batched: Any, *, axis: int) -> Any:
    x, index, values = inputs
    lead = index.ndim - batched[1] - (values.ndim - batched[2])
    if lead > 0:
        size = values.shape[: int(batched[2])]
        values = reshape(values, (*size, *(1,) * lead, *values.shape[len(size) :]))
    return put_along_p.bind(*all_batched((x, index, values), batched), axis=axis + 1)


put_along_p: Primitive = primitive(
    "put_along_axis",
    nin=3,
    spec=lambda x, index, values, *, axis: x,
    vjp=(_put_ct, lambda *_, **__: None, _put_values),
    jvp=(
        lambda t, out, x, index, values, *, axis: _put_ct(t, out, x, index, values, axis=axis),
        lambda *_, **__: None,
        _put_tangent,
    ),
    reads=((1,), (), (1,)),
    batch=_put_batch,
)
