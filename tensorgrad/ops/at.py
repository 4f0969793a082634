"""`x.at[key].set(v)` and the like: a copy of x with other elements at a key, of any kind.

They are what NumPy's `ufunc.at` does to x, without writing: where a key names an element several
times, `add` adds every value, `multiply` multiplies by every one, and of `set` the last stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tensorgrad._errors import DTypeError, ShapeError, need
from tensorgrad.core.calls import constant
from tensorgrad.core.primitive import Spec, operand
from tensorgrad.core.registry import OPERATIONS, operation
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops.elementwise import add, divide, maximum, minimum, multiply, negative, power
from tensorgrad.ops.gather import gather_p, scatter_add_p
from tensorgrad.ops.index import Place, getitem, located
from tensorgrad.ops.put import part_of, put_p, scatter_p
from tensorgrad.ops.shape import astype, broadcast_to, copy, reshape
from tensorgrad.ops.slicing import index_p, unindex_p

Call = Callable[[Any, Any], Any]


# -- where, and what --------------------------------------------------------------------------


def chosen(x: Spec, place: Place) -> Spec:
    """The shape and dtype of what a place names."""
    steps = () if place.basic is None else ((index_p, {"key": place.basic}),)
    part = part_of(x, steps)
    if place.index is None:
        return part
    index = Spec(place.index.shape, place.index.dtype)
    return gather_p.spec(part, index, axes=place.axes, at=place.at)  # type: ignore[no-any-return]


def fits(dtype: Any, target: Any) -> bool:
    """Whether numbers of a dtype go into another at the cost of rounding alone."""
    kinds: Any = [np.dtype("float32") if d.name == "bfloat16" else d for d in (dtype, target)]
    return bool(np.can_cast(kinds[0], kinds[1], "same_kind"))


def fitted(op: str, value: Any, spec: Any, strict: bool = False) -> Any:
    """A value cast to the dtype of what is written over, and repeated to its shape.

    Raises `DTypeError` where a gradient would be lost in the cast, or (`strict`) more than digits;
    `ShapeError` for another shape.
    """
    moving = value.node is not None or value.level
    if value.dtype != spec.dtype:
        need(fits(value.dtype, spec.dtype) or not (moving or strict), op, value=value,
             dtype=spec.dtype.name, want="a dtype that takes the value without changing kind",
             fix=f"x.astype({value.dtype.name!r}) before", error=DTypeError)  # fmt: skip
        value = astype(value, spec.dtype)
    lead = value.ndim - len(spec.shape)
    if lead > 0 and value.shape[:lead] == (1,) * lead:
        value = reshape(value, value.shape[lead:])
    if value.shape == spec.shape or not (value.ndim or moving):
        return value
    bad = value.ndim > len(spec.shape) or any(
        n not in (1, m) for n, m in zip(reversed(value.shape), reversed(spec.shape))
    )
    need(not bad, op, value=value, want=f"a value that broadcasts to {spec.shape}",
         fix="reshape", error=ShapeError)  # fmt: skip
    return broadcast_to(value, spec.shape)


def placed(x: Any, place: Place, value: Any) -> Any:
    """x with a value, of the place's shape or a number, at a place."""
    part = x if place.basic is None else index_p.bind(x, key=place.basic)
    if place.index is not None:
        value = scatter_p.bind(part, place.index, value, axes=place.axes, at=place.at)
        if place.basic is None:
            return value
    steps = () if place.basic is None else ((index_p, {"key": place.basic}),)
    return put_p.bind(x, value, steps=steps)


def read(x: Any, place: Place) -> Any:
    """What stands at a place."""
    part = x if place.basic is None else index_p.bind(x, key=place.basic)
    if place.index is None:
        return copy(part)
    return gather_p.bind(part, place.index, axes=place.axes, at=place.at)


# -- the operations ---------------------------------------------------------------------------


def _keys(r: Any) -> Iterator[tuple[Any, Any, tuple[int, ...]]]:
    """Arrays, keys, and shapes that broadcast to what the key names."""
    for shape, key, values in (
        ((5,), 2, ()), ((5,), [0, 0, 3, -1], (4,)), ((5,), slice(1, None, 2), (2,)),
        ((3, 4), -1, (4,)), ((3, 4), (..., 0), ()),
        ((3, 4), (None, slice(None, None, -1)), (4,)), ((0, 3), slice(0, 0), (3,)), ((), (), ()),
        ((3, 4), ([0, 2, 0], [1, 1, 1]), (3,)),
        ((2, 3, 4), (slice(None), [0, 2, 2]), (2, 3, 4)), ((3, 4), (slice(1), [0, 2, 0]), (1, 3)),
        ((3, 4), np.arange(12).reshape(3, 4) % 3 == 0, (4,)),
        ((2, 3, 4), (0, slice(None), [3, 3]), (3,)),
        ((2, 3, 4), ([1, 0, 1], slice(None), [0, 3, 0]), (3, 3)), ((3, 4), [], (4,)),
    ):  # fmt: skip
        yield r.uniform(0.5, 2, *shape), key, values
    yield r.uniform(0.5, 2, 4, 3).T, (slice(None), [1, 1]), (2,)


