"""Distances of all pairs of vectors."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np  # oracles, and numbers of pairs

from tensorgrad import dtypes, shapes
from tensorgrad._errors import DTypeError, need
from tensorgrad.core.calls import Spec, constant
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import fused, operation
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops.index import take
from tensorgrad.ops.nn.distances import pairwise_distance
from tensorgrad.ops.reduce import sum
from tensorgrad.ops.shape import astype


def _between(op: str, x: Tensor, y: Tensor, p: float) -> Tensor:
    need(p >= 0, op, p=p, want="p >= 0", fix="p=2.0", error=ValueError)
    if p == 0:
        return astype(sum(x != y, axis=-1), x.dtype)  # type: ignore[no-any-return]
    return pairwise_distance(x, y, p, 0.0)  # type: ignore[no-any-return]


def _reference(x: Any, y: Any, *, p: float) -> Any:
    return pairwise_distance(x[..., :, None, :], y[..., None, :, :], p, 0.0)


def _spec(x: Spec, y: Spec, *, p: float) -> Spec:
    lead = shapes.broadcast(x.shape[:-2], y.shape[:-2], op="cdist")
    return Spec((*lead, x.shape[-2], y.shape[-2]), x.dtype)


cdist_p = fused("cdist", _reference, nin=2, spec=_spec)
"""The distances of all pairs of rows; see `backend/numpy_pairs.py`. GPUs run the reference."""


@lru_cache(64)
def _pairs(count: int) -> Any:
    return np.triu_indices(count, 1)


def _pdist_reference(x: Any, *, p: float) -> Any:
    first, second = (constant(k, x) for k in _pairs(x.shape[0]))
    return _between("pdist", take(x, first, axis=0), take(x, second, axis=0), p)


pdist_p = fused(
    "pdist",
    _pdist_reference,
    nin=1,
    spec=lambda x, *, p: Spec((x.shape[0] * (x.shape[0] - 1) // 2,), x.dtype),
)
"""The distances of the pairs of rows of one matrix; alike."""


def _generated(x: Tensor, p: float) -> bool:
    """Whether there are loops for all pairs."""
    from tensorgrad.backend import numpy_pairs  # late: for import time

    return x.device == "cpu" and numpy_pairs.generated(p, x.dtype)


def _floats(op: str, given: Any, near: Any = None) -> Tensor:
    x = operand(given, (), op, near)
    need(dtypes.is_float(x.dtype), op, x=x, want="floats", fix='x.astype("float32")',
         error=DTypeError)  # fmt: skip
    return x


def _cdist_oracle(x: Any, y: Any, p: float = 2.0) -> Any:
    return np.linalg.norm(x[..., :, None, :] - y[..., None, :, :], p, -1)


def _cdist_samples(r: Any) -> Any:
    for x, y in (
        ((2, 3), (4, 3)), ((1, 2), (2, 2)), ((2, 2, 3), (2, 1, 3)), ((2, 3), (2, 2, 3)),
        ((0, 3), (2, 3)), ((3, 1), (2, 1)),
    ):  # fmt: skip
        yield (r.normal(*x), r.normal(*y)), {}
    for p in (0, 1, 3, float("inf")):
        # Coordinates of one set far from those of the other: no kinks of |d|, no ties.
        yield (r.apart(2, 3), 3.1 + 7 * r.apart(2, 3)), {"p": p}
    yield (r.normal(3, 2).T, r.normal(4, 6)[::2, ::-2]), {}


@operation(oracle=_cdist_oracle, samples=_cdist_samples, namespace="nn")
def cdist(x1: Any, x2: Any, p: float = 2.0) -> Tensor:
    """(Σ_k |x1_ik - x2_jk|^p)^(1/p) for all pairs: (..., P, M) and (..., R, M) give (..., P, R).

    p = 0 counts where they differ, p inf is the largest difference. Derivative 0 where the distance
    is. Raises `ShapeError`, `DTypeError`, and `ValueError` unless p >= 0.

    >>> cdist([[0.0, 0.0]], [[3.0, 4.0], [0.0, 1.0]])
    tensor([[5., 1.]])
    """
    op = "cdist"
    x = _floats(op, x1)
    y = _floats(op, x2, x)
    need(x.ndim > 1 and y.ndim > 1 and x.shape[-1] == y.shape[-1], op, x1=x, x2=y,
         want="axes (..., P, M) and (..., R, M)", fix="x[None]")  # fmt: skip
    if _generated(x, p):
        if x.dtype != y.dtype:
            dtype = dtypes.result_type(x.dtype, y.dtype)
            x, y = (astype(v, dtype, copy=False) for v in (x, y))
        return cdist_p.bind(x, y, p=float(p))  # type: ignore[no-any-return]
    return _between(op, x[..., :, None, :], y[..., None, :, :], p)


def _pdist_oracle(x: Any, p: float = 2.0) -> Any:
    first, second = np.triu_indices(len(x), 1)
    return np.linalg.norm(x[first] - x[second], p, -1)


def _pdist_samples(r: Any) -> Any:
    for shape in ((4, 3), (2, 2), (3, 1), (1, 3), (0, 2)):
        yield (r.normal(*shape),), {}
    for p in (0, 1, 3, float("inf")):
        yield (r.apart(3, 2, gap=0.5),), {"p": p}
    yield (r.normal(3, 4).T,), {}
    yield (r.normal(6, 4)[::2, ::-1],), {}


@operation(oracle=_pdist_oracle, samples=_pdist_samples, namespace="nn")
def pdist(input: Any, p: float = 2.0) -> Tensor:
    """The distances of all pairs i < j of the rows of (N, M): (N (N - 1) / 2,).

    The upper triangle of `cdist` of the rows with themselves, row by row. Raises as it does.

    >>> pdist([[0.0], [1.0], [3.0]])
    tensor([1., 3., 2.])
    """
    op = "pdist"
    x = _floats(op, input)
    need(x.ndim == 2, op, input=x, want="rows (N, M)", fix="input.reshape(N, M)")
    run = pdist_p.bind if x.size and _generated(x, p) else _pdist_reference
    return run(x, p=float(p))  # type: ignore[no-any-return]
