"""Draws of random numbers on CuPy arrays, from a key and a counter: the bits of `philox`."""

from __future__ import annotations

import math
from typing import Any

import cupy
import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad._errors import DTypeError, need
from tensorgrad.backend.cuda import launch
from tensorgrad.backend.cuda.kernels import written
from tensorgrad.backend.cuda.sort import argsort
from tensorgrad.backend.philox import RandomError, blocks

Array = Any
Shape = tuple[int, ...]

BLOCK = 256
_M64 = 2**64 - 1


def _start(op: str, key: Any, counter: Any, count: int) -> tuple[Any, ...]:
    """Key and 128-bit counter as kernels take them; the low 64 bits do not wrap within a draw.

    In a captured step they are 0-d arrays, which change between its replays.
    """
    if isinstance(counter, cupy.ndarray):
        return *(np.uint64(0),) * 3, launch.address(key), launch.address(counter)
    need(0 <= key <= _M64, op, key=key, want="0 <= key < 2**64", fix="key % 2**64",
         error=RandomError)  # fmt: skip
    need(
        0 <= counter < 1 << 128 and (counter & _M64) + count <= 1 << 64,
        op,
        counter=counter,
        blocks=count,
        want="0 <= counter < 2**128 whose low 64 bits do not wrap within the draw",
        fix="a new key",
        error=RandomError,
    )
    return np.uint64(key), np.uint64(counter & _M64), np.uint64(counter >> 64), 0, 0


def _floats(op: str, key: Any, counter: Any, shape: Any, dtype: Any) -> Array:
    size = (shape,) if isinstance(shape, int) else tuple(shape)
    found = cupy.empty(size, dtypes.dtype(dtype))
    need(dtypes.is_float(found.dtype), op, dtype=dtype, want="a real floating dtype",
         fix="float32", error=DTypeError)  # fmt: skip
    start = _start(op, key, counter, blocks(op, found.size, found.dtype))
    per = 2 if found.itemsize == 8 else 4
    if found.size:
        launch.kernel("random", f"{op}_{launch.SUFFIX[found.dtype.name]}")(
            (launch.blocks(found.size, BLOCK * per),), (BLOCK,), launch.address(found),
            np.int64(found.size), *start,
        )  # fmt: skip
    return found


def uniform(key: Any, counter: Any, shape: Any, dtype: Any, out: Array | None = None) -> Array:
    """Floats uniform on [0, 1), as `philox.uniform`."""
    return written(_floats("uniform", key, counter, shape, dtype), out)


def normal(key: Any, counter: Any, shape: Any, dtype: Any, out: Array | None = None) -> Array:
    """Standard normal floats, as `philox.normal`."""
    return written(_floats("normal", key, counter, shape, dtype), out)


def integers(key: Any, counter: Any, low: int, high: int, shape: Any, dtype: Any) -> Array:
    """Integers uniform on low .. high - 1, as `philox.integers`."""
    dt = dtypes.dtype(dtype)
    need(dt.kind in "iu", "integers", dtype=dtype, want="an integer dtype", fix="int64",
         error=DTypeError)  # fmt: skip
    info = np.iinfo(dt)
    need(
        info.min <= low < high <= info.max + 1,
        "integers",
        low=low,
        high=high,
        want=f"{info.min} <= low < high <= {info.max + 1} ({dt})",
        fix="another range or dtype",
        error=RandomError,
    )
    found = cupy.empty((shape,) if isinstance(shape, int) else tuple(shape), dt)
    _fill(found, key, counter, low, high - low)
    return found


def _fill(found: Array, key: Any, counter: Any, low: int, span: int) -> None:
    """Words times `span`, plus `low`, cut to the dtype; a span of 2^64 is written 0."""
    per = 4 if span <= 2**32 else 2
    start = _start("integers", key, counter, -(-found.size // per))
    if found.size:
        launch.kernel("random", f"integers_{found.itemsize}")(
            (launch.blocks(found.size, BLOCK * per),), (BLOCK,), launch.address(found),
            np.int64(found.size), np.uint64(low & _M64), np.uint64(span & _M64), *start,
        )  # fmt: skip


_HALF = 2**32 - 1


def permutation(key: Any, counter: Any, n: int) -> Array:
    """A random order of 0 .. n-1 (int64): the stable argsort of n 64-bit words."""
    words = cupy.empty(n, np.uint64)
    _fill(words, key, counter, 0, 2**64)
    low, high = ((words >> np.uint64(s)) & np.uint64(_HALF) for s in (0, 32))
    _, first = argsort(low.view(np.int64), _HALF)
    _, second = argsort(high.view(np.int64)[first], _HALF)
    return first[second]


def counters(start: Any, step: int, shape: Shape) -> Array:
    """start, start + step, start + 2 step ... as uint64 of `shape`; start may be a 0-d array."""
    stored = isinstance(start, cupy.ndarray)
    if not shape:
        return start if stored else cupy.full((), np.uint64(start), np.uint64)
    steps = cupy.arange(shapes.size(shape), dtype=np.uint64) * np.uint64(step)
    return (steps + (start if stored else np.uint64(start))).reshape(shape)


def dropout(
    x: Array, counter: Array, *, p: float, key: Any, shape: Shape, out: Array | None = None
) -> Any:
    """x / (1 - p) where the mask of (key, counter) keeps it, else 0; one mask per counter."""
    counter = cupy.broadcast_to(counter, x.shape[: x.ndim - len(shape)])  # a batch shares its mask
    if x.dtype.kind != "c":
        return written(_dropped(x, counter, p, key, shapes.size(shape)), out)
    found = cupy.empty(x.shape, x.dtype)
    found.real[...] = _dropped(x.real, counter, p, key, shapes.size(shape))
    found.imag[...] = _dropped(x.imag, counter, p, key, shapes.size(shape))
    return written(found, out)


def _dropped(x: Array, counter: Array, p: float, key: Any, n: int) -> Array:
    x, counter = launch.contiguous(x), launch.contiguous(counter)
    found = cupy.empty(x.shape, x.dtype)
    if not x.size:
        return found
    scale = dtypes.compute(x.dtype).type(1 / (1 - p) if p < 1 else 1.0)
    per = 8 if x.itemsize == 2 else 4
    stored = isinstance(key, cupy.ndarray)  # in a captured step
    keys = (np.uint64(0), launch.address(key)) if stored else (np.uint64(key), 0)
    launch.kernel("dropout", f"dropout_{launch.SUFFIX[x.dtype.name]}")(
        (launch.blocks(n, BLOCK * per), min(counter.size, 65535)), (BLOCK,), launch.address(x),
        launch.address(found), launch.address(counter), np.int64(counter.size), np.int64(n),
        *keys, np.uint64(math.floor(p * 2.0**32)), scale,
    )  # fmt: skip
    return found
