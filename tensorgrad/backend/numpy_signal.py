"""Convolutions and filters of NumPy arrays, named as the primitives are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any

import numpy as np

from tensorgrad import dtypes
from tensorgrad.backend.numpy_kernels import written

Array = np.ndarray[Any, Any]
Kernel = Callable[..., Any]


def wide(kernel: Kernel) -> Kernel:
    """A kernel that computes the 16-bit floats in float32, and writes into `out`."""

    @wraps(kernel)
    def run(*arrays: Array, out: Array | None = None, **params: Any) -> Any:
        dtype = dtypes.result_type(*[a.dtype for a in arrays])
        inner = np.dtype(np.float32) if dtypes.is_half(dtype) else dtype
        found = kernel(*[a.astype(inner, copy=False) for a in arrays], **params)
        return written(found.astype(dtype, copy=False), out)

    return run


# -- convolution -------------------------------------------------------------------------------


@wide
def convolve_nd(a: Array, v: Array, *, full: tuple[bool, ...]) -> Any:
    if a.ndim == len(full) == 1:
        return np.convolve(a, v, "full" if full[0] else "valid")
    return convolved(np, a, v, full)


def convolved(xp: Any, a: Any, v: Any, full: tuple[bool, ...]) -> Any:
    """Σ_i a[..., i] v[..., k - i]: a term for each place of the shorter, or of the result."""
    lead = a.ndim - len(full)
    sizes = list(zip(a.shape[lead:], v.shape[lead:], full))
    count = tuple([n + m - 1 if f else abs(n - m) + 1 for n, m, f in sizes])
    short = tuple([min(n, m) for n, m, _ in sizes])
    found = xp.zeros((*a.shape[:lead], *count), a.dtype)
    if np.prod(count) < np.prod(short):
        axes = tuple(range(lead, a.ndim))
        v = v[(..., *(slice(None, None, -1),) * len(full))]
        for k in np.ndindex(count):
            left, right = zip(*[_seen(i, *size) for i, size in zip(k, sizes)])
            found[(..., *k)] = (a[(..., *left)] * v[(..., *right)]).sum(axis=axes)
        return found
    for k in np.ndindex(short):
        target, left, right = zip(*[_shifted(i, *size) for i, size in zip(k, sizes)])
        part = found[(..., *target)]
        xp.add(part, a[(..., *left)] * v[(..., *right)], out=part)
    return found


def _seen(k: int, n: int, m: int, full: bool) -> tuple[slice, slice]:
    """What place k of the result sees: of n elements, and of m turned round."""
    k = k if full else k + min(n, m) - 1
    low, high = max(0, k - m + 1), min(n - 1, k)
    return slice(low, high + 1), slice(m - 1 - k + low, m - k + high)


def _shifted(i: int, n: int, m: int, full: bool) -> tuple[slice, slice, slice]:
    """Where element i of the shorter goes, in the result, and with what of the n and of the m."""
    short, long = min(n, m), max(n, m)
    one = slice(i, i + 1)
    if full:
        target, rest = slice(i, i + long), slice(None)
    else:
        target, rest = slice(None), slice(short - 1 - i, long - i)
    return (target, one, rest) if n < m else (target, rest, one)


# -- filters -----------------------------------------------------------------------------------

LONG = 256
"""From this length on a row is worth a call of its own."""


@wide
def taps(h: Array, x: Array, *, reverse: bool) -> Any:
    if reverse:
        return taps(h, x[..., ::-1], reverse=False)[..., ::-1]
    count = x.shape[-1]
    if h.ndim > 1 or count < LONG:
        return tapped(np, h, x)
    found = np.empty(x.shape, x.dtype)
    h = h[:count]
    for row, target in zip(x.reshape(-1, count), found.reshape(-1, count)):
        target[...] = np.convolve(row, h)[:count]
    return found


def tapped(xp: Any, h: Any, x: Any) -> Any:
    """Σ_i h[i] x[..., n - i], tap by tap."""
    between = (slice(None),) * (h.ndim - 1) + (None,) * (x.ndim - h.ndim + 1)
    found = h[(..., 0)][between] * x
    for i in range(1, min(h.shape[-1], x.shape[-1])):
        part = found[..., i:]
        xp.add(part, h[(..., i)][between] * x[..., :-i], out=part)
    return found


@wide
def lagged(x: Array, w: Array, *, count: int, lead: int) -> Any:
    found = np.zeros((*x.shape[:lead], count), x.dtype)
    for k in np.ndindex(x.shape[:lead]):
        n = x.shape[-1]
        rows, others = x[k].reshape(-1, n), w[k].reshape(-1, n)
        for i in range(min(count, n)):
            found[(*k, i)] = sum(
                [np.dot(row[: n - i], other[i:]) for row, other in zip(rows, others)]
            )
    return found


@wide
def feedback(a: Array, u: Array, *, reverse: bool) -> Any:
    if reverse:
        return feedback(a, u[..., ::-1], reverse=False)[..., ::-1]
    if a.ndim == 1 and a.shape[0] == 1:
        return u / a[0]
    from scipy.signal import lfilter  # late: for import time

    found = np.empty(u.shape, u.dtype)
    if u.size:
        one = np.ones(1, a.dtype)
        for k in np.ndindex(a.shape[:-1]):
            found[k] = lfilter(one, a[k], u[k])
    return found


def feedback_pull(
    ct: Array, wanted: Sequence[int], into: Any, saved: Any, node: Any
) -> Iterator[tuple[int, Array]]:
    """Both cotangents from one filter of reversed time."""
    a, reverse = saved[0], node.params["reverse"]
    back = feedback(np.conjugate(a), ct, reverse=not reverse)
    if 0 in wanted:
        y = np.conjugate(saved[2])
        pair = (back, y) if reverse else (y, back)
        yield 0, -lagged(*pair, count=a.shape[-1], lead=a.ndim - 1)
    if 1 in wanted:
        yield 1, back
