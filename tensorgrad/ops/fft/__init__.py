"""Discrete Fourier transforms: the operations of `tg.fft`."""

from tensorgrad.ops.fft import frequencies, transforms

__all__ = ["frequencies", "transforms"]
