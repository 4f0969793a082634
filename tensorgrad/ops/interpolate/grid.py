"""Interpolation on a rectangular grid of any number of axes.

>>> interpn(([0.0, 1.0], [0.0, 1.0]), [[0.0, 1.0], [2.0, 3.0]], [[0.5, 0.5]])
tensor([1.5])
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np  # samples only

from tensorgrad import dtypes
from tensorgrad._errors import ShapeError, need
from tensorgrad.core.calls import constant
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import operation
from tensorgrad.core.tensor import make
from tensorgrad.ops.binning import searchsorted
from tensorgrad.ops.elementwise import where
from tensorgrad.ops.gather import gather_p
from tensorgrad.ops.join import stack
from tensorgrad.ops.shape import astype, broadcast_arrays, reshape, several


def rising(op: str, x: Any) -> None:
    """Raise `ValueError` unless a vector ascends; of a batch, each."""
    knots = make(x.value())
    need(bool((knots[..., 1:] > knots[..., :-1]).all()), op, x=x,
         want="strictly ascending numbers", fix="sorting them, with np.argsort",
         error=ValueError)  # fmt: skip


def piece(x: Any, knots: Any) -> Any:
    """The number of the piece between knots that each x lies in, the outer ones going on."""
    place = searchsorted(knots.detach(), x.detach(), side="right") - 1
    return place.clip(0, knots.shape[0] - 2)


def picked(x: Any, index: Any) -> Any:
    """x[index] along the first axis, for places that lie in it."""
    return gather_p.bind(x, index[None], axes=(0,), at=0)


def _points(xi: Any) -> Any:
    """The places asked for as (..., axes)."""
    if isinstance(xi, tuple):
        return stack(broadcast_arrays(*[operand(x, (), "interpn") for x in xi]), axis=-1)
    xi = operand(xi, (), "interpn")
    return reshape(xi, (-1, 1)) if xi.ndim < 2 else xi


def _checked(points: Any, values: Any, xi: Any, method: str) -> tuple[list[Any], Any, Any]:
    need(method in ("linear", "nearest"), "interpn", method=method, want="linear or nearest",
         fix="method='linear'", error=ValueError)  # fmt: skip
    values = operand(values, (), "interpn")
    wide = dtypes.result_type(dtypes.float64, values.dtype)
    vectors = several("interpn", points, "(x, y), values, xi")
    axes = [astype(operand(p, (), "interpn"), dtypes.float64, copy=False) for p in vectors]
    xi = astype(_points(xi), dtypes.float64, copy=False)
    need(len(axes) <= values.ndim and xi.shape[-1] == len(axes), "interpn", points=len(axes),
         values=values, xi=xi, want="a vector of points and a column of xi for each axis",
         fix="xi.reshape(-1, len(points))", error=ShapeError)  # fmt: skip
    for k, p in enumerate(axes):
        need(p.ndim == 1 and p.shape[0] == values.shape[k] >= 2, "interpn", points=p,
             values=values, axis=k, want="as many points as values along it, two at least",
             fix="np.linspace(0, 1, values.shape[axis])", error=ShapeError)  # fmt: skip
        rising("interpn", p)
    return axes, astype(values, wide, copy=False), xi


def _outside(axes: Sequence[Any], columns: Sequence[Any]) -> Any:
    """Where a place is beyond the grid, as a constant."""
    found: Any = None
    for p, x in zip(axes, columns):
        p, x = p.detach(), x.detach()
        beyond = (x < p[0]) | (x > p[-1])
        found = beyond if found is None else found | beyond
    return found


def _within(axes: Sequence[Any], columns: Sequence[Any], xi: Any) -> None:
    """Raise `ValueError` for a place beyond the grid, or one that is not a number."""
    for p, x in zip(axes, columns):
        inside = (x >= p[0].detach()) & (x <= p[-1].detach())
        need(bool(inside.all()), "interpn", xi=xi, want="places within the grid",
             fix="bounds_error=False", error=ValueError)  # fmt: skip


def _corners(values: Any, axes: Sequence[Any], pieces: Sequence[Any]) -> Any:
    """The values at the corners of each place's cell, (2, ..., 2, places, trailing axes)."""
    count = len(axes)
    trailing = values.shape[count:]
    flat = pieces[0]
    for k in range(1, count):
        flat = flat * values.shape[k] + pieces[k]
    size = math.prod(values.shape[:count])
    offsets = np.zeros((1,) * count, np.int64)
    for k in range(count):
        side = math.prod(values.shape[k + 1 : count])
        shape = [2 if n == k else 1 for n in range(count)]
        offsets = offsets + (np.arange(2) * side).reshape(shape)
    offsets = offsets.reshape(offsets.shape + (1,) * flat.ndim)
    index = constant(offsets, values) + flat
    return picked(reshape(values, (size, *trailing)), index)


