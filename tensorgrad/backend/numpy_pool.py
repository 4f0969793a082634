"""Pooling of NumPy arrays over their last axes, named as the primitives are.

    max_pool(x)              the largest of each window; NaN where it has one
    max_taps(x, y)           its place in the window, the first of equal ones: a number in row-major
                             order, uint8 where windows have up to 255 elements, else int32
    pool_pick(x, tap)        the element of each window at its place
    pool_spread(ct, tap)     the adjoint of `pool_pick` in x
    avg_pool(x)              Σ of each window / its count
    avg_spread(ct)           its adjoint

Each takes kernel, stride, padding and dilation (averages: `padded` and `divisor` instead), tuples
with a number for each spatial axis, `shape`, the spatial axes of the result, and `out`.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from tensorgrad import dtypes
from tensorgrad.backend import memory
from tensorgrad.backend.pool_windows import (
    Pass,
    Shape,
    axis_passes,
    axis_taps,
    disjoint,
    lengths,
    window_taps,
)

Array = np.ndarray[Any, Any]

BLOCK = 2**15
"""Elements of a gradient that are summed at a time, so that they stay in the second cache."""

LONG = 8
"""Elements of a window along an axis up to which they are added slice by slice."""


def _made(like: Array, shape: Shape, dtype: Any, out: Array | None = None) -> Array:
    """An array for a result; its channels lie last where those of `like` do."""
    if out is not None:
        return out
    full = (*like.shape[: like.ndim - len(shape)], *shape)
    apart = like.ndim > 2 and not like.flags.c_contiguous
    if apart and np.moveaxis(like, 1, -1).flags.c_contiguous:
        return np.moveaxis(memory.empty((full[0], *full[2:], full[1]), dtype), -1, 1)
    return memory.empty(full, dtype)


# -- maxima ------------------------------------------------------------------------------------


def max_pool(
    x: Array, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, shape: Shape,
    out: Array | None = None,
) -> Array:  # fmt: skip
    lead = x.ndim - len(kernel)
    steps = axis_passes(lead, x.shape[lead:], shape, kernel, stride, padding, dilation)
    if dtypes.is_half(x.dtype):
        with np.errstate(invalid="ignore"):  # bfloat16's comparisons warn of NaN
            return _windowed(np.maximum, -np.inf, x, steps, x.dtype, out)
    return _windowed(np.maximum, -np.inf, x, steps, x.dtype, out)


def _windowed(
    ufunc: Any, empty: float, x: Array, steps: tuple[Pass, ...], dtype: Any, out: Array | None
) -> Array:
    """All elements of each window by a ufunc, axis by axis; `empty` is what changes nothing."""
    for step in steps:
        target = _made(x, step.shape, dtype, out if step is steps[-1] else None)
        parts = step.parts
        if not step.whole:
            target[...] = empty
        elif len(parts) == 1:
            target[...] = x[parts[0][1]]
            parts = ()
        else:
            ufunc(x[parts[0][1]], x[parts[1][1]], out=target)
            parts = parts[2:]
        for to, source in parts:
            view = target[to]
            ufunc(view, x[source], out=view)
        x = target
    return x


def max_taps(
    x: Array, y: Array, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape,
    out: Array | None = None,
) -> Array:  # fmt: skip
    rank = len(kernel)
    size, shape = x.shape[x.ndim - rank :], y.shape[y.ndim - rank :]
    holes = bool(np.isnan(y).any())
    if any(padding) and not holes:
        last = [(q - 1) * s + (k - 1) * d for q, s, k, d in zip(shape, stride, kernel, dilation)]
        x, size, padding = (
            _bordered(x, padding, tuple(last)),
            tuple(n + 1 for n in last),
            (0,) * rank,
        )
    every = window_taps(size, shape, kernel, stride, padding, dilation)
    found = _made(y, shape, np.uint8 if len(every) < 256 else np.int32, out)
    missed = np.ones_like(found, bool)
    found[...] = 0
    with np.errstate(invalid="ignore"):  # bfloat16's comparisons warn of NaN
        for one in every[:-1]:
            if one.whole:
                missed &= _other(x[one.elements], y, holes)
            else:
                part = missed[one.windows]
                part &= _other(x[one.elements], y[one.windows], holes)
            np.add(found, missed.view(np.uint8), out=found)
    return found


def _bordered(x: Array, low: Shape, last: Shape) -> Array:
    """x with NaN around it, which equals nothing: from -low to place `last` of its windows."""
    found = _made(x, tuple([n + 1 for n in last]), x.dtype)
    found[...] = np.nan
    ends = zip(low, last, x.shape[x.ndim - len(low) :])
    kept = [min(n, stop - p + 1) for p, stop, n in ends]
    inner: Any = (..., *[slice(p, p + n) for p, n in zip(low, kept)])
    whole: Any = (..., *[slice(n) for n in kept])
    found[inner] = x[whole]
    return found


def _other(x: Array, y: Array, holes: bool) -> Any:
    """Where an element is not its window's largest; of a largest NaN the first one is."""
    return (x != y) & (x == x) if holes else x != y


