"""Bags of rows of a table, each summed, averaged or its largest taken."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np  # tables of constants, and oracles

from tensorgrad._errors import DTypeError, need
from tensorgrad.core.calls import constant
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import operation
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops.elementwise import where
from tensorgrad.ops.index import take
from tensorgrad.ops.nn.embedding import by_frequency, embedding
from tensorgrad.ops.shape import astype

_MODES = ("sum", "mean", "max")

# -- bags --------------------------------------------------------------------------------------


def _starts(op: str, offsets: Any, count: int, last: bool) -> Any:
    """Where each bag starts in the indices, and where the last one ends, on the host."""
    given = offsets.to("cpu").numpy() if isinstance(offsets, Tensor) else np.asarray(offsets)
    need(given.ndim == 1 and given.dtype.kind in "iu", op, offsets=given,
         want="whole numbers (bags,)", fix="offsets=[0]", error=DTypeError)  # fmt: skip
    ends = given.astype(np.int64) if last else np.append(given.astype(np.int64), count)
    rising = ends.size and ends[0] == 0 and (np.diff(ends) >= 0).all() and ends[-1] <= count
    need(rising, op, offsets=given.tolist(), indices=count,
         want=f"offsets that rise from 0 to at most {count}", fix="offsets=[0]",
         error=ValueError)  # fmt: skip
    return ends


def _places(ends: Any) -> tuple[Any, Any]:
    """(bag, place) the indices of every bag as a rectangle, and which of it there are."""
    count = np.diff(ends)
    along = np.arange(max(count.max(initial=0), 1))
    there = along < count[:, None]
    return np.where(there, ends[:-1, None] + along, 0), there


def _read(op: str, input: Tensor, offsets: Any, last: bool) -> tuple[Tensor, Any]:
    """The indices as (bags, length), and which of them there are: None where all are."""
    need(input.ndim in (1, 2), op, input=input, want="(bags, length), or (indices,) with offsets",
         fix="input.reshape(-1) and offsets")  # fmt: skip
    need((offsets is None) == (input.ndim == 2), op, input=input, offsets=offsets,
         want="offsets with one axis of indices, none with two", fix="offsets=[0]",
         error=ValueError)  # fmt: skip
    if offsets is None:
        return input, None
    place, there = _places(_starts(op, offsets, input.shape[0], last))
    if not input.shape[0]:
        return constant(np.zeros(place.shape, np.int64), input), constant(there, input)
    return take(input, constant(place, input), axis=0), constant(there, input)


def _reduced(mode: str, rows: Any, there: Any) -> Any:
    """The rows of every bag, (bags, length, size), as one; `there`, (bags, length), count."""
    if there is None and rows.shape[1]:
        return getattr(rows, mode)(axis=1)
    if there is None:
        return rows.sum(axis=1)
    kept = there.reshape((*there.shape, 1))
    if mode == "max":
        return where(kept.any(axis=1), where(kept, rows, -np.inf).max(axis=1), 0.0)
    total = where(kept, rows, 0.0).sum(axis=1)
    if mode == "sum":
        return total
    count = astype(kept, "int64").sum(axis=1)
    return total / astype(where(count > 0, count, 1), rows.dtype)


# -- the operation -----------------------------------------------------------------------------


def _oracle(
    i: Any, w: Any, offsets: Any = None, *, mode: str = "mean", per_sample_weights: Any = None,
    include_last_offset: bool = False, padding_idx: int | None = None,
) -> Any:  # fmt: skip
    share = np.ones(i.shape) if per_sample_weights is None else per_sample_weights
    if i.ndim == 1:
        ends = list(offsets) + ([] if include_last_offset else [len(i)])
        bags = [(i[a:b], share[a:b]) for a, b in pairwise(ends)]
    else:
        bags = list(zip(i, share))
    found = np.zeros((len(bags), w.shape[1]), w.dtype)
    for row, (index, scale) in zip(found, bags):
        kept = np.ones(len(index), bool) if padding_idx is None else index != padding_idx % len(w)
        if kept.any():
            row[:] = getattr(np, mode)(w[index[kept]] * scale[kept][:, None], axis=0)
    return found


def _samples(r: Any) -> Any:
    yield (r.integers(0, 5, 2, 3), r.apart(5, 2)), {}
    yield (r.integers(0, 5, 3, 1), r.apart(5, 2)), {"mode": "sum"}
    yield (np.array([[0, 2], [1, 0]]), r.apart(3, 3)), {"mode": "max"}
    yield (np.array([4, 1, 2, 2, 0]), r.apart(5, 2), np.array([0, 2, 2])), {"mode": "sum"}
    yield (np.array([4, 1, 2, 2]), r.apart(5, 2), np.array([0, 3])), {"padding_idx": 2}
    yield (np.array([1, 1, 0]), r.apart(2, 1), np.array([0, 0, 2, 3])), {
        "mode": "max", "include_last_offset": True}  # fmt: skip
    yield (np.array([[0, 2], [2, 2]]), r.apart(4, 3).T), {"mode": "max", "padding_idx": -1}
    yield (np.array([[0, 2, 1]]), r.apart(6, 4)[::2, ::-1]), {
        "mode": "sum", "per_sample_weights": r.normal(1, 3)}  # fmt: skip
    yield (r.integers(0, 3, 0, 2), r.apart(3, 2)), {"mode": "sum"}


@operation(oracle=_oracle, samples=_samples, namespace="nn")
def embedding_bag(
    input: Any, weight: Any, offsets: Any = None, max_norm: float | None = None,
    norm_type: float = 2.0, scale_grad_by_freq: bool = False, mode: str = "mean",
    sparse: bool = False, per_sample_weights: Any = None, include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:  # fmt: skip
    """The "sum", "mean" or "max" over the rows of `weight` that each bag of indices names.

    input is (bags, length), or (indices,) with `offsets`, where each bag starts (and where the last
    ends: `include_last_offset`). Indices `padding_idx` count nothing; an empty bag is 0.
    `per_sample_weights`, shaped as input, multiply the rows of a "sum". The rest is as in
    `embedding`. Bags are read as a rectangle as long as the longest. Raises `IndexError`,
    `ShapeError`, `ValueError` and `DTypeError`.

    >>> embedding_bag([1, 0, 1], [[1.0, 2.0], [3.0, 4.0]], [0, 2], mode="sum")
    tensor([[4., 6.],
            [3., 4.]])
    """
    op = "embedding_bag"
    need(mode in _MODES, op, mode=mode, want=f"one of {', '.join(_MODES)}", fix='mode="mean"',
         error=ValueError)  # fmt: skip
    weight = operand(weight, (), op)
    index = operand(input, (), op, weight)
    need(index.dtype.kind in "iu", op, input=index, want="whole numbers",
         fix='input.astype("int64")', error=DTypeError)  # fmt: skip
    share = None if per_sample_weights is None else operand(per_sample_weights, (weight,), op)
    need(share is None or (mode == "sum" and share.shape == index.shape), op, mode=mode,
         input=index, per_sample_weights=share, want='mode="sum" and a weight for each index',
         fix="per_sample_weights=None", error=ValueError)  # fmt: skip
    need(not (scale_grad_by_freq and mode == "max"), op, mode=mode, scale_grad_by_freq=True,
         want='scale_grad_by_freq with mode="sum" or "mean"', fix="scale_grad_by_freq=False",
         error=ValueError)  # fmt: skip
    found, there = _read(op, index, offsets, include_last_offset)
    rows = embedding(found, weight, padding_idx, max_norm, norm_type, False, sparse)
    if scale_grad_by_freq:  # not by `found`, whose gaps are filled with what counts nothing
        rows = by_frequency(rows, found, index, weight.shape[0])
    if share is not None:
        rows = rows * _read(op, share, offsets, include_last_offset)[0].reshape((*found.shape, 1))
    if padding_idx is not None:
        real = found != padding_idx % weight.shape[0]
        there = real if there is None else there & real
    return _reduced(mode, rows, there)  # type: ignore[no-any-return]
