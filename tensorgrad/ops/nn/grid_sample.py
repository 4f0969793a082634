"""Images read at any positions: `grid_sample`, and the positions of affine maps.

A position (x, y) or (x, y, z) goes from -1 to 1 over the image; x is along its last axis.
"""

from __future__ import annotations

import itertools
from functools import reduce
from typing import Any, NamedTuple

import numpy as np  # tables of constants

from tensorgrad import dtypes, shapes
from tensorgrad._errors import DTypeError, need
from tensorgrad.backend.sampling import (
    Sampling,
    clamped,
    close,
    keys_far,
    keys_near,
    reflected,
)
from tensorgrad.core.calls import Spec, constant, operands
from tensorgrad.core.formula import Elementwise
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import fused, known, operation
from tensorgrad.core.tensor import Tensor
from tensorgrad.expr import where as select
from tensorgrad.ops.axes import transpose
from tensorgrad.ops.elementwise import floor, rint, where
from tensorgrad.ops.gather import gather_p
from tensorgrad.ops.nn import grid_cases as cases
from tensorgrad.ops.products import matmul
from tensorgrad.ops.shape import astype

_OP = "grid_sample"
MODES = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")

_border = known(Elementwise.trace("position_border", clamped))
_reflection = known(Elementwise.trace("position_reflection", reflected))
_finite = known(Elementwise.trace("position_finite", close))
_far = known(Elementwise.trace("keys_far", keys_far))
_near = known(Elementwise.trace("keys_near", keys_near))
_corner = known(
    Elementwise.trace("grid_corner", lambda sum, ok, v, w: sum + select(ok, v * w, 0), "fbff")
)
_first = known(Elementwise.trace("grid_first", lambda ok, v, w: select(ok, v * w, 0), "bff"))


class _Tap(NamedTuple):
    """One element along an axis for every position: its number, if it is there, its weight."""

    index: Any
    there: Any
    weight: Any


def _within(p: Tensor, size: int, padding: str, corners: bool) -> Tensor:
    if padding == "border":
        p = _border.bind(*operands((p, float(size - 1)), _OP))
    elif padding == "reflection":
        low, span = (0.0, size - 1.0) if corners else (-0.5, float(size))
        p = _reflection.bind(*operands((p, low, span, float(size - 1)), _OP))
    return _finite.bind(p)  # type: ignore[no-any-return]


def _tap(whole: Tensor, size: int, weight: Any) -> _Tap:
    there = (whole >= 0) & (whole <= size - 1)
    return _Tap(astype(where(there, whole, 0), dtypes.int64), there, weight)


def _taps(p: Tensor, size: int, mode: str, padding: str, corners: bool) -> list[_Tap]:
    """What a position along an axis is made of."""
    if mode == "bicubic":
        p = _finite.bind(p)
        low = floor(p)
        t = p - low
        weights = (_far.bind(t), _near.bind(t), _near.bind(1 - t), _far.bind(1 - t))
        each = enumerate(weights, -1)
        return [_tap(_within(low + k, size, padding, corners), size, w) for k, w in each]
    p = _within(p, size, padding, corners)
    if mode == "nearest":
        return [_tap(rint(p), size, None)]
    low = floor(p)
    t = p - low
    return [_tap(low, size, 1 - t), _tap(low + 1, size, t)]


def _read(rows: Any, start: Any, size: shapes.Shape, axes: list[list[_Tap]]) -> Any:
    """The sum over all combinations of taps: (positions, C) of rows (N * pixels, C)."""
    found: Any = None
    for taps in itertools.product(*axes):
        place: Any = 0
        for n, tap in zip(size, taps):
            place = place * n + tap.index
        there = reduce(lambda a, b: a & b, [tap.there for tap in taps]).reshape((-1, 1))
        index = (place + start).reshape((1, -1))
        value = gather_p.bind(rows, index, axes=(0,), at=0)
        if taps[0].weight is None:
            return where(there, value, 0)
        weight = reduce(lambda a, b: a * b, [tap.weight for tap in taps]).reshape((-1, 1))
        if found is None:
            found = _first.bind(there, value, weight)
        else:
            found = _corner.bind(found, there, value, weight)
    return found


def _checked(input: Any, grid: Any, mode: str, padding: str) -> tuple[Tensor, Tensor]:
    x = operand(input, (), _OP)
    g = operand(grid, (), _OP, x)
    need(mode in MODES, _OP, mode=mode, want=f"one of {' '.join(MODES)}", fix='mode="bilinear"',
         error=ValueError)  # fmt: skip
    need(padding in PADDINGS, _OP, padding_mode=padding, want=f"one of {' '.join(PADDINGS)}",
         fix='padding_mode="zeros"', error=ValueError)  # fmt: skip
    need(x.ndim in (4, 5) and g.ndim == x.ndim and g.shape[-1] == x.ndim - 2
         and g.shape[0] == x.shape[0], _OP, input=x, grid=g,
         want="input (N, C, H, W) with grid (N, h, w, 2), or (N, C, D, H, W) with (N, d, h, w, 3)",
         fix="grid of the input's N")  # fmt: skip
    need(mode != "bicubic" or x.ndim == 4, _OP, input=x, mode=mode, want="4 axes for bicubic",
         fix='mode="bilinear"')  # fmt: skip
    need(all(x.shape[2:]), _OP, input=x, want="elements on every spatial axis",
         fix="an image")  # fmt: skip
    need(dtypes.is_float(x.dtype), _OP, input=x, want="floats", fix='input.astype("float32")',
         error=DTypeError)  # fmt: skip
    need(g.dtype == x.dtype, _OP, input=x, grid=g, want="one dtype",
         fix=f'grid.astype("{x.dtype.name}")', error=DTypeError)  # fmt: skip
    return x, g


