"""First-order VJPs on bare CuPy arrays, for the hot primitives, named as the primitive is.

Each is `f(ct, wanted, into, saved, node)` and yields (input, cotangent), as on the CPU: `saved` are
the saved values by position, `into(k)` the buffer that input k's cotangent may be written to, or
None. A cotangent may keep broadcast axes: the caller sums over them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import cupy

from tensorgrad import shapes
from tensorgrad.backend.cuda import device, layers, losses, products, reduce
from tensorgrad.backend.cuda.index import unindex as _unindex
from tensorgrad.backend.cuda.layers import Product, sum_rows
from tensorgrad.backend.cuda.products import ADD, MULTIPLY, WITH_BIAS, multiply
from tensorgrad.backend.cuda.put import gather_pull, put_pull, scatter_pull
from tensorgrad.backend.pull_frames import extremes, slices, sums

Array = Any
Into = Callable[[int], Any]
Saved = Sequence[Array] | dict[int, Array]


def _add(held: Array, key: Any, ct: Array) -> None:
    part = held[key]
    ADD(part, ct, out=part)


sum = sums(cupy)
max = min = nanmax = nanmin = extremes(reduce.shared)
index = slices(cupy.empty, _unindex, _add)
gather, put, scatter = gather_pull, put_pull, scatter_pull


def _conj(x: Array) -> Array:
    return cupy.conjugate(x) if x.dtype.kind == "c" else x


def _rows(x: Array) -> Array:
    """An array as a matrix: all axes but the last are rows."""
    if x.ndim == 2:
        return x
    return x.reshape(shapes.size(x.shape[:-1]), x.shape[-1])


def _product(x: Array, y: Array, into: Into, k: int) -> Array:
    """x @ y as input k's cotangent: added to the gradient that stands there, or written there."""
    held = _held(into, k)
    if held is not None and products.holds(held, x, y):
        return products.accumulate(x, y, held)
    return multiply(x, y, into(k))


def _held(into: Into, k: int) -> Array | None:
    """The buffer that holds a part of input k's cotangent already, if it may be added to."""
    onto = getattr(into, "onto", None)
    return None if onto is None else onto(k)


def linear(
    ct: Array, wanted: Sequence[int], into: Into, saved: Saved, node: Any
) -> Iterable[tuple[int, Array]]:
    flat, parents = _rows(ct), node.parents
    sums = ct.ndim > 1 and 2 in wanted and parents[2].shape == flat.shape[1:]
    if parents[0] is parents[1]:
        into = _nowhere
    if sums and 1 in wanted and _fits(flat, saved[0]):
        yield from _both(flat, _rows(saved[0]), into)
        wanted = [k for k in wanted if k == 0]
    for k in wanted:
        if k == 0:
            yield k, _onwards(flat, saved[1], (*ct.shape[:-1], saved[1].shape[1]), into, node)
        elif k == 1:
            yield k, _product(flat.T, _conj(_rows(saved[0])), into, k)
        else:
            yield k, sum_rows(flat, into(k)) if sums else ct


def _onwards(flat: Array, weight: Array, shape: tuple[int, ...], into: Into, node: Any) -> Any:
    """The cotangent of a layer's input; to a layer with GELU it goes before it is multiplied."""
    source, owner = node.parents[0], node.parents[1]
    if (
        getattr(into, "used", False)  # in `backward`: nobody else receives it
        and getattr(source.primitive, "name", "") == "linear_gelu"
        and not getattr(owner, "hooks", None)  # which might change the weight before
        and flat.dtype == weight.dtype == source.dtype
        and shape == source.shape
        and flat.size
        and layers.gelu_within(flat.dtype, shape[-1])
    ):
        return Product(flat, weight, shape)
    found = multiply(flat, _conj(weight))
    return found if found.shape == shape else found.reshape(shape)


def _nowhere(k: int) -> None:
    """For an input that is met twice in one operation: neither may write where the other does."""


def _fits(ct: Array, x: Array) -> bool:
    """Whether cuBLASLt can sum the bias's gradient within the product of the weight's."""
    return bool(ct.size and x.size and ct.dtype == x.dtype and ct.dtype.name in WITH_BIAS)


def _both(flat: Array, x: Array, into: Into) -> Iterator[tuple[int, Array]]:
    """The cotangents of weight and bias in one product."""
    held = _held(into, 1)
    if held is not None and not products.holds(held, flat.T, x):
        held = None
    weight = into(1) if held is None else held
    if weight is None or not products.holds(weight, flat.T, x):
        weight = cupy.empty((flat.shape[1], x.shape[1]), flat.dtype)
    bias = into(2)
    if bias is None or bias.dtype != weight.dtype or not bias.flags.c_contiguous:
        bias = cupy.empty(flat.shape[1:], weight.dtype)
    layers.weight_gradients(flat, x, weight, bias, 0.0 if held is None else 1.0)
    yield 1, weight
    yield 2, bias


