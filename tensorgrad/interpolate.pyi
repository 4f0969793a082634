"""Generated from the registry by tests/stubs.py; do not edit."""

from typing import Any

from tensorgrad.core.tensor import Tensor

def cubic_spline(
    x: Any,
    y: Any,
    xi: Any,
    axis: int = ...,
    bc_type: Any = ...,
    nu: int = ...,
    extrapolate: Any = ...,
) -> Tensor: ...
def interpn(
    points: Any,
    values: Any,
    xi: Any,
    method: str = ...,
    bounds_error: bool = ...,
    fill_value: Any = ...,
) -> Tensor: ...

CubicSpline: Any
RegularGridInterpolator: Any
