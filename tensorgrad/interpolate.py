"""Interpolation between points and on grids, named as in scipy.interpolate."""

from tensorgrad.core.registry import names_in
from tensorgrad.ops import protocols

protocols.load("interpolate")

from tensorgrad.ops.interpolate import CLASSES  # noqa: E402

globals().update({**names_in("interpolate"), **CLASSES})
__all__ = sorted({**names_in("interpolate"), **CLASSES})  # noqa: PLE0605
