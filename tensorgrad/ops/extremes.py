"""Extremes and what holds over axes: max, min, maxout, where they are, any, all, how many."""

from __future__ import annotations

from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes, shapes
from tensorgrad._errors import need
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import operation, primitive
from tensorgrad.ops.elementwise import maximum, minimum
from tensorgrad.ops.reduce import masked, moved, restored, start_value, sum_p
from tensorgrad.ops.shape import all_batched, broadcast_to, reshape

# -- the largest and the smallest --------------------------------------------------------------


shares_p: Primitive = primitive(
    "tie_shares",
    nin=2,
    spec=lambda x, extreme, *, axis: Spec(x.shape, x.dtype),
    batch=lambda inputs, batched, *, axis: shares_p.bind(
        *all_batched(inputs, batched), axis=moved(axis)
    ),
)


def _extreme_spec(name: str) -> Any:
    def spec(x: Spec, *, axis: shapes.Shape, keepdims: bool) -> Spec:
        shape = shapes.reduced(x.shape, axis, keepdims)
        need(
            shapes.size(x.shape) or not shapes.size(shape),
            name,
            x=x,
            axis=axis,
            want="at least one element along the axes",
            fix="an array that is not empty",
        )
        return Spec(shape, x.dtype)

    return spec


def extreme(name: str) -> Any:
    """The primitive of a largest or smallest element; ties share its cotangent equally."""

    def vjp(ct: Any, out: Any, x: Any, *, axis: shapes.Shape, keepdims: bool) -> Any:
        return restored(ct, x, axis, keepdims) * shares_p.bind(x, out, axis=axis)

    def jvp(t: Any, out: Any, x: Any, *, axis: shapes.Shape, keepdims: bool) -> Any:
        return sum_p.bind(t * shares_p.bind(x, out, axis=axis), axis=axis, keepdims=keepdims)

    found: Primitive = primitive(
        name,
        nin=1,
        spec=_extreme_spec(name),
        vjp=(vjp,),
        jvp=(jvp,),
        reads=((0, 1),),
        batch=lambda inputs, batched, *, axis, keepdims: found.bind(
            inputs[0], axis=moved(axis), keepdims=keepdims
        ),
    )
    return found


max_p, min_p = extreme("max"), extreme("min")


def _apart(r: Any) -> Any:
    yield from r.several_axes(r.apart)
    x = r.apart(3, 4)
    x[1] = x[0]  # equal rows: ties only across what `axis` keeps apart
    yield (x,), {"axis": 1}
    yield (r.apart(3, 4),), {"axis": 1, "where": r.bools(3, 4), "initial": 0.0}
    yield (r.apart(2, 0),), {"axis": 1, "initial": -1.5, "keepdims": True}


def reduced_extreme(
    op: str, found: Primitive, pair: Any, a: Any, axis: Any, keepdims: bool, initial: Any,
    where: Any,
) -> Any:  # fmt: skip
    """An extreme over axes with a mask and a first value; `pair` is that of two numbers."""
    a = operand(a)
    over = shapes.axes(axis, a.ndim, op)
    if initial is None:
        need(where is True, op, where="...", want="initial= too, for want of an identity",
             fix="initial=x.min() or the like", error=ValueError)  # fmt: skip
        return found.bind(a, axis=over, keepdims=keepdims)
    first = start_value(op, initial, a)
    shape = shapes.reduced(a.shape, over, keepdims)
    if shapes.size(shape) and not a.size:
        first = broadcast_to(first, shape)
        return (
            first + sum_p.bind(a, axis=over, keepdims=keepdims) if a.dtype.kind in "fc" else first
        )
    return pair(found.bind(masked(op, a, where, first), axis=over, keepdims=keepdims), first)


