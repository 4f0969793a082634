"""Convolutions of NumPy arrays over one to three spatial axes, named as the primitives are.

    conv(x, w, bias=None, *, stride, padding, dilation, groups, out=None)
        y[n, o, *q] = bias[o] + Σ_{c, k} x[n, c', *(q s + k d - low)] w[o, c, *k], 0 outside of x
    conv_input(ct, w, bias=None, *, shape, stride, padding, dilation, groups, out=None)
        the adjoint of `conv` in x: `shape` (N, C, *S) is x's and the result's; bias (C,) is added
    conv_weight(x, ct, *, shape, stride, padding, dilation, groups, out=None)
        the adjoint of `conv` in w: `shape` (O, C / groups, *K) is w's and the result's

x is (N, C, *S), w (O, C / groups, *K), ct as y is (N, O, *Q). stride and dilation are tuples with a
number for each spatial axis, padding a tuple of pairs (low, high), groups an int; the group of
output channel o reads the input channels c' = (o // (O / groups)) (C / groups) + c. Of each axis
Q = (S + low + high - d (K - 1) - 1) // s + 1. float16, bfloat16, float32, float64 and complex; the
16-bit floats are computed in float32 and rounded once.

Planes of an image between zeros are read in place by generated loops (`conv_layout`,
`conv_products`); kernels of one element are products of matrices, and so are convolutions with few
places beside their channels (`conv_gathered`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tensorgrad import dtypes
from tensorgrad.backend import conv_gathered as gathered
from tensorgrad.backend import conv_programs as programs
from tensorgrad.backend import memory, numpy_reduce, threads
from tensorgrad.backend.blas import DOOR
from tensorgrad.backend.conv_gathered import Reading
from tensorgrad.backend.conv_layout import Layout, Pairs, Sums, backwards, extent, forwards
from tensorgrad.backend.conv_points import Points, suited
from tensorgrad.backend.conv_products import Generated, Tiled, filled, products

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]

BLOCKS = 8
"""Sums of weight gradients side by side: their number, and so the result, knows no threads."""


def conv(
    x: Array, w: Array, bias: Array | None = None, *, stride: Shape, padding: Pairs,
    dilation: Shape, groups: int, out: Array | None = None,
) -> Array:  # fmt: skip
    places = _places(x.shape, w.shape, stride, padding, dilation, groups)
    if bias is not None and bias.shape != w.shape[:1]:
        raise ValueError(f"conv: got a bias of shape {bias.shape}, expected {w.shape[:1]}")
    inner, found = _prepared([x, w, bias], (x.shape[0], w.shape[0], *places), out, x)
    w = w.astype(inner, copy=False)
    offset = None if bias is None else bias.astype(inner, copy=False).reshape(groups, -1)
    source, target = _grouped(x, groups), _grouped(found, groups)
    kernels = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    if not found.size or not w.size:
        found[...] = 0 if bias is None else bias.reshape(-1, *(1,) * len(places))
    elif _pointwise(w.shape, stride, padding):
        _mixed(source, kernels.reshape(kernels.shape[:3]), offset, target)
    elif (read := Reading(x.shape[2:], w.shape[2:], places, stride, padding, dilation)).suits(
        x.shape[0], w.shape[0] // groups
    ):
        gathered.forwards(read, source, kernels.reshape(*kernels.shape[:2], -1), offset, target)
    else:
        layout = forwards(
            x.shape[0], w.shape[1], w.shape[0] // groups, groups, x.shape[2:], w.shape[2:],
            stride, padding, dilation,
        )  # fmt: skip
        _summed(layout, source, kernels.reshape(*kernels.shape[:3], -1), offset, target)
    return found


def conv_input(
    ct: Array, w: Array, bias: Array | None = None, *, shape: Shape, stride: Shape,
    padding: Pairs, dilation: Shape, groups: int, out: Array | None = None,
) -> Array:  # fmt: skip
    places = _places(shape, w.shape, stride, padding, dilation, groups)
    if ct.shape != (shape[0], w.shape[0], *places):
        raise ValueError(f"conv_input: got ct {ct.shape}, expected the result's shape")
    if bias is not None and bias.shape != shape[1:2]:
        raise ValueError(f"conv_input: got a bias of shape {bias.shape}, expected {shape[1:2]}")
    inner, found = _prepared([ct, w, bias], shape, out, ct)
    w = w.astype(inner, copy=False)
    offset = None if bias is None else bias.astype(inner, copy=False).reshape(groups, -1)
    source, target = _grouped(ct, groups), _grouped(found, groups)
    kernels = w.reshape(groups, w.shape[0] // groups, *w.shape[1:]).swapaxes(1, 2)
    if not found.size or not w.size or not ct.size:
        found[...] = 0 if bias is None else bias.reshape(-1, *(1,) * len(places))
    elif _pointwise(w.shape, stride, padding):
        _mixed(source, kernels.reshape(kernels.shape[:3]), offset, target)
    elif (read := Reading(shape[2:], w.shape[2:], places, stride, padding, dilation)).suits(
        ct.shape[0], w.shape[0] // groups
    ):
        flat = w.reshape(groups, w.shape[0] // groups, -1)
        gathered.backwards(read, source, flat, offset, target)
    else:
        layout = backwards(
            ct.shape[0], w.shape[1], w.shape[0] // groups, groups, shape[2:], w.shape[2:],
            stride, padding, dilation,
        )  # fmt: skip
        _summed(layout, source, kernels.reshape(*kernels.shape[:3], -1), offset, target)
    return found


def conv_weight(
    x: Array, ct: Array, *, shape: Shape, stride: Shape, padding: Pairs, dilation: Shape,
    groups: int, out: Array | None = None,
) -> Array:  # fmt: skip
    places = _places(x.shape, shape, stride, padding, dilation, groups)
    if ct.shape != (x.shape[0], shape[0], *places):
        raise ValueError(f"conv_weight: got ct {ct.shape}, expected the result's shape")
    inner, found = _prepared([x, ct], shape, out, None)
    source, seen = _grouped(x, groups), _grouped(ct, groups)
    if not found.size or not ct.size or not x.size:
        found[...] = 0
    elif _pointwise(shape, stride, padding):
        found[...] = _crossed(source, seen, inner).reshape(shape)
    elif (read := Reading(x.shape[2:], shape[2:], places, stride, padding, dilation)).suits(
        x.shape[0], shape[0] // groups
    ):
        flat = found if found.flags.c_contiguous else np.empty(shape, found.dtype)
        terms = flat.reshape(groups, shape[0] // groups, -1)
        gathered.weights(read, source, seen, inner, terms)
        if flat is not found:
            found[...] = flat
    else:
        layout = forwards(
            x.shape[0], shape[1], shape[0] // groups, groups, x.shape[2:], shape[2:],
            stride, padding, dilation,
        )  # fmt: skip
        _collected(layout, source, seen, inner, found)
    return found


def conv_pull(
    ct: Array, wanted: Sequence[int], into: Callable[[int], Any], saved: Any, node: Any
) -> Iterator[tuple[int, Array]]:
    """First-order cotangents of `conv`: x, w and bias."""
    params, parents = node.params, node.parents
    for k in wanted:
        shape, out = parents[k].shape, _buffer(k, ct, into, parents)
        if k == 0:
            yield k, conv_input(ct, _conj(saved[1]), shape=shape, **params, out=out)
        elif k == 1:
            yield k, conv_weight(_conj(saved[0]), ct, shape=shape, **params, out=out)
        else:
            yield k, _total(ct, out)


def conv_input_pull(
    ct: Array, wanted: Sequence[int], into: Callable[[int], Any], saved: Any, node: Any
) -> Iterator[tuple[int, Array]]:
    """First-order cotangents of `conv_input`: ct, w and bias."""
    parents = node.parents
    params = {name: value for name, value in node.params.items() if name != "shape"}
    for k in wanted:
        out = _buffer(k, ct, into, parents)
        if k == 0:
            yield k, conv(ct, _conj(saved[1]), **params, out=out)
        elif k == 1:
            w = parents[k].shape
            yield k, conv_weight(ct, _conj(saved[0]), shape=w, **params, out=out)
        else:
            yield k, _total(ct, out)


def _buffer(k: int, ct: Array, into: Callable[[int], Any], parents: Any) -> Any:
    """Where input k's cotangent may be written: nowhere for one that is met twice."""
    twice = parents[0] is parents[1]
    return None if twice or parents[k].dtype != ct.dtype else into(k)


