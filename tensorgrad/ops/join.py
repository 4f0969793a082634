"""Operations that join, split, repeat and pad arrays."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from tensorgrad import dtypes, shapes
from tensorgrad._errors import ShapeError, need
from tensorgrad.backend import base
from tensorgrad.core.primitive import Params, Primitive, Spec, operand
from tensorgrad.core.registry import known, operation, primitive
from tensorgrad.core.tensor import Tensor, make
from tensorgrad.ops.shape import (
    Sizes,
    all_batched,
    astype,
    atleast_1d,
    atleast_2d,
    atleast_3d,
    broadcast_to,
    reshape,
    sizes,
    whole,
)
from tensorgrad.ops.slicing import index_p


class Joint(Primitive):
    """An operation of any number of inputs that is linear in all of them together."""

    def jvp(
        self,
        primals: Sequence[Tensor],
        tangents: Sequence[Tensor | None],
        out: Any,
        params: Params,
    ) -> Any:
        full = [
            make(base.of(x.value()).full(x.shape, 0, x.dtype)) if t is None else t
            for x, t in zip(primals, tangents)
        ]
        return self.bind(*full, **params)


def _piece(axis: int, start: int | None, stop: int | None, step: int | None = None) -> Any:
    return (*(slice(None),) * axis, slice(start, stop, step))


# -- joining -----------------------------------------------------------------------------------


def _concat_spec(*specs: Spec, axis: int, ends: shapes.Shape) -> Spec:
    first = specs[0]
    for n, x in enumerate(specs):
        need(
            x.ndim == first.ndim
            and all(k == axis or a == b for k, (a, b) in enumerate(zip(first.shape, x.shape))),
            "concatenate",
            first=first,
            number=n,
            array=x,
            want=f"equal shapes but for axis {axis}",
            fix="stack, for a new axis",
        )
    shape = (*first.shape[:axis], ends[-1], *first.shape[axis + 1 :])
    return Spec(shape, dtypes.result_type(*[x.dtype for x in specs]))


def _concat_vjp(k: int, ct: Any, out: Any, *inputs: Any, axis: int, ends: shapes.Shape) -> Any:
    return index_p.bind(ct, key=_piece(axis, ends[k - 1] if k else 0, ends[k]))


concat_p: Primitive = known(
    Joint(
        "concat",
        nin=-1,
        spec=_concat_spec,
        vjp=_concat_vjp,
        batch=lambda inputs, batched, *, axis, ends: concat_p.bind(
            *all_batched(inputs, batched), axis=axis + 1, ends=ends
        ),
    )
)


def _stack_spec(*specs: Spec, axis: int) -> Spec:
    shape = specs[0].shape
    for n, x in enumerate(specs):
        need(
            x.shape == shape,
            "stack",
            first=specs[0],
            number=n,
            array=x,
            want="equal shapes",
            fix="concatenate, along an axis that they have",
        )
    dtype = dtypes.result_type(*[x.dtype for x in specs])
    return Spec((*shape[:axis], len(specs), *shape[axis:]), dtype)


stack_p: Primitive = known(
    Joint(
        "stack",
        nin=-1,
        spec=_stack_spec,
        vjp=lambda k, ct, out, *inputs, axis: index_p.bind(ct, key=(*(slice(None),) * axis, k)),
        batch=lambda inputs, batched, *, axis: stack_p.bind(
            *all_batched(inputs, batched), axis=axis + 1
        ),
    )
)


def _arrays(op: str, arrays: Any, dtype: Any = None) -> list[Any]:
    if not hasattr(arrays, "__iter__"):
        raise TypeError(f"{op}: got {arrays!r}, expected a list of arrays; try {op}([x, y])")
    given = list(arrays)
    need(given, op, arrays=arrays, want="one array at least", fix="a list that is not empty")
    found = [operand(a, given, op) for a in given]
    return found if dtype is None else [astype(a, dtype, copy=False) for a in found]


def _lists(r: Any) -> Any:
    for one, two, axis in (
        ((3,), (2,), 0), ((3, 4), (2, 4), 0), ((3, 4), (3, 2), 1), ((3, 4), (3, 1), -1),
        ((2, 3, 4), (2, 1, 4), 1), ((0, 3), (2, 3), 0), ((2, 3), (4,), None), ((), (2,), None),
    ):  # fmt: skip
        yield ((r.normal(*one), r.normal(*two)),), {"axis": axis}
    yield ([r.normal(4, 3).T, r.normal(6, 4)[::2, ::-1]],), {"axis": -1}
    yield ((r.normal(5),),), {}


@operation(numpy="concatenate", oracle="concatenate", samples=_lists)
def concatenate(arrays: Any, axis: int | None = 0, *, dtype: Any = None) -> Any:
    """The arrays one behind the other along an axis; flattened first where `axis` is None.

    Raises `ShapeError` where they differ in another axis than that one.

    >>> concatenate([[1.0, 2.0], [3.0]])
    tensor([1., 2., 3.])
    """
    found = _arrays("concatenate", arrays, dtype)
    if axis is None:
        found, axis = [reshape(a, (a.size,)) for a in found], 0
    for n, a in enumerate(found):
        if not a.ndim:
            raise ShapeError(
                f"concatenate: got arrays[{n}] without axes, expected one axis at least; "
                "try stack, or axis=None"
            )
    axis = shapes.axis_index(axis, found[0].ndim, "concatenate")
    ends, end = [], 0
    for a in found:
        end += a.shape[axis] if a.ndim > axis else 0
        ends.append(end)
    return concat_p.bind(*found, axis=axis, ends=tuple(ends))


def _stacks(r: Any) -> Any:
    for shape, axis in (
        ((), 0), ((5,), 0), ((5,), 1), ((3, 4), -1), ((3, 4), 1), ((2, 3, 4), -2), ((0, 3), 0),
        ((1, 3, 1), 2),
    ):  # fmt: skip
        yield ((r.normal(*shape), r.normal(*shape), r.normal(*shape)),), {"axis": axis}
    yield ([r.normal(4, 3).T, r.normal(3, 4)],), {}


@operation(numpy="stack", oracle="stack", samples=_stacks)
def stack(arrays: Any, axis: int = 0, *, dtype: Any = None) -> Any:
    """The arrays, of one shape, along a new axis at this position of the result.

    Raises `ShapeError` where the shapes differ.

    >>> stack([[1.0, 2.0], [3.0, 4.0]], axis=1)
    tensor([[1., 3.],
            [2., 4.]])
    """
    found = _arrays("stack", arrays, dtype)
    return stack_p.bind(*found, axis=shapes.axis_index(axis, found[0].ndim + 1, "stack"))


def _rows(r: Any) -> Any:
    for one, two in (
        ((3,), (3,)), ((2, 3), (2, 3)), ((1, 3), (1, 3)), ((2, 3, 4), (2, 3, 4)), ((0, 3), (0, 3)),
        ((1, 3, 1), (1, 3, 1)), ((), ()),
    ):  # fmt: skip
        yield ((r.normal(*one), r.normal(*two)),), {}
    yield ([r.normal(4, 3).T, r.normal(3, 4)],), {}


@operation(numpy="hstack", oracle="hstack", samples=_rows)
def hstack(tup: Any, *, dtype: Any = None) -> Any:
    """The arrays side by side: along axis 1, or 0 where they have one axis."""
    found = [atleast_1d(a) for a in _arrays("hstack", tup)]
    return concatenate(found, 0 if found[0].ndim == 1 else 1, dtype=dtype)


@operation(numpy="vstack", oracle="vstack", samples=_rows)
def vstack(tup: Any, *, dtype: Any = None) -> Any:
    """The arrays below each other: along axis 0, arrays of one axis as rows."""
    return concatenate([atleast_2d(a) for a in _arrays("vstack", tup)], 0, dtype=dtype)


@operation(numpy="dstack", oracle="dstack", samples=_rows)
def dstack(tup: Any) -> Any:
    """The arrays behind each other: along axis 2."""
    return concatenate([atleast_3d(a) for a in _arrays("dstack", tup)], 2)


def _columns(r: Any) -> Any:
    yield from (s for s in _rows(r) if s[0][0][0].ndim)
    yield ((r.normal(3), r.normal(3, 2)),), {}


@operation(
    numpy="column_stack",
    oracle="column_stack",
    samples=_columns,
)
def column_stack(tup: Any) -> Any:
    """The arrays side by side along axis 1, arrays of one axis as columns."""
    found = [atleast_1d(a) for a in _arrays("column_stack", tup)]
    return concatenate([reshape(a, (a.size, 1)) if a.ndim == 1 else a for a in found], 1)


# -- splitting ---------------------------------------------------------------------------------


def _pieces(op: str, ary: Any, cuts: Any, axis: int, even: bool) -> list[Any]:
    a = operand(ary)
    axis = shapes.axis_index(axis, a.ndim, op)
    size = a.shape[axis]
    if hasattr(cuts, "__iter__"):
        places = [0, *sizes(cuts), size]
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
    pairs = itertools.pairwise(places)
    return [index_p.bind(a, key=_piece(axis, one, two)) for one, two in pairs]


def _splits(r: Any) -> Any:
    for shape, cuts, axis in (
        ((6,), 3, 0), ((6,), [2, 3], 0), ((3, 4), 2, 1), ((3, 4), 2, -1), ((3, 4), [1], 0),
        ((2, 3, 4), 3, 1), ((0, 3), 1, 0), ((5,), [3, 9], 0), ((5,), [3, 2], 0),
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


def _unstacks(r: Any) -> Any:
    for shape, axis in (
        ((3,), 0), ((3, 4), 0), ((3, 4), 1), ((2, 3, 4), -1), ((2, 3, 4), -2), ((2, 0), 0),
        ((1, 3, 1), 1),
    ):  # fmt: skip
        yield (r.normal(*shape),), {"axis": axis}
    yield (r.normal(4, 3).T,), {}


@operation(numpy="unstack", oracle="unstack", samples=_unstacks)
def unstack(x: Any, /, *, axis: int = 0) -> Any:
    """A tuple of views: the slices along an axis."""
    x = operand(x)
    axis = shapes.axis_index(axis, x.ndim, "unstack")
    lead = (slice(None),) * axis
    return tuple([index_p.bind(x, key=(*lead, k)) for k in range(x.shape[axis])])


# -- repeating ---------------------------------------------------------------------------------


def _tiles(r: Any) -> Any:
    for shape, reps in (
        ((), 3), ((3,), 2), ((3,), (2, 2)), ((2, 3), 2), ((2, 3), (2, 1)), ((2, 3), (2, 1, 3)),
        ((0, 3), (2, 2)), ((1, 3, 1), (1, 2, 2)), ((3,), 0), ((2, 3), ()),
    ):  # fmt: skip
        yield (r.normal(*shape), reps), {}
    yield (r.normal(4, 3).T, (2, 3)), {}


@operation(numpy="tile", oracle="tile", samples=_tiles)
def tile(A: Any, reps: Sizes) -> Any:
    """The whole array repeated so often along each axis, counted from the last.

    >>> tile([1.0, 2.0], 2)
    tensor([1., 2., 1., 2.])
    """
    a, times = operand(A), sizes(reps)
    ndim = max(a.ndim, len(times))
    shape = (1,) * (ndim - a.ndim) + a.shape
    times = (1,) * (ndim - len(times)) + times
    apart = tuple([n for size in shape for n in (1, size)])
    wide = tuple([n for pair in zip(times, shape) for n in pair])
    full = broadcast_to(reshape(a, apart), wide)
    return reshape(full, tuple([n * size for n, size in zip(times, shape)]))


# -- padding -----------------------------------------------------------------------------------

Pairs = tuple[tuple[Any, Any], ...]


def _zero_pad(t: Any, out: Any, x: Any, *, widths: Pairs, values: Pairs) -> Any:
    return pad_p.bind(t, widths=widths, values=((0, 0),) * len(widths))


def _unpad(ct: Any, out: Any, x: Any, *, widths: Pairs, values: Pairs) -> Any:
    key = tuple([slice(low, low + size) for size, (low, _) in zip(x.shape, widths)])
    return index_p.bind(ct, key=key)


pad_p: Primitive = primitive(
    "pad",
    nin=1,
    spec=lambda x, *, widths, values: Spec(
        tuple(low + size + high for size, (low, high) in zip(x.shape, widths)), x.dtype
    ),
    vjp=(_unpad,),
    jvp=(_zero_pad,),
    batch=lambda inputs, batched, *, widths, values: pad_p.bind(
        inputs[0], widths=((0, 0), *widths), values=((0, 0), *values)
    ),
)


def _pairs(what: str, given: Any, ndim: int) -> Pairs:
    """One pair for each axis out of a number, a pair, or a pair for each axis."""
    if not hasattr(given, "__iter__"):
        return ((given, given),) * ndim
    found = [tuple(one) if hasattr(one, "__iter__") else one for one in given]
    if not any(isinstance(one, tuple) for one in found):
        found = [tuple(found)]
    found = [one * 2 if len(one) == 1 else one for one in found]
    found = found * ndim if len(found) == 1 else found
    need(
        len(found) == ndim and all(len(one) == 2 for one in found),
        "pad",
        **{what: given},
        want=f"a number, a pair, or {ndim} pairs",
        fix="((before, after), ...)",
    )
    return tuple(found)


def _pads(r: Any) -> Any:
    for shape, widths in (
        ((), 0), ((5,), 1), ((5,), (0, 2)), ((3, 4), ((1, 2), (0, 3))), ((3, 4), ((1, 2),)),
        ((0, 3), 1), ((1, 3, 1), ((0, 0), (1, 0), (2, 2))), ((2, 3, 4), 1),
    ):  # fmt: skip
        yield (r.normal(*shape), widths), {}
    yield (r.normal(4, 3).T, 2), {"constant_values": 1.5}
    yield (r.normal(3, 4), ((1, 2), (2, 0))), {"constant_values": ((1, 2), (3, 4))}


@operation(numpy="pad", oracle="pad", samples=_pads)
def pad(array: Any, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0) -> Any:
    """The array with so many `constant_values` before and after it on each axis.

    `mode` can be "constant" only; others raise `ShapeError`.

    >>> pad([1.0, 2.0], (1, 2))
    tensor([0., 1., 2., 0., 0.])
    """
    a = operand(array)
    need(mode == "constant", "pad", mode=mode, want='mode "constant"', fix='"constant"')
    widths = _pairs("pad_width", pad_width, a.ndim)
    widths = tuple([(whole("pad", low), whole("pad", high)) for low, high in widths])
    need(
        all(low >= 0 and high >= 0 for low, high in widths),
        "pad",
        pad_width=pad_width,
        want="widths of 0 or more",
        fix="a slice, to take away",
    )
    return pad_p.bind(a, widths=widths, values=_pairs("constant_values", constant_values, a.ndim))
