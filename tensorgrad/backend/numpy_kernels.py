"""Base primitives on NumPy arrays, one plain function each, named as the primitive is.

Every function takes `out=`: None, or an array of the result's shape and dtype to write into.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad import shapes

Array = np.ndarray[Any, Any]


def written(value: Any, out: Array | None) -> Any:
    """A result, copied into `out` where that was given."""
    if out is None:
        return value
    np.copyto(out, value, casting="same_kind")
    return out


# -- reductions --------------------------------------------------------------------------------


def sum(x: Array, *, axis: tuple[int, ...], keepdims: bool, out: Array | None = None) -> Any:
    return np.add.reduce(x, axis, None, out, keepdims)


def sum_to(x: Array, *, shape: tuple[int, ...], out: Array | None = None) -> Any:
    if x.ndim < len(shape) or shapes.size(shape) > x.size:
        return written(np.broadcast_to(x, shape), out)
    axes = shapes.broadcast_axes(shape, x.shape)
    lead = x.ndim - len(shape)
    total = np.add.reduce(x, axes, keepdims=lead == 0)
    return written(np.reshape(total, shape), out)


# -- shapes ------------------------------------------------------------------------------------


def reshape(x: Array, *, shape: tuple[int, ...], out: Array | None = None) -> Any:
    return written(x.reshape(shape), out)


def transpose(x: Array, *, axes: tuple[int, ...], out: Array | None = None) -> Any:
    return written(x.transpose(axes), out)


def broadcast_to(x: Array, *, shape: tuple[int, ...], out: Array | None = None) -> Any:
    return written(np.broadcast_to(x, shape), out)


def astype(x: Array, *, dtype: Any, out: Array | None = None) -> Any:
    return written(x.astype(dtype), out)


# -- products ----------------------------------------------------------------------------------


def matmul(x: Array, y: Array, out: Array | None = None) -> Any:
    return np.matmul(x, y) if out is None else np.matmul(x, y, out=out)


def linear(x: Array, weight: Array, bias: Array, out: Array | None = None) -> Any:
    found = np.matmul(x, weight.T, out=out)
    return np.add(found, bias, out=found)
