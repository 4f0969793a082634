"""Indexing as NumPy means it: `x[key]`, take, nonzero, compress, extract.

`x[key]` is at most two primitives: a basic index, which is a view, and a gather along axes.
"""

from __future__ import annotations

from types import EllipsisType, NoneType
from typing import Any, NamedTuple

import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad._errors import GradientError, ShapeError, need
from tensorgrad.backend import base
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import operation
from tensorgrad.core.tensor import Payload, Tensor, make
from tensorgrad.ops.elementwise import clip, remainder
from tensorgrad.ops.gather import gather_p
from tensorgrad.ops.join import stack
from tensorgrad.ops.shape import astype, broadcast_to, reshape, reshape_p
from tensorgrad.ops.slicing import Key, expanded, index_p

BASIC: frozenset[Any] = frozenset({int, slice, NoneType, EllipsisType})

# -- what an index may be ----------------------------------------------------------------------


def concrete(op: str, x: Tensor) -> Any:
    """The array of a tensor whose values decide a shape; raises where a batch is hidden in it."""
    data = x.data
    while isinstance(data, Payload):
        if not data.readable:
            raise ShapeError(
                f"{op}: got values with a batch hidden in them that decide a shape, expected the "
                "same shape for all; try where(mask, x, 0)"
            )
        data = data.inner.data
    return data


def index_tensor(op: str, k: Any, near: Any = None) -> Any:
    """An index array as an integer or bool tensor; an empty list is an integer one."""
    found: Any = k if isinstance(k, Tensor) else operand(k, (), op, near)
    if not isinstance(k, Tensor) and not found.size and found.dtype.kind == "f":
        found = astype(found, dtypes.int64)
    if found.node is not None:
        raise GradientError(
            f"{op}: got an index of dtype {found.dtype} on the tape, expected integers or bools "
            "off it; try index.detach().astype(int)"
        )
    need(
        found.dtype.kind in "iub",
        op,
        index=found,
        want="integers, bools, slices, None or ...",
        fix="index.astype(int)",
        error=IndexError,
    )
    if found.dtype == dtypes.int64 or found.dtype.kind == "b":
        return found
    return astype(found, dtypes.int64)


def stack_index(arrays: list[Any]) -> Any:
    """Integer arrays, broadcast against each other, as one with a new first axis."""
    if len(arrays) == 1:
        return reshape_p.bind(arrays[0], shape=(1, *arrays[0].shape))
    shape = shapes.broadcast(*[a.shape for a in arrays], op="getitem")
    return stack([broadcast_to(a, shape) for a in arrays])


# -- x[key] ------------------------------------------------------------------------------------


def plain_key(key: Any, near: Any = None) -> Any:
    """A key without tensors: arrays and numbers in their place, for a write."""
    parts = key if type(key) is tuple else (key,)
    if all(type(k) in BASIC for k in parts):
        return key
    found = [k if type(k) in BASIC else index_tensor("setitem", k, near) for k in parts]
    for k in found:
        if type(k) is Tensor and k.level:
            raise ShapeError(
                "setitem: got an index inside jvp or vmap, expected an array; try x = where(...)"
            )
    return tuple([k.data if type(k) is Tensor else k for k in found])


class Advanced(NamedTuple):
    """A part of a key that is an array of integers; `new`: into a new axis of length 1."""

    places: Tensor
    new: bool = False


def _parts(key: Key, near: Any) -> list[Any]:
    """The key's parts: basic ones as they are, all others as tensors, 0-d integers as numbers."""
    parts: list[Any] = []
    for k in key:
        if type(k) in BASIC:
            parts.append(k)
            continue
        k = index_tensor("getitem", k, near)
        number = not k.ndim and k.dtype.kind != "b" and not k.level
        parts.append(int(k) if number else k)
    return parts


def _consumed(k: Any) -> int:
    """How many axes of the array a part of a key consumes, an ellipsis aside."""
    if type(k) is Tensor:
        return k.ndim if k.dtype.kind == "b" else 1
    return 0 if k is None or k is Ellipsis else 1


