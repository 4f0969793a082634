"""Choosing between arrays by conditions and indices, and putting values into copies by masks."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import reduce as fold
from typing import Any

import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad._errors import DTypeError, need
from tensorgrad.backend import base
from tensorgrad.core.calls import operands
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import operation
from tensorgrad.core.tensor import Tensor, make
from tensorgrad.ops.along import put_along_axis
from tensorgrad.ops.cumulative import cumsum
from tensorgrad.ops.elementwise import where
from tensorgrad.ops.gather import gather_p, scatter_add_p
from tensorgrad.ops.index import MODES, index_tensor, inside, nonzero, stack_index, take
from tensorgrad.ops.join import resize
from tensorgrad.ops.shape import astype, broadcast_to, copy, ravel, reshape, several
from tensorgrad.ops.slicing import index_p, unindex_p

# -- between arrays ----------------------------------------------------------------------------


def _promoted(op: str, arrays: Sequence[Any]) -> list[Any]:
    """Arrays and numbers as tensors of the one dtype that NumPy gives them together."""
    found = operands(tuple(arrays), op)
    dtype = dtypes.result_type(*[x.dtype for x in found])
    return [astype(x, dtype, copy=False) for x in found]


def _choices(r: Any) -> Any:
    for shape, mode in (
        ((), "raise"), ((5,), "raise"), ((3, 4), "raise"), ((3, 4), "wrap"), ((3, 4), "clip"),
        ((0, 3), "raise"), ((1, 3, 1), "raise"),
    ):  # fmt: skip
        index = r.integers(0, 3, *shape) if mode == "raise" else r.integers(-5, 5, *shape)
        yield (index, [r.normal(*shape), r.normal(*shape), r.normal(*shape)]), {"mode": mode}
    yield (r.integers(0, 2, 3, 1), [r.normal(4), r.normal(3, 4)]), {}
    yield (r.integers(0, 2, 4, 3).T, [r.normal(3, 1), r.normal(4, 3).T]), {}
    yield (r.integers(0, 3, 4), r.normal(3, 4)), {}


@operation(numpy="choose", oracle="choose", samples=_choices)
def choose(a: Any, choices: Any, *, mode: str = "raise") -> Any:
    """The element of the array, of those in `choices`, whose number stands in `a`.

    All are broadcast against each other. A number that names none raises `ValueError`; with mode
    "wrap" it counts modulo their number, with "clip" it is the nearest.

    >>> choose([0, 1], [[1.0, 2.0], [3.0, 4.0]])
    tensor([1., 4.])
    """
    op = "choose"
    given = list(choices)
    need(mode in MODES, op, mode=mode, want=f"one of {' '.join(MODES)}", fix="mode='raise'")
    need(given, op, choices=choices, want="one array at least", fix="choices=[x, y]")
    found = _promoted(op, given)
    index = index_tensor(op, a, found[0])
    need(
        index.dtype.kind != "b" or len(given) > 1, op, a=index, want="integers", fix="a.astype(int)"
    )
    index = inside(astype(index, dtypes.int64, copy=False), len(given), mode)
    if mode == "raise" and index.size:
        values: Any = make(index.value())  # that of every batch
        low, high = int(values.min().item()), int(values.max().item())
        need(0 <= low <= high < len(given), op, a=index, smallest=low, largest=high,
             want=f"numbers of {len(given)} choices", fix="mode='clip'",
             error=ValueError)  # fmt: skip
    shape = shapes.broadcast(index.shape, *[x.shape for x in found], op=op)
    result = found[-1]
    for k in range(len(found) - 2, -1, -1):
        result = where(index == k, found[k], result)
    return result if result.shape == shape else broadcast_to(result, shape)


def _selections(r: Any) -> Any:
    for shape in ((), (5,), (3, 4), (2, 3, 4), (0, 3), (1, 3, 1)):
        x, y = r.apart(*shape), r.normal(*shape)
        yield ([x > 0.2, x < -0.2], [x, y]), {"default": 1.5}
    x = r.apart(4, 3).T
    yield ([x > 0, x > -0.1], [r.normal(4), r.normal(3, 1)]), {}
    yield ([np.asarray(True), x > 0], [r.normal(), x]), {}
    yield ([x > 0.2], [x]), {"default": r.normal(3, 1)}


@operation(numpy="select", oracle="select", samples=_selections)
def select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    """The element of the first choice whose condition holds, `default` where none does.

    Raises `ShapeError` for lists of different lengths, `DTypeError` for conditions that are no
    bools.

    >>> select([[True, False]], [[1.0, 2.0]], 0.5)
    tensor([1. , 0.5])
    """
    op = "select"
    condlist = several(op, condlist, "[x > 0], [x], default=0")
    choicelist = several(op, choicelist, "[x > 0], [x], default=0")
    conditions = [operand(c, tuple(choicelist), op) for c in condlist]
    need(len(conditions) == len(choicelist) > 0, op, conditions=len(conditions),
         choices=len(choicelist), want="as many choices as conditions, one at least",
         fix="default= for the rest")  # fmt: skip
    for c in conditions:
        need(c.dtype.kind == "b", op, where=c, want="bools", fix="c != 0", error=DTypeError)
    *found, result = _promoted(op, [*choicelist, default])
    shape = shapes.broadcast(*[x.shape for x in (*conditions, *found)], op=op)
    for c, x in zip(conditions[::-1], found[::-1]):
        result = where(c, x, result)
    return result if result.shape == shape else broadcast_to(result, shape)


def _pieces(r: Any) -> Any:
    for shape in ((), (5,), (3, 4), (2, 3, 4), (0, 3), (1, 3, 1)):
        x = r.apart(*shape)
        yield (x, [x < -0.2, x > 0.2], (lambda x: x * x, _exp, 1.5)), {}
    x = r.apart(4, 3).T
    yield (x, [x < 0], (_exp,)), {}
    yield (x[0], x[0] < 0, (_exp, lambda x: 2 * x)), {}
    yield (x, [x < 0, x < 0.1], (_exp, lambda x: -x)), {}
    yield (x, [x < 0], (lambda x, s, *, t: s * x + t,), 2.0), {"t": 0.5}


def _exp(x: Any) -> Any:
    return np.exp(x)


@operation(numpy="piecewise", oracle="piecewise", samples=_pieces)
def piecewise(x: Any, condlist: Any, funclist: Sequence[Any], *args: Any, **kw: Any) -> Any:
    """f_k(x) where condition k holds, the last that does; 0 where none, or by one function more.

    Each function, called as f(x[condition], *args, **kw), meets the elements of its own condition
    alone; what is no function is a value. The result has x's dtype.
    """
    op, x = "piecewise", operand(x)
    flat = ravel(x)
    masks = [_mask(op, flat, c) for c in _conditions(condlist, x.ndim)]
    need(len(funclist) - len(masks) in (0, 1), op, conditions=len(masks), functions=len(funclist),
         want="as many functions as conditions, or one more", fix="a value for the rest",
         error=ValueError)  # fmt: skip
    if len(funclist) > len(masks):
        masks.append(~fold(operator.or_, masks))
    none = (slice(0, 0),)
    result = unindex_p.bind(index_p.bind(flat, key=none), key=none, shape=flat.shape)  # zeros
    for mask, f in zip(masks, funclist):
        if not callable(f):
            result = where(mask, astype(operand(f, (x,)), x.dtype, copy=False), result)
            continue
        places = nonzero(mask)[0]
        if places.size:
            index = stack_index([places])
            values = operand(f(gather_p.bind(flat, index, axes=(0,), at=0), *args, **kw), (x,))
            values = broadcast_to(astype(values, x.dtype, copy=False), places.shape)
            there = scatter_add_p.bind(values, index, axes=(0,), at=0, shape=flat.shape)
            result = where(mask, there, result)
    return reshape(result, x.shape)


def _conditions(given: Any, ndim: int) -> list[Any]:
    """A list of conditions; one alone may stand there without its list."""
    if isinstance(given, bool | np.bool_) or (isinstance(given, Tensor) and not given.ndim):
        return [given]
    first = given[0]
    several = isinstance(first, list | np.ndarray) or (isinstance(first, Tensor) and first.ndim)
    return list(given) if several or not ndim else [given]


def _spread(values: Any, mask: Any) -> Any:
    """Values in order at the Trues of a mask, from the start again where they end; else any."""
    if not values.size:
        return broadcast_to(make(base.of(values.value()).full((), 0, values.dtype)), mask.shape)
    rank = reshape(cumsum(astype(ravel(mask), dtypes.int64)), mask.shape) - 1
    return take(values, inside(rank, values.shape[0], "wrap"))


# -- into copies -------------------------------------------------------------------------------


def _twin(function: Callable[..., Any]) -> Callable[..., Any]:
    """NumPy's function that writes into its first argument, as one that returns a copy."""

    def oracle(a: Any, *args: Any, **options: Any) -> Any:
        found = a.copy()
        function(found, *args, **options)
        return found

    return oracle


