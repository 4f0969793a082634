"""Sorting, partial sorting, the largest elements, distinct elements: gathers by a constant order.

The order is found once and kept: a gradient is one scatter. Of equal elements the first comes
first, on every machine; NaNs come last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes, shapes
from tensorgrad._errors import need
from tensorgrad.backend import base
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import operation, primitive
from tensorgrad.core.tensor import make
from tensorgrad.ops.axes import flip
from tensorgrad.ops.gather import take_along_p
from tensorgrad.ops.index import concrete, take
from tensorgrad.ops.shape import all_batched, astype, reshape, several

# -- orders ------------------------------------------------------------------------------------

argsort_p: Primitive = primitive(
    "sorted_places",
    nin=1,
    spec=lambda x, *, axis: Spec(x.shape, dtypes.int64),
    batch=lambda inputs, batched, *, axis: argsort_p.bind(inputs[0], axis=axis + 1),
)
argpartition_p: Primitive = primitive(
    "argpartition",
    nin=1,
    spec=lambda x, *, kth, axis: Spec(x.shape, dtypes.int64),
    batch=lambda inputs, batched, *, kth, axis: argpartition_p.bind(
        inputs[0], kth=kth, axis=axis + 1
    ),
)
sort_p: Primitive = primitive(
    "sort",
    nin=1,
    spec=lambda x, *, axis: x,
    batch=lambda inputs, batched, *, axis: sort_p.bind(inputs[0], axis=axis + 1),
)
"""The elements in order, of a constant: without its order."""

largest_p: Primitive = primitive(
    "largest",
    nin=1,
    spec=lambda x, *, k: Spec((*x.shape[:-1], k), dtypes.int64),
    batch=lambda inputs, batched, *, k: largest_p.bind(inputs[0], k=k),
)
"""Where the k largest elements of the last axis are, in descending order."""


def _permuted(name: str, adjoint: str) -> Primitive:
    """Elements along an axis in an order that names each of them once, or put back from it."""
    pair: dict[str, Primitive] = _PERMUTED

    def batch(inputs: Any, batched: Any, *, axis: int) -> Any:
        return pair[name].bind(*all_batched(inputs, batched), axis=axis + 1)

    found: Primitive = primitive(
        name,
        nin=2,
        spec=lambda x, order, *, axis: x,
        vjp=(
            lambda ct, out, x, order, *, axis: pair[adjoint].bind(ct, order, axis=axis),
            lambda *_, **__: None,
        ),
        linear=(0,),
        reads=((1,), ()),
        batch=batch,
    )
    pair[name] = found
    return found


_PERMUTED: dict[str, Primitive] = {}
permute_p = _permuted("permute", "unpermute")
unpermute_p = _permuted("unpermute", "permute")


def _flat(op: str, a: Any, axis: int | None) -> tuple[Any, int]:
    a = operand(a)
    if axis is None:
        a, axis = reshape(a, -1), 0
    return a, shapes.axis_index(axis, a.ndim, op)


def _order(a: Any, axis: int, descending: bool) -> Any:
    """The stable order along an axis; descending, equal elements keep theirs too."""
    if not descending:
        return argsort_p.bind(a, axis=axis)
    found = argsort_p.bind(flip(a.detach(), axis), axis=axis)
    return a.shape[axis] - 1 - flip(found, axis)


def _no_fields(op: str, order: Any) -> None:
    need(order is None, op, order=order, want="order=None: tensors have no fields", fix="axis=0",
         error=ValueError)  # fmt: skip


def _sorts(r: Any) -> Any:
    for x in r.layouts(r.apart):
        if x.ndim:
            yield (x,), {"axis": 0 if 0 in x.strides else -1 if x.ndim < 3 else 1}
    yield (r.apart(3, 4),), {"axis": None}
    yield (r.apart(4, 3).T,), {"axis": 0, "kind": "mergesort"}
    yield (r.integers(0, 3, 3, 4),), {"axis": 0, "stable": True}


def _orders(r: Any) -> Any:
    for (x,), options in _sorts(r):
        yield (x,), {**options, "kind": "stable"} if "stable" not in options else options


@operation(numpy="sort", oracle="sort", samples=_sorts)
def sort(
    a: Any,
    axis: int | None = -1,
    kind: str | None = None,
    order: Any = None,
    *,
    stable: bool | None = None,
    descending: bool = False,
) -> Any:
    """The elements in ascending order along an axis, of the flat array for None; NaNs last.

    The sort is stable whatever `kind` says: the gradient goes to the elements in their own order.

    >>> sort([3.0, 1.0, 2.0])
    tensor([1., 2., 3.])
    """
    _no_fields("sort", order)
    a, axis = _flat("sort", a, axis)
    if a.node is None and not a.level:
        found = sort_p.bind(a, axis=axis)
        return flip(found, axis) if descending else found
    return permute_p.bind(a, _order(a, axis, descending), axis=axis)


@operation(numpy="argsort", methods="argsort", oracle="argsort", samples=_orders, orders=0)
def argsort(
    a: Any,
    axis: int | None = -1,
    kind: str | None = None,
    order: Any = None,
    *,
    stable: bool | None = None,
    descending: bool = False,
) -> Any:
    """The places of the elements in ascending order along an axis, of equal ones the first first.

    int64; flat for axis None; NaNs last.

    >>> argsort([3.0, 1.0, 2.0])
    tensor([1, 2, 0])
    """
    _no_fields("argsort", order)
    a, axis = _flat("argsort", a, axis)
    return _order(a, axis, descending)


def _complexes(r: Any) -> Any:
    for x in r.layouts(r.apart):
        if x.ndim and 0 not in x.strides:
            yield (x,), {}
    yield (r.apart(4, 1, 2),), {}
    yield (r.apart(3, 4) + 1j * r.normal(3, 4),), {}


@operation(numpy="sort_complex", oracle="sort_complex", samples=_complexes)
def sort_complex(a: Any) -> Any:
    """The elements in ascending order along the last axis, real parts first, as complex numbers."""
    found = sort(a)
    small = found.dtype.kind in "iu" and found.dtype.itemsize <= 2  # float32 is not, to NumPy
    wide = dtypes.complex64 if small else dtypes.complex128
    return found if found.dtype.kind == "c" else astype(found, wide)


def _keys(r: Any) -> Any:
    for x in r.layouts(lambda *shape: r.integers(0, 3, *shape)):
        if x.ndim:
            yield ((x, r.integers(0, 3, *x.shape)),), {"axis": 0 if x.ndim > 2 else -1}
    yield ((r.integers(0, 2, 6), r.integers(0, 2, 6), r.integers(0, 2, 6)),), {}


@operation(numpy="lexsort", oracle="lexsort", samples=_keys, orders=0)
def lexsort(keys: Any, axis: int = -1) -> Any:
    """The order along an axis by several keys, the last of them first; a constant.

    >>> lexsort([[2, 1, 0], [1, 0, 1]])
    tensor([1, 2, 0])
    """
    keys = [operand(k, (), "lexsort") for k in several("lexsort", keys, "(last, first)")]
    need(keys, "lexsort", keys=keys, want="one key at least", fix="argsort", error=TypeError)
    axis = shapes.axis_index(axis, keys[0].ndim, "lexsort")
    found = argsort_p.bind(keys[0], axis=axis)
    for key in keys[1:]:
        after = argsort_p.bind(permute_p.bind(key.detach(), found, axis=axis), axis=axis)
        found = permute_p.bind(found, after, axis=axis)
    return found


# -- parts of an order -------------------------------------------------------------------------


def _partitions(r: Any) -> Any:
    """Partitions that leave no choice: what is below and above has one element at most."""
    for shape, kth, axis in (
        ((3,), 1, -1), ((4,), (1, 2), 0), ((2, 3), 1, 1), ((3, 2), -2, 0), ((2, 5, 2), (1, 3), 1),
        ((1,), 0, -1), ((3, 2), (0, 1, 2, 3, 4), None), ((0, 3), 1, -1), ((2, 2), 0, -1),
    ):  # fmt: skip
        yield (r.apart(*shape), kth), {"axis": axis}
    yield (r.apart(4, 3).T, (0, 2)), {"axis": 0}


def _kth(op: str, kth: Any, a: Any, axis: int) -> shapes.Shape:
    one = kth if isinstance(kth, Sequence) else np.asarray(kth).reshape(-1).tolist()
    size = a.shape[axis]
    for k in one:
        need(-size <= k < size, op, kth=kth, size=size, want=f"{-size} <= kth < {size}",
             fix="sort", error=ValueError)  # fmt: skip
    return tuple(sorted({int(k) % size for k in one}))


@operation(numpy="partition", oracle="partition", samples=_partitions)
def partition(
    a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: Any = None
) -> Any:
    """The elements with those of ranks `kth` in place, no larger ones before, no smaller behind.

    What lies between is in no particular order. Raises `ValueError` for a rank out of range.
    """
    _no_fields("partition", order)
    a, axis = _flat("partition", a, axis)
    places = argpartition_p.bind(a, kth=_kth("partition", kth, a, axis), axis=axis)
    return permute_p.bind(a, places, axis=axis)


@operation(
    numpy="argpartition", methods="argpartition", oracle="argpartition", samples=_partitions,
    orders=0,
)  # fmt: skip
def argpartition(
    a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: Any = None
) -> Any:
    """The places of the elements in the order that `partition` puts them in; int64, a constant."""
    _no_fields("argpartition", order)
    a, axis = _flat("argpartition", a, axis)
    return argpartition_p.bind(a, kth=_kth("argpartition", kth, a, axis), axis=axis)


def _tops(r: Any) -> Any:
    for shape, k, axis in (
        ((5,), 2, -1), ((3, 4), 1, 0), ((3, 4), 4, 1), ((2, 3, 4), 2, 1), ((0, 3), 2, -1),
        ((3, 4), 0, -1), ((1, 3, 1), 3, 1), ((6,), 6, 0),
    ):  # fmt: skip
        yield (r.apart(*shape), k), {"axis": axis}
    yield (r.apart(4, 3).T, 2), {"axis": 0, "largest": False}
    yield (r.apart(6, 4)[::2, ::-1], 3), {}


def _top_oracle(a: Any, k: int, axis: int = -1, largest: bool = True) -> Any:
    order = np.argsort(-a if largest else a, axis, kind="stable")
    places = np.take(order, range(k), axis)
    return np.take_along_axis(a, places, axis), places


@operation(oracle=_top_oracle, samples=_tops)
def topk(a: Any, k: int, axis: int = -1, *, largest: bool = True) -> Any:
    """(values, places) of the k largest elements along an axis, or smallest, in that order.

    The places are int64 constants; of equal elements the first come first, a NaN is the largest.
    Raises `ShapeError` unless the axis has k elements.

    >>> topk([1.0, 4.0, 2.0, 3.0], 2)
    (tensor([4., 3.]), tensor([1, 3]))
    """
    a = operand(a)
    axis = shapes.axis_index(axis, a.ndim, "topk")
    need(0 <= k <= a.shape[axis], "topk", a=a, k=k, axis=axis, want="0 <= k <= the axis's length",
         fix="min(k, a.shape[axis])")  # fmt: skip
    last = a.ndim - 1
    x = a if axis == last else a.swapaxes(axis, last)
    if largest:
        places = largest_p.bind(x, k=k)
    else:
        places = argsort_p.bind(x, axis=last)[..., :k]
    values = take_along_p.bind(x, places, axis=last)
    if axis != last:
        values, places = values.swapaxes(axis, last), places.swapaxes(axis, last)
    return values, places


# -- distinct elements -------------------------------------------------------------------------


def _distinct(r: Any) -> Any:
    for x in r.layouts(r.apart):
        if 0 not in x.strides:
            yield (x,), {}
    yield (r.integers(0, 3, 3, 4),), {"return_index": True, "return_inverse": True}
    yield (r.integers(0, 3, 7),), {"return_inverse": True, "return_counts": True}
    yield (r.apart(4, 3),), {"axis": 0, "return_counts": True}


@operation(numpy="unique", oracle="unique", samples=_distinct)
def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    *,
    equal_nan: bool = True,
    sorted: bool = True,
) -> Any:
    """The distinct elements, ascending; the gradient of each goes to its first occurrence.

    On demand also, as int64 constants, the places of these, which of them every element is, and
    how often each occurs. With an axis, the distinct slices along it. Raises `ShapeError` inside
    vmap, since the number of them depends on the values.
    """
    ar = operand(ar)
    array = concrete("unique", ar)
    if axis is not None:
        axis = shapes.axis_index(axis, ar.ndim, "unique")
    find = base.of(array).kernel("unique_places")
    index, inverse, counts = (make(one) for one in find(array, axis, equal_nan))
    values = take(ar, index, axis)
    wanted = (return_index, return_inverse, return_counts)
    more = [one for one, there in zip((index, inverse, counts), wanted) if there]
    return (values, *more) if more else values
