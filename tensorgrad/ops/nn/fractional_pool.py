"""Pooling by windows of one size whose distances are drawn, so that sizes shrink by a fraction."""

from __future__ import annotations

from typing import Any

import numpy as np  # constants and oracles

from tensorgrad import shapes
from tensorgrad._errors import need
from tensorgrad.core.calls import constant
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import operation
from tensorgrad.ops.elementwise import floor, where
from tensorgrad.ops.extremes import argmax
from tensorgrad.ops.gather import take_along_p
from tensorgrad.ops.nn.pool import Entry, images, numbers
from tensorgrad.ops.random import Generator, uniform
from tensorgrad.ops.shape import astype, broadcast_to, reshape

Shape = shapes.Shape

# -- where windows start -----------------------------------------------------------------------


def _wanted(op: str, size: Shape, kernel: Shape, output_size: Any, ratio: Any) -> Shape:
    rank = len(size)
    need((output_size is None) != (ratio is None), op, output_size=output_size, output_ratio=ratio,
         want="one of them", fix="output_ratio=0.5", error=ValueError)  # fmt: skip
    if ratio is not None:
        each = tuple(ratio) if isinstance(ratio, tuple | list) else (ratio,) * rank
        need(len(each) == rank and all(0 < q < 1 for q in each), op, output_ratio=ratio,
             want="0 < output_ratio < 1", fix="output_ratio=0.5", error=ValueError)  # fmt: skip
        output_size = tuple([int(n * q) for n, q in zip(size, each)])
    wanted = numbers(op, "output_size", output_size, rank, 1)
    need(all(q + k - 1 <= n for q, k, n in zip(wanted, kernel, size)), op, sizes=size,
         kernel_size=kernel, output_size=wanted, want="output_size + kernel_size - 1 <= size",
         fix="a smaller kernel_size")  # fmt: skip
    return wanted


def _starts(u: Any, size: int, kernel: int, count: int) -> Any:
    """⌊(i + u) α⌋ - ⌊u α⌋ with α = (size - kernel) / (count - 1); the last window ends the axis."""
    steps = np.arange(count)
    alpha = (size - kernel) / max(count - 1, 1)
    i = constant(steps.astype(u.dtype), u)
    u = u.reshape((*u.shape, 1))
    found = astype(floor((i + u) * alpha) - floor(u * alpha), "int64")
    return where(constant(steps == count - 1, u), size - kernel, found)


def _places(u: Any, size: Shape, kernel: Shape, wanted: Shape) -> Any:
    """(N, C, windows, elements): the number in its flat image of each element of each window."""
    rank, found = len(size), None
    order = [rank - 1, *range(rank - 1)] if rank == 2 else list(range(rank))
    for k in range(rank):
        start = _starts(u[..., order[k]], size[k], kernel[k], wanted[k])
        own = start.reshape((*start.shape, 1)) + constant(np.arange(kernel[k]), u)
        axes = [1] * (2 * rank)
        axes[k], axes[rank + k] = wanted[k], kernel[k]
        own = own.reshape((*u.shape[:2], *axes))
        found = own if found is None else found * size[k] + own
    assert found is not None
    return found.reshape((*u.shape[:2], shapes.size(wanted), shapes.size(kernel)))


# -- maxima ------------------------------------------------------------------------------------


def _pooled(
    op: str, rank: int, input: Any, kernel_size: Any, output_size: Any, output_ratio: Any,
    return_indices: bool, samples: Any, generator: Generator | None,
) -> Any:  # fmt: skip
    x = images(op, rank, input)
    size, lead = x.shape[x.ndim - rank :], x.shape[: x.ndim - rank]
    kernel = numbers(op, "kernel_size", kernel_size, rank, 1)
    wanted = _wanted(op, size, kernel, output_size, output_ratio)
    planes = lead if len(lead) == 2 else (1, *lead)
    if samples is None:
        u: Any = uniform(
            size=(*planes, rank), dtype="float64", device=x.device, generator=generator
        )
    else:
        u = operand(samples, (x,), op)
    need(u.shape == (*planes, rank), op, input=x, _random_samples=u,
         want=f"numbers from 0 to below 1 of shape {(*planes, rank)}",
         fix="_random_samples=None")  # fmt: skip
    # Places are found in float64: one that rounding moves is another window.
    index = _places(astype(u, "float64", copy=False), size, kernel, wanted)
    flat = index.reshape((*planes, shapes.size(index.shape[2:])))
    image = reshape(x, (*planes, shapes.size(size)))
    seen = reshape(take_along_p.bind(image, flat, axis=2), index.shape)
    best = argmax(seen, axis=3, keepdims=True)
    shape = (*lead, *wanted)
    values = reshape(take_along_p.bind(seen, best, axis=3), shape)
    if not return_indices:
        return values
    places = take_along_p.bind(broadcast_to(index, seen.shape), best, axis=3)
    return values, reshape(places, shape)


