"""Operations that join and repeat arrays, and the constant border that `pad` puts around one."""

from __future__ import annotations

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
    copy,
    ravel,
    reshape,
    sizes,
)
from tensorgrad.ops.slicing import index_p, unindex_p


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


def _arrays(op: str, arrays: Any, dtype: Any = None, casting: str = "same_kind") -> list[Any]:
    if not hasattr(arrays, "__iter__"):
        raise TypeError(f"{op}: got {arrays!r}, expected a list of arrays; try {op}([x, y])")
    given = list(arrays)
    need(given, op, arrays=arrays, want="one array at least", fix="a list that is not empty")
    found = [operand(a, given, op) for a in given]
    if dtype is None and any(a.dtype.kind == "V" for a in found):  # NumPy can't promote bfloat16
        dtype = dtypes.result_type(*(a.dtype for a in found))
    if dtype is None:
        return found
    return [astype(a, dtype, casting=casting, copy=False) for a in found]


def _lists(r: Any) -> Any:
    for one, two, axis in (
        ((3,), (2,), 0), ((3, 4), (2, 4), 0), ((3, 4), (3, 2), 1), ((3, 4), (3, 1), -1),
        ((2, 3, 4), (2, 1, 4), 1), ((0, 3), (2, 3), 0), ((2, 3), (4,), None), ((), (2,), None),
    ):  # fmt: skip
        yield ((r.normal(*one), r.normal(*two)),), {"axis": axis}
    yield ([r.normal(4, 3).T, r.normal(6, 4)[::2, ::-1]],), {"axis": -1}
    yield ((r.normal(5),),), {}