def pool_pick(
    x: Array, tap: Array, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape,
    shape: Shape, out: Array | None = None,
) -> Array:  # fmt: skip
    found = _made(x, shape, x.dtype, out)
    found[...] = 0
    for one in window_taps(
        x.shape[x.ndim - len(kernel) :], shape, kernel, stride, padding, dilation
    ):
        target, where = found[one.windows], tap[one.windows] == one.number
        np.copyto(target, x[one.elements], where=where)
    return found


def pool_spread(
    ct: Array, tap: Array, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape,
    shape: Shape, out: Array | None = None,
) -> Array:  # fmt: skip
    windows, wide = ct.shape[ct.ndim - len(kernel) :], dtypes.compute(ct.dtype)
    alone = disjoint(shape, windows, kernel, stride, padding, dilation)
    if not alone and max(dilation) == 1:  # no window is empty, so every place exists
        return _counted(ct, tap, kernel, stride, padding, shape, out)
    direct = alone or wide == ct.dtype
    found = _made(ct, shape, ct.dtype if direct else wide, out if direct else None)
    if not alone:
        found[...] = 0
    finite = bool(np.isfinite(ct).all())
    for one in window_taps(shape, windows, kernel, stride, padding, dilation):
        part, hit = ct[one.windows], tap[one.windows] == one.number
        target = found[one.elements]
        if not alone:
            target += part * hit if finite else np.where(hit, part, part.dtype.type(0))
        elif finite:
            np.multiply(part, hit, out=target)
        else:
            target[...] = np.where(hit, part, part.dtype.type(0))
    return found if direct else _written(found, ct.dtype, out)