def _conj(x: Array) -> Array:
    return x.conj() if x.dtype.kind == "c" else x


def _total(ct: Array, out: Array | None) -> Array:
    """The cotangent of a bias."""
    axes = (0, *range(2, ct.ndim))
    return numpy_reduce.sum(ct, axis=axes, keepdims=False, out=out)  # type: ignore[no-any-return]


# -- shapes and arrays -------------------------------------------------------------------------


def _places(
    x: Shape, w: Shape, stride: Shape, padding: Pairs, dilation: Shape, groups: int
) -> Shape:
    """The lengths of a convolution's result; raises ValueError for what does not fit."""
    fits = len(x) == len(w) == len(stride) + 2 and x[1] == w[1] * groups and w[0] % groups == 0
    found = tuple(map(extent, x[2:], w[2:], stride, padding, dilation)) if fits else (0,)
    if min(found) <= 0:
        raise ValueError(f"conv: got x {x} and w {w} in {groups} groups, which do not fit")
    return found


def _prepared(
    given: Sequence[Array | None], shape: Shape, out: Array | None, like: Array | None
) -> tuple[Any, Array]:
    """The dtype that sums are made in, and the array for the result, which lies as `like` does."""
    dtype = dtypes.result_type(*[a.dtype for a in given if a is not None])
    if not dtypes.is_inexact(dtype):
        raise ValueError(f"conv: got {dtype}, expected floats")
    if out is None and like is not None and _last(like):
        out = np.moveaxis(memory.empty((shape[0], *shape[2:], shape[1]), dtype), -1, 1)
    return dtypes.compute(dtype), memory.empty(shape, dtype) if out is None else out