@operation(numpy="concatenate", oracle="concatenate", samples=_lists)
def concatenate(
    arrays: Any, axis: int | None = 0, *, dtype: Any = None, casting: str = "same_kind"
) -> Any:
    """The arrays one behind the other along an axis; flattened first where `axis` is None.

    Raises `ShapeError` where they differ in another axis than that one, `DTypeError` where
    `casting` does not allow a cast to `dtype`.

    >>> concatenate([[1.0, 2.0], [3.0]])
    tensor([1., 2., 3.])
    """
    found = _arrays("concatenate", arrays, dtype, casting)
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
def stack(arrays: Any, axis: int = 0, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    """The arrays, of one shape, along a new axis at this position of the result.

    Raises `ShapeError` where the shapes differ.

    >>> stack([[1.0, 2.0], [3.0, 4.0]], axis=1)
    tensor([[1., 3.],
            [2., 4.]])
    """
    found = _arrays("stack", arrays, dtype, casting)
    return stack_p.bind(*found, axis=shapes.axis_index(axis, found[0].ndim + 1, "stack"))


def _rows(r: Any) -> Any:
    for one, two in (
        ((3,), (3,)), ((2, 3), (2, 3)), ((1, 3), (1, 3)), ((2, 3, 4), (2, 3, 4)), ((0, 3), (0, 3)),
        ((1, 3, 1), (1, 3, 1)), ((), ()),
    ):  # fmt: skip
        yield ((r.normal(*one), r.normal(*two)),), {}
    yield ([r.normal(4, 3).T, r.normal(3, 4)],), {}


@operation(numpy="hstack", oracle="hstack", samples=_rows)
def hstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    """The arrays side by side: along axis 1, or 0 where they have one axis."""
    found = [atleast_1d(a) for a in _arrays("hstack", tup)]
    return concatenate(found, 0 if found[0].ndim == 1 else 1, dtype=dtype, casting=casting)


@operation(numpy="vstack", oracle="vstack", samples=_rows)
def vstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    """The arrays below each other: along axis 0, arrays of one axis as rows."""
    found = [atleast_2d(a) for a in _arrays("vstack", tup)]
    return concatenate(found, 0, dtype=dtype, casting=casting)


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


def _appends(r: Any) -> Any:
    for one, two, axis in (
        ((3,), (2,), None), ((3, 4), (2,), None), ((3, 4), (1, 4), 0), ((3, 4), (3, 2), -1),
        ((2, 3, 4), (2, 1, 4), 1), ((0, 3), (2, 3), 0), ((), (), None), ((3,), (), None),
    ):  # fmt: skip
        yield (r.normal(*one), r.normal(*two)), {"axis": axis}
    yield (r.normal(4, 3).T, r.normal(6, 4)[::2, ::-1]), {"axis": 1}


@operation(numpy="append", oracle="append", samples=_appends)
def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    """The values behind the array along an axis; both flattened first where `axis` is None."""
    return concatenate((arr, values), axis)


def _blocks(r: Any) -> Any:
    for shapes_of in (((2, 3), (2, 1), (1, 4)), ((1, 1), (1, 2), (2, 3)), ((0, 2), (0, 1), (1, 3))):
        one, two, three = (r.normal(*shape) for shape in shapes_of)
        yield ([[one, two], [three]],), {}
    a, b = r.normal(3), r.normal(2)
    yield ([a, b, 1.5],), {}
    yield ([b, b, a],), {}
    yield ([[a], [2 * a]],), {}
    yield (a,), {}
    yield ([r.normal(4, 3).T, r.normal(6, 4)[::2, ::-1]],), {}
    yield ([[[r.normal(2, 2), r.normal(2, 1)]], [[r.normal(1, 2, 3)]]],), {}
    yield ([r.normal(), a],), {}
    yield ([[r.normal(2, 2), r.normal(2, 3)], [r.normal(1, 5)]],), {}


def _depth(op: str, arrays: Any) -> int:
    """How deep lists are nested; raises `ShapeError` where that differs."""
    if not isinstance(arrays, list):
        need(not isinstance(arrays, tuple), op, arrays=arrays, want="lists", fix="list(x)",
             error=TypeError)  # fmt: skip
        return 0
    depths = {_depth(op, part) for part in arrays}
    need(len(depths) == 1, op, depths=sorted(depths), want="lists nested equally deep, not empty",
         fix="[[a, b], [c]]")  # fmt: skip
    return 1 + depths.pop()


def _parts(arrays: Any) -> list[Any]:
    return [x for part in arrays for x in _parts(part)] if isinstance(arrays, list) else [arrays]


@operation(numpy="block", oracle="block", samples=_blocks)
def block(arrays: Any) -> Any:
    """The array put together out of nested lists of blocks: innermost lists along the last axis.

    Raises `ShapeError` where blocks do not fit, or lists are not nested equally deep.

    >>> block([[1.0, 2.0], [3.0, 4.0]])
    tensor([[1., 2.],
            [3., 4.]])
    """
    deepest = _depth("block", arrays)
    given = _parts(arrays)
    near = next((x for x in given if isinstance(x, Tensor)), None)
    tensors = [operand(x, (), "block", near) for x in given]
    ndim = max(deepest, *[x.ndim for x in tensors])
    rest = iter(tensors)

    def joined(part: Any, depth: int) -> Any:
        if isinstance(part, list):
            return concatenate([joined(one, depth - 1) for one in part], -depth)
        x = next(rest)
        return reshape(x, (*(1,) * (ndim - x.ndim), *x.shape))

    made = joined(arrays, deepest)
    return made if deepest else copy(made)


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
    return reshape(full, tuple([n * size for n, size in zip(times, shape)]), copy=True)


def _resizes(r: Any) -> Any:
    for shape, new in (
        ((), 3), ((3,), 7), ((3,), (2, 2)), ((2, 3), (3, 3)), ((2, 3), (2, 1)), ((2, 3), (2, 3)),
        ((0, 3), (2, 2)), ((1, 3, 1), (4,)), ((3,), 0), ((2, 3), (13,)),
    ):  # fmt: skip
        yield (r.normal(*shape), new), {}
    yield (r.normal(4, 3).T, (2, 3, 3)), {}


@operation(numpy="resize", oracle="resize", samples=_resizes)
def resize(a: Any, new_shape: Sizes) -> Any:
    """The elements, flat and from the start again where they end, in another shape.

    >>> resize([1.0, 2.0], (3,))
    tensor([1., 2., 1.])
    """
    flat, shape = ravel(a), sizes(new_shape)
    size, wanted = flat.size, shapes.size(shape)
    need(all(n >= 0 for n in shape), "resize", new_shape=shape, want="lengths of 0 or more",
         fix="reshape, for -1")  # fmt: skip
    if not size:
        none = unindex_p.bind(flat, key=(slice(0, 0),), shape=(wanted,))  # zeros, on the tape
        return reshape(none, shape)
    times = -(-wanted // size)
    if times > 1:
        flat = reshape(broadcast_to(flat, (times, size)), (times * size,))
    if flat.size != wanted:
        flat = index_p.bind(flat, key=(slice(0, wanted),))
    found = reshape(flat, shape)
    return copy(found) if times == 1 else found


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