def _resolved(parts: list[Any], x: Any) -> list[Any]:
    """The parts with integers, arrays and masks (as the places of True) made `Advanced`."""
    used, shape = sum(_consumed(k) for k in parts), x.shape
    found: list[Any] = []
    axis = 0
    for k in parts:
        size = max(len(shape) - used, 0) if k is Ellipsis else _consumed(k)
        if type(k) is int:
            found.append(Advanced(operand(k, near=x)))
        elif type(k) is not Tensor:
            found.append(k)
        elif k.dtype.kind != "b":
            found.append(Advanced(k))
        else:
            _check_mask(k, shape[axis : axis + size])
            true = concrete("getitem", k)
            found += [Advanced(make(one)) for one in _places(true)] if k.ndim else [
                Advanced(astype(operand([0] if true else [], near=k), dtypes.int64), new=True)
            ]  # fmt: skip
        axis += size
    return found


def _places(array: Any) -> Any:
    """The indices of what is not zero, an array per axis."""
    return base.of(array).kernel("nonzero")(array)


def _check_mask(mask: Tensor, shape: shapes.Shape) -> None:
    if mask.shape != shape:
        raise IndexError(
            f"getitem: got a mask of shape {mask.shape} for axes of shape {shape}, expected the "
            "same; try a mask of the array's shape, or mask[..., None]"
        )


class Place(NamedTuple):
    """What a key names: a basic index (None: all), then a gather (`index` None: none)."""

    basic: Key | None
    index: Any = None
    axes: shapes.Shape = ()
    at: int = 0


def located(x: Any, key: Any) -> Place:
    """The place that a key of any kind names in x."""
    key = key if type(key) is tuple else (key,)
    parts = _parts(key, x)
    if all(type(k) is not Tensor for k in parts):
        return Place(None if parts == [Ellipsis] else tuple(parts))
    parts = _resolved(parts, x)
    places = [n for n, k in enumerate(parts) if type(k) is Advanced]
    together = places[-1] - places[0] == len(places) - 1
    basic = [_basic(k) for k in parts]
    expanded(tuple(basic), x.ndim)
    if Ellipsis in basic:
        dots = basic.index(Ellipsis)
        fill = [slice(None)] * (x.ndim - sum(_consumed(k) for k in basic))
        parts[dots : dots + 1], basic[dots : dots + 1] = fill, fill
    axes = tuple([n for n, k in enumerate(parts) if type(k) is Advanced])
    index = stack_index([parts[n].places for n in axes])
    some = any(k != slice(None) for k in basic)
    return Place(tuple(basic) if some else None, index, axes, axes[0] if together else 0)


def _advanced(x: Any, key: Key) -> Any:
    """x[key] with arrays in the key: a basic index, then a gather along the axes of the arrays."""
    place = located(x, key)
    if place.index is None:
        return index_p.bind(x, key=place.basic or (...,))
    if place.basic is not None:
        x = index_p.bind(x, key=place.basic)
    return gather_p.bind(x, place.index, axes=place.axes, at=place.at)


def _single(x: Any, key: Any) -> Any:
    """x[key] for a key of one part; rows by an array of integers are one gather."""
    if type(key) in BASIC:
        return index_p.bind(x, key=(key,))
    found = index_tensor("getitem", key, x)
    if found.dtype.kind == "b" or not found.ndim or not x.ndim:
        return _advanced(x, (found,))
    return gather_p.bind(x, stack_index([found]), axes=(0,), at=0)


def _basic(k: Any) -> Any:
    """What a part of a key is to basic indexing: an array leaves its axis whole, or makes it."""
    if type(k) is Advanced:
        return None if k.new else slice(None)
    return k


