"""Operations that rearrange elements and leave their values alone."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad._errors import DTypeError, describe, need
from tensorgrad.backend import base
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import operation, primitive
from tensorgrad.ops.order import along_memory, by_memory, letter, reversed_axes

Sizes = int | Sequence[int]


def sizes(value: Any) -> shapes.Shape:
    """A shape, or a tuple of axes, from one number or several."""
    if type(value) is tuple:  # the hot path; what is no integer in it fails in the kernel
        return value
    return tuple([whole("shape", k) for k in (value if hasattr(value, "__iter__") else (value,))])


def several(op: str, values: Any, example: str) -> list[Any]:
    """The values of a list; raises `TypeError` for what is none."""
    if isinstance(values, str | bytes | dict) or not hasattr(values, "__iter__"):
        raise TypeError(f"{op}: got {values!r}, expected a list of them; try {op}({example})")
    return list(values)


def whole(op: str, k: Any) -> int:
    """A Python or NumPy integer as an int; raises `DTypeError` for a float, never rounds it."""
    try:
        return operator.index(k)
    except TypeError:
        raise DTypeError(
            f"{op}: got {describe(k)}, expected an integer; try int({describe(k)})"
        ) from None


# -- broadcasting and its adjoint --------------------------------------------------------------


def _sum_to_batch(x: Any, shape: shapes.Shape) -> Any:
    lead = x.ndim - 1 - len(shape)
    aligned = (x.shape[0], *(1,) * lead, *shape)
    return reshape(sum_to_p.bind(x, shape=aligned), (x.shape[0], *shape))


sum_to_p: Primitive = primitive(
    "sum_to",
    nin=1,
    spec=lambda x, *, shape: Spec(shape, x.dtype),
    vjp=(lambda ct, out, x, *, shape: broadcast_to(ct, x.shape),),
    linear=(0,),
    batch=lambda inputs, batched, *, shape: _sum_to_batch(inputs[0], shape),
)


def _sum_to_oracle(a: Any, shape: Any) -> Any:
    lead = a.ndim - len(shape)
    axes = (*range(lead), *(lead + k for k, size in enumerate(shape) if size == 1))
    return a.sum(axes).reshape(shape)


def _sum_to_samples(r: Any) -> Any:
    for shape, target in (
        ((), ()), ((5,), ()), ((5,), (1,)), ((3, 4), (4,)), ((3, 4), (3, 1)), ((3, 4), (3, 4)),
        ((2, 3, 4), (1, 4)), ((0, 3), (1, 3)), ((1, 3, 1), (3, 1)),
    ):  # fmt: skip
        yield (r.normal(*shape), target), {}
    yield (r.normal(4, 3).T, (1, 4)), {}


@operation(methods="sum_to", oracle=_sum_to_oracle, samples=_sum_to_samples)
def sum_to(a: Any, shape: Sizes) -> Any:
    """Sum over the axes along which `shape` would be repeated to reach a's: broadcast_to's VJP.

    Of that shape already, a itself.
    """
    a, shape = operand(a), sizes(shape)
    return a if a.shape == shape else sum_to_p.bind(a, shape=shape)


def _broadcast_spec(x: Spec, *, shape: shapes.Shape) -> Spec:
    need(
        shapes.broadcast(x.shape, shape, op="broadcast_to") == shape,
        "broadcast_to",
        x=x,
        shape=shape,
        want="sizes of 1 where the shapes differ",
        fix="expand_dims",
    )
    return Spec(shape, x.dtype)


def _broadcast_batch(x: Any, shape: shapes.Shape) -> Any:
    lead = (x.shape[0], *(1,) * (len(shape) - x.ndim + 1))
    return broadcast_to_p.bind(
        reshape(x, (*lead, *x.shape[1:])) if len(lead) > 1 else x, shape=(x.shape[0], *shape)
    )


broadcast_to_p: Primitive = primitive(
    "broadcast_to",
    nin=1,
    spec=_broadcast_spec,
    vjp=(lambda ct, out, x, *, shape: sum_to(ct, x.shape),),
    linear=(0,),
    batch=lambda inputs, batched, *, shape: _broadcast_batch(inputs[0], shape),
    view=True,
)


def _broadcast_samples(r: Any) -> Any:
    for shape, target in (
        ((), (2, 3)), ((4,), (3, 4)), ((3, 1), (3, 4)), ((3, 1), (2, 3, 4)), ((1,), (0,)),
        ((2, 3), (2, 3)), ((), ()), ((1, 3, 1), (2, 3, 2)),
    ):  # fmt: skip
        yield (r.normal(*shape), target), {}
    yield (r.normal(1, 3).T, (3, 5)), {}
    yield (r.normal(4), 4), {}


@operation(
    numpy="broadcast_to",
    methods="broadcast_to",
    oracle="broadcast_to",
    samples=_broadcast_samples,
)
def broadcast_to(array: Any, shape: Sizes) -> Any:
    """The array repeated to `shape` by NumPy's broadcasting; a read-only view.

    Raises `ShapeError` where a length is neither 1 nor the one asked for.

    >>> broadcast_to([1.0, 2.0], (2, 2))
    tensor([[1., 2.],
            [1., 2.]])
    """
    return broadcast_to_p.bind(operand(array), shape=sizes(shape))


@operation(
    numpy="broadcast_arrays",
    oracle=lambda *args: tuple(np.broadcast_arrays(*args)),
    samples=lambda r: r.pairs(),
)
def broadcast_arrays(*args: Any) -> Any:
    """The arrays repeated to the shape they have in common; read-only views (None: an object)."""
    found = [a if a is None else operand(a) for a in args]
    shape = shapes.broadcast(*[a.shape for a in found if a is not None], op="broadcast_arrays")
    return tuple([np.full(shape, a) if a is None else broadcast_to(a, shape) for a in found])


def all_batched(inputs: Sequence[Any], batched: Sequence[bool]) -> list[Any]:
    """Every input with the batch on axis 0, repeated where it had none; for batching rules."""
    size = next(x.shape[0] for x, b in zip(inputs, batched) if b)
    return [x if b else broadcast_to(x, (size, *x.shape)) for x, b in zip(inputs, batched)]


# -- shapes ------------------------------------------------------------------------------------


def _reshape_spec(x: Spec, *, shape: shapes.Shape) -> Spec:
    need(
        shapes.size(shape) == shapes.size(x.shape) and -1 not in shape,
        "reshape",
        x=x,
        shape=shape,
        want=f"a shape of {shapes.size(x.shape)} elements, one length may be -1",
        fix="-1 for the length that follows from the others",
    )
    return Spec(shape, x.dtype)


reshape_p: Primitive = primitive(
    "reshape",
    nin=1,
    spec=_reshape_spec,
    vjp=(lambda ct, out, x, *, shape: reshape_p.bind(ct, shape=x.shape),),
    linear=(0,),
    batch=lambda inputs, batched, *, shape: reshape_p.bind(
        inputs[0], shape=(inputs[0].shape[0], *shape)
    ),
    view=True,
)


def _reshape_samples(r: Any) -> Any:
    for shape, target in (
        ((), (1, 1)), ((6,), (2, 3)), ((3, 4), (-1,)), ((3, 4), -1), ((2, 3, 4), (4, -1)),
        ((0, 3), (3, 0)), ((1, 3, 1), (3,)), ((1,), ()),
    ):  # fmt: skip
        yield (r.normal(*shape), target), {}
    yield (r.normal(4, 3).T, (6, 2)), {}
    yield (r.normal(6, 4)[::2, ::-1], (2, 6)), {}
    yield (r.normal(2, 3, 4), (4, -1)), {"order": "F"}
    yield (r.normal(4, 3).T, (2, 6)), {"order": "A", "copy": True}


@operation(numpy="reshape", methods="reshape", oracle="reshape", samples=_reshape_samples)
def reshape(a: Any, shape: Any, *more: Any, order: str = "C", copy: bool | None = None) -> Any:
    """The same elements in C order under another shape; one length may be -1. A view if it can be.

    With order "F" they are read and placed first axis first; "A" is that of a's memory. `copy` True
    always copies. Raises `ShapeError` where the sizes differ, and where `copy` is False and no view
    can be had.

    >>> reshape([1.0, 2.0, 3.0, 4.0], (2, -1))
    tensor([[1., 2.],
            [3., 4.]])
    """
    a = operand(a)
    if more:
        if isinstance(more[-1], str):
            *rest, order = more
            more = tuple(rest)
        shape = (shape, *more) if more else shape
    if order != "C":
        order = letter("reshape", order, "CFA")
        order = by_memory(a) if order == "A" else order
    shape = sizes(shape)
    if -1 in shape:
        known = -shapes.size(shape)
        if known > 0 and shape.count(-1) == 1:
            shape = tuple([a.size // known if size == -1 else size for size in shape])
    if order == "F":
        found = reversed_axes(reshape_p.bind(reversed_axes(a), shape=shape[::-1]))
    else:
        found = reshape_p.bind(a, shape=shape)
    return found if copy is None else _copied(a, found, copy)


def _copied(a: Any, found: Any, wanted: bool) -> Any:
    """A reshaped array as a copy, or only if it is none."""
    same = not a.size or base.bounds(found.value())[0] == base.bounds(a.value())[0]
    need(wanted or same, "reshape", a=a, shape=found.shape, copy=False,
         want="memory that has that shape without a copy", fix="copy=None")  # fmt: skip
    return copy_p.bind(found) if wanted and same else found


def _orders(r: Any) -> Any:
    for x in r.layouts(r.normal):
        yield (x,), {}
    yield (r.normal(4, 3).T,), {"order": "F"}
    yield (r.normal(4, 3).T,), {"order": "K"}
    yield (r.normal(2, 3, 4),), {"order": "F"}
    yield (r.normal(4, 3).T,), {"order": "A"}


@operation(
    numpy="ravel",
    methods="ravel",
    oracle="ravel",
    samples=_orders,
)
def ravel(a: Any, order: str = "C") -> Any:
    """The elements along one axis, in C order, F, A or K as NumPy means it; a view if it can be."""
    a = operand(a)
    if order != "C":
        order = letter("ravel", order, "CFAK")
        if order == "K":
            a = along_memory(a)
        elif order == "F" or by_memory(a) == "F":
            a = reversed_axes(a)
    return reshape_p.bind(a, shape=(a.size,))


@operation(
    methods="flatten",
    oracle=lambda a, order="C": a.flatten(order),
    samples=_orders,
)
def flatten(a: Any, order: str = "C") -> Any:
    """A copy of the elements along one axis, in C order, F, A or K as NumPy means it."""
    return copy(ravel(a, order))


def _squeezes(r: Any) -> Any:
    for shape, axis in (
        ((), None), ((1,), 0), ((3, 1), -1), ((1, 3, 1), None), ((1, 3, 1), (0, 2)),
        ((1, 3, 1), 0), ((0, 1), 1), ((2, 3), None),
    ):  # fmt: skip
        yield (r.normal(*shape),), {"axis": axis}
    yield (r.normal(1, 4, 3).T,), {"axis": 2}


@operation(numpy="squeeze", methods="squeeze", oracle="squeeze", samples=_squeezes)
def squeeze(a: Any, axis: shapes.Axis = None) -> Any:
    """The array without axes of length 1: all of them, or those named. A view.

    Raises `ShapeError` for an axis of another length.

    >>> squeeze([[1.0, 2.0]])
    tensor([1., 2.])
    """
    a = operand(a)
    if axis is None:
        return reshape(a, tuple(size for size in a.shape if size != 1))
    chosen = shapes.axes(axis, a.ndim, "squeeze")
    for k in chosen:
        need(a.shape[k] == 1, "squeeze", a=a, axis=axis, want="axes of length 1", fix="reshape")
    return reshape(a, shapes.reduced(a.shape, chosen, False))


def _expands(r: Any) -> Any:
    for shape, axis in (
        ((), 0), ((5,), -1), ((5,), 0), ((3, 4), 1), ((3, 4), (0, 2)), ((3, 4), (-1, 0)),
        ((0, 3), 1), ((2, 3), ()),
    ):  # fmt: skip
        yield (r.normal(*shape), axis), {}
    yield (r.normal(4, 3).T, 1), {}


@operation(
    numpy="expand_dims",
    oracle="expand_dims",
    methods="expand_dims",
    samples=_expands,
)
def expand_dims(a: Any, axis: Sizes) -> Any:
    """The array with axes of length 1 put in at these positions of the result. A view.

    >>> expand_dims([1.0, 2.0], 0)
    tensor([[1., 2.]])
    """
    a = operand(a)
    given = sizes(axis)
    ndim = a.ndim + len(given)
    chosen = shapes.axes(given, ndim, "expand_dims")
    rest = iter(a.shape)
    return reshape(a, tuple([1 if k in chosen else next(rest) for k in range(ndim)]))


def _at_least(a: Any, ndim: int) -> Any:
    a = operand(a)
    if a.ndim >= ndim:
        return a
    if ndim < 3:
        return reshape(a, (*(1,) * (ndim - a.ndim), *a.shape))
    return reshape(a, {0: (1, 1, 1), 1: (1, *a.shape, 1), 2: (*a.shape, 1)}[a.ndim])


def _several(found: list[Any]) -> Any:
    return found[0] if len(found) == 1 else tuple(found)


def _each(r: Any) -> Any:
    for x in r.layouts(r.normal):
        yield (x,), {}
    yield (r.normal(), r.normal(3)), {}


@operation(numpy="atleast_1d", oracle="atleast_1d", samples=_each)
def atleast_1d(*arys: Any) -> Any:
    """The arrays with one axis at least; a tuple for several arrays."""
    return _several([_at_least(a, 1) for a in arys])


@operation(numpy="atleast_2d", oracle="atleast_2d", samples=_each)
def atleast_2d(*arys: Any) -> Any:
    """The arrays with two axes at least, new ones first; a tuple for several arrays."""
    return _several([_at_least(a, 2) for a in arys])


@operation(numpy="atleast_3d", oracle="atleast_3d", samples=_each)
def atleast_3d(*arys: Any) -> Any:
    """The arrays with three axes at least, as NumPy places them; a tuple for several arrays."""
    return _several([_at_least(a, 3) for a in arys])


# -- casts and copies --------------------------------------------------------------------------


def _astype_jvp(t: Any, out: Any, x: Any, *, dtype: Any) -> Any:
    return astype_p.bind(t, dtype=dtype) if dtypes.is_inexact(dtype) else None


astype_p: Primitive = primitive(
    "astype",
    nin=1,
    spec=lambda x, *, dtype: Spec(x.shape, dtype),
    vjp=(lambda ct, out, x, *, dtype: ct,),  # the runtime casts to the dtype of x
    jvp=(_astype_jvp,),
    batch=lambda inputs, batched, *, dtype: astype_p.bind(inputs[0], dtype=dtype),
)


def _casts(r: Any) -> Any:
    for x in r.layouts(r.normal):
        yield (x, "float64"), {}
    yield (r.normal(3, 4), "complex128"), {}
    yield (r.integers(-3, 3, 3, 4), "float64"), {}


@operation(
    numpy="astype", methods="astype", oracle=lambda a, dtype: a.astype(dtype), samples=_casts
)
def astype(
    x: Any,
    dtype: Any,
    order: str = "K",
    casting: str = "unsafe",
    subok: bool = True,
    copy: bool = True,
    *,
    device: str | None = None,
) -> Any:
    """The elements cast to another dtype; off the tape where the result is no float.

    Raises `DTypeError` for what `casting` does not allow. Memory is in C order, whatever `order`.

    >>> astype([1.7, -1.7], "int64")
    tensor([ 1, -1])
    """
    x, dtype = operand(x), dtypes.dtype(dtype)
    if casting != "unsafe":
        fits = np.can_cast(x.dtype, dtype, casting)  # type: ignore[arg-type]
        need(fits, "astype", x=x, dtype=dtype, casting=casting, want="a cast that it allows",
             fix="casting='unsafe'", error=DTypeError)  # fmt: skip
    x = x if device is None else x.to(device=device)
    return x if not copy and x.dtype == dtype else astype_p.bind(x, dtype=dtype)


copy_p: Primitive = primitive(
    "copy",
    nin=1,
    spec=lambda x: x,
    vjp=(lambda ct, out, x: ct,),
    linear=(0,),
    batch=lambda inputs, batched: copy_p.bind(inputs[0]),
)


@operation(
    numpy="copy",
    methods="copy",
    oracle="copy",
    samples=lambda r: (((x,), {}) for x in r.layouts(r.normal)),
)
def copy(a: Any, order: str = "K", subok: bool = False) -> Any:
    """A copy in memory of its own, in C order whatever `order`; gradients pass through."""
    return copy_p.bind(a)
