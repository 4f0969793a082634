"""Error classes, and `need()`: the one way in which an operation refuses its inputs."""

from __future__ import annotations


class TensorgradError(Exception):
    """Base of every error that tensorgrad raises on purpose."""


class ShapeError(TensorgradError, ValueError):
    """Shapes, axes or sizes do not fit the operation."""


class DTypeError(TensorgradError, TypeError):
    """A dtype does not fit the operation."""


class DeviceError(TensorgradError, ValueError):
    """Arrays live on different devices, or the device does not exist."""


class GradientError(TensorgradError, RuntimeError):
    """A gradient was asked for that the tape cannot give (freed, not recorded, not scalar ...)."""


class NotDifferentiable(TensorgradError, TypeError):  # noqa: N818  (what it says is the error)
    """A function without a derivative met a tensor that needs one."""


class InPlaceError(TensorgradError, RuntimeError):
    """A write that would make a recorded value, and so a gradient, wrong."""


class DataError(TensorgradError, ValueError):
    """A data file or table that cannot be used, with the place in it that is wrong."""


def describe(value: object) -> str:
    """Say what a value is in a few words: shape and dtype for arrays, `repr` for the rest.

    >>> import numpy as np
    >>> describe(np.zeros((2, 3)))
    'float64(2, 3)'
    """
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None and dtype is not None:
        return f"{dtype}{tuple(shape)}".replace(",)", ",)")
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def need(
    condition: object,
    op: str,
    *,
    want: str,
    fix: str,
    error: type[Exception] = ShapeError,
    **got: object,
) -> None:
    """Raise `error` with the text `op: got <values>, expected <rule>; try <fix>` unless true.

    >>> need(False, "matmul", want="x.shape[-1] == y.shape[-2]", fix="y.T", x=3)
    Traceback (most recent call last):
    tensorgrad._errors.ShapeError: matmul: got x=3, expected x.shape[-1] == y.shape[-2]; try y.T
    """
    if not condition:
        values = ", ".join(f"{name}={describe(value)}" for name, value in got.items())
        raise error(f"{op}: got {values}, expected {want}; try {fix}")
