"""What pooling must give, window by window, and arrays to try it on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tensorgrad.backend.pool_windows import count


def each(given: Any, rank: int) -> tuple[int, ...]:
    return (given,) * rank if isinstance(given, int) else tuple(given)


def _placed(x: Any, rank: int, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool
            ) -> Iterator[Any]:  # fmt: skip
    """Every window's number, and the elements of each axis that it has, padding included."""
    kernel, padding = each(kernel, rank), each(padding, rank)
    stride, dilation = each(kernel if stride is None else stride, rank), each(dilation, rank)
    size = x.shape[x.ndim - rank :]
    windows = [count(*a, ceil) for a in zip(size, kernel, stride, padding, dilation)]
    for q in np.ndindex(*windows):
        starts = [i * s - p for i, s, p in zip(q, stride, padding)]
        yield q, tuple(windows), [a + d * np.arange(k) for a, d, k in zip(starts, dilation, kernel)]


def _inside(x: Any, places: Any, rank: int) -> tuple[Any, list[Any]]:
    """The elements of a window that exist, their axes last, and which they are."""
    kept = [at[(at >= 0) & (at < n)] for at, n in zip(places, x.shape[x.ndim - rank :])]
    return x[(..., *np.ix_(*kept))], kept


def _flat(part: Any, rank: int) -> Any:
    """A window's axes as one."""
    return part.reshape(*part.shape[:-rank], int(np.prod(part.shape[-rank:])))


def max_oracle(rank: int) -> Callable[..., Any]:
    def oracle(
        x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        ceil_mode: bool = False, return_indices: bool = False,
    ) -> Any:  # fmt: skip
        lead, size = x.shape[: x.ndim - rank], x.shape[x.ndim - rank :]
        found: Any = None
        for q, windows, at in _placed(x, rank, kernel_size, stride, padding, dilation, ceil_mode):
            if found is None:
                found = np.empty((*lead, *windows), x.dtype), np.empty((*lead, *windows), np.int64)
            part, kept = _inside(x, at, rank)
            flat = _flat(part, rank)
            numbers = np.ravel_multi_index(np.ix_(*kept), size).reshape(-1)
            found[0][(..., *q)] = flat.max(axis=-1)
            found[1][(..., *q)] = numbers[flat.argmax(axis=-1)] if flat.size else 0
        return found if return_indices else found[0]

    return oracle


def avg_oracle(rank: int) -> Callable[..., Any]:
    def oracle(
        x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> Any:  # fmt: skip
        lead, size = x.shape[: x.ndim - rank], x.shape[x.ndim - rank :]
        found: Any = None
        for q, windows, at in _placed(x, rank, kernel_size, stride, padding, 1, ceil_mode):
            if found is None:
                found = np.empty((*lead, *windows), x.dtype)
            part, kept = _inside(x, at, rank)
            ends = [n + p for n, p in zip(size, each(padding, rank))]
            full = [a[a < end] for a, end in zip(at, ends)]
            number = np.prod([len(a) for a in (full if count_include_pad else kept)])
            total = part.sum(axis=tuple(range(-rank, 0)))
            found[(..., *q)] = total / (divisor_override or number)
        return found

    return oracle


def adaptive_oracle(rank: int, largest: bool) -> Callable[..., Any]:
    def oracle(x: Any, output_size: Any, return_indices: bool = False) -> Any:
        lead, size = x.shape[: x.ndim - rank], x.shape[x.ndim - rank :]
        wanted = [n if q is None else q for n, q in zip(size, each_or_none(output_size, rank))]
        found = np.empty((*lead, *wanted), x.dtype)
        where = np.empty((*lead, *wanted), np.int64)
        for q in np.ndindex(*wanted):
            at = [np.arange(i * n // w, -(-(i + 1) * n // w)) for i, n, w in zip(q, size, wanted)]
            flat = _flat(x[(..., *np.ix_(*at))], rank)
            found[(..., *q)] = flat.max(axis=-1) if largest else flat.mean(axis=-1)
            numbers = np.ravel_multi_index(np.ix_(*at), size).reshape(-1)
            where[(..., *q)] = numbers[flat.argmax(axis=-1)] if flat.size else 0
        return (found, where) if return_indices else found

    return oracle


def each_or_none(given: Any, rank: int) -> tuple[Any, ...]:
    return tuple(given) if isinstance(given, tuple | list) else (given,) * rank


CASES: Any = (
    # leading axes, length of the first spatial axis, options
    ((2, 2), 6, {"kernel_size": 2}),
    ((3,), 5, {"kernel_size": 3, "stride": 2}),
    ((1, 2), 5, {"kernel_size": 3, "stride": 1, "padding": 1}),
    ((2, 1), 6, {"kernel_size": 2, "stride": 3, "padding": 1}),
    ((2, 2), 4, {"kernel_size": 2, "ceil_mode": True}),
    ((1, 1), 5, {"kernel_size": 3, "stride": 3, "padding": 1, "ceil_mode": True}),
    ((0, 2), 4, {"kernel_size": 2}),
    ((1, 2), 4, {"kernel_size": 1}),
)
"""Further spatial axes have 3 elements."""


def samples(rank: int, kind: str) -> Callable[[Any], Any]:
    """The samples of a pooling: kind is "max" or "avg"."""
    more: Any = {
        "max": [{"kernel_size": 2, "dilation": 2, "stride": 1, "padding": 1}],
        "avg": [
            {"kernel_size": 2, "padding": 1, "count_include_pad": False},
            {"kernel_size": 2, "padding": 1, "ceil_mode": True, "stride": 2},
        ],
    }[kind]
    if kind == "avg" and rank > 1:
        more.append({"kernel_size": 2, "divisor_override": 3})

    def draw(r: Any) -> Any:
        make = r.apart if kind == "max" else r.normal
        for lead, n, options in CASES:
            yield (make(*lead, n, *(3,) * (rank - 1)),), options
        for options in more:
            yield (make(1, 2, 5, *(3,) * (rank - 1)),), options
        yield (make(1, 5, *(3,) * (rank - 1), 2).swapaxes(1, -1),), {"kernel_size": (2,) * rank}
        yield (make(2, 4, *(6,) * rank)[:, ::2, ..., ::-2],), {"kernel_size": 3}

    return draw


def adaptive_samples(rank: int, largest: bool) -> Callable[[Any], Any]:
    def draw(r: Any) -> Any:
        make = r.apart if largest else r.normal
        tail = (3,) * (rank - 1)
        for lead, n, size in (
            ((2, 2), 6, 3), ((1, 2), 5, 3), ((3,), 4, 1), ((1, 1), 2, 3), ((0, 2), 4, 2),
            ((2, 1), 7, (2,) * rank), ((1, 1), 3, (None,) * rank),
        ):  # fmt: skip
            wanted: Any = size[0] if rank == 1 and isinstance(size, tuple) else size
            yield (make(*lead, n, *tail),), {"output_size": n if wanted is None else wanted}
        yield (make(1, 4, *tail, 2).swapaxes(1, -1),), {"output_size": 2}
        yield (make(2, 4, *(6,) * rank)[:, ::2, ..., ::-2],), {"output_size": 2}

    return draw