def _placings(r: Any) -> Any:
    for x in r.layouts(r.normal):
        yield (x, r.bools(*x.shape), r.normal(2)), {}
    yield (r.normal(3, 4), r.bools(3, 4), r.normal(2, 2)), {}


@operation(oracle=_twin(np.place), samples=_placings)
def place(arr: Any, mask: Any, vals: Any) -> Any:
    """A copy of `arr` with `vals`, one after the other and again, where the mask holds.

    NumPy's function of this name writes in place; this one returns the result.
    """
    arr = operand(arr)
    mask = _mask("place", arr, mask)
    values = ravel(astype(operand(vals, (arr,)), arr.dtype, copy=False))
    return where(mask, _spread(values, mask), arr)


def _mask(op: str, a: Any, mask: Any) -> Any:
    found = astype(operand(mask, (a,), op), dtypes.bool_, copy=False)
    need(found.size == a.size, op, array=a, mask=found, want="as many bools as elements",
         fix="np.broadcast_to(mask, a.shape)", error=ValueError)  # fmt: skip
    return found if found.shape == a.shape else reshape(found, a.shape)


@operation(oracle=_twin(np.putmask), samples=_placings)
def putmask(a: Any, mask: Any, values: Any) -> Any:
    """A copy of `a` with `values` where the mask holds, each in its own place.

    Values of another shape than a's are repeated, flat, to its size. NumPy's function of this name
    writes in place; this one returns the result.
    """
    a = operand(a)
    mask = _mask("putmask", a, mask)
    given = astype(operand(values, (a,)), a.dtype, copy=False)
    if not given.size:
        return copy(a)
    return where(mask, given if given.shape == a.shape else resize(given, a.shape), a)