def _keys(r: Any) -> Any:
    for shape, key in (
        ((), ()), ((5,), 2), ((5,), slice(1, None, 2)), ((3, 4), -1), ((3, 4), (..., 0)),
        ((3, 4), (None, slice(None, None, -1))), ((0, 3), slice(0, 0)), ((2, 3, 4), (1, ..., None)),
        ((5,), [0, 0, 3, -1]), ((3, 4), ([0, 2, 0], [1, 1, 1])), ((3, 4), [[0, 1], [2, 2]]),
        ((2, 3, 4), (slice(None), [0, 2, 2])), ((2, 3, 4), ([1, 0, 1], slice(None), [0, 3, 0])),
        ((2, 3, 4), (0, slice(None), [0, 3, 0])), ((2, 3, 4), (slice(1), [[0], [2]], [1, 3])),
        ((3, 4), (None, [1, 1])), ((3, 4), (slice(None), None, [1, 1])), ((3, 4), []),
        ((3, 4), True), ((3, 4), False), ((3,), [True, False, True]), ((0, 3), (slice(None), [1])),
        ((2, 3, 4), (slice(None), [True, False, True], [0, 1])),
        ((3, 4), np.arange(12).reshape(3, 4) % 3 == 0), ((2, 3, 4), (..., [3, 3])),
    ):  # fmt: skip
        yield (r.normal(*shape), key), {}
    yield (r.normal(6, 4)[::2, ::-1], [2, 0, 2]), {}
    yield (r.normal(3, 4), (r.integers(-3, 3, 2, 1), r.integers(-4, 4, 5), ...)), {}


@operation(methods="__getitem__", oracle=lambda a, key: a[key], samples=_keys)
def getitem(a: Any, key: Any) -> Any:
    """a[key] as NumPy means it: a view for integers, slices, None and ..., else a copy.

    Raises `IndexError` out of range, `GradientError` for an index on the tape.
    """
    if type(key) is not tuple:
        return _single(operand(a), key)
    for k in key:
        if type(k) not in BASIC:
            return _advanced(operand(a), key)
    return index_p.bind(a, key=key)


MODES = ("raise", "wrap", "clip")
"""What may be done about an index out of range."""


def inside(index: Any, size: int, mode: str) -> Any:
    """Integers taken modulo a length ("wrap"), or to the nearest that are within it ("clip")."""
    if mode == "raise" or not size:
        return index
    return remainder(index, size) if mode == "wrap" else clip(index, 0, size - 1)


def _taken(r: Any) -> Any:
    for shape, indices, axis in (
        ((5,), 2, 0), ((5,), [0, 0, -1], None), ((3, 4), [[0, 5], [11, 5]], None),
        ((3, 4), [1, 1, 3], 1), ((2, 3, 4), [[0, 2], [2, 2]], -2), ((3, 4), 1, 0),
        ((0, 3), [2, 2], 1), ((1, 3, 1), [0, 0], 0),
    ):  # fmt: skip
        yield (r.normal(*shape), np.asarray(indices)), {"axis": axis}
    yield (r.normal(4, 3).T, np.asarray([2, 0, 2])), {"axis": 0}
    yield (r.normal(3, 4), np.asarray([-9, 5, 3])), {"axis": 1, "mode": "wrap"}
    yield (r.normal(3, 4), np.asarray([[-9, 5], [3, -1]])), {"axis": 0, "mode": "clip"}


@operation(numpy="take", methods="take", oracle="take", samples=_taken)
def take(a: Any, indices: Any, axis: int | None = None, *, mode: str = "raise") -> Any:
    """The elements at `indices` along an axis (of the flat array without one), repeats allowed.

    An index out of range raises `IndexError`; with mode "wrap" it counts modulo the length, with
    "clip" it is the nearest one (a negative one 0).

    >>> take([1.0, 2.0, 3.0], [0, 0, 2])
    tensor([1., 1., 3.])
    """
    a = operand(a)
    index = index_tensor("take", indices, a)
    need(mode in MODES, "take", mode=mode, want=f"one of {' '.join(MODES)}", fix="mode='raise'")
    if axis is None:
        a, axis = reshape(a, (a.size,)), 0
    axis = shapes.axis_index(axis, a.ndim, "take")
    index = inside(astype(index, dtypes.int64, copy=False), a.shape[axis], mode)
    return gather_p.bind(a, reshape(index, (1, *index.shape)), axes=(axis,), at=axis)


