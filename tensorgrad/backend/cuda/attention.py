"""Attention on CuPy arrays, forward and backward: by `kernels/attention.cu`, or by cuDNN.

Where cuDNN's frontend is installed, half precision without a mask or dropout is its own, on tensor
cores; either backward reads the statistics of either forward.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import cupy
import numpy as np

from tensorgrad import dtypes
from tensorgrad.backend.cuda import dnn, launch
from tensorgrad.backend.cuda.dnn_attention import HALVES
from tensorgrad.backend.cuda.kernels import cast, written
from tensorgrad.backend.cuda.reduce import sum_to

Array = Any

TILE, BLOCK, SHARES = 32, 128, 33
SIZES = (64, 128)
"""The head sizes that the kernels are made for, in float64 the first alone."""

CALL = np.dtype(
    [(name, np.int64) for name in "q_b q_h q_l k_b k_h k_l v_b v_h v_l m_b m_h m_l m_s".split()]
    + [(n, np.int32) for n in "heads group length keys size width kind causal".split()]
)  # fmt: skip


class _Problem:
    """The arguments of the kernels; see `backend.numpy_attention`."""

    def __init__(
        self, arrays: tuple[Array, ...], *, scale: float, causal: bool = False, p: float = 0.0,
        key: Any = 0,
    ) -> None:  # fmt: skip
        q, k, v, *others = arrays
        self.q, self.k, self.v = (_dense(x) for x in (q, k, v))
        self.mask: Array | None = others[0] if others else None
        self.counter: Array | None = others[1] if p else None
        self.shape, self.width = q.shape, v.shape[3]
        self.wide = dtypes.compute(q.dtype)
        self.call = np.zeros((), CALL)
        for name, x in zip("qkv", (self.q, self.k, self.v)):
            for axis, step in zip("bhl", x.strides):
                self.call[f"{name}_{axis}"] = step // x.itemsize
        if self.mask is not None:
            self.call["kind"] = 1 if self.mask.dtype == bool else 2
            for axis, n, step in zip("bhls", self.mask.shape, self.mask.strides):
                self.call[f"m_{axis}"] = step // self.mask.itemsize if n > 1 else 0
        groups, keys = k.shape[1:3]
        sizes = (q.shape[1], q.shape[1] // max(groups, 1), q.shape[2], keys, q.shape[3], self.width)
        for name, number in zip(("heads", "group", "length", "keys", "size", "width"), sizes):
            self.call[name] = number
        self.call["causal"] = causal
        stored = isinstance(key, cupy.ndarray)  # in a captured step
        self.stored: Array | None = key if stored else None
        self.numbers = (
            np.uint64(0 if stored else key), np.uint64(math.floor(p * 2.0**32)),
            self.wide.type(1 / (1 - p) if p < 1 else 1.0), self.wide.type(scale),
        )  # fmt: skip
        most = max(q.shape[3], self.width)
        self.size = next(n for n in SIZES if n >= most)

    def run(self, name: str, rows: int, *arrays: Array | None) -> None:
        """Launch a kernel over tiles of `rows` rows of each pair of a batch and a head."""
        x = self.q if name != "attention_columns" else self.k
        pairs = x.shape[0] * x.shape[1]
        shared = (4 * TILE * (self.size + 4) + 2 * TILE * SHARES) * self.wide.itemsize
        suffix = launch.SUFFIX[self.q.dtype.name]
        launch.kernel("attention", f"{name}_{self.size}_{suffix}")(
            (pairs * -(-rows // TILE),), (BLOCK,),
            *map(launch.address, (self.q, self.k, self.v, self.mask, self.counter, self.stored)),
            *map(launch.address, arrays), self.call, *self.numbers, shared=shared,
        )  # fmt: skip


def _dense(x: Array) -> Array:
    """x, or a copy where its last axis is not dense."""
    return x if x.strides[3] == x.itemsize or x.shape[3] == 1 else launch.contiguous(x)


def _by_dnn(f: Callable[..., Any], *arrays: Array, **options: Any) -> Any:
    """What cuDNN makes of the arrays; None where it is not installed, or has no engine."""
    dtype, given = arrays[0].dtype, arrays[:4]
    fits = dtype.name in HALVES and all(x.dtype == dtype and x.size for x in given)
    if not fits or not dnn.available():
        return None
    try:
        return f(*arrays, **options)
    except dnn.Unsupported:
        return None


def _forward(problem: _Problem, out: Array | None) -> tuple[Array, Array, Array]:
    shape = problem.shape
    found = cupy.empty((*shape[:3], problem.width), problem.q.dtype)
    logs = cupy.empty(shape[:3], problem.wide)
    if logs.size and found.size:
        problem.run("attention", shape[2], found, logs)
    found = written(found, out)
    return found, found, logs


def attention(
    q: Array, k: Array, v: Array, *, scale: float, causal: bool, out: Array | None = None
) -> Any:
    """softmax(scale q kᵀ) v; and for backward that again, and log Σ exp of every row of scores."""
    known = _by_dnn(dnn.sdpa, q, k, v, scale=scale, causal=causal, out=out)
    if known is not None:
        return known[0], known[0], known[1]
    return _forward(_Problem((q, k, v), scale=scale, causal=causal), out)


def attention_masked(
    q: Array, k: Array, v: Array, mask: Array, counter: Array, *, scale: float, causal: bool,
    p: float, key: Any, out: Array | None = None,
) -> Any:  # fmt: skip
    """The same with a mask (floats are added, False leaves out) and dropout of the shares."""
    arrays = (q, k, v, mask, counter)
    return _forward(_Problem(arrays, scale=scale, causal=causal, p=p, key=key), out)


def attention_pull(ct: Array, wanted: Any, saved: tuple[Any, ...], params: Any) -> Any:
    """[(input, its cotangent)] of either primitive; a mask's takes memory of all scores."""
    *inputs, out, logs = saved
    if len(inputs) == 3:
        known = _by_dnn(dnn.sdpa_backward, ct, *inputs, out, logs, **params)
        if known is not None:
            return [(n, known[n]) for n in wanted]
    problem = _Problem(tuple(inputs), **params)
    q, k, v = inputs[:3]
    found = [cupy.zeros(x.shape, x.dtype) for x in (q, k, v)]
    scores = cupy.zeros((*q.shape[:3], k.shape[2]), problem.wide) if 3 in wanted else None
    if logs.size and out.size and k.shape[2]:
        mean = cupy.empty(logs.shape, problem.wide)
        ct, out = launch.contiguous(ct), launch.contiguous(out)
        problem.run("attention_rows", q.shape[2], out, logs, ct, found[0], mean, scores)
        if 1 in wanted or 2 in wanted:
            problem.run("attention_columns", k.shape[2], logs, mean, ct, found[1], found[2])
    if scores is not None:
        found.append(sum_to(scores, shape=inputs[3].shape))
    return [(n, cast(found[n], inputs[n].dtype)) for n in wanted if n < 4]
