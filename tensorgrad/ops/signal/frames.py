"""Signals in overlapping pieces: short-time Fourier transforms, and what they came from.

>>> times, back = istft(stft([1.0, 2.0, 3.0, 4.0], nperseg=2)[2], nperseg=2)
>>> back
tensor([1., 2., 3., 4.])
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad._errors import ShapeError, need
from tensorgrad.core.calls import constant
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import operation
from tensorgrad.ops.axes import moveaxis
from tensorgrad.ops.elementary import sqrt
from tensorgrad.ops.elementwise import where
from tensorgrad.ops.fft.frequencies import fftfreq, rfftfreq
from tensorgrad.ops.fft.transforms import fft, ifft, irfft, rfft
from tensorgrad.ops.index import take
from tensorgrad.ops.padding import pad
from tensorgrad.ops.reduce import sum
from tensorgrad.ops.shape import astype, broadcast_to, reshape, whole
from tensorgrad.ops.signal.resampling import detrend as straightened
from tensorgrad.ops.signal.resampling import longer, on_last, window_of
from tensorgrad.ops.slicing import index_p

BOUNDARIES: dict[Any, dict[str, Any]] = {
    "zeros": {"mode": "constant"},
    "constant": {"mode": "edge"},
    "even": {"mode": "reflect"},
    "odd": {"mode": "reflect", "reflect_type": "odd"},
}
"""How a signal goes on beyond its ends, as options of `pad`."""


def framed(x: Any, length: int, step: int) -> Any:
    """The pieces of so many elements that begin at every `step`-th one: (..., pieces, length)."""
    count = (x.shape[-1] - length) // step + 1
    places = np.arange(count)[:, None] * step + np.arange(length)
    return take(x, constant(places, x), -1)


def added(pieces: Any, step: int) -> Any:
    """The sum of pieces (..., count, length), each laid `step` elements behind the one before."""
    *lead, count, length = pieces.shape
    parts = -(-length // step)
    split = reshape(longer(pieces, 0, parts * step - length), (*lead, count, parts, step))
    total: Any = 0.0
    for k in range(parts):
        part = index_p.bind(split, key=(*(slice(None),) * (len(lead) + 1), k))
        flat = reshape(part, (*lead, count * step))
        total = total + longer(flat, k * step, (parts - 1 - k) * step)
    return on_last(total, 0, (count - 1) * step + length)


def _window(op: str, window: Any, length: int, x: Any) -> Any:
    """A window by name or as an array, in the real dtype of x."""
    named = isinstance(window, str | tuple | float)
    found = constant(window_of(window, length), x) if named else operand(window, (x,), op, x)
    need(found.shape == (length,), op, window=found, nperseg=length, want="nperseg numbers",
         fix="window='hann'", error=ShapeError)  # fmt: skip
    return astype(found, dtypes.real(x.dtype), copy=False)


def _scale(op: str, scaling: str, win: Any, fs: float) -> Any:
    """What a spectrum is divided by."""
    need(scaling in ("spectrum", "psd"), op, scaling=scaling, want="spectrum or psd",
         fix="scaling='spectrum'", error=ValueError)  # fmt: skip
    return sum(win) if scaling == "spectrum" else sqrt(sum(win * win) * fs)


def _step(op: str, nperseg: Any, noverlap: Any) -> tuple[int, int]:
    length = whole(op, nperseg)
    overlap = length // 2 if noverlap is None else whole(op, noverlap)
    need(length > overlap >= 0 < length, op, nperseg=length, noverlap=overlap,
         want="0 <= noverlap < nperseg", fix="noverlap=None", error=ValueError)  # fmt: skip
    return length, length - overlap


def _signals(r: Any) -> Any:
    for shape, options in (
        ((12,), {"nperseg": 4}), ((3, 11), {"nperseg": 5, "noverlap": 3}),
        ((11, 3), {"nperseg": 4, "axis": 0, "boundary": "even"}),
        ((2, 9, 2), {"nperseg": 4, "axis": 1, "boundary": "odd", "window": "hamming"}),
        ((10,), {"nperseg": 4, "noverlap": 1, "padded": False, "boundary": None}),
        ((10,), {"nperseg": 4, "nfft": 7, "detrend": "constant", "boundary": "constant"}),
        ((1, 8), {"nperseg": 4, "scaling": "psd", "fs": 2.0}),
        ((9,), {"nperseg": 4, "return_onesided": False}), ((6,), {"nperseg": 1}),
    ):  # fmt: skip
        yield (r.normal(*shape),), options
    yield (r.normal(6, 20)[::2, ::-1],), {"nperseg": 6, "window": ("kaiser", 3.0)}
    yield (r.normal(9) + 1j * r.normal(9),), {"nperseg": 4, "return_onesided": False}


@operation(oracle="scipy.signal.stft", samples=_signals, namespace="signal")
def stft(
    x: Any, fs: float = 1.0, window: Any = "hann", nperseg: int = 256, noverlap: int | None = None,
    nfft: int | None = None, detrend: Any = False, return_onesided: bool = True,
    boundary: Any = "zeros", padded: bool = True, axis: int = -1, scaling: str = "spectrum",
) -> Any:  # fmt: skip
    """(frequencies, times, spectra): Fourier transforms of windowed pieces of a signal.

    The spectra have the frequencies where `axis` was and the times last: those of `nperseg`
    elements (all, where there are fewer) that share `noverlap` with the next, with nfft - nperseg
    zeros behind. `boundary`: how the signal goes on, "zeros", "constant", "even", "odd" or None;
    `padded`: zeros fill the last piece. A complex signal has all frequencies.
    """
    x = operand(x, (), "stft")
    x = x if dtypes.is_inexact(x.dtype) else astype(x, dtypes.float64)
    axis = shapes.axis_index(axis, x.ndim, "stft")
    x, half = moveaxis(x, axis, -1), x.dtype.kind != "c" and return_onesided
    need(x.shape[-1], "stft", x=x, want="an element at least", fix="a longer x", error=ShapeError)
    length, step = _step("stft", min(nperseg, x.shape[-1]), noverlap)
    points = length if nfft is None else whole("stft", nfft)
    need(points >= length, "stft", nfft=points, nperseg=length, want="nfft >= nperseg",
         fix="nfft=None", error=ValueError)  # fmt: skip
    need(boundary is None or boundary in BOUNDARIES, "stft", boundary=boundary,
         want=f"one of {', '.join(BOUNDARIES)} or None", fix="boundary='zeros'",
         error=ValueError)  # fmt: skip
    if boundary is not None:
        ends = ((0, 0),) * (x.ndim - 1) + ((length // 2, length // 2),)
        x = pad(x, ends, **BOUNDARIES[boundary])
    if padded:
        x = longer(x, 0, -(x.shape[-1] - length) % step % length)
    win, pieces = _window("stft", window, length, x), framed(x, length, step)
    pieces = straightened(pieces, type=detrend) if isinstance(detrend, str) else pieces
    found = (rfft if half else fft)(pieces * win, points) / _scale("stft", scaling, win, fs)
    first = 0.0 if boundary is not None else length / 2
    times = constant((first + step * np.arange(pieces.shape[-2])) / fs, x)
    frequencies = (rfftfreq if half else fftfreq)(points, 1 / fs, device=x.device)
    return frequencies, times, moveaxis(found, -1, axis)


def _spectra(r: Any) -> Any:
    def draw(*shape: int) -> Any:
        return r.normal(*shape) + 1j * r.normal(*shape)

    for shape, options in (
        ((4, 5), {"nperseg": 6}), ((2, 4, 5), {"nperseg": 6, "noverlap": 4}),
        ((5, 4), {"nperseg": 6, "time_axis": 0, "freq_axis": 1}), ((3, 6), {}),
        ((4, 5), {"nperseg": 6, "boundary": False, "window": "hamming", "noverlap": 4}),
        ((5, 4), {"nperseg": 5, "input_onesided": False}), ((4, 3), {"nperseg": 7, "noverlap": 5}),
        ((4, 5), {"nperseg": 4, "nfft": 6, "scaling": "psd", "fs": 2.0}),
    ):  # fmt: skip
        yield (draw(*shape),), options
    yield (draw(6, 4).T,), {}


def _istft_oracle(z: Any, fs: float = 1.0, **options: Any) -> Any:
    import scipy.signal  # late: only for tests

    found = scipy.signal.istft(z, fs, **options)[1]
    return np.arange(found.shape[-1]) / fs, found  # SciPy counts the first axis of a batch


@operation(oracle=_istft_oracle, samples=_spectra, namespace="signal")
def istft(
    Zxx: Any, fs: float = 1.0, window: Any = "hann", nperseg: int | None = None,
    noverlap: int | None = None, nfft: int | None = None, input_onesided: bool = True,
    boundary: bool = True, time_axis: int = -1, freq_axis: int = -2, scaling: str = "spectrum",
) -> Any:  # fmt: skip
    """(times, signal): the signal whose `stft` is nearest, the windowed pieces added up.

    `boundary`: the signal was longer by nperseg / 2 on both sides, which is cut off. Where the
    windows leave no weight the sum itself stands.
    """
    z = operand(Zxx, (), "istft")
    z = z if z.dtype.kind == "c" else astype(z, dtypes.result_type(z.dtype, dtypes.complex64))
    need(z.ndim >= 2, "istft", Zxx=z, want="axes of frequency and of time", fix="Zxx[:, None]",
         error=ShapeError)  # fmt: skip
    places = [shapes.axis_index(k, z.ndim, "istft") for k in (time_axis, freq_axis)]
    need(places[0] != places[1], "istft", time_axis=time_axis, freq_axis=freq_axis,
         want="two axes", fix="freq_axis=-2", error=ValueError)  # fmt: skip
    z = moveaxis(z, places, (-2, -1))
    usual = 2 * (z.shape[-1] - 1) if input_onesided else z.shape[-1]
    length, step = _step("istft", usual if nperseg is None else nperseg, noverlap)
    odd = input_onesided and length == usual + 1
    points = (length if odd else usual) if nfft is None else whole("istft", nfft)
    need(points >= length, "istft", nfft=points, nperseg=length, want="nfft >= nperseg",
         fix="nperseg=None", error=ValueError)  # fmt: skip
    pieces = on_last((irfft if input_onesided else ifft)(z, points), 0, length)
    win = _window("istft", window, length, pieces)
    pieces = pieces * win * _scale("istft", scaling, win, fs)
    weight = added(broadcast_to(win * win, (pieces.shape[-2], length)), step)
    found = added(pieces, step) / where(weight > 1e-10, weight, 1.0)
    if boundary:
        found = on_last(found, length // 2, found.shape[-1] - length // 2)
    return constant(np.arange(found.shape[-1]) / fs, found), found


__all__ = ["added", "framed", "istft", "stft"]
