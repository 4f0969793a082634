"""Distances of all pairs of rows of NumPy arrays by generated loops, named as the primitive is.

Differences are taken as they are, never as |x|² + |y|² - 2 x·y: rows that lie close keep their
digits, a row and itself have distance 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from tensorgrad import dtypes
from tensorgrad.backend import memory, threads
from tensorgrad.backend.numpy_kernels import written
from tensorgrad.codegen.pairs import lanes, pairs

Array = np.ndarray[Any, Any]

KINDS = {1.0: "1", 2.0: "2", float("inf"): "inf"}
"""The p that have loops."""

WORK = 2**18
"""Elements of differences from which on a thread is worth waking."""


PANEL = 2**16
"""Bytes of rows that stay in the cache while all others pass by."""


def generated(p: float, dtype: Any) -> bool:
    """Whether there are loops for a p and a dtype."""
    kind = KINDS.get(p)
    return kind is not None and pairs(kind, "distance", dtypes.compute(dtype)) is not None


def _rows(x: Array, lead: tuple[int, ...]) -> Array:
    """(batches, rows, whole vectors), zeros behind the elements of a row."""
    wide = dtypes.compute(x.dtype)
    if x.shape[:-2] != lead:
        x = np.broadcast_to(x, (*lead, *x.shape[-2:]))
    size, step = x.shape[-1], lanes(wide)
    full = -(-size // step) * step
    if full == size:
        return np.ascontiguousarray(x, wide).reshape(-1, *x.shape[-2:])
    found = memory.empty((*x.shape[:-1], full), wide)
    found[..., :size] = x
    found[..., size:] = 0
    return found.reshape(-1, *found.shape[-2:])


def _run(kind: str, what: str, x: Array, y: Array, r: Array, e: Array, out: Array) -> None:
    """The loop over chunks of batches, or of the rows of the only one."""
    run: Any = pairs(kind, what, x.dtype)
    step = max(4, PANEL // x[0, 0].nbytes // 4 * 4)
    each = max(1, x.shape[1] * y.shape[1] * y.shape[2])

    def batches(start: int, stop: int) -> None:
        part = slice(start, stop)
        run(x[part], y[part], r[part], e[part], out[part])

    def rows(start: int, stop: int) -> None:
        for first in range(start, stop, step):
            part = (slice(None), slice(first, min(first + step, stop)))
            run(x[part], y, r[part], e[part], out[part])

    if len(x) > 1:
        threads.split(len(x), -(-WORK // each), batches)
    elif each <= WORK and x.shape[1] <= step:
        run(x, y, r, e, out)
    else:
        grain = -(-WORK * x.shape[1] // each)
        threads.split(x.shape[1], -(-grain // 4) * 4, rows)


def cdist(x: Array, y: Array, *, p: float, out: Array | None = None) -> Any:
    """The distances (..., P, R) of the rows of (..., P, M) and (..., R, M); backward reads them."""
    wide, lead = dtypes.compute(x.dtype), np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    shape = (*lead, x.shape[-2], y.shape[-2])
    found = memory.empty(shape, wide)
    if x.shape[-1] and found.size:
        flat = found.reshape(-1, *shape[-2:])
        _run(KINDS[p], "distance", _rows(x, lead), _rows(y, lead), flat, flat, flat)
    else:
        found.fill(0)
    if wide == x.dtype and out is None:
        return found, found
    return written(found.astype(x.dtype, copy=False), out), found


def cdist_pull(
    ct: Array, wanted: Sequence[int], saved: Sequence[Array], params: Any
) -> list[tuple[int, Array]]:
    """The cotangents of both matrices."""
    x, y, distance = saved
    if not (distance.size and x.shape[-1]):
        return [(k, np.zeros_like(saved[k])) for k in wanted]
    kind, lead, shape = KINDS[params["p"]], distance.shape[:-2], distance.shape[-2:]
    left, right, e = _rows(x, lead), _rows(y, lead), distance.reshape(-1, *shape)
    ties = _ties(left, right, e) if kind == "inf" else None
    weight = _weights(kind, ct.reshape(-1, *shape).astype(e.dtype, copy=False), e, ties)
    found = []
    for k in wanted:
        if k == 0:
            made = _pulled(kind, left, right, weight, e)
        else:
            made = _pulled(kind, right, left, weight.swapaxes(1, 2), e.swapaxes(1, 2))
        made = made[..., : x.shape[-1]].astype(x.dtype, copy=x.shape[-1] < made.shape[-1])
        found.append((k, made.reshape(*lead, -1, x.shape[-1])))
    return found


def _pulled(kind: str, x: Array, y: Array, weight: Array, e: Array) -> Array:
    made = memory.empty(x.shape, x.dtype)
    _run(kind, "pull", x, y, weight, e, made)
    return made


def _ties(x: Array, y: Array, e: Array) -> Array:
    """How many differences of a pair are as large as the largest, which share its slope."""
    found = memory.empty(e.shape, e.dtype)
    _run("inf", "ties", x, y, e, e, found)
    return found


def _weights(kind: str, ct: Array, e: Array, ties: Array | None) -> Array:
    """What the differences of pairs are weighted with; 0 where their distance e is."""
    if kind != "2":  # a sum of slopes does not see which of its terms is no number
        ct = np.where(e == e, ct, e)
    by = e if kind == "2" else ties
    if by is None:
        return ct
    with np.errstate(all="ignore"):
        return np.divide(ct, by, out=np.zeros_like(e), where=e != 0)


# -- the pairs of one matrix -------------------------------------------------------------------


@lru_cache(16)
def _upper(count: int) -> tuple[Array, Array]:
    """Which elements of a square are pairs i < j; their numbers."""
    above = ~np.tri(count, dtype=bool)
    above.flags.writeable = False
    return above, np.flatnonzero(above)


def pdist(x: Array, *, p: float, out: Array | None = None) -> Any:
    """The distances of the rows i < j of (N, M), row by row; backward reads them."""
    wide, count = dtypes.compute(x.dtype), x.shape[0]
    rows, square = _rows(x, ()), memory.empty((1, count, count), wide)
    _run(KINDS[p], "distance", rows, rows, square, square, square)
    found = square.reshape(-1).take(_upper(count)[1])
    if wide == x.dtype and out is None:
        return found, found
    return written(found.astype(x.dtype, copy=False), out), found


def pdist_pull(ct: Array, x: Array, distance: Array, p: float) -> Array:
    """The cotangent of the rows: each pulls all others with the weights of its pairs."""
    kind, count, rows = KINDS[p], x.shape[0], _rows(x, ())
    e = _square(distance, count) if kind == "inf" else rows
    ties = _ties(rows, rows, e).reshape(-1)[_upper(count)[1]] if kind == "inf" else None
    weight = _weights(kind, ct.astype(distance.dtype, copy=False), distance, ties)
    square = _square(weight, count)
    made = _pulled(kind, rows, rows, square, e if kind == "inf" else square)
    return made[0, :, : x.shape[1]].astype(x.dtype, copy=x.shape[1] < made.shape[2])


def _square(values: Array, count: int) -> Array:
    """(1, N, N): the values of pairs i < j at both their places, 0 on the diagonal."""
    found = np.zeros((count, count), values.dtype)
    found[_upper(count)[0]] = values
    return (found + found.T)[None]
