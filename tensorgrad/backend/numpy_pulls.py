"""First-order VJPs on bare NumPy arrays, for the hot primitives, named as the primitive is.

Each is `f(ct, wanted, into, saved, node)` and yields (input, cotangent): `saved` are the saved
values by position (of a fused primitive its inputs, then what its kernel kept), `into(k)` the
buffer that input k's cotangent may be written to, or None. A cotangent may keep broadcast axes: the
caller sums over them.
A test holds every one of them to the primitive's `vjp`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np

from tensorgrad.backend import (
    formulas,
    memory,
    numpy_losses,
    numpy_products,
    numpy_put,
    numpy_reduce,
    outer,
)
from tensorgrad.backend.blas import DOOR
from tensorgrad.backend.numpy_formula import ElementwiseKernel
from tensorgrad.backend.numpy_index import unindex as _unindex
from tensorgrad.backend.numpy_reduce import WIDE
from tensorgrad.backend.numpy_running_pulls import cummax as cummax
from tensorgrad.backend.numpy_running_pulls import cummin as cummin
from tensorgrad.backend.numpy_running_pulls import cumprod as cumprod
from tensorgrad.backend.numpy_running_pulls import cumsum as cumsum
from tensorgrad.backend.numpy_running_pulls import prod as prod
from tensorgrad.backend.numpy_staged import DONE, PART, ReduceKernel
from tensorgrad.backend.pull_frames import extremes, slices, sums

Array = np.ndarray[Any, Any]
Into = Callable[[int], Any]
Saved = Sequence[Array] | dict[int, Array]


def _add(held: Array, key: Any, ct: Array) -> None:
    held[key] += ct


sum = sums(np)
max = min = nanmax = nanmin = extremes(numpy_reduce.shared)
index = slices(memory.empty, _unindex, _add)
gather, put, scatter = numpy_put.gather_pull, numpy_put.put_pull, numpy_put.scatter_pull


def _conj(x: Array) -> Array:
    return x.conj() if x.dtype.kind == "c" else x


def _rows(x: Array) -> Array:
    """An array as a matrix: all axes but the last are rows."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def linear(
    ct: Array, wanted: Sequence[int], into: Into, saved: Saved, node: Any
) -> Iterable[tuple[int, Array]]:
    parents = node.parents
    if ct.ndim != 2 or ct.dtype not in WIDE or parents[0] is parents[1]:
        return _linear(ct, wanted, into, saved, node)
    found, multiply = [], DOOR.multiply
    for k in wanted:
        if k == 1:
            found.append((k, multiply(ct.T, saved[0], into(k))))
        elif k == 2:
            found.append((k, sum_rows(ct, into(k))))
        else:
            found.append((k, multiply(ct, saved[1])))
    return found


def linear_relu(
    ct: Array, wanted: Sequence[int], into: Into, saved: Saved, node: Any
) -> Iterable[tuple[int, Array]]:
    return linear(numpy_products.RELU_VJP(saved[3], ct), wanted, into, saved, node)


def linear_gelu(
    ct: Array, wanted: Sequence[int], into: Into, saved: Saved, node: Any
) -> Iterable[tuple[int, Array]]:
    return linear(_gelu_vjp()(saved[3], ct), wanted, into, saved, node)


@cache
def _gelu_vjp() -> ElementwiseKernel:
    return ElementwiseKernel(formulas.gelu_vjp(), order=1)


def sum_rows(x: Array, out: Array | None) -> Any:
    """Σ over the rows of a matrix: of few rows in one go, of many as every staged sum."""
    rows, columns = x.shape
    code = _CODES[x.dtype]
    if code is None:
        return _add_reduce(x, 0, None, out)
    if 0 < rows <= PART and columns:
        target = np.empty(columns, x.dtype) if out is None else out
        if code(rows, columns, 0, rows, rows, x, target) == DONE:
            return target
    return _SUM(x, axis=(1,), shape=x.shape, out=out)


_add_reduce: Any = np.add.reduce


class _Codes(dict[Any, Any]):
    """The generated sum over rows by dtype, None where there is none."""

    def __missing__(self, dtype: Any) -> Any:
        from tensorgrad.codegen.rows import reduction  # late: for import time

        code = self[dtype] = reduction(formulas.SUM_ROWS, dtype, False)
        return code


_CODES = _Codes()
_SUM = ReduceKernel(formulas.SUM_ROWS, order=1)


def _linear(
    ct: Array, wanted: Sequence[int], into: Into, saved: Saved, node: Any
) -> Iterator[tuple[int, Array]]:
    """`linear` for vectors, more leading axes, the 16-bit floats and complex numbers."""
    flat = _rows(ct)
    for k in wanted:
        if k == 0:
            found = numpy_products.matmul(flat, _conj(saved[1]))
            yield k, found if ct.ndim == 2 else found.reshape(*ct.shape[:-1], found.shape[-1])
        elif k == 1:
            yield k, numpy_products.matmul(flat.T, _conj(_rows(saved[0])), into(k))
        elif ct.ndim == 1:
            yield k, ct
        elif node.parents[k].shape == flat.shape[1:]:
            yield k, sum_rows(flat, into(k))
        else:
            yield k, ct


