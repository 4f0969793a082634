"""Signals: the operations of `tg.signal`."""

from tensorgrad.ops import protocols

protocols.load("fft")

from tensorgrad.ops.signal import (  # noqa: E402
    both_ways,
    convolution,
    filters,
    frames,
    polyphase,
    resampling,
    sections,
)

__all__ = [
    "both_ways",
    "convolution",
    "filters",
    "frames",
    "polyphase",
    "resampling",
    "sections",
]
