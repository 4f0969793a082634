"""The frequencies of a transform's coefficients, and their order."""

from __future__ import annotations

from typing import Any

from tensorgrad import shapes
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import operation
from tensorgrad.ops.axes import roll
from tensorgrad.ops.create import tensor
from tensorgrad.ops.shape import whole


def _shifts(r: Any) -> Any:
    for x in r.layouts(r.normal)[1:]:  # NumPy's own refuses an array without axes
        yield (x,), {}
    yield (r.normal(3, 4),), {"axes": 1}
    yield (r.normal(3, 4, 2),), {"axes": (0, -1)}


def _shifted(op: str, x: Any, axes: shapes.Axis, back: bool) -> Any:
    x = operand(x)
    where = shapes.axes(axes, x.ndim, op)
    halves = [-(x.shape[k] // 2) if back else x.shape[k] // 2 for k in where]
    return roll(x, tuple(halves), where) if where else x.copy()


@operation(numpy="fft.fftshift", oracle="fft.fftshift", samples=_shifts, namespace="fft")
def fftshift(x: Any, axes: shapes.Axis = None) -> Any:
    """The coefficients with frequency zero in the middle.

    >>> fftshift([0.0, 1.0, 2.0, -2.0, -1.0])
    tensor([-2., -1.,  0.,  1.,  2.])
    """
    return _shifted("fft.fftshift", x, axes, back=False)


@operation(numpy="fft.ifftshift", oracle="fft.ifftshift", samples=_shifts, namespace="fft")
def ifftshift(x: Any, axes: shapes.Axis = None) -> Any:
    """The inverse of `fftshift`."""
    return _shifted("fft.ifftshift", x, axes, back=True)


def _frequencies(r: Any) -> Any:
    for n in (1, 2, 3, 4, 7, 8, 9, 16):
        yield (n,), {"d": 0.1 * n}


def _made(name: str, n: int, d: float, dtype: Any, device: Any) -> Any:
    import numpy as np  # the numbers themselves

    return tensor(getattr(np.fft, name)(whole(f"fft.{name}", n), d), dtype=dtype, device=device)


@operation(oracle="fft.fftfreq", samples=_frequencies, orders=0, namespace="fft")
def fftfreq(n: int, d: float = 1.0, *, dtype: Any = None, device: Any = None) -> Any:
    """0, 1 ... (n - 1) // 2, -(n // 2) ... -1, divided by n d, d the distance of the points."""
    return _made("fftfreq", n, d, dtype, device)


@operation(oracle="fft.rfftfreq", samples=_frequencies, orders=0, namespace="fft")
def rfftfreq(n: int, d: float = 1.0, *, dtype: Any = None, device: Any = None) -> Any:
    """0, 1 ... n // 2, divided by n d, d the distance of the points."""
    return _made("rfftfreq", n, d, dtype, device)