def _entry(rank: int) -> Entry:
    def oracle(x: Any, kernel: Any, output_size: Any, *, return_indices: bool = False,
               _random_samples: Any) -> Any:  # fmt: skip
        lead, size = x.shape[:-rank], x.shape[x.ndim - rank :]
        kernel, wanted = np.broadcast_to(kernel, rank), np.broadcast_to(output_size, rank)
        image, u = x.reshape(-1, *size), _random_samples.reshape(-1, rank)
        found, places = np.empty((2, len(image), *wanted))
        for n, q in _windows(len(image), wanted):
            draws = u[n, ::-1] if rank == 2 else u[n]
            alpha = (np.array(size) - kernel) / np.maximum(wanted - 1, 1)
            start = np.floor((q + draws) * alpha) - np.floor(draws * alpha)
            start = np.where(np.array(q) == wanted - 1, np.array(size) - kernel, start).astype(int)
            at = np.ix_(*[s + np.arange(k) for s, k in zip(start, kernel)])
            found[(n, *q)] = image[n][at].max()
            numbers_ = np.ravel_multi_index(at, size).reshape(-1)
            places[(n, *q)] = numbers_[image[n][at].argmax()]
        shape = (*lead, *wanted)
        values = found.reshape(shape).astype(x.dtype)
        return (values, places.reshape(shape).astype(np.int64)) if return_indices else values

    return operation(oracle=oracle, samples=_samples(rank), namespace="nn")


def _windows(count: int, wanted: Any) -> Any:
    """The number of every image with every window's place in it."""
    return ((n, q) for n in range(count) for q in np.ndindex(*wanted))


def _samples(rank: int) -> Any:
    def samples(r: Any) -> Any:
        tail = (4,) * (rank - 1)
        for lead, n, kernel, wanted, indices in (
            ((2, 2), 6, 2, 3, False), ((3,), 7, 3, 2, True), ((1, 1), 4, 2, 1, False),
            ((1, 2), 5, 1, 3, True), ((2, 1), 5, (2,) * rank, (3,) * rank, False),
            ((0, 2), 5, 2, 3, False), ((2,), 4, 2, (2,) * rank, False),
        ):  # fmt: skip
            u = r.uniform(0, 1, *(lead if len(lead) == 2 else (1, *lead)), rank)
            yield (r.apart(*lead, n, *tail), kernel, wanted), {
                "return_indices": indices, "_random_samples": u}  # fmt: skip
        x = r.apart(1, 5, *tail, 2).swapaxes(1, -1)[..., ::-1]
        yield (x, 2, 2), {"_random_samples": r.uniform(0, 1, 1, 2, rank)}

    return samples


@_entry(2)
def fractional_max_pool2d(
    input: Any, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
    return_indices: bool = False, _random_samples: Any = None, *,
    generator: Generator | None = None,
) -> Any:  # fmt: skip
    """The largest element of windows that start at drawn places: (N, C, H, W) or (C, H, W).

    The spatial axes become `output_size`, or `output_ratio` of what they are, between 0 and 1.
    With α = (size - kernel) / (output - 1) and u uniform, a number for each image, channel and
    axis (`_random_samples`, (N, C, 2), the last axis first), window i starts at ⌊(i + u) α⌋ -
    ⌊u α⌋. `return_indices`: also the place of each maximum in its flat image. Graham, "Fractional
    max-pooling", 2014. Raises `ShapeError` for windows that do not fit.

    >>> fractional_max_pool2d([[[1.0, 3.0], [2.0, 0.0]]], 1, 2)
    tensor([[[1., 3.],
             [2., 0.]]])
    """
    return _pooled("fractional_max_pool2d", 2, input, kernel_size, output_size, output_ratio,
                   return_indices, _random_samples, generator)  # fmt: skip


@_entry(3)
def fractional_max_pool3d(
    input: Any, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
    return_indices: bool = False, _random_samples: Any = None, *,
    generator: Generator | None = None,
) -> Any:  # fmt: skip
    """The largest element of windows that start at drawn places: (N, C, D, H, W) or (C, D, H, W).

    As `fractional_max_pool2d`, with `_random_samples` (N, C, 3), the first axis first.

    >>> fractional_max_pool3d([[[[1.0, 3.0]]]], 1, (1, 1, 2))
    tensor([[[[1., 3.]]]])
    """
    return _pooled("fractional_max_pool3d", 3, input, kernel_size, output_size, output_ratio,
                   return_indices, _random_samples, generator)  # fmt: skip
