"""Operations that cut an array into views, and the iteration over its first axis.

The pieces of one cut share a cotangent: backward joins what they got, once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np  # oracles only

from tensorgrad import shapes
from tensorgrad._errors import need
from tensorgrad.backend import base
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import operation, primitive
from tensorgrad.core.tensor import Tensor, make
from tensorgrad.ops.join import concat_p, stack_p
from tensorgrad.ops.shape import sizes, whole
from tensorgrad.ops.slicing import index_p, unindex_p

FEWEST, MOST = 64, 1 << 16
"""Slices that iteration cuts off at once, at first and at most: each cut is twice the last."""


def piece(axis: int, start: int | None, stop: int | None, step: int | None = None) -> Any:
    """The key of a slice along one axis."""
    return (*(slice(None),) * axis, slice(start, stop, step))


def _whole(cts: Sequence[Any], shapes_of: Sequence[shapes.Shape]) -> list[Any]:
    """The cotangents of all pieces, zeros where one got none."""
    near = next(ct for ct in cts if ct is not None)
    fill = base.of(near.value()).full
    return [
        make(fill(shape, 0, near.dtype)) if ct is None else ct for ct, shape in zip(cts, shapes_of)
    ]


def _only(cts: Sequence[Any]) -> int | None:
    """The number of the piece that alone got a cotangent, if one did."""
    found = [k for k, ct in enumerate(cts) if ct is not None]
    return found[0] if len(found) == 1 else None


def _split_shapes(shape: shapes.Shape, axis: int, ends: shapes.Shape) -> list[shapes.Shape]:
    lengths = [b - a for a, b in itertools.pairwise((0, *ends))]
    return [(*shape[:axis], n, *shape[axis + 1 :]) for n in lengths]


def _piece(params: Any, k: int) -> Any:
    """The key of output k of a split."""
    return piece(params["axis"], params["ends"][k - 1] if k else 0, params["ends"][k])


def _split_vjp(cts: Any, outs: Any, x: Any, *, axis: int, ends: shapes.Shape, nout: int) -> Any:
    one = _only(cts)
    if one is not None:
        key = _piece({"axis": axis, "ends": ends}, one)
        return unindex_p.bind(cts[one], key=key, shape=x.shape)
    return concat_p.bind(*_whole(cts, _split_shapes(x.shape, axis, ends)), axis=axis, ends=ends)


split_p: Primitive = primitive(
    "split",
    nin=1,
    nout=-1,
    spec=lambda x, *, axis, ends, nout: tuple(
        Spec(shape, x.dtype) for shape in _split_shapes(x.shape, axis, ends)
    ),
    vjp=(_split_vjp,),
    linear=(0,),
    batch=lambda inputs, batched, *, axis, ends, nout: split_p.bind(
        inputs[0], axis=axis + 1, ends=ends, nout=nout
    ),
    view=lambda params, k: (index_p, {"key": _piece(params, k)}),
)


def _unstack_vjp(cts: Any, outs: Any, x: Any, *, axis: int, nout: int) -> Any:
    one = _only(cts)
    if one is not None:
        return unindex_p.bind(cts[one], key=(*(slice(None),) * axis, one), shape=x.shape)
    shape = shapes.reduced(x.shape, (axis,), False)
    return stack_p.bind(*_whole(cts, [shape] * nout), axis=axis)


unstack_p: Primitive = primitive(
    "unstack",
    nin=1,
    nout=-1,
    spec=lambda x, *, axis, nout: (Spec(shapes.reduced(x.shape, (axis,), False), x.dtype),) * nout,
    vjp=(_unstack_vjp,),
    linear=(0,),
    batch=lambda inputs, batched, *, axis, nout: unstack_p.bind(
        inputs[0], axis=axis + 1, nout=nout
    ),
    view=lambda params, k: (index_p, {"key": (*(slice(None),) * params["axis"], k)}),
)


def _pieces(op: str, ary: Any, cuts: Any, axis: int, even: bool) -> list[Any]:
    a = operand(ary)
    axis = shapes.axis_index(axis, a.ndim, op)
    size = a.shape[axis]
    if hasattr(cuts, "__iter__"):
        places = [0, *sizes(tuple(cuts)), size]
    else:
        count = whole(op, cuts)
        need(count > 0, op, sections=count, want="one section at least", fix="1")
        width, over = divmod(size, count)
        need(
            not (even and over),
            op,
            ary=a,
            sections=count,
            want=f"sections that divide the {size} elements of axis {axis}",
            fix="array_split",
        )
        places = [k * width + min(k, over) for k in range(count + 1)]
    if len(places) > 2 and places == sorted(places):
        ends = tuple(places[1:])
        return list(split_p.bind(a, axis=axis, ends=ends, nout=len(ends)))
    pairs = itertools.pairwise(places)  # which may overlap
    return [index_p.bind(a, key=piece(axis, one, two)) for one, two in pairs]


def _splits(r: Any) -> Any:
    for shape, cuts, axis in (
        ((6,), 3, 0), ((6,), [2, 3], 0), ((3, 4), 2, 1), ((3, 4), 2, -1), ((3, 4), [1], 0),
        ((2, 3, 4), 3, 1), ((0, 3), 1, 0), ((5,), [3, 9], 0), ((5,), [3, 2], 0), ((0, 4), 2, 1),
    ):  # fmt: skip
        yield (r.normal(*shape), cuts), {"axis": axis}
    yield (r.normal(4, 3).T, 2), {"axis": 1}


@operation(numpy="split", oracle="split", samples=_splits)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """A list of views: so many equal sections along an axis, or cut before these indices.

    Raises `ShapeError` where the sections do not divide the axis (`array_split` allows that).

    >>> split([1.0, 2.0, 3.0, 4.0], 2)
    [tensor([1., 2.]), tensor([3., 4.])]
    """
    return _pieces("split", ary, indices_or_sections, axis, True)


def _uneven(r: Any) -> Any:
    yield from _splits(r)
    yield (r.normal(7), 3), {}
    yield (r.normal(2, 5), 4), {"axis": 1}


@operation(numpy="array_split", oracle="array_split", samples=_uneven)
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """`split` that allows sections which do not divide the axis: the first are one longer."""
    return _pieces("array_split", ary, indices_or_sections, axis, False)


def _cut(op: str, ary: Any, cuts: Any, least: int, axis: int) -> Any:
    a = operand(ary)
    need(a.ndim >= least, op, ary=a, want=f"{least} axes at least", fix="split(ary, ..., axis)")
    return _pieces(op, a, cuts, axis, True)


def _sections(least: int, axis: int) -> Any:
    def samples(r: Any) -> Any:
        for lengths in ((4, 6, 2), (2, 4, 4), (6, 2, 6), (4, 4, 2, 3)):
            shape = lengths if least == 3 or len(lengths) == 4 else lengths[: max(least, 2)]
            yield (r.normal(*shape), 2), {}
            yield (r.normal(*shape), [1]), {}
        yield (r.normal(*[n for k, n in enumerate((0, 2, 2, 2)) if k <= least], 0), 2), {}
        yield (np.asfortranarray(r.normal(2, 4, 6)), [1, 2]), {}

    return samples


@operation(numpy="hsplit", oracle="hsplit", samples=_sections(1, 1))
def hsplit(ary: Any, indices_or_sections: Any) -> Any:
    """`split` along axis 1, or 0 where there is one axis."""
    a = operand(ary)
    return _cut("hsplit", a, indices_or_sections, 1, 1 if a.ndim > 1 else 0)


@operation(numpy="vsplit", oracle="vsplit", samples=_sections(2, 0))
def vsplit(ary: Any, indices_or_sections: Any) -> Any:
    """`split` along axis 0, of two axes at least."""
    return _cut("vsplit", ary, indices_or_sections, 2, 0)


@operation(numpy="dsplit", oracle="dsplit", samples=_sections(3, 2))
def dsplit(ary: Any, indices_or_sections: Any) -> Any:
    """`split` along axis 2, of three axes at least."""
    return _cut("dsplit", ary, indices_or_sections, 3, 2)


def _unstacks(r: Any) -> Any:
    for shape, axis in (
        ((3,), 0), ((3, 4), 0), ((3, 4), 1), ((2, 3, 4), -1), ((2, 3, 4), -2), ((2, 0), 0),
        ((1, 3, 1), 1), ((1, 3, 1), 2),
    ):  # fmt: skip
        yield (r.normal(*shape),), {"axis": axis}
    yield (r.normal(4, 3).T,), {}


@operation(numpy="unstack", oracle="unstack", samples=_unstacks)
def unstack(x: Any, /, *, axis: int = 0) -> Any:
    """A tuple of views: the slices along an axis."""
    x = operand(x)
    need(x.ndim, "unstack", x=x, want="one axis at least", fix="x[None]")
    return _slices(x, shapes.axis_index(axis, x.ndim, "unstack"))


def _slices(x: Any, axis: int) -> tuple[Tensor, ...]:
    count = x.shape[axis]
    if count > 1:
        return unstack_p.bind(x, axis=axis, nout=count)  # type: ignore[no-any-return]
    return tuple([index_p.bind(x, key=(*(slice(None),) * axis, k)) for k in range(count)])


def iterate(x: Tensor) -> Iterator[Tensor]:
    """The slices along the first axis, cut off in growing numbers: few are made in vain."""
    if not x.shape:
        raise TypeError("iter: got a tensor with no axes, expected at least 1; try x.item()")
    return _iterated(x)


def _iterated(x: Tensor) -> Iterator[Tensor]:
    start, count, size = 0, FEWEST, x.shape[0]
    while start < size:
        stop = min(start + count, size)
        part = x if stop - start == size else index_p.bind(x, key=(slice(start, stop),))
        yield from _slices(part, 0)
        start, count = stop, min(2 * count, MOST)
