"""Sums and maxima over spans of NumPy arrays, named as the primitives are; see `spans`."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import Any

import numpy as np

from tensorgrad import dtypes
from tensorgrad.backend import memory, threads
from tensorgrad.backend.numpy_kernels import written
from tensorgrad.backend.spans import Spans
from tensorgrad.codegen.spans import loops

Array = np.ndarray[Any, Any]

WORK = 2**17
"""Elements from which on a thread is worth waking."""


@lru_cache(512)
def _words(spans: Spans) -> Array:
    return np.array(spans, np.int64)


def span_sum(x: Array, *, spans: Spans, axis: int, out: Array | None = None) -> Any:
    """Σ of each span of an axis."""
    wide = dtypes.compute(x.dtype)
    shape = (math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :]))
    made = memory.empty((shape[0], len(spans), shape[2]), wide)
    found = made.reshape(*x.shape[:axis], len(spans), *x.shape[axis + 1 :])
    run = loops(wide)
    if not made.size:
        return written(found.astype(x.dtype, copy=False), out)
    given = np.ascontiguousarray(x, wide).reshape(shape)
    if run is None or any(start >= stop for start, stop in spans):
        for q, (start, stop) in enumerate(spans):
            np.sum(given[:, start:stop], 1, out=made[:, q])
    else:
        threads.split(
            len(given),
            -(-WORK // (shape[1] * shape[2])),
            lambda start, stop: run[0](given[start:stop], made[start:stop], _words(spans)),
        )
    if wide == x.dtype and out is None:
        return found
    return written(found.astype(x.dtype, copy=False), out)


def span_argmax(
    x: Array, *, size: tuple[int, ...], spans: tuple[Spans, ...], out: Array | None = None
) -> Any:
    """The number in its image of the first largest element of each window."""
    lead, shape = x.shape[: x.ndim - len(size)], tuple([len(one) for one in spans])
    rows, wide = math.prod(lead), dtypes.compute(x.dtype)
    flat = np.ascontiguousarray(x, wide).reshape(rows, *(1,) * (3 - len(size)), *size)
    found = np.empty((rows, *(1,) * (3 - len(size)), *shape), np.int64)
    every = ((((0, 1),),) * 3 + spans)[-3:]
    run = loops(wide)
    if math.prod(shape) == 1 and spans == tuple([((0, n),) for n in size]):
        if rows:
            flat.reshape(rows, -1).argmax(1, out=found.reshape(rows))
    elif run is not None and math.prod(size) < 2**31:
        threads.split(
            rows,
            -(-WORK // math.prod(size)),
            lambda start, stop: run[1](
                flat[start:stop], found[start:stop], [_words(one) for one in every]
            ),
        )
    elif rows:
        _searched(flat, found, every)
    return written(found.reshape(*lead, *shape), out)


def _searched(x: Array, found: Array, spans: tuple[Spans, ...]) -> None:
    """The same by NumPy, window by window."""
    for q in itertools.product(*[range(len(one)) for one in spans]):
        window = [one[k] for one, k in zip(spans, q)]
        key: Any = (slice(None), *[slice(*each) for each in window])
        part = x[key]
        best = np.unravel_index(part.reshape(len(x), -1).argmax(1), part.shape[1:])
        to: Any = (slice(None), *q)
        at = tuple([k + start for k, (start, _) in zip(best, window)])
        found[to] = np.ravel_multi_index(at, x.shape[1:])
