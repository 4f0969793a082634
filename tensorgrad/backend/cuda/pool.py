"""Pooling of CuPy arrays over their last axes by `kernels/pool.cu`, named as the primitives are.

What each gives, and its parameters: `tensorgrad/backend/numpy_pool.py`. No sum depends on anything
but its terms: each result is gathered by one thread.
"""

from __future__ import annotations

import math
from typing import Any

import cupy
import numpy as np

from tensorgrad.backend.cuda import launch
from tensorgrad.backend.cuda.kernels import written
from tensorgrad.backend.cuda.windows import LONGEST, geometry

Array = Any
Shape = tuple[int, ...]

BLOCK = 256


def _run(name: str, given: list[Array], made: Array, struct: Any, *rest: Any) -> None:
    """A kernel on whole rows of at most so many elements at a time."""
    inner = int(struct["sizes" if "spread" in name else "counts"][0]["by"])
    rows = made.size // inner
    step = max(1, LONGEST // inner)
    kernel = launch.kernel("pool", name)
    flat = [a.reshape(rows, -1) for a in (*given, made)]
    for start in range(0, rows, step):
        part = [a[start : start + step] for a in flat]
        n = part[-1].size
        kernel((launch.blocks(n, BLOCK, 2**16),), (BLOCK,), *map(launch.address, part),
               np.uint32(n), struct, *rest)  # fmt: skip


def _made(like: Array, shape: Shape, dtype: Any = None) -> Array:
    return cupy.empty((*like.shape[: like.ndim - len(shape)], *shape), dtype or like.dtype)


def _suffix(x: Array, tap: Array | None = None) -> str:
    found = launch.SUFFIX[x.dtype.name]
    return found if tap is None else f"{found}_{'u8' if tap.dtype == np.uint8 else 'i32'}"


def _size(x: Array, kernel: Shape) -> Shape:
    return x.shape[x.ndim - len(kernel) :]  # type: ignore[no-any-return]


def max_pool(
    x: Array, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, shape: Shape,
    out: Array | None = None,
) -> Array:  # fmt: skip
    found = _made(x, shape)
    if found.size:
        struct = geometry(_size(x, kernel), shape, kernel, stride, padding, dilation)
        _run(f"max_pool_{_suffix(x)}", [launch.contiguous(x)], found, struct)
    return written(found, out)


def max_taps(
    x: Array, y: Array, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape,
    out: Array | None = None,
) -> Array:  # fmt: skip
    found = cupy.empty(y.shape, np.uint8 if math.prod(kernel) < 256 else np.int32)
    if found.size:
        struct = geometry(_size(x, kernel), _size(y, kernel), kernel, stride, padding, dilation)
        given = [launch.contiguous(a) for a in (x, y)]
        _run(f"max_taps_{_suffix(x, found)}", given, found, struct)
    return written(found, out)


def pool_pick(
    x: Array, tap: Array, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape,
    shape: Shape, out: Array | None = None,
) -> Array:  # fmt: skip
    found = _made(x, shape)
    if found.size:
        struct = geometry(_size(x, kernel), shape, kernel, stride, padding, dilation)
        given = [launch.contiguous(a) for a in (x, tap)]
        _run(f"pool_pick_{_suffix(x, tap)}", given, found, struct)
    return written(found, out)


def pool_spread(
    ct: Array, tap: Array, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape,
    shape: Shape, out: Array | None = None,
) -> Array:  # fmt: skip
    found = _made(ct, shape)
    if found.size:
        struct = geometry(shape, _size(ct, kernel), kernel, stride, padding, dilation)
        given = [launch.contiguous(a) for a in (ct, tap)]
        _run(f"pool_spread_{_suffix(ct, tap)}", given, found, struct)
    return written(found, out)


def avg_pool(
    x: Array, *, kernel: Shape, stride: Shape, padding: Shape, padded: bool, divisor: int | None,
    shape: Shape, out: Array | None = None,
) -> Array:  # fmt: skip
    found = _made(x, shape)
    if found.size:
        struct = geometry(_size(x, kernel), shape, kernel, stride, padding, (1,) * len(kernel))
        numbers = np.int32(padded), np.int32(divisor or 0)
        _run(f"avg_pool_{_suffix(x)}", [launch.contiguous(x)], found, struct, *numbers)
    return written(found, out)


def avg_spread(
    ct: Array, *, kernel: Shape, stride: Shape, padding: Shape, padded: bool, divisor: int | None,
    shape: Shape, out: Array | None = None,
) -> Array:  # fmt: skip
    found = _made(ct, shape)
    if found.size:
        struct = geometry(shape, _size(ct, kernel), kernel, stride, padding, (1,) * len(kernel))
        numbers = np.int32(padded), np.int32(divisor or 0)
        _run(f"avg_spread_{_suffix(ct)}", [launch.contiguous(ct)], found, struct, *numbers)
    return written(found, out)
