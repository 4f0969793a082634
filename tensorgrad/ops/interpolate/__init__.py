"""Interpolation: the operations of `tg.interpolate`."""

from tensorgrad.ops.interpolate import grid, spline
from tensorgrad.ops.interpolate.grid import RegularGridInterpolator
from tensorgrad.ops.interpolate.spline import CubicSpline

CLASSES = {"CubicSpline": CubicSpline, "RegularGridInterpolator": RegularGridInterpolator}

__all__ = ["CLASSES", "grid", "spline"]