def _repeats(r: Any) -> Any:
    for shape, repeats, axis in (
        ((), 3, None), ((3,), 2, None), ((3,), [1, 0, 2], 0), ((2, 3), 2, None), ((2, 3), 2, -1),
        ((2, 3), [2, 1], 0), ((0, 3), 2, 1), ((1, 3, 1), [3], 0), ((2, 3), [0, 1, 2], 1),
        ((2, 2), [0, 1, 2, 1], None),
    ):  # fmt: skip
        yield (r.normal(*shape), repeats), {"axis": axis}
    yield (r.normal(4, 3).T, 2), {"axis": 0}


@operation(numpy="repeat", methods="repeat", oracle="repeat", samples=_repeats)
def repeat(a: Any, repeats: Any, axis: int | None = None) -> Any:
    """Each element so often along an axis (of the flat array without one), by one count or many.

    >>> repeat([1.0, 2.0], 2)
    tensor([1., 1., 2., 2.])
    """
    a = operand(a)
    if axis is None:
        a, axis = reshape(a, (a.size,)), 0
    axis = shapes.axis_index(axis, a.ndim, "repeat")
    counts = concrete("repeat", index_tensor("repeat", repeats)).reshape(-1).tolist()
    need(
        len(counts) in (1, a.shape[axis]) and all(n >= 0 for n in counts),
        "repeat",
        a=a,
        repeats=repeats,
        want=f"one count of 0 or more, or {a.shape[axis]}",
        fix="repeats=2",
    )
    if len(counts) > 1:
        return take(a, [k for k, n in enumerate(counts) for _ in range(n)], axis)
    before, after = a.shape[: axis + 1], a.shape[axis + 1 :]
    full = broadcast_to(reshape(a, (*before, 1, *after)), (*before, *counts, *after))
    return reshape(full, (*before[:-1], before[-1] * counts[0], *after), copy=True)


# -- where elements are ------------------------------------------------------------------------


def _masked(r: Any) -> Any:
    for x in r.layouts(lambda *shape: r.integers(-1, 2, *shape)):
        if x.ndim:
            yield (x,), {}
    yield (r.bools(4, 5),), {}


@operation(
    numpy="nonzero", methods="nonzero", oracle=lambda a: a.nonzero(), samples=_masked, orders=0
)
def nonzero(a: Any) -> Any:
    """The indices of the elements that are not zero, one integer tensor per axis; constants."""
    a = operand(a)
    need(a.ndim, "nonzero", a=a, want="one axis at least", fix="atleast_1d(a)")
    return tuple([make(one) for one in _places(concrete("nonzero", a))])


@operation(numpy="flatnonzero", oracle="flatnonzero", samples=_masked, orders=0)
def flatnonzero(a: Any) -> Any:
    """The indices of the elements of the flat array that are not zero; a constant."""
    a = operand(a)
    return nonzero(reshape(a, (a.size,)))[0]


def _compressed(r: Any) -> Any:
    for shape, axis in (
        ((5,), 0), ((5,), None), ((3, 4), 0), ((3, 4), -1), ((3, 4), None), ((2, 3, 4), 1),
        ((0, 3), 1), ((1, 3, 1), 1),
    ):  # fmt: skip
        size = 3 if axis is None else shape[axis]
        yield (r.bools(size), r.normal(*shape)), {"axis": axis}
    yield (r.bools(2), r.normal(4, 3).T), {"axis": 0}


@operation(numpy="compress", oracle="compress", samples=_compressed)
def compress(condition: Any, a: Any, axis: int | None = None) -> Any:
    """The slices of `a` along an axis where the condition, of one axis, holds."""
    return take(a, flatnonzero(condition), axis)


@operation(
    numpy="extract",
    oracle="extract",
    samples=lambda r: (((x > 0, x), {}) for x in r.layouts(r.normal)),
)
def extract(condition: Any, arr: Any) -> Any:
    """The elements of the flat array where the condition holds."""
    return take(arr, flatnonzero(condition))
