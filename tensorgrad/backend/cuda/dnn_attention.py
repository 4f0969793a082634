"""Attention by cuDNN on arrays of a GPU, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cupy
import numpy as np

from tensorgrad._errors import DTypeError, need
from tensorgrad.backend.cuda import launch
from tensorgrad.backend.cuda.dnn_graph import (
    ALIGNED,
    Plan,
    Unsupported,
    accepted,
    direct,
    plan,
)
from tensorgrad.backend.cuda.dnn_plan import Problem, Spec
from tensorgrad.backend.cuda.kernels import written

Array = Any
Prepared = tuple[Plan, tuple[Array, ...]]

HALVES = ("float16", "bfloat16")
"""The dtypes of attention; sums and the softmax are in float32."""


def _steps(x: Array) -> tuple[int, ...]:
    """Strides in elements; an axis of one element gets the one of a dense array."""
    sizes = [(size, step // x.itemsize) for size, step in zip(x.shape, x.strides)]
    extent = max([size * step for size, step in sizes if size > 1], default=1)
    return tuple(step if size > 1 else extent for size, step in sizes)


def _walkable(x: Array) -> bool:
    """Whether attention reads an array in place: dense in its last axis, aligned in the others."""
    *outer, last = zip(x.shape, x.strides)
    aligned = all(size == 1 or (step > 0 and step % ALIGNED == 0) for size, step in outer)
    return aligned and last[1] == x.itemsize and launch.address(x) % ALIGNED == 0


def _readable(x: Array) -> Array:
    """x, or a dense copy that attention can read."""
    if _walkable(x):
        return x
    dense = launch.contiguous(x)
    return dense if _walkable(dense) else x.copy()


def _spec(x: Array) -> Spec:
    return Spec(x.dtype.name, x.shape, _steps(x))


def _rows(x: Array) -> Spec:
    """Row values (batch, heads, length) as cuDNN has them: with a last axis of one element."""
    return Spec("float32", (*x.shape, 1), (*_steps(x), 1))


def _attention(
    op: str, q: Array, k: Array, v: Array, scale: float | None, **others: Array
) -> float:
    """Check the operands of attention; returns the scale, 1/√(head size) where none is given."""
    for name, x in (("q", q), ("k", k), ("v", v), *others.items()):
        need(
            x.ndim == 4,
            op,
            want="(batch, heads, length, size)",
            fix="x.reshape(batch, length, heads, size).transpose(0, 2, 1, 3)",
            **{name: x},
        )
    need(
        q.shape[0] == k.shape[0] == v.shape[0]
        and k.shape[1:3] == v.shape[1:3]
        and q.shape[3] == k.shape[3]
        and bool(k.shape[1])
        and q.shape[1] % k.shape[1] == 0,
        op,
        want="one batch and head size, a number of query heads that is a multiple of the key heads",
        fix="keys and values of one length",
        q=q,
        k=k,
        v=v,
    )
    accepted(op, HALVES, q=q, k=k, v=v, **others)
    if q.shape[3] % 8 or v.shape[3] % 8:
        raise Unsupported(
            f"{op}: got head sizes {q.shape[3]} and {v.shape[3]}, expected multiples of 8; "
            "try another kernel"
        )
    return q.shape[3] ** -0.5 if scale is None else float(scale)


def _heads(shape: tuple[int, ...], dtype: Any) -> Array:
    """A new (batch, heads, length, size) in whose memory the heads of a position are together."""
    batch, heads, length, size = shape
    return cupy.empty((batch, length, heads, size), dtype).transpose(0, 2, 1, 3)


def _target(out: Array | None, shape: tuple[int, ...], dtype: Any, *sources: Array) -> Array:
    """`out` where cuDNN can write there, else a new array."""
    if direct(out, shape, dtype, *sources) and _walkable(out):
        return out
    return _heads(shape, dtype)


def prepare(
    q: Array, k: Array, v: Array, *, scale: float | None = None, causal: bool = False,
    out: Array | None = None,
) -> Prepared:  # fmt: skip
    """The plan of `sdpa`, and the arrays that it runs on: inputs, then outputs."""
    scale = _attention("sdpa", q, k, v, scale)
    shape = (*q.shape[:3], v.shape[3])
    found = _target(out, shape, q.dtype, q, k, v)
    stats = cupy.empty(q.shape[:3], np.float32)
    operands = [_readable(x) for x in (q, k, v)]
    specs = tuple(_spec(x) for x in operands)
    problem = Problem("sdpa", specs, (_spec(found), _rows(stats)), (scale, bool(causal)))
    return plan(problem), (*operands, found, stats)


def sdpa(
    q: Array, k: Array, v: Array, *, scale: float | None = None, causal: bool = False,
    out: Array | None = None,
) -> tuple[Array, Array]:  # fmt: skip
    """softmax(scale q kᵀ) v, and what its derivative reads: log Σ exp(scale q kᵀ), in float32.

    q (batch, heads, queries, size), k and v (batch, key heads, keys, size) of float16 or bfloat16,
    read in place from any strides that are dense in the last axis, such as those of a packed
    (batch, length, 3, heads, size). Query head h attends to key head h // (heads / key heads).
    With `causal` query i sees the keys 0 to i. The result lies in memory as (batch, length, heads,
    size); the statistics are (batch, heads, queries). Algorithm: Dao, FlashAttention-2 (2023).
    """
    run, arrays = prepare(q, k, v, scale=scale, causal=causal, out=out)
    run(*arrays)
    *_, found, stats = arrays
    return (found if out is None or found is out else written(found, out)), stats


def prepare_backward(
    grad: Array, q: Array, k: Array, v: Array, out: Array, stats: Array, *,
    scale: float | None = None, causal: bool = False, deterministic: bool = True,
    outs: Sequence[Array | None] = (None, None, None),
) -> Prepared:  # fmt: skip
    """The plan of `sdpa_backward`, and the arrays that it runs on."""
    scale = _attention("sdpa_backward", q, k, v, scale, grad=grad, out=out)
    shape = (*q.shape[:3], v.shape[3])
    need(
        grad.shape == out.shape == shape and stats.shape == q.shape[:3],
        "sdpa_backward",
        want=f"grad and out of {shape}, stats of {q.shape[:3]}",
        fix="the results of sdpa on the same q, k and v",
        grad=grad,
        out=out,
        stats=stats,
    )
    if stats.dtype != np.float32:
        raise DTypeError(
            f"sdpa_backward: got stats of {stats.dtype}, expected float32; try those of sdpa"
        )
    operands = [_readable(x) for x in (grad, q, k, v, out)]
    rows = launch.contiguous(stats)
    sources = (*operands, rows)
    found = [_target(out, x.shape, x.dtype, *sources) for out, x in zip(outs, (q, k, v))]
    problem = Problem(
        "sdpa_backward",
        (*(_spec(x) for x in operands), _rows(rows)),
        tuple(_spec(x) for x in found),
        (scale, bool(causal), bool(deterministic)),
    )
    return plan(problem), (*operands, rows, *found)


def sdpa_backward(
    grad: Array, q: Array, k: Array, v: Array, out: Array, stats: Array, *,
    scale: float | None = None, causal: bool = False, deterministic: bool = True,
    outs: Sequence[Array | None] = (None, None, None),
) -> tuple[Array, Array, Array]:  # fmt: skip
    """The gradients of q, k and v from that of `sdpa`'s result, its result and its statistics.

    `outs` are written to in place where they can be, also those that are parts of one packed array;
    they must not overlap each other. With deterministic=False sums may be added in any order.
    """
    run, arrays = prepare_backward(
        grad, q, k, v, out, stats,
        scale=scale, causal=causal, deterministic=deterministic, outs=outs,
    )  # fmt: skip
    run(*arrays)
    dq, dk, dv = (
        x if target is None or x is target else written(x, target)
        for x, target in zip(arrays[-3:], outs)
    )
    return dq, dk, dv