def _linear(values: Any, axes: Sequence[Any], columns: Sequence[Any]) -> Any:
    pieces = [piece(x, p) for p, x in zip(axes, columns)]
    found = _corners(values, axes, pieces)
    for p, x, i in zip(axes, columns, pieces):
        low = picked(p, i)
        share = (x - low) / (picked(p, i + 1) - low)
        share = reshape(share, (*share.shape, *(1,) * (values.ndim - len(axes))))
        found = found[0] + share * (found[1] - found[0])
    return found


def _nearest(values: Any, axes: Sequence[Any], columns: Sequence[Any]) -> Any:
    flat: Any = None
    for k, (p, x) in enumerate(zip(axes, columns)):
        p, x = p.detach(), x.detach()
        i = piece(x, p)
        low, high = picked(p, i), picked(p, i + 1)
        near = where((x - low) / (high - low) <= 0.5, i, i + 1)
        flat = near if flat is None else flat * values.shape[k] + near
    count = len(axes)
    size = math.prod(values.shape[:count])
    return picked(reshape(values, (size, *values.shape[count:])), flat)


def _samples(r: Any) -> Any:
    def grid(*sizes: int) -> tuple[Any, ...]:
        steps = [np.cumsum(r.uniform(0.5, 1.5, n)) for n in sizes]
        return tuple([(c - c[0]) / (c[-1] - c[0]) for c in steps])

    def inner(axes: tuple[Any, ...], *shape: int) -> Any:
        return np.stack([between(r, p, *shape) for p in axes], axis=-1)

    free = {"bounds_error": False}
    for sizes, rest, shape in (((4,), (), (5,)), ((3, 4), (), (6,)), ((3, 4), (2,), (2, 3)),
                               ((2, 3, 2), (), (4,)), ((2, 2), (3, 1), (1,)), ((3, 2), (), (0,)),
                               ((5,), (2,), ())):  # fmt: skip
        axes = grid(*sizes)
        yield (axes, r.normal(*sizes, *rest), inner(axes, *shape) if shape else
               inner(axes, 1)), {}  # fmt: skip
    axes = grid(3, 4)
    values = r.normal(4, 3).T
    yield (axes, values, inner(axes, 6)[::2], "nearest"), {}
    yield (axes, values, inner(axes, 4) * 2), {**free, "fill_value": -1.0}
    yield (axes, values, inner(axes, 4) * 2), {**free, "fill_value": None}
    yield (axes, values + 1j * r.normal(3, 4), inner(axes, 4)), {}


def between(r: Any, knots: Any, *shape: int) -> Any:
    """Places between knots, at some distance from them and from the middles."""
    i = r.integers(0, len(knots) - 1, *shape)
    share = r.uniform(0.1, 0.4, *shape) + 0.5 * r.bools(*shape)
    return knots[i] + share * (knots[i + 1] - knots[i])


@operation(oracle="scipy.interpolate.interpn", samples=_samples, namespace="interpolate")
def interpn(
    points: Any,
    values: Any,
    xi: Any,
    method: str = "linear",
    bounds_error: bool = True,
    fill_value: Any = float("nan"),
) -> Any:
    """The values on a grid at places between its points: differentiable in all three.

    `points`: an ascending vector for each axis; values (n_1, ..., n_d, ...); xi (..., d), or a
    tuple of d arrays. "linear" between the points, or the "nearest" one. Beyond the grid: raises
    `ValueError` with `bounds_error`, else is `fill_value`, or goes on where that is None. float64
    or complex128, as in SciPy.
    """
    axes, values, xi = _checked(points, values, xi, method)
    columns = [xi[..., k] for k in range(len(axes))]
    if bounds_error and not any(p.level for p in axes):
        _within(axes, [make(x.value()) for x in columns], xi)
    found = (_linear if method == "linear" else _nearest)(values, axes, columns)
    trailing = (1,) * (values.ndim - len(axes))
    if not bounds_error and fill_value is not None:
        beyond = _outside(axes, columns)
        found = where(reshape(beyond, (*beyond.shape, *trailing)), fill_value, found)
    if method == "nearest":
        unknown = xi.detach() != xi.detach()
        unknown = unknown.any(axis=-1)
        found = where(reshape(unknown, (*unknown.shape, *trailing)), float("nan"), found)
    return found


class RegularGridInterpolator:
    """`interpn` of one grid, called with places: `f = RegularGridInterpolator(points, values)`."""

    def __init__(
        self,
        points: Any,
        values: Any,
        method: str = "linear",
        bounds_error: bool = True,
        fill_value: Any = float("nan"),
    ) -> None:
        self.grid, self.values = tuple(points), values
        self.method, self.bounds_error, self.fill_value = method, bounds_error, fill_value

    def __call__(self, xi: Any, method: str | None = None) -> Any:
        """The values at the places xi."""
        how = self.method if method is None else method
        return interpn(self.grid, self.values, xi, how, self.bounds_error, self.fill_value)
