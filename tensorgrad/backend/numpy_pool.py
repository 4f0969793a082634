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

from typing import Any

import numpy as np

from tensorgrad import dtypes
from tensorgrad.backend import memory
from tensorgrad.backend.pool_windows import Shape, axis_taps, disjoint, lengths, taps

Array = np.ndarray[Any, Any]

LONG = 8
"""Elements of a window along an axis up to which they are added slice by slice."""


def _made(like: Array, shape: Shape, dtype: Any, out: Array | None = None) -> Array:
    """An array for a result; its channels lie last where those of `like` do."""
    if out is not None:
        return out
    full = (*like.shape[: like.ndim - len(shape)], *shape)
    order = like.ndim == len(shape) + 2 and not like.flags.c_contiguous
    if order and np.moveaxis(like, 1, -1).flags.c_contiguous:
        return np.moveaxis(memory.empty((full[0], *full[2:], full[1]), dtype), -1, 1)
    return memory.empty(full, dtype)


# -- maxima ------------------------------------------------------------------------------------


def max_pool(
    x: Array, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, shape: Shape,
    out: Array | None = None,
) -> Array:  # fmt: skip
    rank = len(kernel)
    for axis in range(rank):  # the first one first: its slices are whole rows
        place = x.ndim - rank + axis
        tail = x.shape[place + 1 :]
        target = _made(x, (shape[axis], *tail), x.dtype, out if axis == rank - 1 else None)
        options = (kernel[axis], stride[axis], padding[axis], dilation[axis])
        x = _largest(x, place, axis_taps(x.shape[place], shape[axis], *options), target)
    return x


def _largest(x: Array, axis: int, parts: Any, target: Array) -> Array:
    lead, tail = (slice(None),) * axis, (slice(None),) * (x.ndim - axis - 1)
    views = [(target[(*lead, q, *tail)], x[(*lead, s, *tail)]) for q, s, _ in parts]
    whole = [whole for _, _, whole in parts]
    if not all(whole[:2]):
        target[...] = -np.inf
        for to, found in views:
            np.maximum(to, found, out=to)
    elif len(views) == 1:
        target[...] = views[0][1]
    else:
        np.maximum(views[0][1], views[1][1], out=target)
        for to, found in views[2:]:
            np.maximum(to, found, out=to)
    return target


def max_taps(
    x: Array, y: Array, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape,
    out: Array | None = None,
) -> Array:  # fmt: skip
    rank = len(kernel)
    size, shape = x.shape[x.ndim - rank :], y.shape[y.ndim - rank :]
    every = taps(size, shape, kernel, stride, padding, dilation)
    found = _made(y, shape, np.uint8 if len(every) < 256 else np.int32, out)
    missed = np.ones_like(found, bool)
    found[...] = 0
    holes = bool(np.isnan(y).any())
    for one in every[:-1]:
        if one.whole:
            missed &= _other(x[(..., *one.elements)], y, holes)
        else:
            part = missed[(..., *one.windows)]
            part &= _other(x[(..., *one.elements)], y[(..., *one.windows)], holes)
        np.add(found, missed.view(np.uint8), out=found)
    return found


def _other(x: Array, y: Array, holes: bool) -> Any:
    """Where an element is not its window's largest; of a largest NaN the first one is."""
    found = x != y
    return found & (x == x) if holes else found


def pool_pick(
    x: Array, tap: Array, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape,
    shape: Shape, out: Array | None = None,
) -> Array:  # fmt: skip
    found = _made(x, shape, x.dtype, out)
    found[...] = 0
    for one in taps(x.shape[x.ndim - len(kernel) :], shape, kernel, stride, padding, dilation):
        target, where = found[(..., *one.windows)], tap[(..., *one.windows)] == one.number
        np.copyto(target, x[(..., *one.elements)], where=where)
    return found


def pool_spread(
    ct: Array, tap: Array, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape,
    shape: Shape, out: Array | None = None,
) -> Array:  # fmt: skip
    windows, wide = ct.shape[ct.ndim - len(kernel) :], dtypes.compute(ct.dtype)
    alone = disjoint(shape, windows, kernel, stride, padding)
    direct = alone or wide == ct.dtype
    found = _made(ct, shape, ct.dtype if direct else wide, out if direct else None)
    if not alone:
        found[...] = 0
    finite = bool(np.isfinite(ct).all())
    for one in taps(shape, windows, kernel, stride, padding, dilation):
        part, hit = ct[(..., *one.windows)], tap[(..., *one.windows)] == one.number
        target = found[(..., *one.elements)]
        if not alone:
            target += part * hit if finite else np.where(hit, part, part.dtype.type(0))
        elif finite:
            np.multiply(part, hit, out=target)
        else:
            target[...] = np.where(hit, part, part.dtype.type(0))
    return found if direct else _written(found, ct.dtype, out)


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
    if disjoint(size, shape, kernel, stride, padding) and max(kernel) > LONG:
        lead = x.shape[: x.ndim - rank]
        split = found.reshape((*lead, *[n for pair in zip(shape, kernel) for n in pair]))
        found = split.sum(axis=tuple(range(len(lead) + 1, split.ndim, 2)))
    else:
        for axis in range(rank):
            place = x.ndim - rank + axis
            options = (kernel[axis], stride[axis], padding[axis], 1)
            target = _made(found, (shape[axis], *found.shape[place + 1 :]), wide)
            found = _summed(found, place, axis_taps(size[axis], shape[axis], *options), target)
    count = _counts(size, shape, kernel, stride, padding, padded, divisor)
    if wide == dtype:
        return np.divide(found, wide.type(count) if isinstance(count, int) else
                         count.astype(wide), out=found if out is None else out)  # fmt: skip
    return _written(found / count, dtype, out)


def _summed(x: Array, axis: int, parts: Any, target: Array) -> Array:
    lead, tail = (slice(None),) * axis, (slice(None),) * (x.ndim - axis - 1)
    views = [(target[(*lead, q, *tail)], x[(*lead, s, *tail)]) for q, s, _ in parts]
    if len(views) > 1 and all(whole for *_, whole in parts[:2]):
        np.add(views[0][1], views[1][1], out=target)
        views = views[2:]
    else:
        target[...] = 0
    for to, found in views:
        np.add(to, found, out=to)
    return target


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
    alone = disjoint(shape, windows, kernel, stride, padding)
    found = ct.astype(wide, copy=False)
    found = found / (wide.type(count) if isinstance(count, int) else count.astype(wide))
    for axis in reversed(range(rank)):  # the last one first: the slices of the others stay whole
        place = ct.ndim - rank + axis
        last = axis == 0 and wide == dtype
        target = _made(found, (shape[axis], *found.shape[place + 1 :]), wide, out if last else None)
        lead, tail = (slice(None),) * place, (slice(None),) * (rank - axis - 1)
        if not alone:
            target[...] = 0
        options = (kernel[axis], stride[axis], padding[axis], 1)
        for q, s, _ in axis_taps(shape[axis], windows[axis], *options):
            to = target[(*lead, s, *tail)]
            if alone:
                to[...] = found
            else:
                to += found[(*lead, q, *tail)]
        found = target
    return found if wide == dtype else _written(found, dtype, out)
