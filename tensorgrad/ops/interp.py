"""Piecewise linear interpolation in one dimension.

>>> interp(2.5, [1.0, 2.0, 3.0], [3.0, 2.0, 0.0])
tensor(1.)
"""

from __future__ import annotations

from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes
from tensorgrad._errors import DTypeError, ShapeError, need
from tensorgrad.core.calls import operands
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import operation
from tensorgrad.ops.binning import searchsorted
from tensorgrad.ops.calculus import neighbours_p
from tensorgrad.ops.elementwise import clip, remainder, where
from tensorgrad.ops.index import take
from tensorgrad.ops.join import concatenate, pad_p
from tensorgrad.ops.shape import astype, reshape
from tensorgrad.ops.sorting import argsort


def _tables(r: Any) -> Any:
    xp = np.cumsum(r.uniform(0.5, 1.5, 5))

    for x in r.layouts(lambda *s: r.uniform(-0.5, 7, *s)):
        yield (_off(x, xp), xp, r.normal(5)), {}
    x = _off(r.uniform(-0.5, 7, 6), xp)
    yield (x, xp, r.normal(5)), {"left": -3.0, "right": 4}
    yield (x, xp[:1], r.normal(1)), {}
    yield (_off(r.uniform(-9, 9, 6), np.sort(xp % 4.0), 4.0), xp, r.normal(5)), {"period": 4.0}
    yield (x, xp, r.normal(5) + 1j * r.normal(5)), {}
    yield (xp[2], np.arange(5), r.normal(5)), {}


def _off(x: Any, xp: Any, period: float = np.inf) -> Any:
    """x at some distance from the corners."""
    at = x % period if period < np.inf else x
    gap = np.abs(np.asarray(at)[..., None] - xp).min(-1)
    return np.asarray(np.where(gap < 1e-3, x + 3e-3, x))


@operation(numpy="interp", oracle="interp", samples=_tables)
def interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None
) -> Any:
    """The polygon through the points (xp, fp), at x; differentiable in x, xp and fp.

    xp (n,) ascends. Outside it is `left` (fp[0]) and `right` (fp[-1]); with `period` the points are
    repeated for ever, in any order. float64 or complex128, as in NumPy. At a corner the derivative
    is that of the piece on its right. Raises `ShapeError` unless xp and fp are vectors alike.
    """
    x, xp, fp = operands((x, xp, fp), "interp")
    need(xp.ndim == 1 and fp.shape == xp.shape and xp.size, "interp", xp=xp, fp=fp,
         want="two vectors of equal lengths", fix="fp[:len(xp)]", error=ShapeError)  # fmt: skip
    need("c" not in (x.dtype.kind, xp.dtype.kind), "interp", x=x, xp=xp, want="real positions",
         fix="x.real", error=DTypeError)  # fmt: skip
    real, wide = dtypes.float64, dtypes.result_type(dtypes.float64, fp.dtype)
    x, xp, fp = astype(x, real, copy=False), astype(xp, real, copy=False), astype(fp, wide)
    if period is not None:
        need(period != 0, "interp", period=period, want="a number that is not 0",
             fix="period=2 * math.pi", error=ValueError)  # fmt: skip
        x, xp, fp, left, right = *_wrapped(x, xp, fp, abs(period)), None, None
    ends = [
        fp[k : k + 1 or None] if end is None else reshape(astype(operand(end, (fp,)), wide), (1,))
        for k, end in ((0, left), (-1, right))
    ]
    at, points = x.detach(), xp.detach()
    place = searchsorted(points, at, side="right") + (at > points[-1])
    widths = neighbours_p.bind(xp, axis=0, sign=-1)
    slopes = neighbours_p.bind(fp, axis=0, sign=-1) / where(widths == 0, 1, widths)
    values = concatenate([ends[0], fp, ends[1]])
    corners = pad_p.bind(xp, widths=((1, 1),), values=((0, 0),))
    slopes = pad_p.bind(slopes, widths=((1, 2),), values=((0, 0),))
    # Beyond the ends the slope is 0, and an infinite x must not make it NaN.
    x = clip(x, xp[0].detach(), xp[-1].detach())
    return take(slopes, place) * (x - take(corners, place)) + take(values, place)


def _wrapped(x: Any, xp: Any, fp: Any, period: Any) -> tuple[Any, Any, Any]:
    """x within a period, and the points of one period in order, with a neighbour on each side."""
    x, xp = remainder(x, period), remainder(xp, period)
    order = argsort(xp.detach())
    xp, fp = take(xp, order), take(fp, order)
    return (
        x,
        concatenate([xp[-1:] - period, xp, xp[:1] + period]),
        concatenate([fp[-1:], fp, fp[:1]]),
    )