def linear_relu(
    ct: Array, wanted: Sequence[int], into: Into, saved: Saved, node: Any
) -> Iterable[tuple[int, Array]]:
    return linear(layers.RELU_VJP(saved[3], ct), wanted, into, saved, node)


def linear_gelu(
    ct: Any, wanted: Sequence[int], into: Into, saved: Saved, node: Any
) -> Iterable[tuple[int, Array]]:
    if type(ct) is not Product:
        return linear(layers.gelu_vjp()(saved[3], ct), wanted, into, saved, node)
    with device.using(ct.data.device_id):
        return list(_gelu_behind(ct, wanted, into, saved, node))


def _gelu_behind(
    ct: Product, wanted: Sequence[int], into: Into, saved: Saved, node: Any
) -> Iterator[tuple[int, Array]]:
    """The cotangents behind a GELU whose own is still to be multiplied."""
    bias = None
    if 2 in wanted:
        bias = into(2)
        if bias is None or bias.dtype != ct.dtype or not bias.flags.c_contiguous:
            bias = cupy.empty(ct.weight.shape[1:], ct.dtype)
        yield 2, bias
    flat = layers.gelu_cotangent(ct, saved[3], bias)
    yield from linear(flat.reshape(ct.shape), [k for k in wanted if k != 2], into, saved, node)


def matmul(
    ct: Array, wanted: Sequence[int], into: Into, saved: Saved, node: Any
) -> Iterator[tuple[int, Array]]:
    if node.parents[0] is node.parents[1]:
        into = _nowhere
    for k in wanted:
        other = _conj(saved[1 - k])
        rank = len(node.parents[k].shape)
        plain = rank == other.ndim == 2
        if other.ndim == 1:
            yield (
                k,
                MULTIPLY(ct[..., None], other) if rank > 1 and k == 0 else _outer(ct, other, rank),
            )
        elif rank == 1:
            side = other if k == 0 else other.swapaxes(-1, -2)
            yield k, multiply(side, ct[..., None])[..., 0]
        elif k == 0:
            yield k, _product(ct, other.swapaxes(-1, -2), into if plain else _nowhere, k)
        elif rank == 2:
            yield k, _product(_rows(other).T, _rows(ct), into, k)
        else:
            yield k, multiply(other.swapaxes(-1, -2), ct)


def _outer(ct: Array, other: Array, rank: int) -> Array:
    """The cotangent of the factor that met a vector: a vector itself, or matrices on the right."""
    if rank == 1:
        return MULTIPLY(ct, other)
    return MULTIPLY(ct[..., None, :], other[:, None])


def softmax_xent(
    ct: Array, wanted: Sequence[int], into: Any, saved: tuple[Any, ...], node: Any
) -> list[tuple[int, Array]]:
    return [(0, losses.softmax_xent_pull(ct, saved, node.params["axis"]))]


def lstm(
    ct: Array, wanted: Sequence[int], into: Into, saved: Any, node: Any
) -> Iterable[tuple[int, Array]]:
    from tensorgrad.backend.cuda import recurrent  # late: for import time

    return recurrent.pull(ct, wanted, into, saved, node)


gru = rnn_tanh = rnn_relu = lstm


def attention(
    ct: Array, wanted: Sequence[int], into: Any, saved: tuple[Any, ...], node: Any
) -> list[tuple[int, Array]]:
    from tensorgrad.backend.cuda.attention import attention_pull  # late: for import time

    return attention_pull(ct, wanted, saved, node.params)  # type: ignore[no-any-return]


attention_masked = attention


def group_norm(
    ct: Array, wanted: Sequence[int], into: Any, saved: tuple[Any, ...], node: Any
) -> list[tuple[int, Array]]:
    from tensorgrad.backend.cuda.group_norm import group_norm_pull  # late: for import time

    return group_norm_pull(ct, wanted, saved, node.params)  # type: ignore[no-any-return]


def glu(
    ct: Array, wanted: Sequence[int], into: Any, saved: tuple[Any, ...], node: Any
) -> list[tuple[int, Array]]:
    from tensorgrad.backend.cuda.gated import glu_pull  # late: for import time

    return [(0, glu_pull(ct, saved[0], node.params["axis"]))]


def ctc(
    ct: Array, wanted: Sequence[int], into: Any, saved: tuple[Any, ...], node: Any
) -> list[tuple[int, Array]]:
    from tensorgrad.backend.cuda import ctc as kernels  # late: for import time

    return kernels.pull(ct, wanted, saved, node.params)  # type: ignore[no-any-return]
