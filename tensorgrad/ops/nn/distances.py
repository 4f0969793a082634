"""Distances and similarities of vectors, and the losses that learn by them.

>>> pairwise_distance([[0.0, 0.0]], [[3.0, 4.0]], eps=0.0)
tensor([5.])
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np  # oracles only

from tensorgrad import shapes
from tensorgrad._errors import need
from tensorgrad.core.calls import operands
from tensorgrad.core.formula import Reduce
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import operation
from tensorgrad.core.tensor import Tensor
from tensorgrad.expr import ELEMENT, ROW, call, rmax, rsum, stop, where
from tensorgrad.ops import loss_cases as cases
from tensorgrad.ops.losses import matched, reduced
from tensorgrad.ops.reduce import with_kept

_FLOOR = 1e-12
"""What PyTorch's cosine_embedding_loss adds to the square of a length."""

_PAIR = {"x": ("f", ELEMENT), "y": ("f", ELEMENT)}


def _root(square: Any) -> Any:
    return where(square == 0, 0, call("sqrt", square))


def _length(d: Any, p: float) -> Any:
    """(Σ |d|^p)^(1/p) of a row; derivative 0 where it is 0."""
    if p == 2:
        return _root(rsum(d * d))
    size = call("abs", d)
    if p == 0:
        return rsum(where(size > 0, 1.0, where(size <= 0, 0.0, stop(size))))
    if p == 1:
        return rsum(size)
    if p == float("inf"):
        return rmax(size)
    total = rsum(call("pow", size, p))
    return where(total == 0, 0, call("pow", total, 1 / p))


def _positive(op: str, p: Any) -> float:
    need(p >= 0, op, p=p, want="p >= 0", fix="p=2", error=ValueError)
    return float(p)


# -- of two vectors ----------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _distance(p: float, eps: float) -> Reduce:
    return Reduce.trace("pairwise_distance", lambda x, y: _length(x - y + eps, p), _PAIR)


def _cosine(x: Any, y: Any, eps: float) -> Any:
    def length(v: Any) -> Any:
        square = rsum(v * v)
        return where(square > eps * eps, call("sqrt", square), eps)

    return rsum(x * y) / (length(x) * length(y))


@lru_cache(maxsize=64)
def _similarity(eps: float) -> Reduce:
    return Reduce.trace("cosine_similarity", lambda x, y: _cosine(x, y, eps), _PAIR)


def _together(op: str, x1: Any, x2: Any, dim: int) -> tuple[Tensor, Tensor, int]:
    """Two tensors broadcast against each other, and the axis of their vectors."""
    x, y = operands((x1, x2), op)
    shape = shapes.broadcast(x.shape, y.shape, op=op)
    axis = shapes.axis_index(dim, len(shape), op)
    x, y = (v if v.shape == shape else v.broadcast_to(shape) for v in (x, y))
    return x, y, axis


def _distance_samples(r: Any) -> Any:
    for k, shape in enumerate(((4,), (3, 4), (2, 3, 4), (1, 3), (3, 1), (0, 3))):
        y = r.normal(*shape)
        yield (r.apart(*shape) + y, y), {"keepdim": k % 2 == 1}
    y = r.normal(3, 4)
    for p in (0, 1, 3, 1.5, float("inf")):
        yield (y + r.apart(3, 4), y), {"p": p, "eps": 1e-3}
    yield (r.normal(4, 3).T, r.normal(3, 4)), {}
    yield (r.normal(3, 4), r.normal(4)), {}
    yield (r.normal(6, 4)[::2, ::-1], r.normal(1, 4)), {}


