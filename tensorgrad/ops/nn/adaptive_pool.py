"""Pooling to a given size, and what undoes a pooling by maxima.

Window q of an axis of S elements pooled to Q has the elements ⌊q S / Q⌋ ... ⌈(q + 1) S / Q⌉ - 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np  # constants and oracles

from tensorgrad import dtypes, shapes
from tensorgrad._errors import DTypeError, need
from tensorgrad.backend.spans import shared_out
from tensorgrad.core.calls import constant
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import operation
from tensorgrad.ops.gather import put_along_p, take_along_p
from tensorgrad.ops.nn import pool_cases as cases
from tensorgrad.ops.nn.pool import Entry, images, largest, numbers
from tensorgrad.ops.nn.pool_rules import avg_pool_p, span_argmax_p, span_sum_p
from tensorgrad.ops.shape import astype, broadcast_to, reshape

Shape = shapes.Shape

SEARCHED = 32
"""Elements of a window from which on to look for its largest costs least."""

# -- windows -----------------------------------------------------------------------------------


def _wanted(op: str, rank: int, x: Any, output_size: Any) -> Shape:
    size = x.shape[x.ndim - rank :]
    given = tuple(output_size) if isinstance(output_size, tuple | list) else (output_size,) * rank
    given = tuple([n if q is None else q for n, q in zip(size, given)]) + given[rank:]
    need(all(n > 0 for n in size), op, input=x, want="elements to pool", fix="a longer input")
    return numbers(op, "output_size", given, rank, 1)


def _even(size: Shape, wanted: Shape) -> Shape | None:
    """The kernel of equal windows side by side, if that is what these are."""
    fits = all(n % q == 0 for n, q in zip(size, wanted))
    return tuple([n // q for n, q in zip(size, wanted)]) if fits else None


# -- means -------------------------------------------------------------------------------------


def _mean(op: str, rank: int, input: Any, output_size: Any) -> Any:
    x = images(op, rank, input)
    wanted, size = _wanted(op, rank, x, output_size), x.shape[x.ndim - rank :]
    if all(q == 1 for q in wanted):
        return x.mean(axis=tuple(range(-rank, 0)), keepdims=True)
    kernel = _even(size, wanted)
    if kernel is not None:
        return avg_pool_p.bind(x, kernel=kernel, stride=kernel, padding=(0,) * rank, padded=True,
                               divisor=None, shape=wanted)  # fmt: skip
    dtype, count = x.dtype, np.ones((), np.int64)
    x = astype(x, dtypes.compute(dtype), copy=False)
    for k, (n, q) in enumerate(zip(size, wanted)):
        spans = shared_out(n, q)
        x = span_sum_p.bind(x, spans=spans, axis=x.ndim - rank + k)
        own = np.array([stop - start for start, stop in spans])
        count = count * own.reshape(-1, *(1,) * (rank - 1 - k))
    return astype(x / astype(constant(count, x), x.dtype), dtype, copy=False)


def _avg_entry(rank: int) -> Entry:
    return operation(oracle=cases.adaptive_oracle(rank, False),
                     samples=cases.adaptive_samples(rank, False), namespace="nn")  # fmt: skip


@_avg_entry(1)
def adaptive_avg_pool1d(input: Any, output_size: Any) -> Any:
    """Means of windows such that (N, C, L) or (C, L) becomes L = `output_size`.

    >>> adaptive_avg_pool1d([[1.0, 3.0, 2.0]], 2)
    tensor([[2. , 2.5]])
    """
    return _mean("adaptive_avg_pool1d", 1, input, output_size)


@_avg_entry(2)
def adaptive_avg_pool2d(input: Any, output_size: Any) -> Any:
    """Means of windows such that (N, C, H, W) or (C, H, W) becomes (H, W) = `output_size`.

    A None in it leaves an axis as it is.

    >>> adaptive_avg_pool2d([[[1.0, 3.0], [2.0, 2.0]]], 1)
    tensor([[[2.]]])
    """
    return _mean("adaptive_avg_pool2d", 2, input, output_size)


@_avg_entry(3)
def adaptive_avg_pool3d(input: Any, output_size: Any) -> Any:
    """Means of windows such that (N, C, D, H, W) or (C, D, H, W) becomes `output_size`.

    A None in it leaves an axis as it is.

    >>> adaptive_avg_pool3d([[[[1.0, 3.0]]]], 1)
    tensor([[[[2.]]]])
    """
    return _mean("adaptive_avg_pool3d", 3, input, output_size)


# -- maxima ------------------------------------------------------------------------------------


def _maximum(op: str, rank: int, input: Any, output_size: Any, return_indices: bool) -> Any:
    x = images(op, rank, input)
    wanted, size = _wanted(op, rank, x, output_size), x.shape[x.ndim - rank :]
    kernel = _even(size, wanted)
    if kernel is not None and shapes.size(kernel) <= SEARCHED:
        return largest(op, rank, x, kernel, None, 0, 1, False, return_indices)
    lead, spans = x.shape[: x.ndim - rank], tuple(map(shared_out, size, wanted))
    place = span_argmax_p.bind(x, size=size, spans=spans)
    flat = reshape(place, (*lead, shapes.size(wanted)))
    image = reshape(x, (*lead, shapes.size(size)))
    values = reshape(take_along_p.bind(image, flat, axis=len(lead)), (*lead, *wanted))
    return (values, place) if return_indices else values


def _max_entry(rank: int) -> Entry:
    return operation(oracle=cases.adaptive_oracle(rank, True),
                     samples=cases.adaptive_samples(rank, True), namespace="nn")  # fmt: skip


@_max_entry(1)
def adaptive_max_pool1d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima of windows such that (N, C, L) or (C, L) becomes L = `output_size`.

    `return_indices`: also their places in the input, the first of equal ones.

    >>> adaptive_max_pool1d([[1.0, 3.0, 2.0]], 2)
    tensor([[3., 3.]])
    """
    return _maximum("adaptive_max_pool1d", 1, input, output_size, return_indices)