def _samples(r: Any) -> Any:
    for x, key, values in _keys(r):
        yield (x, key, r.uniform(0.5, 2, *values)), {}


def _apart(r: Any) -> Any:
    """The same away from ties of the elements and the values."""
    for x, key, values in _keys(r):
        given = r.uniform(0.5, 2, *values)
        size = x.size + given.size
        numbers = r.rng.permutation(size) / size + 0.5
        x = numbers[: x.size].reshape(x.shape)
        yield (x, key, numbers[x.size :].reshape(values)), {}


def _oracle(ufunc: Any) -> Callable[..., Any]:
    def run(x: Any, key: Any, value: Any) -> Any:
        found = np.array(x)
        ufunc.at(found, key, value)
        return found

    return run


def _set_oracle(x: Any, key: Any, value: Any) -> Any:
    found = np.array(x)
    found[key] = value
    return found


@operation(oracle=_set_oracle, samples=_samples)
def at_set(x: Any, key: Any, value: Any) -> Any:
    """A copy of x with `value` at x[key]; where an element is named twice the last value stays.

    Raises `IndexError` out of range, `ShapeError` for a value that does not broadcast to x[key].

    >>> at_set([1.0, 2.0, 3.0], 0, 5.0)
    tensor([5., 2., 3.])
    """
    x, value = operand(x), operand(value, (operand(x),), "at_set")
    place = located(x, key)
    return placed(x, place, fitted("at_set", value, chosen(Spec(x.shape, x.dtype), place)))


@operation(oracle=_oracle(np.add), samples=_samples)
def at_add(x: Any, key: Any, value: Any) -> Any:
    """A copy of x with `value` added at x[key], once for every time that an element is named.

    >>> at_add([1.0, 2.0], [0, 0], 1.0)
    tensor([3., 2.])
    """
    x, value = operand(x), operand(value, (operand(x),), "at_add")
    place = located(x, key)
    spec = chosen(Spec(x.shape, x.dtype), place)
    value = broadcast_to(fitted("at_add", value, spec, True), spec.shape)
    shape = x.shape
    if place.index is not None:
        part = x.shape if place.basic is None else _part(x, place).shape
        value = scatter_add_p.bind(value, place.index, axes=place.axes, at=place.at, shape=part)
    if place.basic is not None:
        value = unindex_p.bind(value, key=place.basic, shape=shape)
    return add(x, value)


def _part(x: Any, place: Place) -> Spec:
    return chosen(Spec(x.shape, x.dtype), place._replace(index=None))


@operation(oracle=_oracle(np.subtract), samples=_samples)
def at_subtract(x: Any, key: Any, value: Any) -> Any:
    """A copy of x with `value` subtracted at x[key], once for every time an element is named."""
    x = operand(x)
    return at_add(x, key, negative(operand(value, (x,), "at_subtract")))


def each(op: str, call: Call, x: Any, key: Any, value: Any) -> Any:
    """x[key] = call(x[key], value), one after the other where an element is named several times."""
    x = operand(x)
    value = operand(value, (x,), op)
    place = located(x, key)
    spec = chosen(Spec(x.shape, x.dtype), place)
    if place.index is None:
        return placed(x, place, fitted(op, call(read(x, place), value), spec, True))
    value = broadcast_to(value, spec.shape)
    need(not place.index.level, op, index=place.index,
         want="an index without a batch, whose repetitions can be counted", fix="a loop over it",
         error=ShapeError)  # fmt: skip
    for some in _rounds(x, place):
        index = place.index if some is None else getitem(place.index, (slice(None), *some))
        now = place if some is None else place._replace(index=index, at=place.at)
        given = value if some is None else getitem(value, (*(slice(None),) * place.at, *some))
        found = call(read(x, now), given)
        found = fitted(op, found, chosen(Spec(x.shape, x.dtype), now), True)
        x = placed(x, now, found)
    return x


