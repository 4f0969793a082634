"""First-order VJPs of products and running operations on bare NumPy arrays, as in `numpy_pulls`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad.backend.numpy_cumulative import recurrence, swift

Array = np.ndarray[Any, Any]


def _conj(x: Array) -> Array:
    return x.conj() if x.dtype.kind == "c" else x


# -- products ----------------------------------------------------------------------------------


def prod(ct: Array, wanted: Any, into: Any, saved: Any, node: Any) -> Any:
    """ct times the product of the others: by a division where that loses nothing, else without."""
    axis, (x, out) = node.params["axis"], (saved[0], saved[1])
    if not x.size:
        return []
    kept = shapes.reduced(x.shape, axis, True)
    ct, out = ct.reshape(kept), out.reshape(kept)
    found = np.empty(x.shape, x.dtype)
    hard = np.ones(kept, bool)
    if not dtypes.is_half(x.dtype):
        limits, size = np.finfo(x.dtype), np.abs(out)
        hard = (size < limits.tiny) | ~(size <= limits.max)
        np.divide(ct * _conj(out), _conj(x), out=found)
    if hard.any():
        # The kept axes lead; a mask of these picks the rows.
        order = (*(k for k in range(x.ndim) if k not in axis), *axis)
        mask = hard.transpose(order).reshape(shapes.reduced(x.shape, axis, False))
        rows = x.transpose(order)[mask]
        others = _others(rows.reshape(len(rows), -1)).reshape(rows.shape)
        found.transpose(order)[mask] = ct.transpose(order)[mask] * _conj(others)
    return [(0, found)]


def _others(x: Array) -> Array:
    """The product of the other elements of its row, for each."""
    wide = x.astype(dtypes.compute(x.dtype), copy=False)
    found = np.ones(x.shape, wide.dtype)
    np.multiply.accumulate(wide[:, :-1], 1, out=found[:, 1:])
    found[:, :-1] *= np.multiply.accumulate(wide[:, :0:-1], 1)[:, ::-1]
    return found


# -- running sums and products -----------------------------------------------------------------


def cumsum(ct: Array, wanted: Any, into: Any, saved: Any, node: Any) -> Any:
    """The running sum from the other end, written where it belongs."""
    found = swift("sum", ct, node.params["axis"], True)
    if found is not None:
        return [(0, found)]
    key = (slice(None),) * node.params["axis"] + (slice(None, None, -1),)
    half = dtypes.is_half(ct.dtype)
    found = np.empty(ct.shape, np.float32 if half else ct.dtype)
    np.cumsum(ct[key], node.params["axis"], found.dtype, found[key])
    return [(0, found.astype(ct.dtype) if half else found)]


def _last(axis: int, rule: Callable[..., Array], *arrays: Array) -> Any:
    """A rule for the last axis, on another one."""
    found = rule(*[np.moveaxis(a, axis, -1) for a in arrays])
    return [(0, np.moveaxis(found, -1, axis))]


def cumprod(ct: Array, wanted: Any, into: Any, saved: Any, node: Any) -> Any:
    return _last(node.params["axis"], _products, ct, saved[0], saved[1])


def _products(ct: Array, x: Array, out: Array) -> Array:
    found: Array = recurrence(_conj(x), ct, reverse=True)
    found[..., 1:] *= _conj(out[..., :-1])
    return found


# -- running extremes --------------------------------------------------------------------------


def cummax(ct: Array, wanted: Any, into: Any, saved: Any, node: Any) -> Any:
    return _last(node.params["axis"], _records, ct, saved[0], saved[1])


cummin = cummax


def _records(ct: Array, x: Array, out: Array) -> Array:
    """Of each record the cotangents of the places where it stands; shared where it has ties."""
    hit = np.equal(x, out)
    again = hit[..., 1:] & (out[..., 1:] == out[..., :-1])
    if again.any() or not hit[..., :1].all() or np.isnan(out[..., -1]).any():
        return _tied(ct, x, out)
    found = np.zeros(ct.shape, ct.dtype)
    if ct.size:
        starts = np.flatnonzero(hit)
        wide = np.float32 if dtypes.is_half(ct.dtype) else ct.dtype
        sums = np.add.reduceat(np.ascontiguousarray(ct).reshape(-1), starts, dtype=wide)
        found.reshape(-1)[starts] = sums
    return found


def _tied(ct: Array, x: Array, out: Array) -> Array:
    hit = ((x == out) | (np.isnan(x) & np.isnan(out))).astype(ct.dtype)
    stays = np.zeros(ct.shape, ct.dtype)
    old, new = out[..., :-1], out[..., 1:]
    stays[..., 1:] = (new == old) | (np.isnan(new) & np.isnan(old))
    count = recurrence(stays, hit, reverse=False)
    return np.asarray(hit * recurrence(stays, ct / count, reverse=True))
