"""Resampling by a ratio of whole numbers.

>>> resample_poly([1.0, 2.0, 3.0], 2, 1, window=[0.25, 0.5, 0.25])  # halfway between neighbours
tensor([1. , 1.5, 2. , 2.5, 3. , 1.5])
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad._errors import ShapeError, need
from tensorgrad.core.calls import constant
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import operation
from tensorgrad.ops.axes import moveaxis, transpose
from tensorgrad.ops.extremes import max as largest
from tensorgrad.ops.extremes import min as smallest
from tensorgrad.ops.quantile import median
from tensorgrad.ops.reduce import mean
from tensorgrad.ops.shape import astype, broadcast_to, reshape, whole
from tensorgrad.ops.signal.filters import taps_p
from tensorgrad.ops.signal.resampling import longer
from tensorgrad.ops.slicing import index_p

# -- resampling --------------------------------------------------------------------------------

LEVELS: dict[str, Any] = {"mean": mean, "median": median, "maximum": largest, "minimum": smallest}
"""What is taken off the signal, so that zeros follow on it."""


def _lowpass(window: Any, rate: int, x: Any) -> Any:
    """The filter: by the name of its window, or as its numbers."""
    if not isinstance(window, str | tuple):
        found = operand(window, (x,), "resample_poly", x)
        need(found.ndim == 1 and found.size, "resample_poly", window=found, want="a vector",
             fix="window=('kaiser', 5.0)", error=ShapeError)  # fmt: skip
        return found
    import scipy.signal  # late: for import time

    taps = scipy.signal.firwin(20 * rate + 1, 1 / rate, window=window)
    return astype(constant(taps, x), dtypes.real(x.dtype), copy=False)


def _upsampled(x: Any, h: Any, up: int, down: int, count: int) -> Any:
    """h * (x with zeros between), every `down`-th place of it from the middle of h on.

    The zeros are left out: each of the `up` phases of the filter meets x itself.
    """
    start = (h.shape[0] - 1) // 2
    stop = start + (count - 1) * down + 1
    width, length = -(-h.shape[0] // up), -(-stop // up)
    phases = transpose(reshape(longer(h, 0, width * up - h.shape[0]), (width, up)))
    x = longer(x, 0, max(length - x.shape[-1], 0))
    found = taps_p.bind(phases, broadcast_to(x, (up, *x.shape)), reverse=False)
    found = moveaxis(found, 0, -1)
    flat = reshape(found, (*found.shape[:-2], found.shape[-2] * up))
    return index_p.bind(flat, key=(*(slice(None),) * (flat.ndim - 1), slice(start, stop, down)))


def _ratios(r: Any) -> Any:
    for shape, up, down, options in (
        ((8,), 3, 2, {}), ((8,), 2, 5, {}), ((9,), 4, 2, {}), ((3, 6), 2, 1, {"axis": 1}),
        ((6, 3), 1, 3, {"window": "hamming"}), ((2, 5, 2), 3, 1, {"axis": -2}), ((7,), 3, 3, {}),
        ((8,), 3, 2, {"padtype": "mean"}), ((8,), 2, 3, {"padtype": "median"}),
        ((3, 8), 2, 3, {"padtype": "maximum", "axis": 1}), ((1,), 3, 2, {}),
    ):  # fmt: skip
        yield (r.apart(*shape), up, down), options
    yield (r.normal(8) + 1j * r.normal(8), 3, 2), {}
    yield (r.normal(6, 8)[::2, ::-1], 2, 3, 1), {"window": np.array([0.2, 0.5, 0.3, 0.1])}


@operation(oracle="scipy.signal.resample_poly", samples=_ratios, namespace="signal")
def resample_poly(
    x: Any, up: int, down: int, axis: int = 0, window: Any = ("kaiser", 5.0),
    padtype: str = "constant",
) -> Any:  # fmt: skip
    """The signal at up/down times the rate: `up` - 1 zeros between, a low-pass filter, every
    `down`-th element.

    `window`: of the filter, by name, or the filter itself. Beyond its ends the signal is 0; or,
    by `padtype`, its "mean", "median", "maximum" or "minimum".
    """
    x = operand(x, (), "resample_poly")
    x = x if dtypes.is_inexact(x.dtype) else astype(x, dtypes.float64)
    axis = shapes.axis_index(axis, x.ndim, "resample_poly")
    up, down = whole("resample_poly", up), whole("resample_poly", down)
    need(up > 0 < down, "resample_poly", up=up, down=down, want="1 at least", fix="up=1",
         error=ValueError)  # fmt: skip
    need(padtype in ("constant", *LEVELS), "resample_poly", padtype=padtype,
         want=f"constant, {', '.join(LEVELS)}", fix="padtype='constant'",
         error=ValueError)  # fmt: skip
    common = math.gcd(up, down)
    up, down = up // common, down // common
    need(x.shape[axis], "resample_poly", x=x, axis=axis, want="an element at least",
         fix="a longer x", error=ShapeError)  # fmt: skip
    if up == down:
        return x.copy()
    x = moveaxis(x, axis, -1)
    count = -(-x.shape[-1] * up // down)
    h = _lowpass(window, max(up, down), x) * up
    if padtype == "constant":
        found = _upsampled(x, h, up, down, count)
    else:
        level = LEVELS[padtype](x, -1, keepdims=True)
        found = _upsampled(x - level, h, up, down, count) + level
    return moveaxis(astype(found, x.dtype, copy=False), -1, axis)


__all__ = ["resample_poly"]
