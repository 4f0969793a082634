"""First-order VJPs on bare CuPy arrays, for the hot primitives, named as the primitive is.

Each is `f(ct, wanted, into, saved, node)` and yields (input, cotangent), as on the CPU: `saved` are
the saved values by position, `into(k)` the buffer that input k's cotangent may be written to, or
None. A cotangent may keep broadcast axes: the caller sums over them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import cupy

from tensorgrad.backend import formulas
from tensorgrad.backend.cuda import losses, products, reduce
from tensorgrad.backend.cuda.products import MULTIPLY, multiply
from tensorgrad.backend.cuda.staged import ReduceKernel

Array = Any
Into = Callable[[int], Any]
Saved = Sequence[Array] | dict[int, Array]


def sum(
    ct: Array, wanted: Sequence[int], into: Into, saved: Saved, node: Any
) -> Iterator[tuple[int, Array]]:
    axis, keepdims = node.params["axis"], node.params["keepdims"]
    shape = node.parents[0].shape
    if not keepdims and ct.ndim:
        ct = cupy.expand_dims(ct, axis)
    yield 0, cupy.broadcast_to(ct, shape)


def _extreme(
    ct: Array, wanted: Sequence[int], into: Into, saved: Saved, node: Any
) -> list[tuple[int, Array]]:
    return [(0, reduce.shared(ct, saved[0], saved[1], node.params["axis"]))]


max = min = _extreme


def _conj(x: Array) -> Array:
    return cupy.conjugate(x) if x.dtype.kind == "c" else x


def _rows(x: Array) -> Array:
    """An array as a matrix: all axes but the last are rows."""
    if x.ndim == 2:
        return x
    return x.reshape(x.size // x.shape[-1] if x.size else 0, x.shape[-1])


def linear(
    ct: Array, wanted: Sequence[int], into: Into, saved: Saved, node: Any
) -> Iterable[tuple[int, Array]]:
    flat = _rows(ct)
    for k in wanted:
        if k == 0:
            found = multiply(flat, _conj(saved[1]))
            yield k, found if ct.ndim == 2 else found.reshape(*ct.shape[:-1], found.shape[-1])
        elif k == 1:
            yield k, multiply(flat.T, _conj(_rows(saved[0])), into(k))
        elif ct.ndim == 1:
            yield k, ct
        elif node.parents[k].shape == flat.shape[1:]:
            yield k, sum_rows(flat, into(k))
        else:
            yield k, ct


def linear_relu(
    ct: Array, wanted: Sequence[int], into: Into, saved: Saved, node: Any
) -> Iterable[tuple[int, Array]]:
    return linear(products.RELU_VJP(saved[3], ct), wanted, into, saved, node)


_SUM = ReduceKernel(formulas.SUM_ROWS)


def sum_rows(x: Array, out: Array | None) -> Any:
    """Σ over the rows of a matrix, parts of them first: the order depends on the shape alone."""
    if not x.size or x.dtype.kind == "c":
        return reduce.sum(x, axis=(0,), keepdims=False, out=out)
    return _SUM(x, axis=(1,), shape=x.shape, out=out)


def matmul(
    ct: Array, wanted: Sequence[int], into: Into, saved: Saved, node: Any
) -> Iterator[tuple[int, Array]]:
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
            yield k, multiply(ct, other.swapaxes(-1, -2), into(k) if plain else None)
        elif rank == 2:
            yield k, multiply(_rows(other).T, _rows(ct), into(k))
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
