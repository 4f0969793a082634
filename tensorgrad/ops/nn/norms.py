"""Normalisation over groups of channels, over neighbouring channels, and to length one.

>>> normalize([[3.0, 4.0]])
tensor([[0.6, 0.8]])
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes, shapes
from tensorgrad._errors import need
from tensorgrad.backend import base
from tensorgrad.core.formula import Reduce
from tensorgrad.core.registry import fused, operation
from tensorgrad.core.tensor import Tensor, make
from tensorgrad.expr import ELEMENT, call, rmax, rsum, where
from tensorgrad.ops.nn.batch_norm import affine, by_statistics, images, non_negative, per_channel
from tensorgrad.ops.padding import pad
from tensorgrad.ops.shape import astype

INF = float("inf")

# -- groups of channels ------------------------------------------------------------------------


def _group_oracle(
    x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    split = x.reshape(x.shape[0], num_groups, x.shape[1] // num_groups, -1)
    d = split - split.mean((2, 3), keepdims=True)
    y = (d / np.sqrt(split.var((2, 3), keepdims=True) + eps)).reshape(x.shape)
    shape = (-1, *(1,) * (x.ndim - 2))
    y = y if weight is None else y * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)


def _group_samples(r: Any) -> Any:
    for x, groups in (
        (r.normal(3, 4), 2), (r.normal(2, 4, 3), 2), (r.normal(2, 3, 2, 2), 1),
        (r.normal(1, 4, 2, 1, 2), 4), (r.normal(4, 3).T, 2), (r.normal(4, 4, 6)[::2, :, ::-2], 2),
        (np.broadcast_to(r.normal(4, 1), (2, 4, 3)), 2), (np.moveaxis(r.normal(2, 3, 4), -1, 1), 2),
    ):  # fmt: skip
        c = x.shape[1]
        yield (x, groups, r.normal(c), r.normal(c)), {"eps": 0.1}
    yield (r.normal(2, 4, 2), 2), {}
    yield (r.normal(2, 4, 2), 2, None, r.normal(4)), {"eps": 0.1}
    yield (r.normal(2, 4, 2), 2, r.normal(4)), {"eps": 0.1}


def _by_groups(x: Any, weight: Any, bias: Any, *, groups: int, eps: float) -> Any:
    wide, (size, channels, *rest) = dtypes.compute(x.dtype), x.shape
    shape = (size, groups, channels // groups, *rest)
    view = {"axis": tuple(range(2, len(shape))), "shape": shape}
    y = by_statistics(eps, ()).bind(x.astype(wide).reshape(shape), **view)[0].reshape(x.shape)
    values, axis = (weight.astype(wide), bias.astype(wide)), (0, *range(2, x.ndim))
    return affine(("weight", "bias")).bind(y, *values, axis=axis, shape=x.shape).astype(x.dtype)


group_norm_p = fused("group_norm", _by_groups, nin=3, spec=lambda x, *rest, **_: x)
"""Group norm with weight and bias of one dtype with x; see `backend/group_norm.py`."""


@operation(oracle=_group_oracle, samples=_group_samples, namespace="nn")
def group_norm(
    input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Tensor:
    """(input - mean) / sqrt(var + eps) weight + bias; mean and variance of a group of channels.

    input is (N, C, ...), weight and bias (C,); the groups are of C / num_groups neighbours. Wu, He,
    "Group normalization", 2018. Raises `ShapeError` where num_groups does not divide C.

    >>> group_norm([[1.0, 3.0, 5.0, 9.0]], 2, eps=0.0)
    tensor([[-1.,  1., -1.,  1.]])
    """
    op = "group_norm"
    x, eps = images(op, input, 2), non_negative(op, eps)
    channels = x.shape[1]
    whole = hasattr(num_groups, "__index__")
    need(whole and num_groups > 0 and channels % num_groups == 0, op, input=x,
         num_groups=num_groups, want=f"groups that divide the {channels} channels on axis 1",
         fix="num_groups=1")  # fmt: skip
    parts = per_channel(op, x, weight=weight, bias=bias)
    dtype = dtypes.result_type(x.dtype, *[v.dtype for v in parts.values()])
    given = [astype(v, dtype, copy=False) for v in (x, *parts.values())]
    if not x.size:
        return given[0]  # type: ignore[no-any-return]
    found = dict(zip(("x", *parts), given))
    home: Any = base.of(x.value())
    for name, value in (("weight", 1.0), ("bias", 0.0)):
        if name not in found:
            found[name] = make(home.full((channels,), value, dtype))
    both = found["weight"], found["bias"]
    return group_norm_p.bind(found["x"], *both, groups=int(num_groups), eps=eps)  # type: ignore[no-any-return]


# -- neighbouring channels ---------------------------------------------------------------------


def _response_oracle(
    x: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Any:
    total = np.zeros_like(x)
    for c in range(x.shape[1]):
        near = slice(max(0, c - size // 2), c + (size - 1) // 2 + 1)
        total[:, c] = (x[:, near] ** 2).sum(1)
    return x / (k + alpha * total / size) ** beta


def _response_samples(r: Any) -> Any:
    for x, size in (
        (r.normal(2, 4, 3), 3), (r.normal(2, 5, 2), 2), (r.normal(1, 3, 2, 2), 5),
        (r.normal(2, 3, 1, 2, 2), 1), (r.normal(3, 4, 2).T, 2),
        (r.normal(4, 4, 6)[::2, :, ::-2], 3),
        (np.broadcast_to(r.normal(4, 1), (2, 4, 3)), 2), (r.normal(0, 3, 2), 3),
    ):  # fmt: skip
        yield (x, size), {"alpha": 0.5, "beta": 0.6, "k": 1.5}
    yield (r.normal(2, 4, 3), 3), {}


@operation(oracle=_response_oracle, samples=_response_samples, namespace="nn")
def local_response_norm(
    input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """input / (k + alpha / size Σ x²)^beta, the sum over `size` neighbouring channels.

    They reach from c - size // 2 to c + (size - 1) // 2, as far as there are any; input is
    (N, C, L, ...). Krizhevsky, Sutskever, Hinton, "ImageNet classification", 2012. Raises
    `ShapeError` for fewer axes, `ValueError` unless size > 0.

    >>> local_response_norm([[[1.0], [2.0]]], 2, alpha=2.0, beta=1.0)
    tensor([[[0.5       ],
             [0.33333333]]])
    """
    op = "local_response_norm"
    x = images(op, input, 3)
    need(hasattr(size, "__index__") and size > 0, op, size=size, want="a whole number from 1 up",
         fix="size=5", error=ValueError)  # fmt: skip
    size = int(size)
    widths = ((0, 0), (size // 2, (size - 1) // 2), *[(0, 0)] * (x.ndim - 2))
    square = pad(x * x, widths)
    total = square[:, : x.shape[1]]
    for start in range(1, size):
        total = total + square[:, start : start + x.shape[1]]
    # NumPy's float64 numbers would make the result float64.
    return x / (float(k) + total * (float(alpha) / size)) ** float(beta)  # type: ignore[no-any-return]


# -- to length one -----------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _normalize(p: float, eps: float) -> Reduce:
    def length(x: Any) -> Any:
        if p == INF:
            return rmax(call("abs", x))
        if p == 1:
            return rsum(call("abs", x))
        total = rsum(x * x) if p == 2 else rsum(call("pow", call("abs", x), p))
        root = call("sqrt", total) if p == 2 else call("pow", total, 1 / p)
        return where(total == 0, 0, root)

    def formula(x: Any) -> Any:
        found = length(x)
        return x / where(found > eps, found, eps)

    return Reduce.trace("normalize", formula, {"x": ("f", ELEMENT)})


def _normalize_oracle(x: Any, p: float = 2.0, dim: Any = 1, eps: float = 1e-12) -> Any:
    if p == INF:
        found = np.abs(x).max(dim, keepdims=True, initial=0.0)
    else:
        found = (np.abs(x) ** p).sum(dim, keepdims=True) ** (1 / p)
    return x / np.maximum(found, eps)


def _normalize_samples(r: Any) -> Any:
    for x, dim in (
        (r.apart(4), 0), (r.apart(3, 4), 1), (r.apart(3, 4), 0), (r.apart(2, 3, 4), 1),
        (r.apart(2, 3, 4), -1), (r.apart(4, 3).T, 1), (r.apart(6, 4)[::2, ::-1], 1),
        (r.apart(2, 3, 2), (0, 2)), (np.broadcast_to(r.apart(4) + 0.3, (3, 4)), 1),
        (r.apart(0, 3), 1),
    ):  # fmt: skip
        yield (x,), {"dim": dim}
    for p in (1, 3, 2.5, INF):
        yield (r.apart(3, 4) + 0.3,), {"p": p}
    yield (0.1 * r.apart(3, 4),), {"eps": 5.0}


@operation(oracle=_normalize_oracle, samples=_normalize_samples, namespace="nn")
def normalize(input: Any, p: float = 2.0, dim: Any = 1, eps: float = 1e-12) -> Tensor:
    """input / max((Σ |x|^p)^(1/p), eps), the norm over the axis `dim` (or several).

    p inf is the largest |x|. Raises `ShapeError` for an axis that there is not, `ValueError` unless
    p and eps are above 0.

    >>> normalize([[3.0, 4.0]])
    tensor([[0.6, 0.8]])
    """
    op = "normalize"
    x = images(op, input, 1)
    need(p > 0 and eps > 0, op, p=p, eps=eps, want="p > 0 and eps > 0", fix="p=2.0, eps=1e-12",
         error=ValueError)  # fmt: skip
    axis = tuple(sorted(shapes.axes(dim, x.ndim, op)))
    if not x.size:
        return x
    return _normalize(float(p), float(eps)).bind(x, axis=axis, shape=x.shape)  # type: ignore[no-any-return]
