"""Another number of samples, trends taken out, and windows.

>>> detrend([1.0, 3.0, 2.0], type="constant")
tensor([-1.,  1.,  0.])
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad._errors import ShapeError, need
from tensorgrad.backend import base
from tensorgrad.core.calls import constant
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import operation
from tensorgrad.core.tensor import make
from tensorgrad.ops.axes import flip, moveaxis
from tensorgrad.ops.fft.transforms import fft, ifft, irfft, rfft
from tensorgrad.ops.join import concatenate, pad_p
from tensorgrad.ops.reduce import mean, sum
from tensorgrad.ops.shape import astype
from tensorgrad.ops.slicing import index_p

# -- windows -----------------------------------------------------------------------------------


def _names(r: Any) -> Any:
    for name in ("hann", "hamming", "blackman", "boxcar", "bartlett", "nuttall"):
        yield (name, 8), {}
    yield (("kaiser", 5.0), 7), {}
    yield (("gaussian", 2.0), 9, False), {}
    yield ("cosine", 1), {"fftbins": False}


@operation(oracle="scipy.signal.get_window", samples=_names, orders=0, namespace="signal")
def get_window(window: Any, Nx: int, fftbins: bool = True) -> Any:
    """A window of Nx samples by its name in scipy.signal.windows, or (name, parameter): a constant.

    `fftbins`: periodic, else symmetric.
    """
    return make(base.on().asarray(window_of(window, Nx, fftbins)))


def window_of(window: Any, count: int, periodic: bool = True) -> Any:
    import scipy.signal  # late: for import time

    try:
        return scipy.signal.get_window(window, count, periodic)
    except ValueError as error:
        raise ValueError(
            f"get_window: got {window!r} ({error}), expected a name of scipy.signal.windows, with "
            "its parameters in a tuple; try 'hann' or ('kaiser', 8.0)"
        ) from None


# -- another number of samples -----------------------------------------------------------------


def _weights(window: Any, count: int, x: Any) -> Any:
    """What each frequency is multiplied with, as a tensor, None for nothing."""
    if window is None:
        return None
    if callable(window):
        window = constant(np.asarray(window(np.fft.fftfreq(count))), x)
    elif isinstance(window, str | tuple | float):
        window = constant(np.fft.fftshift(window_of(window, count)), x)
    found = operand(window, (x,), "resample", x)
    need(found.shape == (count,), "resample", window=found, x=x, want=f"{count} weights",
         fix="window=None", error=ShapeError)  # fmt: skip
    return astype(found, dtypes.result_type(found.dtype, dtypes.real(x.dtype)), copy=False)


def on_last(x: Any, start: int | None, stop: int | None) -> Any:
    """x[..., start:stop]."""
    return index_p.bind(x, key=(*(slice(None),) * (x.ndim - 1), slice(start, stop)))


def _halves(x: Any, num: int, window: Any) -> Any:
    """A real signal with `num` samples on its last axis."""
    count = x.shape[-1]
    few = min(num, count)
    spectrum = rfft(x)
    if window is not None:
        behind = on_last(window, 1, None)
        folded = (behind + flip(behind)) / 2
        window = concatenate([on_last(window, 0, 1), folded])
        spectrum = spectrum * on_last(window, 0, count // 2 + 1)
    spectrum = on_last(spectrum, 0, few // 2 + 1)
    factors = np.full(few // 2 + 1, num / count)
    if few % 2 == 0 and num != count:  # the one place without a partner
        factors[-1] *= 2 if num < count else 0.5
    return irfft(spectrum * constant(factors.astype(dtypes.real(spectrum.dtype)), x), num)


def _whole(spectrum: Any, num: int) -> Any:
    """A spectrum of `num` frequencies, on the last axis, from one of another number."""
    count = spectrum.shape[-1]
    few = min(num, count)
    if num == count:
        return spectrum
    low, high = (
        on_last(spectrum, 0, (few + 1) // 2),
        on_last(spectrum, count - (few - 1) // 2, None),
    )
    gap = num - few
    if few % 2:
        low = longer(low, 0, gap)
    else:
        middle = on_last(spectrum, few // 2, few // 2 + 1)
        if gap:
            low = concatenate([low, longer(middle / 2, 0, gap - 1), middle / 2], axis=-1)
        else:
            other = on_last(spectrum, count - few // 2, count - few // 2 + 1)
            low = concatenate([low, middle + other], axis=-1)
    return concatenate([low, high], axis=-1)


def longer(x: Any, before: int, after: int) -> Any:
    """x with zeros before and behind its last axis."""
    lead = ((0, 0),) * (x.ndim - 1)
    return pad_p.bind(x, widths=(*lead, (before, after)), values=((0, 0),) * x.ndim)


def _resamples(r: Any) -> Any:
    for shape, num, axis in (((8,), 12, 0), ((8,), 5, 0), ((8,), 4, -1), ((7,), 9, 0), ((7,), 7, 0),
                             ((3, 6), 4, 1), ((6, 3), 9, 0), ((2, 5, 2), 3, 1), ((1,), 3, 0),
                             ((8,), 1, 0)):  # fmt: skip
        yield (r.normal(*shape), num), {"axis": axis}
        yield (r.normal(*shape) + 1j * r.normal(*shape), num), {"axis": axis}
    yield (r.normal(8), 6), {"window": "hann"}
    yield (r.normal(7), 9), {"window": ("kaiser", 3.0)}
    yield (r.normal(6) + 0j, 4), {"window": "hamming"}
    yield (r.normal(6, 4)[::2, ::-1], 5), {"axis": 1}
    yield (r.normal(6) + 1j * r.normal(6), 8), {"domain": "freq"}
    yield (r.normal(6), 3, [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]), {}


@operation(oracle="scipy.signal.resample", samples=_resamples, namespace="signal")
def resample(
    x: Any, num: int, t: Any = None, axis: int = 0, window: Any = None, domain: str = "time"
) -> Any:
    """The signal at `num` equal steps, by its Fourier transform; it counts as periodic.

    `window`: what the frequencies are multiplied with, by name, as an array, or a function of them.
    `domain` "freq": x is a transform already. With the times `t` it is (the signal, its times).
    """
    x = operand(x, (), "resample")
    x = x if dtypes.is_inexact(x.dtype) else astype(x, dtypes.float64)
    need(domain in ("time", "freq"), "resample", domain=domain, want="time or freq",
         fix="domain='time'", error=ValueError)  # fmt: skip
    axis = shapes.axis_index(axis, x.ndim, "resample")
    need(num >= 1 and x.shape[axis] >= 1, "resample", x=x, num=num, want="one sample at least",
         fix="num=1", error=ValueError)  # fmt: skip
    dtype, count = x.dtype, x.shape[axis]
    x = moveaxis(x, axis, -1)
    weights = _weights(window, count, x)
    if domain == "time" and dtype.kind != "c":
        found = _halves(x, num, weights)
    else:
        spectrum = fft(x) if domain == "time" else x
        spectrum = spectrum if weights is None else spectrum * weights
        found = ifft(_whole(spectrum, num) * (num / count))
        dtype = found.dtype
    found = moveaxis(astype(found, dtype, copy=False), -1, axis)
    if t is None:
        return found
    t = operand(t, (), "resample", x)
    steps = constant(np.arange(num), t)
    return found, t[0] + (t[1] - t[0]) * (count / num) * steps


# -- trends ------------------------------------------------------------------------------------


def _trends(r: Any) -> Any:
    for shape, options in (
        ((8,), {}), ((8,), {"type": "constant"}), ((3, 6), {"axis": 0}), ((3, 6), {"bp": 3}),
        ((2, 7, 2), {"axis": 1, "bp": [2, 5]}), ((4, 5), {"axis": -2, "type": "c"}), ((1, 4), {}),
        ((5, 1), {"axis": -1, "type": "l"}),
    ):  # fmt: skip
        yield (r.normal(*shape),), options
    yield (r.normal(6, 4)[::2, ::-1],), {"type": "linear"}
    yield (r.normal(6) + 1j * r.normal(6),), {}


@operation(oracle="scipy.signal.detrend", samples=_trends, namespace="signal")
def detrend(data: Any, axis: int = -1, type: str = "linear", bp: Any = 0) -> Any:
    """The signal less its mean ("constant"), or less the line that fits it best ("linear").

    `bp`: the places at which a new line begins. float64 for whole numbers.
    """
    data = operand(data, (), "detrend")
    data = data if dtypes.is_inexact(data.dtype) else astype(data, dtypes.float64)
    need(type in ("linear", "l", "constant", "c"), "detrend", type=type, want="linear or constant",
         fix="type='linear'", error=ValueError)  # fmt: skip
    axis = shapes.axis_index(axis, data.ndim, "detrend")
    if type in ("constant", "c"):
        return data - mean(data, axis=axis, keepdims=True)
    data, size = moveaxis(data, axis, -1), data.shape[axis]
    corners = sorted({0, size, *[int(k) for k in np.atleast_1d(bp)]})
    need(corners[0] == 0 and corners[-1] == size, "detrend", bp=bp, data=data,
         want=f"places from 0 to {size}", fix="bp=0", error=ValueError)  # fmt: skip
    parts = [_straightened(on_last(data, a, b)) for a, b in pairwise(corners)]
    found = parts[0] if len(parts) == 1 else concatenate(parts, axis=-1) if parts else data
    return moveaxis(found, -1, axis)


def _straightened(x: Any) -> Any:
    """x less the line of least squares through it, along the last axis."""
    count = x.shape[-1]
    steps = np.arange(count) - (count - 1) / 2
    steps = steps / max(np.sqrt(np.sum(steps**2)), 1e-300)
    line = constant(steps.astype(dtypes.real(x.dtype)), x)
    return x - mean(x, axis=-1, keepdims=True) - sum(x * line, axis=-1, keepdims=True) * line


__all__ = ["detrend", "get_window", "longer", "on_last", "resample", "window_of"]
