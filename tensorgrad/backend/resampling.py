"""Resampling along one axis as numbers: which elements a new one is made of, and their weights.

A map from `source` elements to `target` is a table of taps: element j of the result is
Σ_t weight[t, j] x[index[t, j]]. The adjoint of a table is a table.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

Numbers = np.ndarray[Any, Any]
Table = tuple[Numbers, Numbers]


class Resampling(NamedTuple):
    """A resampling of an axis: `step` elements of the source lie between two of the target."""

    mode: str
    source: int
    target: int
    step: float
    corners: bool = False
    wide: bool = True


def _positions(p: Resampling) -> Numbers:
    """Where the elements of the target lie in the source."""
    j = np.arange(p.target)
    return j * p.step if p.corners else (j + 0.5) * p.step - 0.5


def _nearest(p: Resampling) -> Table:
    # In the input's own precision, as PyTorch does: at a tie the last bit decides.
    real: Any = np.float64 if p.wide else np.float32
    j: Any = np.arange(p.target, dtype=real) + real(0.5 if p.mode == "nearest-exact" else 0)
    found = np.minimum(np.floor(j * real(p.step)).astype(np.int64), p.source - 1)
    return found[None], np.ones((1, p.target))


def _linear(p: Resampling) -> Table:
    at = np.maximum(_positions(p), 0)
    low = np.minimum(np.floor(at).astype(np.int64), p.source - 1)
    part = np.minimum(at - low, 1)
    return np.stack((low, np.minimum(low + 1, p.source - 1))), np.stack((1 - part, part))


def cubic(d: Any, a: float) -> Any:
    """Keys's kernel at a distance d: piecewise cubic, 1 at 0, 0 at 1 and from 2 on."""
    d = np.abs(d)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    return np.where(d <= 1, near, np.where(d < 2, ((a * d - 5 * a) * d + 8 * a) * d - 4 * a, 0))


def _cubic(p: Resampling) -> Table:
    at = _positions(p)
    low = np.floor(at)
    taps = low + np.arange(-1, 3)[:, None]
    return np.clip(taps, 0, p.source - 1).astype(np.int64), cubic(at - taps, -0.75)


def _smooth(p: Resampling) -> Table:
    """With the kernel stretched over what is left out: Pillow's antialiasing."""
    wide = max(p.step, 1.0)
    reach = (2 if p.mode == "bicubic" else 1) * wide
    centre = (np.arange(p.target) + 0.5) * p.step
    first = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + reach + 0.5).astype(np.int64), p.source)
    taps = first + np.arange((last - first).max())[:, None]
    d = (taps + 0.5 - centre) / wide
    weight = cubic(d, -0.5) if p.mode == "bicubic" else np.maximum(1 - np.abs(d), 0)
    weight = np.where(taps < last, weight, 0)
    return np.where(taps < last, taps, first), weight / weight.sum(0)


_TABLES = {
    "nearest": _nearest,
    "nearest-exact": _nearest,
    "linear": _linear,
    "cubic": _cubic,
    "bilinear": _smooth,
    "bicubic": _smooth,
}


def _transposed(table: Table, size: int) -> Table:
    """The taps of the adjoint, in order; rows that have fewer repeat an element at weight 0."""
    index, weight = table
    target = np.broadcast_to(np.arange(index.shape[1]), index.shape)
    used = weight != 0
    source, target, weight = index[used], target[used], weight[used]
    order = np.lexsort((target, source))
    source, target, weight = source[order], target[order], weight[order]
    count = np.bincount(source, minlength=size)
    start = np.cumsum(count) - count
    place = np.arange(len(source)) - start[source]
    first = np.zeros(size, np.int64)
    first[count > 0] = target[start[count > 0]]
    taps = max(int(count.max(initial=0)), 1)
    found, scale = np.tile(first, (taps, 1)), np.zeros((taps, size))
    found[place, source], scale[place, source] = target, weight
    return found, scale


@lru_cache(512)
def table(p: Resampling, adjoint: bool) -> Table:
    """(index, weight) of a resampling, or of its adjoint; both (taps, elements)."""
    found = _TABLES[p.mode](p)
    found = _transposed(found, p.source) if adjoint else found
    for part in found:
        part.flags.writeable = False
    return found
