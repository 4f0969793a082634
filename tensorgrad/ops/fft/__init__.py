"""Discrete Fourier transforms: the operations of `tg.fft`."""
