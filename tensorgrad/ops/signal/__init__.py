"""Signals: the operations of `tg.signal`."""

from tensorgrad.ops import protocols

protocols.load("fft")

from tensorgrad.ops.signal import convolution, filters, resampling, sections  # noqa: E402

__all__ = ["convolution", "filters", "resampling", "sections"]