@_max_entry(2)
def adaptive_max_pool2d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima of windows such that (N, C, H, W) or (C, H, W) becomes (H, W) = `output_size`.

    A None in it leaves an axis as it is. `return_indices`: also their places in the flat image,
    the first of equal ones.

    >>> adaptive_max_pool2d([[[1.0, 3.0], [2.0, 2.0]]], 1)
    tensor([[[3.]]])
    """
    return _maximum("adaptive_max_pool2d", 2, input, output_size, return_indices)


@_max_entry(3)
def adaptive_max_pool3d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima of windows such that (N, C, D, H, W) or (C, D, H, W) becomes `output_size`.

    A None in it leaves an axis as it is. `return_indices`: also their places in the flat image,
    the first of equal ones.

    >>> adaptive_max_pool3d([[[[1.0, 3.0]]]], 1)
    tensor([[[[3.]]]])
    """
    return _maximum("adaptive_max_pool3d", 3, input, output_size, return_indices)


# -- back to where maxima were -----------------------------------------------------------------


def _placed(
    op: str, rank: int, input: Any, indices: Any, kernel_size: Any, stride: Any, padding: Any,
    output_size: Any,
) -> Any:  # fmt: skip
    x, index = images(op, rank, input, False), operand(indices, near=operand(input))
    need(index.shape == x.shape, op, input=x, indices=index, want="an index for each element",
         fix="the indices of max_pool")  # fmt: skip
    need(index.dtype.kind == "i", op, indices=index, want="whole numbers",
         fix='indices.astype("int64")', error=DTypeError)  # fmt: skip
    kernel = numbers(op, "kernel_size", kernel_size, rank, 1)
    steps = kernel if stride in (None, ()) else numbers(op, "stride", stride, rank, 1)
    pads = numbers(op, "padding", padding, rank, 0)
    lead, each = x.shape[: x.ndim - rank], zip(x.shape[x.ndim - rank :], kernel, steps, pads)
    size = tuple([(n - 1) * s - 2 * p + k for n, k, s, p in each])
    if output_size is not None:
        wanted = tuple(output_size)[-rank:]
        near = all(abs(n - m) < s for n, m, s in zip(wanted, size, steps))
        need(len(wanted) == rank and near, op, output_size=output_size,
             want=f"{size} give or take less than a stride {steps}",
             fix=f"output_size={size}", error=ValueError)  # fmt: skip
        size = wanted
    count = shapes.size(x.shape[x.ndim - rank :])
    zeros = astype(operand(0.0, near=x), x.dtype)
    plane = broadcast_to(reshape(zeros, (1,) * (len(lead) + 1)), (*lead, shapes.size(size)))
    flat = [reshape(one, (*lead, count)) for one in (index, x)]
    return reshape(put_along_p.bind(plane, *flat, axis=len(lead)), (*lead, *size))


