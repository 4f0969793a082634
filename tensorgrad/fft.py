"""Discrete Fourier transforms, named and normalised as in numpy.fft."""

from tensorgrad.core.registry import names_in
from tensorgrad.ops import protocols

protocols.load("fft")
globals().update(names_in("fft"))
__all__ = sorted(names_in("fft"))  # noqa: PLE0605