def _last(x: Array) -> bool:
    """Whether an array lies with its channels last, and not as well with them second."""
    return not x.flags.c_contiguous and bool(np.moveaxis(x, 1, -1).flags.c_contiguous)


def _grouped(x: Array, groups: int) -> Array:
    """(image, channel, ...) as (image, group, channel, ...): a view."""
    n, channels, *rest = x.shape
    return x.reshape(n, groups, channels // groups, *rest)


# -- sums over taps ----------------------------------------------------------------------------


def _summed(
    layout: Layout, source: Array, kernels: Array, bias: Array | None, target: Array
) -> None:
    """Every output of a layout; kernels are (group, output, channel, element)."""
    groups, outputs = kernels.shape[:2]
    dtype = kernels.dtype
    how = products(dtype, outputs)
    alike = source.dtype == target.dtype == dtype and all(len(one.kernel) for one in layout.sums)
    if alike and isinstance(how, Generated):
        _run(layout, suited(layout, how, outputs), source, kernels, bias, target)
        return
    ready = [_weights(how, kernels, one, bias) for one in layout.sums]
    rest = 0 if bias is None else bias.reshape(groups, outputs, *(1,) * (target.ndim - 3))

    def job(start: int, stop: int) -> None:
        planes = memory.empty(layout.shape, dtype)
        made = memory.empty((groups, how.rows, layout.longest), dtype)
        order = (2, 0, 1, *range(3, target.ndim))
        for item in _filled(layout, planes, source, start, stop):
            for one, weights in zip(layout.sums, ready):
                counts = layout.counts(item, one)
                if min(counts) <= 0:
                    continue
                place = target[layout.place(item, one)]
                if weights is None:
                    place[...] = rest
                    continue
                how.taps(planes, one, weights, made, layout.work(counts))
                place[...] = layout.seen(made, outputs, counts).transpose(order)

    threads.split(len(layout.items), 1, job)


def _run(
    layout: Layout, how: Generated | Points, source: Array, kernels: Array,
    bias: Array | None, target: Array,
) -> None:  # fmt: skip
    """`_summed` by programs."""
    (groups, outputs, *terms), dtype = kernels.shape, kernels.dtype
    size, given = dtype.itemsize, (kernels.shape, kernels.strides)
    added = filled(groups, how.rows, bias, dtype)
    chunk = programs.chunk(how, kernels.shape, source.size)
    words = math.prod(terms) * (chunk * how.width or groups * how.rows)
    if not chunk:
        ready = (np.zeros if outputs < how.rows else memory.empty)((words,), dtype)
        programs.packing(how, *given, size).run(kernels, ready)

    def job(start: int, stop: int) -> None:
        planes = memory.empty(layout.shape, dtype)
        made = memory.empty((how.room(layout),), dtype)
        weights = np.zeros((words,), dtype) if chunk else ready
        program = programs.summing(
            layout, how, given, source.strides, target.strides, size, chunk, start, stop
        )
        program.run(kernels, planes, target, made, weights, added, source)

    threads.split(len(layout.items), 1, job)


def _weights(how: Tiled | Generated, kernels: Array, one: Sums, bias: Array | None) -> Any:
    """What `taps` wants of the kernels' elements that some outputs meet; None where of none."""
    if not len(one.kernel):
        return None
    if len(one.kernel) < kernels.shape[-1]:
        kernels = kernels[..., one.kernel]
    return how.weights(kernels, bias)


def _filled(layout: Layout, planes: Array, source: Array, start: int, stop: int) -> Any:
    """Items of a layout, one by one in the planes."""
    held = None
    for item in layout.items[start:stop]:
        kind = layout.filled(item)
        if kind != held:
            planes.fill(0)
            held = kind
        layout.fill(planes, source, item)
        yield item


def _collected(layout: Layout, source: Array, cts: Array, dtype: Any, target: Array) -> None:
    """The gradient of the weights: blocks of items, added in their order."""
    groups, outputs = cts.shape[1:3]
    how = products(dtype, outputs)
    terms = len(layout.sums[0].terms)
    count = _blocks(len(layout.items), source.size // (groups * outputs * terms))
    bounds = [k * len(layout.items) // count for k in range(count + 1)]
    if isinstance(how, Generated) and source.dtype == cts.dtype == dtype:
        _gathered_up(layout, suited(layout, how, outputs), source, cts, bounds, target)
        return
    found: list[Any] = [None] * count

    def job(start: int, stop: int) -> None:
        for block in range(start, stop):
            found[block] = _dots(layout, how, source, cts, dtype, bounds[block : block + 2])

    threads.split(count, 1, job)
    target[...] = _total_of(found)[:, :outputs, :terms].reshape(target.shape)


def _gathered_up(
    layout: Layout, how: Generated | Points, source: Array, cts: Array, bounds: list[int],
    target: Array,
) -> None:  # fmt: skip
    """`_collected` by programs; one block alone adds to the result itself where it may."""
    groups, outputs = cts.shape[1:3]
    dtype, terms, count = cts.dtype, len(layout.sums[0].terms), len(bounds) - 1
    whole = count == 1 and target.flags.c_contiguous and target.dtype == dtype
    exact = whole and how.exact(groups, outputs, terms)
    found: list[Any] = [None] * count
    if exact:
        target.fill(0)

    def job(start: int, stop: int) -> None:
        planes = memory.empty(layout.shape, dtype)
        stretches = memory.empty((how.ct_room(layout),), dtype)
        for block in range(start, stop):
            made = target.reshape(groups, outputs, -1) if exact else how.sums(groups, terms, dtype)
            program = programs.collecting(
                layout, how, outputs, exact, source.strides, cts.strides, dtype.itemsize,
                *bounds[block : block + 2],
            )  # fmt: skip
            program.run(source, planes, cts, stretches, made, made, source)
            found[block] = made

    threads.split(count, 1, job)
    if not exact:
        total = _total_of(found)
        programs.placed(how, how.found(total)[:, :outputs, :terms], target)


def _total_of(found: list[Array]) -> Array:
    """The sum of the blocks, made in the first."""
    total = found[0]
    for part in found[1:]:
        total += part
    return total


def _dots(
    layout: Layout, how: Tiled | Generated, source: Array, cts: Array, dtype: Any,
    bounds: list[int],
) -> Array:  # fmt: skip
    """The gradient of the weights of some items."""
    (one,), (groups, outputs) = layout.sums, cts.shape[1:3]
    planes = memory.empty(layout.shape, dtype)
    stretches = memory.empty((groups, how.ct_rows, layout.longest), dtype)
    found, held = how.sums(groups, len(one.terms), dtype), None
    for item in _filled(layout, planes, source, *bounds):
        counts = layout.counts(item, one)
        if counts != held:
            stretches.fill(0)
            held = counts
        part = cts[layout.place(item, one)]
        view = layout.seen(stretches, outputs, counts)
        view[...] = part.transpose(1, 2, 0, *range(3, part.ndim))
        how.dots(planes, one, stretches, found, layout.work(counts))
    return found


def _blocks(items: int, room: int) -> int:
    """Sums side by side: no more than the input has room for."""
    return min(items, BLOCKS, max(room, 1))


# -- kernels of one element --------------------------------------------------------------------


def _pointwise(w: Shape, stride: Shape, padding: Pairs) -> bool:
    """Whether a convolution only mixes the channels of each place."""
    return math.prod(w[2:]) == math.prod(stride) == 1 and not any(map(any, padding))


def _mixed(source: Array, w: Array, bias: Array | None, target: Array) -> None:
    """target[n, g] = w[g] source[n, g] + bias[g]: products of matrices, of the arrays in place."""
    images, groups, channels, *rest = source.shape
    outputs, dtype = w.shape[1], w.dtype
    places = math.prod(rest)
    if groups == 1 and _last(source[:, 0]) and target.dtype == source.dtype == dtype:
        rows = np.moveaxis(source[:, 0], 1, -1).reshape(-1, channels)
        turned = np.moveaxis(target[:, 0], 1, -1)
        if turned.flags.c_contiguous:
            DOOR.multiply(
                rows, w[0].T, turned.reshape(-1, outputs), None if bias is None else bias[0]
            )
            return

    def job(start: int, stop: int) -> None:
        for n in range(start, stop):
            for g in range(groups):
                rows = source[n, g].reshape(channels, places).astype(dtype, copy=False)
                place = target[n, g]
                direct = place.flags.c_contiguous and place.dtype == dtype
                found = DOOR.multiply(
                    w[g], rows, place.reshape(outputs, places) if direct else None
                )
                if bias is not None:
                    np.add(found, bias[g, :, None], found)
                if not direct:
                    place[...] = found.reshape(place.shape)

    threads.split(images, 1, job)


def _crossed(source: Array, cts: Array, dtype: Any) -> Array:
    """Σ over images and places of ct[o] x[c], by group."""
    images, groups, channels, *rest = source.shape
    outputs = cts.shape[2]
    places = math.prod(rest)
    count = _blocks(images, source.size // (groups * outputs * channels))
    found = np.zeros((count, groups, outputs, channels), dtype)
    bounds = [k * images // count for k in range(count + 1)]

    def job(start: int, stop: int) -> None:
        for block in range(start, stop):
            for n in range(bounds[block], bounds[block + 1]):
                for g in range(groups):
                    left = cts[n, g].reshape(outputs, places).astype(dtype, copy=False)
                    right = source[n, g].reshape(channels, places).astype(dtype, copy=False)
                    found[block, g] += DOOR.multiply(left, right.T)

    threads.split(count, 1, job)
    return found.sum(axis=0)  # type: ignore[no-any-return]
