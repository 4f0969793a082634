"""Sample inputs and slow oracles of `grid_sample` and `affine_grid`, point by point."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np


def _inside(p: float, n: int, padding: str, corners: bool) -> float:
    """A position brought into the image, as the padding says."""
    if padding == "zeros":
        return p
    if padding == "reflection":
        low, span = (0.0, n - 1.0) if corners else (-0.5, float(n))
        if not span:
            return 0.0
        turns, rest = divmod(abs(p - low), span)
        p = low + (rest if turns % 2 == 0 else span - rest)
    return min(max(p, 0.0), n - 1.0)


def _keys(d: float) -> float:
    d, a = abs(d), -0.75
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def _taps(p: float, n: int, mode: str, padding: str, corners: bool) -> list[tuple[int, float]]:
    """The elements of an axis at a position, and their weights."""
    if mode == "bicubic":
        found = [(k, _keys(p - k)) for k in range(math.floor(p) - 1, math.floor(p) + 3)]
        found = [(int(_inside(k, n, padding, corners)), w) for k, w in found]
    else:
        p = _inside(p, n, padding, corners)
        k = math.floor(p)
        found = [(round(p), 1.0)] if mode == "nearest" else [(k, 1 - p + k), (k + 1, p - k)]
    return [(k, w) for k, w in found if 0 <= k < n]


def oracle(
    x: Any, grid: Any, mode: str = "bilinear", padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Any:  # fmt: skip
    size, corners = x.shape[2:], bool(align_corners)
    found = np.zeros((len(x), x.shape[1], *grid.shape[1:-1]))
    for at in np.ndindex(grid.shape[:-1]):
        axes = []
        for g, n in zip(grid[at][::-1], size):
            p = (g + 1) / 2 * (n - 1) if corners else ((g + 1) * n - 1) / 2
            axes.append(_taps(float(p), n, mode, padding_mode, corners))
        for taps in itertools.product(*axes):
            key = tuple([k for k, _ in taps])
            weight = math.prod(w for _, w in taps)
            found[(at[0], slice(None), *at[1:])] += weight * x[(at[0], slice(None), *key)]
    return found


def positions(r: Any, n: int, places: tuple[int, ...], size: Any, corners: bool) -> Any:
    """A grid whose positions, a pixel around the image also, are far from kinks."""
    parts = []
    for k in reversed(size):
        p = r.integers(-2, k + 1, n, *places) + 0.5 * r.bools(n, *places)
        p = p + r.uniform(0.17, 0.33, n, *places)
        parts.append(2 * p / (k - 1) - 1 if corners else (2 * p + 1) / k - 1)
    return np.stack(parts, -1)


def samples(r: Any) -> Any:
    kinds = (
        ("bilinear", "zeros", False), ("bilinear", "border", True),
        ("bilinear", "reflection", False), ("nearest", "zeros", True),
        ("nearest", "reflection", True), ("bicubic", "zeros", False), ("bicubic", "border", True),
        ("bicubic", "reflection", False), ("bilinear", "reflection", True),
    )  # fmt: skip
    for k, (mode, padding, corners) in enumerate(kinds):
        size = (3, 2 + k % 3)
        grid = positions(r, 2, (1, 2), size, corners)
        yield (r.normal(2, 1 + k % 2, *size), grid), {
            "mode": mode, "padding_mode": padding, "align_corners": corners,
        }  # fmt: skip
    yield (r.normal(1, 2, 2, 3, 2), positions(r, 1, (2, 1, 2), (2, 3, 2), False)), {}
    yield (r.normal(0, 2, 2, 3), np.zeros((0, 2, 2, 2))), {}
    yield (r.normal(3, 2, 2, 1).T, positions(r, 1, (3, 2), (2, 3), False)[:, ::-1]), {}


def affine_samples(r: Any) -> Any:
    for k, size in enumerate(
        ((1, 1, 2, 3), (2, 3, 3, 2), (1, 1, 1, 1), (2, 1, 2, 2, 3), (1, 2, 1, 3, 2), (0, 1, 2, 2))
    ):
        yield (r.normal(size[0], len(size) - 2, len(size) - 1), size), {"align_corners": k % 2 == 0}
    yield (r.normal(3, 2, 2).T, (2, 1, 2, 3)), {}
    yield (r.normal(4, 2, 6)[::2, :, ::-2], (2, 1, 2, 3)), {}


def affine_oracle(theta: Any, size: Any, align_corners: bool | None = None) -> Any:
    places = size[2:]
    found = np.zeros((size[0], *places, len(places)))
    for at in np.ndindex(*places):
        point = [
            (-1 + 2 * k / (n - 1) if n > 1 else 0) if align_corners else (2 * k + 1) / n - 1
            for k, n in zip(at, places)
        ]
        found[(slice(None), *at)] = theta @ np.array([*point[::-1], 1.0])
    return found
