"""Arrays as sets: distinct elements with their places, unions, differences, membership.

Values are gathered, so the gradient of each goes to the element it is; places are constants.

>>> union1d([1, 2], [2, 3])
tensor([1, 2, 3])
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np  # oracles only

from tensorgrad import dtypes
from tensorgrad._errors import need
from tensorgrad.core.calls import operands
from tensorgrad.core.registry import operation
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops.binning import searchsorted
from tensorgrad.ops.compare import equal, logical_not
from tensorgrad.ops.create import full
from tensorgrad.ops.elementwise import minimum
from tensorgrad.ops.index import concrete, getitem, take
from tensorgrad.ops.join import concatenate
from tensorgrad.ops.shape import reshape
from tensorgrad.ops.sorting import argsort, permute_p, unique


class UniqueAllResult(NamedTuple):
    """What `unique_all` gives; `indices` are those of the first occurrences."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCountsResult(NamedTuple):
    """What `unique_counts` gives."""

    values: Tensor
    counts: Tensor


class UniqueInverseResult(NamedTuple):
    """What `unique_inverse` gives: x is values[inverse_indices]."""

    values: Tensor
    inverse_indices: Tensor


def _one(r: Any) -> Iterator[Any]:
    for x in r.layouts(r.apart):
        if 0 not in x.strides:
            yield (x,), {}
    yield (r.integers(0, 3, 3, 4),), {}
    yield (r.bools(5),), {}


@operation(numpy="unique_all", oracle="unique_all", samples=_one)
def unique_all(x: Any, /) -> UniqueAllResult:
    """The distinct elements, ascending, their places, which of them each element is, how often."""
    return UniqueAllResult(*unique(x, True, True, True, equal_nan=False))


@operation(numpy="unique_counts", oracle="unique_counts", samples=_one)
def unique_counts(x: Any, /) -> UniqueCountsResult:
    """The distinct elements, ascending, and how often each occurs; each NaN is one of its own."""
    return UniqueCountsResult(*unique(x, return_counts=True, equal_nan=False))


@operation(numpy="unique_inverse", oracle="unique_inverse", samples=_one)
def unique_inverse(x: Any, /) -> UniqueInverseResult:
    """The distinct elements, ascending, and which of them each element is."""
    return UniqueInverseResult(*unique(x, return_inverse=True, equal_nan=False))


@operation(numpy="unique_values", oracle=lambda x: np.unique(x, equal_nan=False), samples=_one)
def unique_values(x: Any, /) -> Any:
    """The distinct elements, ascending; each NaN is one of its own."""
    return unique(x, equal_nan=False)


# -- two sets ----------------------------------------------------------------------------------


def _two(r: Any) -> Iterator[Any]:
    """Floats that differ, since one that is in both is a kink, and integers that meet."""
    for shape, other in (((5,), (4,)), ((3, 4), (2,)), ((0,), (3,)), ((3,), (0,)), ((), (2, 2))):
        yield (r.apart(*shape), 9 + r.apart(*other)), {}
    yield (r.apart(4, 3).T, 20 + r.apart(4, 6)[::2, ::-1]), {}
    for pair in ((6, 4), (3, 3), (1, 5)):
        yield tuple(r.integers(0, 5, n) for n in pair), {}


def _different(r: Any) -> Iterator[Any]:
    """Pairs for which `assume_unique` is true as well."""
    yield from _two(r)
    x = r.rng.permutation(7)
    yield (x[:5], x[3:]), {"assume_unique": True}


def _flat(op: str, *sets: Any) -> list[Any]:
    found = [reshape(x, -1) for x in operands(sets, op)]
    for x in found:
        concrete(op, x)
    return found


def _neighbours(sets: list[Any]) -> tuple[Any, Any, Any]:
    """The elements of both in order, their places, and where one equals the next.

    They are constants.
    """
    both = concatenate([x.detach() for x in sets])
    order = argsort(both)
    held = permute_p.bind(both, order, axis=0)
    return both, order, equal(held[1:], held[:-1])