def _reference(x: Any, g: Any, *, how: Sampling) -> Any:
    (n, c, *size), places, dtype = x.shape, g.shape[1:-1], x.dtype
    pixels, count = shapes.size(tuple(size)), shapes.size(places)
    if dtypes.is_half(g.dtype):
        g = astype(g, dtypes.float32)
    flat = g.reshape((n * count, len(size)))
    axes = []
    for k, extent in enumerate(size):
        p: Any = flat[:, len(size) - 1 - k] + 1
        p = p * (0.5 * (extent - 1)) if how.corners else p * (0.5 * extent) - 0.5
        axes.append(_taps(p, extent, how.mode, how.paddings[k], how.corners))
    start = constant(np.repeat(np.arange(n) * pixels, count), x)
    rows = transpose(x.reshape((n, c, pixels)), (0, 2, 1)).reshape((n * pixels, c))
    found = astype(_read(rows, start, tuple(size), axes), dtype, copy=False)
    found = transpose(found.reshape((n, count, c)), (0, 2, 1))
    return found.reshape((n, c, *places))


grid_sample_p = fused(
    "grid_sample",
    _reference,
    nin=2,
    spec=lambda x, g, *, how: Spec((*x.shape[:2], *g.shape[1:-1]), x.dtype),
)
"""Images read at positions; see `backend/numpy_sampling.py`. GPUs run the reference."""


def _generated(x: Tensor, how: Sampling) -> bool:
    """Whether there are loops for it."""
    from tensorgrad.backend import numpy_sampling  # late: for import time

    pixels = shapes.size(x.shape[2:])
    return x.device == "cpu" and numpy_sampling.generated(how, x.dtype, pixels)


@operation(oracle=cases.oracle, samples=cases.samples, namespace="nn")
def grid_sample(
    input: Any,
    grid: Any,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """Images (N, C, H, W) read at positions (N, h, w, 2): (N, C, h, w); with D also.

    A position (x, y) or (x, y, z) in `grid` is -1 at one end of the image and 1 at the other: of
    the outer pixels' centres with align_corners, else of their edges. mode "bilinear" (also of
    volumes), "nearest", "bicubic"; padding_mode "zeros", "border", "reflection" for what is
    outside; a NaN position is outside. The gradient of "nearest" in `grid` is 0. Jaderberg et al.,
    "Spatial transformer networks", 2015. Raises `ShapeError`, `DTypeError`, `ValueError`.

    >>> grid_sample([[[[1.0, 3.0]]]], [[[[0.0, 0.0]]]])
    tensor([[[[2.]]]])
    """
    x, g = _checked(input, grid, mode, padding_mode)
    corners = bool(align_corners)
    single = "border" if padding_mode == "reflection" and corners else padding_mode
    paddings = tuple([padding_mode if n > 1 else single for n in x.shape[2:]])
    how = Sampling(mode, corners, paddings)
    run = grid_sample_p.bind if _generated(x, how) else _reference
    return run(x, g, how=how)  # type: ignore[no-any-return]


@operation(oracle=cases.affine_oracle, samples=cases.affine_samples, namespace="nn")
def affine_grid(theta: Any, size: Any, align_corners: bool | None = None) -> Tensor:
    """The positions of `grid_sample` that an affine map of each image of a batch reads.

    theta (N, 2, 3) and size (N, C, H, W) give (N, H, W, 2); theta (N, 3, 4) and (N, C, D, H, W)
    give (N, D, H, W, 3): theta (x, y, 1) for every pixel. Raises `ShapeError`, `DTypeError`.

    >>> affine_grid([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]], (1, 1, 1, 2))
    tensor([[[[-0.5,  0. ],
              [ 0.5,  0. ]]]])
    """
    op = "affine_grid"
    t, size = operand(theta, (), op), tuple(size)
    rank = len(size) - 2
    need(rank in (2, 3) and t.shape == (size[0], rank, rank + 1), op, theta=t, size=size,
         want="theta (N, 2, 3) and size (N, C, H, W), or (N, 3, 4) and (N, C, D, H, W)",
         fix="size=input.shape")  # fmt: skip
    need(dtypes.is_float(t.dtype), op, theta=t, want="floats", fix='theta.astype("float32")',
         error=DTypeError)  # fmt: skip
    axes = []
    for n in size[2:]:
        whole = np.linspace(-1, 1, n) if n > 1 else np.zeros(n)
        axes.append(whole if align_corners or n < 2 else whole * ((n - 1) / n))
    points: Any = np.stack([*np.meshgrid(*axes, indexing="ij")[::-1], np.ones(size[2:])], -1)
    real = dtypes.float32 if dtypes.is_half(t.dtype) else t.dtype
    points = constant(points.reshape(-1, rank + 1).astype(real), t)
    found = matmul(points, transpose(astype(t, real, copy=False), (0, 2, 1)))
    return astype(found, t.dtype, copy=False).reshape((size[0], *size[2:], rank))  # type: ignore[no-any-return]
