"""Convolution, filters and resampling, named as in scipy.signal."""

from tensorgrad.core.registry import names_in
from tensorgrad.ops import protocols

protocols.load("signal")
globals().update(names_in("signal"))
__all__ = sorted(names_in("signal"))  # noqa: PLE0605