def _puts(r: Any) -> Any:
    for x in r.layouts(r.normal):
        if x.size:
            yield (x, r.rng.permutation(x.size)[:2], r.normal(min(x.size, 2))), {}
    yield (r.normal(5), [1, -1], 2.5), {}
    yield (r.normal(5), [4, 9, -7], r.normal(3)), {"mode": "clip"}
    yield (r.normal(5), np.asarray([[0, 6], [7, 8]]), r.normal(2)), {"mode": "wrap"}


@operation(oracle=_twin(np.put), samples=_puts)
def put(a: Any, ind: Any, v: Any, mode: str = "raise") -> Any:
    """A copy of `a` with the values, again from the start where they end, at flat indices.

    Of equal indices the last wins. NumPy's function of this name writes in place; this one returns
    the result. Raises `IndexError` out of range, but for the modes of `take`.
    """
    a = operand(a)
    need(mode in MODES, "put", mode=mode, want=f"one of {' '.join(MODES)}", fix="mode='raise'")
    index = ravel(astype(index_tensor("put", ind, a), dtypes.int64, copy=False))
    values = astype(operand(v, (a,)), a.dtype, copy=False)
    if not index.size or not values.size:
        return copy(a)
    index = inside(index, a.size, mode)
    found = put_along_axis(ravel(a), index, resize(values, index.shape), 0)
    return reshape(found, a.shape)
