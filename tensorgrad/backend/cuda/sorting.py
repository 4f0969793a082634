"""Orders of CuPy arrays along an axis, named as the primitives are; CuPy's sorts are stable.

Every function takes `out=`: None, or an array of the result's shape and dtype to write into. A
sort waits for the device, so none can be captured.
"""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from tensorgrad.backend.cuda.assign import put_along_axis
from tensorgrad.backend.cuda.index import take_along_axis
from tensorgrad.backend.cuda.kernels import brain, cast, written

Array = Any


def _plain(x: Array) -> Array:
    """bfloat16 as float32, which CuPy can sort."""
    return cast(x, np.float32) if brain(x) else x


def sort(x: Array, *, axis: int, out: Array | None = None) -> Any:
    found = cupy.sort(_plain(x), axis)
    return written(cast(found, x.dtype) if brain(x) else found, out)


def sorted_places(x: Array, *, axis: int, out: Array | None = None) -> Any:
    return written(cupy.argsort(_plain(x), axis).astype(np.int64, copy=False), out)


def argpartition(x: Array, *, kth: tuple[int, ...], axis: int, out: Array | None = None) -> Any:
    """CuPy's own sorts throughout: so does this, and says so."""
    return sorted_places(x, axis=axis, out=out)


def largest(x: Array, *, k: int, out: Array | None = None) -> Any:
    backwards = (..., slice(None, None, -1))
    order = cupy.argsort(_plain(x)[backwards], -1)[backwards]
    return written((x.shape[-1] - 1 - order)[..., :k].astype(np.int64, copy=False), out)


def permute(x: Array, order: Array, *, axis: int, out: Array | None = None) -> Any:
    return take_along_axis(x, order, axis=axis, out=out)


def unpermute(x: Array, order: Array, *, axis: int, out: Array | None = None) -> Any:
    return put_along_axis(x, order, x, axis=axis, out=out)


def unique_places(x: Array, axis: int | None, equal_nan: bool) -> tuple[Array, Array, Array]:
    """Of the distinct elements (slices): where the first stands, which each is, how often."""
    _, index, inverse, counts = cupy.unique(_plain(x), True, True, True, axis, equal_nan=equal_nan)
    if axis is None:
        inverse = inverse.reshape(x.shape)
    return tuple([one.astype(np.int64, copy=False) for one in (index, inverse, counts)])


def searchsorted(a: Array, v: Array, *, right: bool, out: Array | None = None) -> Any:
    wide = np.result_type(a.dtype, v.dtype) if not (brain(a) or brain(v)) else np.float32
    given = [cast(x, wide) if x.dtype != wide else x for x in (a, v)]
    found = cupy.searchsorted(*given, side="right" if right else "left")
    return written(found.astype(np.int64, copy=False), out)


# -- order statistics --------------------------------------------------------------------------


def ranked(x: Array, *, ranks: tuple[int, ...], out: Array | None = None) -> Any:
    """The elements of the ranks, ascending, along the last axis; NaN where a row has one."""
    ordered = cupy.sort(_plain(x), -1)
    found, top = ordered[..., list(ranks)], ordered[..., -1:]
    if found.dtype.kind == "f":
        found = cupy.where(cupy.isnan(top), top, found)
    return written(cast(found, x.dtype) if brain(x) else found, out)


def picked(x: Array, ranks: Array, *, out: Array | None = None) -> Any:
    """The elements of the ranks along the last axis, in every row its own; NaNs are last."""
    return take_along_axis(sort(x, axis=-1), ranks, axis=x.ndim - 1, out=out)


def picked_places(x: Array, ranks: Array, found: Array, *, out: Array | None = None) -> Any:
    """Where these stand: of equal ones the first is the lowest."""
    return take_along_axis(sorted_places(x, axis=-1), ranks, axis=x.ndim - 1, out=out)


def ranked_places(
    x: Array, found: Array, *, ranks: tuple[int, ...], out: Array | None = None
) -> Any:
    """Where the elements of the ranks stand: of equal ones the first is the lowest."""
    return written(sorted_places(x, axis=-1)[..., list(ranks)], out)
