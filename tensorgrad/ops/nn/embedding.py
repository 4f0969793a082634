"""Embeddings: of whole numbers as rows of a table, and of positions as rotations."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np  # tables of constants, and oracles

from tensorgrad import _config, dtypes
from tensorgrad._errors import DTypeError, need
from tensorgrad.core.calls import constant
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import operation
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops.elementary import cos, sin
from tensorgrad.ops.elementwise import where
from tensorgrad.ops.gather import gather_p
from tensorgrad.ops.join import stack
from tensorgrad.ops.norm import norm
from tensorgrad.ops.shape import astype
from tensorgrad.ops.sorting import unique

# -- rows of a table ---------------------------------------------------------------------------


def _rows(op: str, index: Tensor, weight: Tensor) -> Tensor:
    """The indices, refused where they are no rows; none counts from the end."""
    need(weight.ndim == 2, op, weight=weight, want="(rows, size)", fix="weight[None]")
    need(index.dtype.kind in "iu", op, input=index, want="whole numbers",
         fix='input.astype("int64")', error=DTypeError)  # fmt: skip
    index = astype(index, dtypes.int64, copy=False)
    count = weight.shape[0]
    if index.level or index.device != "cpu":
        return where(index < 0, count, index)  # type: ignore[no-any-return]
    given = index.data
    if given.size and (given.min() < 0 or given.max() >= count):
        wrong = tuple(int(k) for k in np.argwhere((given < 0) | (given >= count))[0])
        raise IndexError(
            f"{op}: got index {given[wrong]} at {wrong}, expected 0 to {count - 1}, a row of "
            f"weight; try a weight of more rows"
        )
    return index


def _limited(weight: Tensor, index: Tensor, most: float, order: float) -> None:
    """Scale the rows that are read down to a norm of `most`, in place."""
    with _config.setting(_config.recording, False):
        used = unique(index)
        rows = weight[used]
        size = norm(rows, order, axis=-1, keepdims=True)
        weight[used] = rows * where(size > most, most / (size + 1e-7), 1.0)


def _frequency(index: Tensor, count: int) -> Tensor:
    """How often each of `count` rows is named."""
    flat = index.reshape(-1)
    zeros: Any = constant(np.zeros(count, np.int64), index)
    return zeros.at[flat].add(1)  # type: ignore[no-any-return]


def by_frequency(rows: Any, found: Tensor, index: Tensor, count: int) -> Tensor:
    """The rows that `found` names, their gradients divided by how often `index` names them."""
    often = astype(_frequency(index, count)[found], rows.dtype).reshape((*found.shape, 1))
    still = rows.detach()
    return still + (rows - still) / often  # type: ignore[no-any-return]


def _embedding_samples(r: Any) -> Any:
    for shape in ((), (3,), (2, 3), (0,), (1, 2, 2)):
        yield (r.integers(0, 5, *shape), r.normal(5, 3)), {}
    yield (np.array([0, 3, 0, 0]), r.normal(4, 2)), {"padding_idx": 2}
    yield (np.array([[0, 2], [1, 1]]), r.normal(2, 4).T), {"padding_idx": -1}
    yield (r.integers(0, 6, 4, 2)[::2, ::-1], r.normal(12, 3)[::2, ::-1]), {}
    yield (np.array([1, 1, 0], np.uint8), r.normal(3, 1)), {}


@operation(
    oracle=lambda i, w, padding_idx=None: np.asarray(w[i]),
    samples=_embedding_samples,
    namespace="nn",
)
def embedding(
    input: Any, weight: Any, padding_idx: int | None = None, max_norm: float | None = None,
    norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Tensor:  # fmt: skip
    """The rows of `weight` (rows, size) that `input`, whole numbers, names: (*input.shape, size).

    The row `padding_idx` gets no gradient. With `max_norm` the rows that are read are first scaled
    down to that norm (of order `norm_type`) in place; with `scale_grad_by_freq` the gradient of a
    row is divided by how often it is read. Raises `IndexError` for an index below 0 or past the
    rows, `ShapeError`, `DTypeError`, and `ValueError` for sparse=True: gradients are dense.

    >>> embedding([1, 0], [[1.0, 2.0], [3.0, 4.0]])
    tensor([[3., 4.],
            [1., 2.]])
    """
    op = "embedding"
    need(not sparse, op, sparse=sparse, want="sparse=False: gradients are dense",
         fix="sparse=False", error=ValueError)  # fmt: skip
    weight = operand(weight, (), op)
    index = _rows(op, operand(input, (), op, weight), weight)
    count = weight.shape[0]
    if padding_idx is not None:
        need(-count <= padding_idx < count, op, padding_idx=padding_idx, weight=weight,
             want="a row of weight", fix="padding_idx=0", error=ValueError)  # fmt: skip
    if max_norm is not None:
        _limited(weight, index, max_norm, norm_type)
    found = gather_p.bind(weight, index.reshape((1, *index.shape)), axes=(0,), at=0)
    if padding_idx is not None:
        padding = (index == padding_idx % count).reshape((*index.shape, 1))
        found = where(padding, found.detach(), found)
    if scale_grad_by_freq:
        found = by_frequency(found, index, index, count)
    return found  # type: ignore[no-any-return]


# -- rotations by position ---------------------------------------------------------------------


@lru_cache(maxsize=16)
def _turns(length: int, size: int, base: float) -> tuple[Any, Any]:
    """cos and sin of position base^(-2i / size), for the first positions: (length, size / 2)."""
    angles = np.arange(length)[:, None] * _speeds(size, base)
    return np.cos(angles), np.sin(angles)


def _speeds(size: int, base: float) -> Any:
    return base ** (-np.arange(0, size, 2) / size)


def _rotary_oracle(x: Any, base: float = 10000.0, positions: Any = None) -> Any:
    positions = np.arange(x.shape[-2]) if positions is None else positions
    turns = np.exp(
        1j * positions[..., None] * base ** (-np.arange(0, x.shape[-1], 2) / x.shape[-1])
    )
    y = (x[..., ::2] + 1j * x[..., 1::2]) * turns
    return np.stack((y.real, y.imag), -1).reshape(*y.shape[:-1], x.shape[-1])


def _rotary_samples(r: Any) -> Any:
    for shape in ((3, 2), (2, 3, 4), (1, 4), (2, 2, 3, 2), (0, 4), (2, 0, 2)):
        yield (r.normal(*shape),), {}
    yield (r.normal(4, 3).T[:, ::2],), {"base": 100.0}
    yield (r.normal(2, 3, 4),), {"positions": np.array([5, 0, 2])}
    yield (r.normal(2, 2, 3, 4),), {"positions": np.array([[[5, 0, 2]], [[1, 1, 7]]])}


@operation(oracle=_rotary_oracle, samples=_rotary_samples, namespace="nn")
def rotary_embedding(x: Any, base: float = 10000.0, positions: Any = None) -> Tensor:
    """The pairs (x_2i, x_2i+1) of the last axis turned by the angle position base^(-2i / size).

    x is (..., length, size) of an even size; `positions`, 0 to length - 1 by default, broadcast to
    (..., length). The product of a turned query and a turned key depends on the distance of their
    positions alone. Su et al., "RoFormer", 2021. Raises `ShapeError`, `DTypeError`.

    >>> rotary_embedding([[1.0, 0.0], [1.0, 0.0]], positions=[0, 0])
    tensor([[1., 0.],
            [1., 0.]])
    """
    op = "rotary_embedding"
    x = operand(x, (), op)
    need(dtypes.is_float(x.dtype), op, x=x, want="floats", fix='x.astype("float32")',
         error=DTypeError)  # fmt: skip
    need(x.ndim > 1 and x.shape[-1] % 2 == 0, op, x=x,
         want="axes (..., length, size) of an even size", fix="x[None]")  # fmt: skip
    if positions is None:
        c, s = (constant(t, x) for t in _turns(x.shape[-2], x.shape[-1], float(base)))
    else:
        angles = operand(positions, (), op, x).reshape((*np.shape(positions), 1))
        angles = angles * constant(_speeds(x.shape[-1], float(base)), x)
        c, s = cos(angles), sin(angles)
    c, s = astype(c, x.dtype, copy=False), astype(s, x.dtype, copy=False)
    pairs = x.reshape((*x.shape[:-1], x.shape[-1] // 2, 2))
    even, odd = pairs[..., 0], pairs[..., 1]
    turned = stack((even * c - odd * s, even * s + odd * c), axis=-1)
    need(turned.shape == pairs.shape, op, x=x, positions=positions,
         want="positions that broadcast to x.shape[:-1]", fix="np.arange(x.shape[-2])")  # fmt: skip
    return turned.reshape(x.shape)  # type: ignore[no-any-return]
