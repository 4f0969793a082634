"""Extremes of what is a number, of CuPy arrays, named as the primitives are.

Every function takes `out=`: None, or an array of the result's shape and dtype to write into.
"""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from tensorgrad import shapes
from tensorgrad._errors import DTypeError
from tensorgrad.backend import formulas
from tensorgrad.backend.cuda import reduce
from tensorgrad.backend.cuda.kernels import brain, cast, written
from tensorgrad.backend.cuda.staged import ReduceKernel

Array = Any
Axes = shapes.Shape

NANMAX, NANMIN = ReduceKernel(formulas.NANMAX), ReduceKernel(formulas.NANMIN)


def _reduced(name: str, kernel: Any, x: Array, axis: Axes, keepdims: bool, out: Any) -> Any:
    if x.dtype.kind == "c":
        raise DTypeError(
            f"{name}: got dtype {x.dtype} on a GPU, expected a real array; try x.to('cpu')"
        )
    if not reduce.staged(x, axis):
        plain = reduce.max if name == "nanmax" else reduce.min
        return plain(x, axis=axis, keepdims=keepdims, out=out)
    found = kernel(x, axis=axis, shape=x.shape)
    return written(found.reshape(shapes.reduced(x.shape, axis, keepdims)), out)


def nanmax(x: Array, *, axis: Axes, keepdims: bool, out: Array | None = None) -> Any:
    return _reduced("nanmax", NANMAX, x, axis, keepdims, out)


def nanmin(x: Array, *, axis: Axes, keepdims: bool, out: Array | None = None) -> Any:
    return _reduced("nanmin", NANMIN, x, axis, keepdims, out)


def _plain(x: Array) -> Array:
    return cast(x, np.float32) if brain(x) else x


def nanargmax(x: Array, *, axis: int | None, keepdims: bool, out: Array | None = None) -> Any:
    return written(cupy.nanargmax(_plain(x), axis=axis, keepdims=keepdims), out)


def nanargmin(x: Array, *, axis: int | None, keepdims: bool, out: Array | None = None) -> Any:
    return written(cupy.nanargmin(_plain(x), axis=axis, keepdims=keepdims), out)
