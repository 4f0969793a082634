"""Draws of random numbers on NumPy arrays, from a key and a counter; see `philox`."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.backend import philox

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]

uniform = philox.uniform
normal = philox.normal
integers = philox.integers
permutation = philox.permutation


def counters(start: int, step: int, shape: Shape) -> Array:
    """start, start + step, start + 2 step ... as uint64 of `shape`."""
    count = int(np.prod(shape))
    steps = np.arange(count, dtype=np.uint64) * np.uint64(step)
    return np.asarray(steps + np.uint64(start)).reshape(shape)


def dropout(
    x: Array, counter: Array, *, p: float, key: int, shape: Shape, out: Array | None = None
) -> Any:
    """x / (1 - p) where the mask of (key, counter) keeps it, else 0; one mask per counter."""
    if counter.size == 1:
        keep = philox.bernoulli_keep(key, int(counter.reshape(())), p, shape)
    else:
        masks = [philox.bernoulli_keep(key, int(c), p, shape) for c in counter.flat]
        keep = np.asarray(masks).reshape(counter.shape + shape)
    if out is None:
        out = np.zeros(x.shape, x.dtype)
    else:
        out.fill(0)
    scale = x.dtype.type(1.0 / (1.0 - p)) if p < 1 else x.dtype.type(0)
    np.multiply(x, scale, out, where=keep)
    return out
