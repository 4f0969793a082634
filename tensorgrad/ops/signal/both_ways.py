"""A filter forward and backward: no delay; and the state that a constant signal leaves.

>>> filtfilt([0.5], [1.0, -0.5], [1.0, 1.0, 1.0, 1.0], padlen=2)
tensor([1., 1., 1., 1.])
"""

from __future__ import annotations

from typing import Any

import numpy as np  # samples only

from tensorgrad import shapes
from tensorgrad._errors import ShapeError, need
from tensorgrad.core.registry import operation
from tensorgrad.ops.axes import flip, moveaxis
from tensorgrad.ops.cumulative import cumsum
from tensorgrad.ops.padding import pad
from tensorgrad.ops.reduce import sum
from tensorgrad.ops.shape import whole
from tensorgrad.ops.signal.filters import coefficients, filtered, floating
from tensorgrad.ops.signal.frames import BOUNDARIES
from tensorgrad.ops.signal.resampling import longer, on_last


def _steady(b: Any, a: Any) -> Any:
    """The state of a filter with a[0] = 1 that a signal of ones leaves as it is."""
    order = max(a.shape[0], b.shape[0]) - 1
    b, a = longer(b, 0, order + 1 - b.shape[0]), longer(a, 0, order + 1 - a.shape[0])
    rest = b - a * on_last(b, 0, 1)
    level = sum(rest) / sum(a)
    return on_last(cumsum(a) * level - cumsum(rest), 0, order)


def _filters(r: Any) -> Any:
    for n, m in ((1, 2), (2, 1), (2, 2), (3, 2), (2, 4), (3, 3), (1, 4), (4, 4)):
        yield (r.normal(n), np.concatenate([r.uniform(0.8, 1.5, 1), r.uniform(0, 0.3, m - 1)])), {}
    yield (r.normal(6)[::2], np.array([1.0, -0.3])), {}


@operation(oracle="scipy.signal.lfilter_zi", samples=_filters, namespace="signal")
def lfilter_zi(b: Any, a: Any) -> Any:
    """The state for `lfilter` at which a signal of ones begins as if it had always been there."""
    b, a = coefficients("lfilter_zi", **dict(zip("ba", floating("lfilter_zi", (b, a)))))
    lead = on_last(a, 0, 1)
    return _steady(b / lead, a / lead)


def _signals(r: Any) -> Any:
    b, a = r.normal(2), np.array([1.0, -0.4])
    for shape, options in (
        ((9,), {}), ((3, 8), {"axis": -1}), ((8, 3), {"axis": 0, "padtype": "even"}),
        ((2, 9, 2), {"axis": 1, "padtype": "constant"}), ((9,), {"padtype": None}),
        ((9,), {"padlen": 2}), ((9,), {"padlen": 0}),
    ):  # fmt: skip
        yield (b, a, r.normal(*shape)), options
    yield (r.normal(3), np.array([1.2, -0.3, 0.1]), r.normal(10)), {}
    yield (r.normal(2), np.array([2.0]), r.normal(6, 24)[::2, ::-2]), {}


@operation(oracle="scipy.signal.filtfilt", samples=_signals, namespace="signal")
def filtfilt(
    b: Any, a: Any, x: Any, axis: int = -1, padtype: Any = "odd", padlen: int | None = None
) -> Any:
    """`lfilter` forward, then backward over its result: twice the order, and no delay.

    Before, the signal goes on by `padlen` (3 max(len(a), len(b))) elements on both sides, as
    `padtype` says: "odd", "even", "constant" or None.
    """
    b, a, x = floating("filtfilt", (b, a, x))
    b, a = coefficients("filtfilt", b=b, a=a)
    axis = shapes.axis_index(axis, x.ndim, "filtfilt")
    kinds = [k for k in BOUNDARIES if k != "zeros"]
    need(padtype is None or padtype in kinds, "filtfilt", padtype=padtype,
         want=f"one of {', '.join(kinds)} or None", fix="padtype='odd'",
         error=ValueError)  # fmt: skip
    edge = 3 * max(a.shape[0], b.shape[0]) if padlen is None else whole("filtfilt", padlen)
    edge, x = 0 if padtype is None else edge, moveaxis(x, axis, -1)
    need(x.shape[-1] > edge, "filtfilt", x=x, padlen=edge, want="more elements than padlen",
         fix="padlen=0", error=ShapeError)  # fmt: skip
    if edge:
        x = pad(x, ((0, 0),) * (x.ndim - 1) + ((edge, edge),), **BOUNDARIES[padtype])
    b, a = b / on_last(a, 0, 1), a / on_last(a, 0, 1)
    state = _steady(b, a)
    for _ in range(2):
        x = flip(filtered("filtfilt", b, a, x, on_last(x, 0, 1) * state)[0], -1)
    return moveaxis(on_last(x, edge, x.shape[-1] - edge), -1, axis)


__all__ = ["filtfilt", "lfilter_zi"]
