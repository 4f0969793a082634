"""Sample inputs and a slow oracle of `interpolate`, element by element."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

Pair = tuple[int, float]


def _keys(d: float, a: float) -> float:
    d = abs(d)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def _taps(mode: str, n: int, m: int, j: int, step: float, corners: bool) -> Iterator[Pair]:
    """Elements of the source, and their weights, of element j of m out of n."""
    at = j * step if corners else (j + 0.5) * step - 0.5
    if mode == "nearest":
        yield min(math.floor(j * step), n - 1), 1.0
    elif mode == "nearest-exact":
        yield min(math.floor((j + 0.5) * step), n - 1), 1.0
    elif mode == "area":
        low, high = j * n // m, -(-(j + 1) * n // m)
        yield from ((k, 1 / (high - low)) for k in range(low, high))
    elif mode == "bicubic":
        low = math.floor(at)
        yield from ((min(max(k, 0), n - 1), _keys(at - k, -0.75)) for k in range(low - 1, low + 3))
    else:
        at = min(max(at, 0.0), n - 1.0)
        yield from ((k, max(1 - abs(at - k), 0.0)) for k in range(n))


def _smooth(mode: str, n: int, j: int, step: float) -> Iterator[Pair]:
    wide, centre = max(step, 1.0), (j + 0.5) * step - 0.5
    weights = [
        _keys((k - centre) / wide, -0.5)
        if mode == "bicubic"
        else max(1 - abs(k - centre) / wide, 0)
        for k in range(n)
    ]
    yield from ((k, w / sum(weights)) for k, w in enumerate(weights))


def oracle(
    x: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: Any = None, recompute_scale_factor: Any = None, antialias: bool = False,
) -> Any:  # fmt: skip
    rank = x.ndim - 2
    given = scale_factor if size is None else size
    each = given if isinstance(given, tuple) else (given,) * rank
    for axis, want in enumerate(each, 2):
        n = x.shape[axis]
        m = math.floor(n * want) if size is None else want
        exact = size is None and not recompute_scale_factor
        step = 1 / want if exact else n / m
        if align_corners:
            step = (n - 1) / (m - 1) if m > 1 else 0.0
        matrix = np.zeros((m, n))
        for j in range(m):
            pairs = (
                _smooth(mode, n, j, step) if antialias
                else _taps(mode, n, m, j, step, bool(align_corners))
            )  # fmt: skip
            for k, weight in pairs:
                matrix[j, k] += weight
        x = np.moveaxis(np.tensordot(x, matrix, (axis, 1)), -1, axis)
    return x


def samples(r: Any) -> Any:
    for shape, options in (
        ((1, 2, 3), {"size": 5}), ((2, 1, 2, 3), {"scale_factor": 2}),
        ((1, 1, 5), {"size": 3, "mode": "linear"}),
        ((1, 1, 3), {"size": 5, "mode": "linear", "align_corners": True}),
        ((1, 2, 3, 2), {"size": (4, 5), "mode": "bilinear"}),
        ((1, 1, 4, 3), {"scale_factor": (1.6, 0.7), "mode": "bilinear"}),
        ((1, 1, 4, 3), {"size": (3, 1), "mode": "bicubic", "align_corners": True}),
        ((1, 1, 3, 4), {"size": (5, 2), "mode": "bicubic"}),
        ((1, 1, 2, 2, 3), {"size": (3, 2, 2), "mode": "trilinear"}),
        ((1, 1, 5, 4), {"size": (2, 3), "mode": "area"}),
        ((1, 1, 4), {"size": 6, "mode": "nearest-exact"}),
        ((1, 1, 7, 5), {"size": (3, 8), "mode": "bilinear", "antialias": True}),
        ((1, 1, 7, 6), {"size": (3, 2), "mode": "bicubic", "antialias": True}),
        ((0, 2, 3), {"size": 2, "mode": "linear"}),
    ):  # fmt: skip
        yield (r.normal(*shape),), options
    yield (r.normal(4, 3, 2, 1).T,), {"size": (2, 5), "mode": "bilinear"}
    yield (r.normal(1, 1, 6, 5)[:, :, ::2, ::-1],), {"scale_factor": 1.5, "mode": "nearest"}