def _rounds(x: Any, place: Place) -> list[Any]:
    """Keys into the index arrays, none of which names an element twice; None for all of them."""
    index: Any = place.index
    part = _part(x, place).shape
    flat = np.zeros(index.shape[1:], np.int64)
    for one, axis in zip(np.asarray(index.numpy()), place.axes):
        size = part[axis]
        flat = flat * size + np.where(one < 0, one + size, one)
    _, inverse, counts = np.unique(flat.reshape(-1), return_inverse=True, return_counts=True)
    if not counts.size or counts.max() == 1:
        return [None]
    order = np.argsort(inverse.reshape(-1), kind="stable")
    nth = np.empty(flat.size, np.int64)
    nth[order] = np.arange(flat.size) - np.repeat(np.cumsum(counts) - counts, counts)
    nth = nth.reshape(flat.shape)
    return [tuple([constant(k, index) for k in np.nonzero(nth == n)])
            for n in range(int(counts.max()))]  # fmt: skip


@operation(oracle=_oracle(np.multiply), samples=_samples)
def at_multiply(x: Any, key: Any, value: Any) -> Any:
    """A copy of x with x[key] times `value`, once for every time that an element is named."""
    return each("at_multiply", multiply, x, key, value)


@operation(oracle=_oracle(np.divide), samples=_samples)
def at_divide(x: Any, key: Any, value: Any) -> Any:
    """A copy of x with x[key] / `value`, once for every time that an element is named."""
    return each("at_divide", divide, x, key, value)


@operation(oracle=_oracle(np.power), samples=_samples)
def at_power(x: Any, key: Any, value: Any) -> Any:
    """A copy of x with x[key] ** `value`, once for every time that an element is named."""
    return each("at_power", power, x, key, value)


@operation(oracle=_oracle(np.minimum), samples=_apart)
def at_min(x: Any, key: Any, value: Any) -> Any:
    """A copy of x with the smaller of x[key] and `value`, for every time an element is named."""
    return each("at_min", minimum, x, key, value)


@operation(oracle=_oracle(np.maximum), samples=_apart)
def at_max(x: Any, key: Any, value: Any) -> Any:
    """A copy of x with the larger of x[key] and `value`, for every time an element is named."""
    return each("at_max", maximum, x, key, value)


def at_function(ufunc: str) -> Callable[..., Any] | None:
    """The operation that does what `np.UFUNC.at` does to x, if there is one of its own."""
    found = OPERATIONS.get(f"at_{_SHORT.get(ufunc, ufunc)}")
    return None if found is None else found.function


_SHORT = {"maximum": "max", "minimum": "min", "true_divide": "divide"}


# -- x.at[key] --------------------------------------------------------------------------------


class Chosen:
    """`x.at[key]`: copies of x with other elements there."""

    __slots__ = ("_key", "_x")

    def __init__(self, x: Tensor, key: Any) -> None:
        self._x, self._key = x, key

    def get(self) -> Tensor:
        """x[key]."""
        return getitem(self._x, self._key)  # type: ignore[no-any-return]

    def set(self, value: Any) -> Tensor:
        """x with `value` there; see `at_set`."""
        return at_set(self._x, self._key, value)  # type: ignore[no-any-return]

    def add(self, value: Any) -> Tensor:
        """x with `value` added there; see `at_add`."""
        return at_add(self._x, self._key, value)  # type: ignore[no-any-return]

    def subtract(self, value: Any) -> Tensor:
        """x with `value` subtracted there; see `at_subtract`."""
        return at_subtract(self._x, self._key, value)  # type: ignore[no-any-return]

    def multiply(self, value: Any) -> Tensor:
        """x with x[key] * `value` there; see `at_multiply`."""
        return at_multiply(self._x, self._key, value)  # type: ignore[no-any-return]

    def divide(self, value: Any) -> Tensor:
        """x with x[key] / `value` there; see `at_divide`."""
        return at_divide(self._x, self._key, value)  # type: ignore[no-any-return]

    def power(self, value: Any) -> Tensor:
        """x with x[key] ** `value` there; see `at_power`."""
        return at_power(self._x, self._key, value)  # type: ignore[no-any-return]

    def min(self, value: Any) -> Tensor:
        """x with the smaller of x[key] and `value` there; see `at_min`."""
        return at_min(self._x, self._key, value)  # type: ignore[no-any-return]

    def max(self, value: Any) -> Tensor:
        """x with the larger of x[key] and `value` there; see `at_max`."""
        return at_max(self._x, self._key, value)  # type: ignore[no-any-return]


class At:
    """`x.at`: what a key is put behind, `x.at[key].set(v)`."""

    __slots__ = ("_x",)

    def __init__(self, x: Tensor) -> None:
        self._x = x

    def __getitem__(self, key: Any) -> Chosen:
        return Chosen(self._x, key)


PROPERTIES = {"at": property(At, doc="Copies with other elements at a key: `x.at[key].set(v)`.")}