def _distance_oracle(
    x: Any, y: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Any:
    return np.linalg.norm(x - y + eps, p, -1, keepdim)


@operation(oracle=_distance_oracle, samples=_distance_samples, namespace="nn")
def pairwise_distance(
    x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """(Σ |x1 - x2 + eps|^p)^(1/p) over the last axis; inputs broadcast.

    p inf is the largest difference, p 0 the number of those that are not 0. Derivative 0 where the
    distance is. Raises `ValueError` for p < 0.
    """
    op = "pairwise_distance"
    p = _positive(op, p)
    x, y, axis = _together(op, x1, x2, -1)
    found = _distance(p, float(eps)).bind(x, y, axis=(axis,), shape=x.shape)
    return with_kept(found, x, (axis,), keepdim)  # type: ignore[no-any-return]


def _similarity_oracle(x: Any, y: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    x, y = np.broadcast_arrays(x, y)
    lengths = [np.maximum(np.sqrt((v * v).sum(dim)), eps) for v in (x, y)]
    return (x * y).sum(dim) / (lengths[0] * lengths[1])


def _similarity_samples(r: Any) -> Any:
    for shape, dim in (
        ((4,), 0), ((3, 4), 1), ((3, 4), 0), ((2, 3, 4), 1), ((2, 3, 4), -1), ((3, 1), 1),
        ((0, 3), 1),
    ):  # fmt: skip
        yield (r.normal(*shape), r.normal(*shape)), {"dim": dim}
    yield (r.normal(4, 3).T, r.normal(3, 4)), {}
    yield (r.normal(6, 4)[::2, ::-1], r.normal(1, 4)), {"eps": 0.01}
    yield (r.normal(3, 4), r.normal(4)), {"eps": 50.0}


@operation(oracle=_similarity_oracle, samples=_similarity_samples, namespace="nn")
def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1 · x2 / (max(||x1||, eps) max(||x2||, eps)) along `dim`; inputs broadcast.

    >>> cosine_similarity([1.0, 0.0], [1.0, 1.0], dim=0)
    tensor(0.70710678)
    """
    op = "cosine_similarity"
    need(eps > 0, op, eps=eps, want="eps > 0", fix="eps=1e-8", error=ValueError)
    x, y, axis = _together(op, x1, x2, dim)
    return _similarity(float(eps)).bind(x, y, axis=(axis,), shape=x.shape)  # type: ignore[no-any-return]


# -- losses ------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _embedding(margin: float) -> Reduce:
    def formula(x: Any, y: Any, t: Any) -> Any:
        square = (rsum(x * x) + _FLOOR) * (rsum(y * y) + _FLOOR)
        cos = rsum(x * y) / call("sqrt", square)
        over = where(cos < margin, 0, cos - margin)
        return where(t == 1, 1 - cos, where(t == -1, over, 0))

    return Reduce.trace("cosine_embedding_loss", formula, {**_PAIR, "target": ("f", ROW)})


def _embedding_oracle(x: Any, y: Any, t: Any, margin: float = 0.0, reduction: str = "mean") -> Any:
    squares = [(v * v).sum(-1) + _FLOOR for v in (x, y)]
    cos = (x * y).sum(-1) / np.sqrt(squares[0] * squares[1])
    return cases.reduced(np.where(t == 1, 1 - cos, np.maximum(0, cos - margin)), reduction)


def _embedding_samples(r: Any) -> Any:
    for k, shape in enumerate(((4,), (3, 4), (1, 3), (5, 2), (2, 6), (6, 3), (4, 5), (3, 3))):
        x, t = r.normal(*shape), 2 * r.integers(0, 2, *shape[:-1]) - 1
        # Cosines of about ±0.9: far from the margins.
        y = np.where(r.bools(*shape[:-1], 1), 1, -1) * x + 0.1 * r.normal(*shape)
        yield (x, y, t), {"margin": (0.0, 0.3)[k % 2], "reduction": cases.turn(k, x)}
    yield (r.uniform(1, 2, 4, 3).T, r.uniform(1, 2, 3, 4), np.array([1, -1, -1])), {}


@operation(oracle=_embedding_oracle, samples=_embedding_samples, namespace="nn")
def cosine_embedding_loss(
    input1: Any, input2: Any, target: Any, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """1 - cos of the angle of two vectors where target is 1, max(0, cos - margin) where it is -1.

    input1 and input2 (N, D) or (D,), target (N,) or (); 1e-12 is added to the square of a length,
    as in PyTorch. Raises `ShapeError`.

    >>> cosine_embedding_loss([[1.0, 0.0]], [[0.0, 1.0]], [1.0])
    tensor(1.)
    """
    op = "cosine_embedding_loss"
    x, y = matched(op, input1, input2, reduction)
    need(x.ndim in (1, 2), op, input1=x, want="(N, D) or (D,)", fix="x.reshape(-1, D)")
    t = operand(target, (x,), op)
    need(t.shape == x.shape[:-1], op, input1=x, target=t, want=f"a target of shape {x.shape[:-1]}",
         fix="target.reshape(-1)")  # fmt: skip
    t = t.astype(x.dtype)
    loss = _embedding(float(margin)).bind(x, y, t, axis=(x.ndim - 1,), shape=x.shape)
    return reduced(loss, reduction)  # type: ignore[no-any-return]


@lru_cache(maxsize=64)
def _triplet(margin: float, p: float, eps: float, swap: bool) -> Reduce:
    def formula(anchor: Any, positive: Any, negative: Any) -> Any:
        far = _length(anchor - negative + eps, p)
        if swap:
            far = call("minimum", far, _length(positive - negative + eps, p))
        z = margin + _length(anchor - positive + eps, p) - far
        return where(z < 0, 0, z)

    names = ("anchor", "positive", "negative")
    return Reduce.trace("triplet_margin_loss", formula, dict.fromkeys(names, ("f", ELEMENT)))


def _triplet_oracle(
    a: Any, pos: Any, neg: Any, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6,
    swap: bool = False, reduction: str = "mean",
) -> Any:  # fmt: skip
    near, far, other = (np.linalg.norm(u - v + eps, p, -1)
                        for u, v in ((a, pos), (a, neg), (pos, neg)))  # fmt: skip
    return cases.reduced(
        np.maximum(0, margin + near - (np.minimum(far, other) if swap else far)), reduction
    )


def _triplet_samples(r: Any) -> Any:
    for k, shape in enumerate(((4,), (3, 4), (2, 3, 4), (1, 3), (5, 2), (0, 3), (6, 3), (3, 3))):
        a, other = r.normal(*shape), 3 * r.bools(*shape[:-1], 1)
        # Distances of under 1 and of over 2, or the other way round.
        pos, neg = a + 0.1 * r.normal(*shape) + other, a + 0.1 * r.normal(*shape) + 3 - other
        options = {"margin": (1.0, 9.0)[k % 2], "reduction": cases.turn(k, a)}
        yield (a, pos, neg), {**options, "swap": k % 4 > 1}
    a = r.normal(3, 4)
    for p in (1, 3):
        yield (a, a + r.apart(3, 4), a + 2 + r.apart(3, 4)), {"p": p, "margin": 20.0}
    yield (r.normal(4, 3).T, r.normal(3, 4), r.normal(6, 4)[::2]), {"margin": 20.0}


@operation(oracle=_triplet_oracle, samples=_triplet_samples, namespace="nn")
def triplet_margin_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """max(0, margin + d(anchor, positive) - d(anchor, negative)), d = `pairwise_distance`.

    Inputs (N, D), (D,) or (..., D), of one shape; `swap`: the negative's distance is the smaller of
    those from anchor and from positive. Balntas et al., "Learning shallow convolutional feature
    descriptors with triplet losses", 2016. Raises `ShapeError` where the shapes differ.

    >>> triplet_margin_loss([[0.0]], [[2.0]], [[1.0]], eps=0.0)
    tensor(2.)
    """
    op = "triplet_margin_loss"
    need(margin > 0, op, margin=margin, want="margin > 0", fix="margin=1.0", error=ValueError)
    a, near = matched(op, anchor, positive, reduction)
    a, far = matched(op, a, negative, reduction)
    need(a.ndim, op, anchor=a, want="vectors on the last axis", fix="anchor[None]")
    found = _triplet(float(margin), _positive(op, p), float(eps), bool(swap))
    return reduced(found.bind(a, near, far, axis=(a.ndim - 1,), shape=a.shape), reduction)  # type: ignore[no-any-return]