def matmul(
    ct: Array, wanted: Sequence[int], into: Into, saved: Saved, node: Any
) -> Iterator[tuple[int, Array]]:
    product = numpy_products.matmul
    for k in wanted:
        other = _conj(saved[1 - k])
        rank = len(node.parents[k].shape)
        plain = rank == other.ndim == 2
        if other.ndim == 1:
            yield k, _raised(ct, other) if rank > 1 and k == 0 else _outer(ct, other, rank)
        elif rank == 1:
            side = other if k == 0 else other.swapaxes(-1, -2)
            yield k, product(side, ct[..., None])[..., 0]
        elif k == 0:
            yield k, product(ct, other.swapaxes(-1, -2), into(k) if plain else None)
        elif rank == 2:
            yield k, product(_rows(other).T, _rows(ct), into(k))
        else:
            yield k, product(other.swapaxes(-1, -2), ct)


def _raised(ct: Array, other: Array) -> Array:
    """The cotangent of the matrices that met a vector on their right."""
    return np.asarray(outer.multiply(ct[..., None], other.reshape((1,) * ct.ndim + other.shape)))


def _outer(ct: Array, other: Array, rank: int) -> Array:
    """The cotangent of the factor that met a vector: a vector itself, or matrices on the right."""
    found: Array = ct * other if rank == 1 else ct[..., None, :] * other[:, None]
    return found


def softmax_xent(
    ct: Array, wanted: Sequence[int], into: Any, saved: tuple[Any, ...], node: Any
) -> list[tuple[int, Array]]:
    return [(0, numpy_losses.softmax_xent_pull(ct, saved, node.params["axis"]))]


def attention(
    ct: Array, wanted: Sequence[int], into: Any, saved: tuple[Any, ...], node: Any
) -> list[tuple[int, Array]]:
    from tensorgrad.backend import numpy_attention  # late: for import time

    return numpy_attention.attention_pull(ct, wanted, saved, node.params)  # type: ignore[no-any-return]


attention_masked = attention


def conv(
    ct: Array, wanted: Sequence[int], into: Into, saved: Saved, node: Any
) -> Iterable[tuple[int, Array]]:
    from tensorgrad.backend import numpy_conv  # late: for import time

    return numpy_conv.conv_pull(ct, wanted, into, saved, node)


def conv_input(
    ct: Array, wanted: Sequence[int], into: Into, saved: Saved, node: Any
) -> Iterable[tuple[int, Array]]:
    from tensorgrad.backend import numpy_conv  # late: for import time

    return numpy_conv.conv_input_pull(ct, wanted, into, saved, node)


def group_norm(
    ct: Array, wanted: Sequence[int], into: Any, saved: tuple[Any, ...], node: Any
) -> list[tuple[int, Array]]:
    from tensorgrad.backend import numpy_group_norm  # late: for import time

    return numpy_group_norm.group_norm_pull(ct, wanted, saved, node.params)  # type: ignore[no-any-return]


def cdist(
    ct: Array, wanted: Sequence[int], into: Any, saved: tuple[Any, ...], node: Any
) -> list[tuple[int, Array]]:
    from tensorgrad.backend import numpy_pairs  # late: for import time

    return numpy_pairs.cdist_pull(ct, wanted, saved, node.params)


def pdist(
    ct: Array, wanted: Sequence[int], into: Any, saved: tuple[Any, ...], node: Any
) -> list[tuple[int, Array]]:
    from tensorgrad.backend import numpy_pairs  # late: for import time

    x, distance = saved
    return [(0, numpy_pairs.pdist_pull(ct, x, distance, node.params["p"]))]


def grid_sample(
    ct: Array, wanted: Sequence[int], into: Any, saved: tuple[Any, ...], node: Any
) -> list[tuple[int, Array]]:
    from tensorgrad.backend import numpy_sampling  # late: for import time

    return numpy_sampling.grid_sample_pull(ct, wanted, saved, node.params["how"])


def glu(
    ct: Array, wanted: Sequence[int], into: Any, saved: tuple[Any, ...], node: Any
) -> list[tuple[int, Array]]:
    from tensorgrad.backend import numpy_gated  # late: for import time

    return [(0, numpy_gated.glu_pull(ct, saved[0], node.params["axis"]))]


def lstm(
    ct: Array, wanted: Sequence[int], into: Into, saved: Any, node: Any
) -> Iterable[tuple[int, Array]]:
    from tensorgrad.backend import numpy_recurrent  # late: for import time

    return numpy_recurrent.pull(ct, wanted, into, saved, node)


gru = rnn_tanh = rnn_relu = lstm


def mean_counted(
    ct: Array, wanted: Sequence[int], into: Any, saved: Any, node: Any
) -> list[tuple[int, Array]]:
    # A whole array, since generated code would turn a broadcast one down and have it copied.
    count = np.count_nonzero(saved[1] != saved[2])
    share = ct / ct.dtype.type(count) if count else np.nan
    return [(0, np.full(node.parents[0].shape, share, ct.dtype))]


def ctc(
    ct: Array, wanted: Sequence[int], into: Any, saved: tuple[Any, ...], node: Any
) -> list[tuple[int, Array]]:
    from tensorgrad.backend import numpy_ctc  # late: for import time

    return numpy_ctc.pull(ct, wanted, saved, node.params)  # type: ignore[no-any-return]