def _unpool_oracle(rank: int) -> Any:
    def oracle(
        x: Any, index: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
        output_size: Any = None,
    ) -> Any:  # fmt: skip
        lead, size = x.shape[: x.ndim - rank], x.shape[x.ndim - rank :]
        kernel, pads = cases.each(kernel_size, rank), cases.each(padding, rank)
        steps = cases.each(kernel if stride is None else stride, rank)
        if output_size is None:
            output_size = [(n - 1) * s - 2 * p + k for n, k, s, p in zip(size, kernel, steps, pads)]
        found = np.zeros((*lead, int(np.prod(output_size))), x.dtype)
        for at in np.ndindex(*lead):
            found[at][np.asarray(index)[at].reshape(-1)] = x[at].reshape(-1)
        return found.reshape(*lead, *output_size)

    return oracle


def _unpool_entry(rank: int) -> Entry:
    def samples(r: Any) -> Any:
        given: Any = (
            ((2, 2), 4, 2, {}), ((3,), 2, 3, {}), ((1, 2), 3, 3, {"stride": 2, "padding": 1}),
            ((0, 2), 2, 2, {}), ((1, 1), 1, (2,) * rank, {}), ((2, 1), 2, 2, {"stride": 3}),
            ((1, 1), 2, 2, {"output_size": (5,) * rank}),
        )  # fmt: skip
        for lead, n, kernel, options in given:
            k = cases.each(kernel, rank)[0]
            side = (n - 1) * options.get("stride", k) - 2 * options.get("padding", 0) + k
            drawn = _drawn(r, (*lead, *(n,) * rank), rank, side**rank)
            yield drawn, {"kernel_size": kernel, **options}
        x, index = _drawn(r, (2, 4, *(2,) * rank), rank, 4**rank)
        yield (x[:, ::2], index[:, ::2]), {"kernel_size": 2}

    return operation(oracle=_unpool_oracle(rank), samples=samples, namespace="nn")


def _drawn(r: Any, shape: Shape, rank: int, most: int) -> tuple[Any, Any]:
    """Values, and different places for those of an image."""
    count = shapes.size(shape[len(shape) - rank :])
    rows = [r.rng.permutation(most)[:count] for _ in range(shapes.size(shape) // count)]
    index = np.array(rows, np.int64).reshape(shape)
    return r.normal(*shape), index


@_unpool_entry(1)
def max_unpool1d(
    input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
    output_size: Any = None,
) -> Any:  # fmt: skip
    """Zeros with the elements of `input` where `indices` say, as `max_pool1d` returns them.

    Of several for one place the last is written. The result has `output_size`, else what
    max_pool1d pools to the input's size. Raises IndexError for an index behind it.

    >>> max_unpool1d([[3.0, 2.0]], [[1, 2]], 2)
    tensor([[0., 3., 2., 0.]])
    """
    return _placed(
        "max_unpool1d", 1, input, indices, kernel_size, stride, padding, output_size
    )  # fmt: skip


@_unpool_entry(2)
def max_unpool2d(
    input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
    output_size: Any = None,
) -> Any:  # fmt: skip
    """Zeros with the elements of `input` where `indices` say, as `max_pool2d` returns them.

    Of several for one place the last is written. The result has `output_size`, else what
    max_pool2d pools to the input's size. Raises IndexError for an index behind it.

    >>> max_unpool2d([[[3.0]]], [[[1]]], 2)
    tensor([[[0., 3.],
             [0., 0.]]])
    """
    return _placed(
        "max_unpool2d", 2, input, indices, kernel_size, stride, padding, output_size
    )  # fmt: skip


@_unpool_entry(3)
def max_unpool3d(
    input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
    output_size: Any = None,
) -> Any:  # fmt: skip
    """Zeros with the elements of `input` where `indices` say, as `max_pool3d` returns them.

    Of several for one place the last is written. The result has `output_size`, else what
    max_pool3d pools to the input's size. Raises IndexError for an index behind it.

    >>> max_unpool3d([[[[3.0]]]], [[[[1]]]], (1, 1, 2))
    tensor([[[[0., 3.]]]])
    """
    return _placed(
        "max_unpool3d", 3, input, indices, kernel_size, stride, padding, output_size
    )  # fmt: skip