def _counted(
    ct: Array, tap: Array, kernel: Shape, stride: Shape, padding: Shape, shape: Shape,
    out: Array | None,
) -> Array:  # fmt: skip
    """The same where windows overlap: a sum in float64 of what falls on each element."""
    windows, rank = ct.shape[ct.ndim - len(kernel) :], len(kernel)
    table, base = np.zeros((1,) * rank, np.int32), np.zeros((1,) * rank, np.int32)
    for k in range(rank):
        step, tail = math.prod(shape[k + 1 :]), (1,) * (rank - k - 1)
        table = table + (np.arange(kernel[k], dtype=np.int32) * step).reshape(-1, *tail)
        start = np.arange(windows[k], dtype=np.int32) * stride[k] - padding[k]
        base = base + (start * step).reshape(-1, *tail)
    size, rows = math.prod(shape), math.prod(ct.shape[: ct.ndim - rank])
    given = ct.reshape(rows, math.prod(windows))
    places = tap.reshape(given.shape)
    found = _made(ct, shape, ct.dtype, out)
    direct = found.flags.c_contiguous
    target = found.reshape(rows, size) if direct else np.empty((rows, size), ct.dtype)
    each, table, base = max(1, BLOCK // size), table.reshape(-1), base.reshape(-1)
    for row in range(0, rows, each):
        part = table[places[row : row + each]]
        part += base
        part += (np.arange(len(part), dtype=np.int32) * size)[:, None]
        sums = np.bincount(part.reshape(-1), given[row : row + each].reshape(-1), len(part) * size)
        target[row : row + each] = sums.reshape(-1, size)
    if not direct:
        found[...] = target.reshape(found.shape)
    return found


def _written(x: Array, dtype: Any, out: Array | None) -> Array:
    if out is None:
        return x.astype(dtype, copy=False)
    out[...] = x
    return out


# -- averages ----------------------------------------------------------------------------------


def avg_pool(
    x: Array, *, kernel: Shape, stride: Shape, padding: Shape, padded: bool, divisor: int | None,
    shape: Shape, out: Array | None = None,
) -> Array:  # fmt: skip
    rank, dtype, wide = len(kernel), x.dtype, dtypes.compute(x.dtype)
    size = x.shape[x.ndim - rank :]
    found = x.astype(wide, copy=False)
    alone = disjoint(size, shape, kernel, stride, padding, (1,) * rank)
    lead = x.shape[: x.ndim - rank]
    if alone and all(n == 1 for n in shape) and x.flags.c_contiguous:
        flat = found.reshape(*lead, math.prod(size))
        found = flat.sum(axis=-1).reshape(*lead, *shape)
    elif alone and max(kernel) > LONG:
        split: Any = found.reshape((*lead, *[n for pair in zip(shape, kernel) for n in pair]))
        found = split.sum(axis=tuple(range(len(lead) + 1, split.ndim, 2)))
    else:
        steps = axis_passes(len(lead), size, shape, kernel, stride, padding, (1,) * rank)
        found = _windowed(np.add, 0, found, steps, wide, None)
    count = _counts(size, shape, kernel, stride, padding, padded, divisor)
    by = wide.type(count) if isinstance(count, int) else count.astype(wide)
    if wide != dtype:
        return _written(found / by, dtype, out)
    return np.divide(found, by, out=found if out is None else out)  # type: ignore[no-any-return]


@lru_cache(512)
def _counts(
    size: Shape, shape: Shape, kernel: Shape, stride: Shape, padding: Shape, padded: bool,
    divisor: int | None,
) -> Any:  # fmt: skip
    """What the sums are divided by: one number, or one for each window."""
    if divisor is not None:
        return divisor
    found: Any = 1
    for rest, each in enumerate(zip(size, shape, kernel, stride, padding), 1):
        own = lengths(*each, padded)
        if len(set(own)) == 1:
            found = found * own[0]
        else:
            found = found * np.array(own).reshape(-1, *(1,) * (len(size) - rest))
    return found


def avg_spread(
    ct: Array, *, kernel: Shape, stride: Shape, padding: Shape, padded: bool, divisor: int | None,
    shape: Shape, out: Array | None = None,
) -> Array:  # fmt: skip
    rank, dtype, wide = len(kernel), ct.dtype, dtypes.compute(ct.dtype)
    windows = ct.shape[ct.ndim - rank :]
    count = _counts(shape, windows, kernel, stride, padding, padded, divisor)
    alone = disjoint(shape, windows, kernel, stride, padding, (1,) * rank)
    found = ct.astype(wide, copy=False)
    found = found / (wide.type(count) if isinstance(count, int) else count.astype(wide))
    for axis in reversed(range(rank)):  # the last one first: the slices of the others stay whole
        place = ct.ndim - rank + axis
        last = axis == 0 and wide == dtype
        target = _made(found, (shape[axis], *found.shape[place + 1 :]), wide, out if last else None)
        lead: Any = (slice(None),) * place
        if not alone:
            target[...] = 0
        options = (kernel[axis], stride[axis], padding[axis], 1)
        for q, s, _ in axis_taps(shape[axis], windows[axis], *options):
            to = target[(*lead, s)]
            if alone:
                to[...] = found
            else:
                to += found[(*lead, q)]
        found = target
    return found if wide == dtype else _written(found, dtype, out)