def _picked(sets: list[Any], places: Any) -> Any:
    """Elements of the two, one behind the other, with their gradients."""
    return take(concatenate(sets), places)


@operation(numpy="union1d", oracle="union1d", samples=_two)
def union1d(ar1: Any, ar2: Any) -> Any:
    """The distinct elements of both, ascending."""
    return unique(concatenate(_flat("union1d", ar1, ar2)))


def _common(r: Any) -> Iterator[Any]:
    yield from _different(r)
    yield (r.integers(0, 5, 6), r.integers(0, 5, 7)), {"return_indices": True}


@operation(numpy="intersect1d", oracle="intersect1d", samples=_common)
def intersect1d(
    ar1: Any, ar2: Any, assume_unique: bool = False, return_indices: bool = False
) -> Any:
    """The distinct elements that both have, ascending; the gradient goes to those of ar1.

    return_indices: also the places of their first occurrences in each, as constants.
    """
    given = _flat("intersect1d", ar1, ar2)
    sets, index = given, []
    if not assume_unique:
        pairs = [unique(x, return_index=True) for x in given]
        sets, index = [p[0] for p in pairs], [p[1] for p in pairs]
    _, order, twins = _neighbours(sets)
    first, second = getitem(order[:-1], twins), getitem(order[1:], twins)
    values = _picked(sets, first)
    if not return_indices:
        return values
    places = (first, second - sets[0].size)
    return values, *((take(k, at) for k, at in zip(index, places)) if index else places)


@operation(numpy="setxor1d", oracle="setxor1d", samples=_different)
def setxor1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Any:
    """The distinct elements that one of the two has and the other has not, ascending."""
    sets = _flat("setxor1d", ar1, ar2)
    sets = sets if assume_unique else [unique(x) for x in sets]
    both, order, twins = _neighbours(sets)
    if not both.size:
        return concatenate(sets)
    edge = full((1,), False, device=both.device)
    alone = logical_not(concatenate((edge, twins)) | concatenate((twins, edge)))
    return _picked(sets, getitem(order, alone))


@operation(numpy="setdiff1d", oracle="setdiff1d", samples=_different)
def setdiff1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Any:
    """The distinct elements of ar1 that ar2 has not; in ar1's order if `assume_unique`."""
    a, b = _flat("setdiff1d", ar1, ar2)
    a = a if assume_unique else unique(a)
    return getitem(a, isin(a, b, invert=True))


def _members(r: Any) -> Iterator[Any]:
    yield from _two(r)
    yield (r.integers(0, 5, 3, 4), r.integers(0, 5, 2, 2)), {"invert": True}
    yield (r.integers(0, 3, 4), 2), {}
    yield (np.array([np.nan, 1.0]), np.array([np.nan, 1.0])), {}


@operation(numpy="isin", oracle="isin", samples=_members, orders=0)
def isin(
    element: Any,
    test_elements: Any,
    assume_unique: bool = False,
    invert: bool = False,
    *,
    kind: str | None = None,
) -> Any:
    """Which elements are in a set, or with `invert` are not; NaN is in none. A constant.

    >>> isin([1, 2, 3], [3, 1])
    tensor([ True, False,  True])
    """
    need(kind in (None, "sort", "table"), "isin", kind=kind, want="None, 'sort' or 'table'",
         fix="kind=None", error=ValueError)  # fmt: skip
    x, among = operands((element, test_elements), "isin")
    flat, others = reshape(x.detach(), -1), reshape(among.detach(), -1)
    if not flat.size or not others.size:
        found = full(flat.shape, False, device=flat.device)
    else:
        wide = dtypes.result_type(flat.dtype, others.dtype)
        flat, others = flat.astype(wide, copy=False), others.astype(wide, copy=False)
        held = permute_p.bind(others, argsort(others), axis=0)
        places = minimum(searchsorted(held, flat), held.size - 1)
        found = equal(take(held, places), flat)
    found = reshape(found, x.shape)
    return logical_not(found) if invert else found
