"""Filters of second order in a row."""

from __future__ import annotations

from typing import Any

from tensorgrad import shapes
from tensorgrad._errors import ShapeError, need
from tensorgrad.core.registry import operation
from tensorgrad.ops.axes import moveaxis
from tensorgrad.ops.join import stack
from tensorgrad.ops.signal.filters import filtered, floating


def _sections(r: Any, count: int) -> Any:
    sos = r.uniform(-0.3, 0.3, count, 6)
    sos[:, 0] += 1
    sos[:, 3] = 1
    return sos


def _samples(r: Any) -> Any:
    for shape, axis, count in (((8,), -1, 1), ((8,), 0, 3), ((3, 5), 0, 2), ((3, 5), -1, 2),
                               ((2, 3, 4), 1, 1), ((2,), -1, 2)):  # fmt: skip
        yield (_sections(r, count), r.normal(*shape), axis), {}
    yield (_sections(r, 2), r.normal(6, 4)[::2, ::-1]), {"axis": 0}
    yield (_sections(r, 2), r.normal(5) + 1j * r.normal(5)), {}
    yield (_sections(r, 2), r.normal(2, 5), 1, r.normal(2, 2, 2)), {}
    yield (_sections(r, 1), r.normal(3, 2), 0, r.normal(1, 2, 2)), {}


@operation(oracle="scipy.signal.sosfilt", samples=_samples, namespace="signal")
def sosfilt(sos: Any, x: Any, axis: int = -1, zi: Any = None) -> Any:
    """A row of filters of second order: section k has b = sos[k, :3] and a = sos[k, 3:].

    sos (sections, 6); with `zi` (sections, ..., 2, ...), the states before the signal, it is (y,
    the states behind it).
    """
    if zi is None:
        sos, x = floating("sosfilt", (sos, x))
    else:
        sos, x, zi = floating("sosfilt", (sos, x, zi))
    need(sos.ndim == 2 and sos.shape[1] == 6 and sos.shape[0], "sosfilt", sos=sos,
         want="shape (sections, 6)", fix="sos.reshape(-1, 6)", error=ShapeError)  # fmt: skip
    axis = shapes.axis_index(axis, x.ndim, "sosfilt")
    y, states = moveaxis(x, axis, -1), []
    for k in range(sos.shape[0]):
        y = filtered("sosfilt", sos[k, :3], sos[k, 3:], y, None if zi is None else zi[k], axis)
        if zi is not None:
            y, state = y
            states.append(moveaxis(state, -1, axis))
    y = moveaxis(y, -1, axis)
    return y if zi is None else (y, stack(states))