@operation(numpy="max amax", methods="max", oracle="max", samples=_apart)
def max(
    a: Any,
    axis: shapes.Axis = None,
    *,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """The largest element over axes where the mask holds; ties share the gradient equally.

    Shape of a without the axes (of length 1 with `keepdims`). Raises `ShapeError` on no elements
    without `initial`, which a mask needs too.

    >>> max([[1.0, 5.0], [4.0, 2.0]], axis=0)
    tensor([4., 5.])
    """
    return reduced_extreme("max", max_p, maximum, a, axis, keepdims, initial, where)


@operation(numpy="min amin", methods="min", oracle="min", samples=_apart)
def min(
    a: Any,
    axis: shapes.Axis = None,
    *,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """The smallest element over axes where the mask holds; ties share the gradient equally.

    Shape of a without the axes (of length 1 with `keepdims`). Raises `ShapeError` on no elements
    without `initial`, which a mask needs too.
    """
    return reduced_extreme("min", min_p, minimum, a, axis, keepdims, initial, where)


def _maxout_samples(r: Any) -> Any:
    for shape, pieces, axis in (
        ((4,), 2, -1), ((3, 4), 2, -1), ((4, 3), 2, 0), ((2, 6, 3), 3, 1), ((3, 4), 1, -1),
        ((3, 4), 4, -1), ((0, 4), 2, -1), ((3, 0), 2, -1), ((2, 6), 2, -2),
    ):  # fmt: skip
        yield (r.apart(*shape), pieces), {"axis": axis}
    yield (r.apart(4, 3).T, 2), {}
    yield (r.apart(6, 4)[::2, ::-1], 2), {}


@operation(
    oracle=lambda x, pieces, axis=-1: np.stack(
        [np.take(x, range(k, x.shape[axis], pieces), axis) for k in range(pieces)]
    ).max(0),
    samples=_maxout_samples,
)
def maxout(x: Any, pieces: int, axis: int = -1) -> Any:
    """The largest of each `pieces` neighbours along an axis: a length of pieces · n becomes n.

    Ties share the gradient equally. Goodfellow et al., "Maxout networks", 2013. Raises
    `ShapeError` unless `pieces` divides the axis.

    >>> maxout([1.0, 5.0, 4.0, 2.0], 2)
    tensor([5., 4.])
    """
    x = operand(x, (), "maxout")
    axis = shapes.axis_index(axis, x.ndim, "maxout")
    need(
        pieces > 0 and x.shape[axis] % pieces == 0,
        "maxout",
        x=x,
        pieces=pieces,
        axis=axis,
        want="an axis that pieces divides",
        fix="a Linear with pieces · n outputs in front",
    )
    split = (*x.shape[:axis], x.shape[axis] // pieces, pieces, *x.shape[axis + 1 :])
    return max(reshape(x, split), axis + 1)


# -- where they are ----------------------------------------------------------------------------


def _place_batch(found: Any, x: Any, axis: int | None, keepdims: bool) -> Any:
    if axis is not None:
        return found.bind(x, axis=axis + 1, keepdims=keepdims)
    size = x.shape[0]
    place = found.bind(reshape(x, (size, shapes.size(x.shape[1:]))), axis=1, keepdims=False)
    return reshape(place, (size, *(1,) * (x.ndim - 1))) if keepdims else place


def place(name: str) -> Any:
    """The primitive of the position of an extreme, the first one where there are several."""
    shape_rule = _extreme_spec(name)

    def spec(x: Spec, *, axis: int | None, keepdims: bool) -> Spec:
        over = shapes.axes(axis, x.ndim, name)
        return Spec(shape_rule(x, axis=over, keepdims=keepdims).shape, dtypes.int64)

    found: Primitive = primitive(
        name,
        nin=1,
        spec=spec,
        batch=lambda inputs, batched, *, axis, keepdims: _place_batch(
            found, inputs[0], axis, keepdims
        ),
    )
    return found


argmax_p, argmin_p = place("argmax"), place("argmin")


def _one_axis(r: Any) -> Any:
    yield from r.reductions(empty=False)
    yield (r.integers(0, 3, 4, 5),), {"axis": 1}
    yield (r.integers(0, 3, 4, 5),), {"keepdims": True}


def single_axis(op: str, axis: int | None, ndim: int) -> int | None:
    """The axis of a position; a number alone has none, and 0 and -1 mean it, as NumPy has it."""
    if axis is None or (not ndim and axis in (0, -1)):
        return None
    return shapes.axis_index(axis, ndim, op)


@operation(numpy="argmax", methods="argmax", oracle="argmax", samples=_one_axis, orders=0)
def argmax(a: Any, axis: int | None = None, *, keepdims: bool = False) -> Any:
    """The position of the largest element, the first of several; flat without axis.

    int64. Raises `ShapeError` on no elements.

    >>> argmax([[1.0, 5.0], [4.0, 2.0]], axis=1)
    tensor([1, 0])
    """
    a = operand(a)
    return argmax_p.bind(a, axis=single_axis("argmax", axis, a.ndim), keepdims=keepdims)


@operation(numpy="argmin", methods="argmin", oracle="argmin", samples=_one_axis, orders=0)
def argmin(a: Any, axis: int | None = None, *, keepdims: bool = False) -> Any:
    """The position of the smallest element, the first of several; flat without axis.

    int64. Raises `ShapeError` on no elements.
    """
    a = operand(a)
    return argmin_p.bind(a, axis=single_axis("argmin", axis, a.ndim), keepdims=keepdims)


# -- any, all, how many ------------------------------------------------------------------------


def _constant(name: str, dtype: Any) -> Any:
    """The primitive of a reduction whose result is a constant."""
    found: Primitive = primitive(
        name,
        nin=1,
        spec=lambda x, *, axis, keepdims: Spec(shapes.reduced(x.shape, axis, keepdims), dtype),
        batch=lambda inputs, batched, *, axis, keepdims: found.bind(
            inputs[0], axis=moved(axis), keepdims=keepdims
        ),
    )
    return found


any_p, all_p = _constant("any", dtypes.bool_), _constant("all", dtypes.bool_)
count_nonzero_p = _constant("count_nonzero", dtypes.int64)


def _coins(r: Any) -> Any:
    yield from r.several_axes(r.bools)
    yield from r.reductions(lambda *shape: r.integers(-1, 2, *shape))


def _masked_coins(r: Any) -> Any:
    yield from _coins(r)
    yield (r.integers(-1, 2, 3, 4),), {"axis": 0, "where": r.bools(3, 4)}
    yield (r.bools(3, 4),), {"where": r.bools(4)}


@operation(numpy="any", methods="any", oracle="any", samples=_masked_coins, orders=0)
def any(a: Any, axis: shapes.Axis = None, *, keepdims: bool = False, where: Any = True) -> Any:
    """True where an element over the axes is not zero."""
    a = masked("any", operand(a), where, False)
    return any_p.bind(a, axis=shapes.axes(axis, a.ndim, "any"), keepdims=keepdims)


@operation(numpy="all", methods="all", oracle="all", samples=_masked_coins, orders=0)
def all(a: Any, axis: shapes.Axis = None, *, keepdims: bool = False, where: Any = True) -> Any:
    """True where no element over the axes is zero."""
    a = masked("all", operand(a), where, True)
    return all_p.bind(a, axis=shapes.axes(axis, a.ndim, "all"), keepdims=keepdims)


@operation(numpy="count_nonzero", oracle="count_nonzero", samples=_coins, orders=0)
def count_nonzero(a: Any, axis: shapes.Axis = None, *, keepdims: bool = False) -> Any:
    """How many elements over the axes are not zero."""
    a = operand(a)
    axis = shapes.axes(axis, a.ndim, "count_nonzero")
    return count_nonzero_p.bind(a, axis=axis, keepdims=keepdims)
