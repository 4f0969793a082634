"""Cubic splines: piecewise cubics with two continuous derivatives.

>>> CubicSpline([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 8.0, 27.0])(1.5)
tensor(3.375)
"""

from __future__ import annotations

from typing import Any

import numpy as np  # samples and oracles only

from tensorgrad import dtypes, shapes
from tensorgrad._errors import ShapeError, need
from tensorgrad.core.calls import operands
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import operation
from tensorgrad.ops.axes import moveaxis
from tensorgrad.ops.calculus import neighbours_p
from tensorgrad.ops.elementwise import remainder, where
from tensorgrad.ops.interpolate.grid import between, picked, piece, rising
from tensorgrad.ops.interpolate.tridiagonal import tridiagonal_p
from tensorgrad.ops.join import concatenate, stack
from tensorgrad.ops.reduce import sum
from tensorgrad.ops.shape import astype, broadcast_to, reshape

NAMES = ("not-a-knot", "periodic", "clamped", "natural")


def _ends(bc_type: Any, y: Any) -> list[Any]:
    """The conditions at both ends: "not-a-knot", "periodic", or (order of derivative, value)."""
    pair = (bc_type, bc_type) if isinstance(bc_type, str) else tuple(bc_type)
    need(len(pair) == 2 and (isinstance(bc_type, str) or "periodic" not in pair), "CubicSpline",
         bc_type=bc_type, want="one name, or a condition for each end", fix="bc_type='natural'",
         error=ValueError)  # fmt: skip
    found: list[Any] = []
    for end in pair:
        order = {"clamped": 1, "natural": 2}.get(end) if isinstance(end, str) else end[0]
        named = isinstance(end, str) and end in NAMES
        need(named or (not isinstance(end, str) and order in (1, 2)), "CubicSpline", bc_type=end,
             want=f"one of {NAMES}, or (1 or 2, value)", fix="bc_type='natural'",
             error=ValueError)  # fmt: skip
        if order is None:
            found.append(end)
        else:
            value = 0.0 if isinstance(end, str) else end[1]
            value = operand(value, (y,), "CubicSpline")
            found.append((order, reshape(broadcast_to(value, y.shape[1:]), (1, -1))))
    return found


def _end_row(end: Any, h: Any, k: Any, slope: Any, next_slope: Any, sign: int) -> tuple[Any, ...]:
    """The diagonal, its neighbour and the right-hand side of the equation at an end.

    h, k: the first and second step from it, (1,); slope, next_slope: those of the two pieces.
    """
    if end == "not-a-knot":
        both = h + k
        right = ((h + 2 * both) * k * slope + h**2 * next_slope) / both
        return k, both, right
    order, value = end
    if order == 1:
        return h * 0 + 1, h * 0, value
    return 2 * h, h, 3 * h * slope - sign * 0.5 * h**2 * value


def _slopes(h: Any, slope: Any, ends: list[Any]) -> Any:
    """The derivative at each knot; h (n - 1,) and slope (n - 1, k) are of the pieces."""
    count = h.shape[0] + 1
    wide = h[:, None]
    if count == 2:
        ends = [(1, slope) if isinstance(end, str) else end for end in ends]
    if count == 3 and ends == ["not-a-knot", "not-a-knot"]:  # the parabola through three points
        one = h[:1] * 0 + 1
        first, last = (one, one, 2 * slope[:1]), (one, one, 2 * slope[1:])
    elif ends[0] == "periodic" and count > 2:
        return _periodic(h, slope)
    else:
        first = _end_row(ends[0], h[:1], h[1:2] if count > 2 else h, slope[:1], slope[1:2], 1)
        last = _end_row(ends[1], h[-1:], h[-2:-1] if count > 2 else h, slope[-1:], slope[-2:-1], -1)
    middle = 3 * (wide[1:] * slope[:-1] + wide[:-1] * slope[1:])
    none = h[:1] * 0
    diagonals = stack([
        concatenate([none, h[1:], last[1]]),
        concatenate([first[0], 2 * (h[:-1] + h[1:]), last[0]]),
        concatenate([first[1], h[:-1], none]),
    ])  # fmt: skip
    return tridiagonal_p.bind(diagonals, concatenate([first[2], middle, last[2]]))


def _periodic(h: Any, slope: Any) -> Any:
    """The derivatives of a periodic spline: the last unknown apart, the others tridiagonal."""
    wide = h[:, None]
    if h.shape[0] == 2:
        both = sum(slope / wide, axis=0, keepdims=True) / sum(1 / wide, axis=0, keepdims=True)
        return broadcast_to(both, (3, slope.shape[1]))
    before, last = concatenate([h[-1:], h[:-1]]), concatenate([slope[-1:], slope[:-1]])
    right = 3 * (before[:, None] * slope + wide * last)
    diagonals = stack([h, 2 * (before + h), before])[:, :-1]
    corner = concatenate([-h[:1], *[h[:1] * 0] * (h.shape[0] - 3), -h[-3:-2]])[:, None]
    if h.shape[0] == 3:  # both corners in one system of two unknowns
        corner = concatenate([-h[:1], -h[:1]])[:, None]
    known = tridiagonal_p.bind(diagonals, right[:-1])
    share = tridiagonal_p.bind(diagonals, corner + right[:-1, :1] * 0)
    low, high = h[-1:], before[-1:]
    top = right[-1:] - high[:, None] * known[:1] - low[:, None] * known[-1:]
    end = top / (2 * (low + high)[:, None] + high[:, None] * share[:1] + low[:, None] * share[-1:])
    found = concatenate([known + share * end, end])
    return concatenate([found, found[:1]])


class CubicSpline:
    """The cubic spline through points: `f = CubicSpline(x, y)`, then `f(places)`.

    x (n,) ascends; y has n elements along `axis`. `bc_type`: "not-a-knot", "natural", "clamped",
    "periodic", or for each end one of these or (order, value) of a derivative. Differentiable in x,
    y, the values at the ends and the places. float64 or complex128, as in SciPy; O(n). Raises
    `ShapeError` for y that does not fit x, `ValueError` unless x ascends.
    """

    def __init__(
        self, x: Any, y: Any, axis: int = 0, bc_type: Any = "not-a-knot", extrapolate: Any = None
    ) -> None:
        x, y = operands((x, y), "CubicSpline")
        axis = shapes.axis_index(axis, y.ndim, "CubicSpline")
        need(x.ndim == 1 and x.shape[0] == y.shape[axis] >= 2, "CubicSpline", x=x, y=y,
             want="a vector x, and as many y along the axis, two at least", fix="axis=-1",
             error=ShapeError)  # fmt: skip
        rising("CubicSpline", x)
        x = astype(x, dtypes.float64, copy=False)
        y = astype(moveaxis(y, axis, 0), dtypes.result_type(dtypes.float64, y.dtype), copy=False)
        ends = _ends(bc_type, y)
        if extrapolate is None:
            extrapolate = "periodic" if ends[0] == "periodic" else True
        self.x, self.axis, self.extrapolate = x, axis, extrapolate
        self._trailing = y.shape[1:]
        flat = reshape(y, (y.shape[0], -1 if y.size else 0))
        self.c = self._pieces(flat, ends)

    def _pieces(self, y: Any, ends: list[Any]) -> Any:
        """The coefficients of x³, x², x and 1 from the left end of each piece: (n - 1, 4, k)."""
        h = neighbours_p.bind(self.x, axis=0, sign=-1)
        wide = h[:, None]
        slope = neighbours_p.bind(y, axis=0, sign=-1) / wide
        s = _slopes(h, slope, ends)
        bend = (s[:-1] + s[1:] - 2 * slope) / wide
        return stack([bend / wide, (slope - s[:-1]) / wide - bend, s[:-1], y[:-1]], axis=1)

    def __call__(self, x: Any, nu: int = 0, extrapolate: Any = None) -> Any:
        """The spline at the places x, or its derivative of order `nu`."""
        x = astype(operand(x, (self.c,), "CubicSpline", self.x), dtypes.float64, copy=False)
        extrapolate = self.extrapolate if extrapolate is None else extrapolate
        first, last = self.x[0], self.x[-1]
        if extrapolate == "periodic":
            x = first + remainder(x - first, last - first)
        place = piece(x, self.x)
        found, step = picked(self.c, place), x - picked(self.x, place)
        step = step[..., None]
        value: Any = None
        for power in range(3, nu - 1, -1):
            factor = 1
            for k in range(nu):
                factor *= power - k
            term = found[..., 3 - power, :] * factor if factor > 1 else found[..., 3 - power, :]
            value = term if value is None else value * step + term
        if value is None:
            value = found[..., 0, :] * 0
        if not extrapolate:
            spot = x.detach()[..., None]
            beyond = (spot < first.detach()) | (spot > last.detach())
            value = where(beyond, float("nan"), value)
        value = reshape(value, (*x.shape, *self._trailing))
        lead = tuple(range(x.ndim))
        return moveaxis(value, lead, tuple([self.axis + k for k in lead])) if x.ndim else value


def _samples(r: Any) -> Any:
    def knots(n: int) -> Any:
        return np.cumsum(r.uniform(0.5, 1.5, n))

    for n, rest, ends in ((6, (), "not-a-knot"), (5, (), "natural"), (5, (2,), "clamped"),
                          (4, (2, 2), "not-a-knot"), (3, (), "not-a-knot"), (2, (), "not-a-knot"),
                          (2, (2,), "natural"), (3, (), "clamped"),
                          (4, (), ("natural", (1, 0.5)))):  # fmt: skip
        x = knots(n)
        yield (x, r.normal(n, *rest), between(r, x, 4)), {"bc_type": ends}
    x = knots(5)
    yield (x, r.normal(2, 5), between(r, x, 2, 3)), {"axis": 1, "nu": 1}
    yield (x, r.normal(5, 4)[:, ::2], between(r, x, 3)), {"nu": 2}
    yield (x, r.normal(5) + 1j * r.normal(5), between(r, x, 3)), {}
    yield (x, r.normal(5), np.asarray(x[-1] + 1.0)), {"extrapolate": True}
    yield (x, r.normal(5), between(r, x, 0)), {}


def _oracle(x: Any, y: Any, xi: Any, nu: int = 0, **options: Any) -> Any:
    import scipy.interpolate  # late: for import time

    return scipy.interpolate.CubicSpline(x, y, **options)(xi, nu)


@operation(oracle=_oracle, samples=_samples, namespace="interpolate")
def cubic_spline(
    x: Any, y: Any, xi: Any, axis: int = 0, bc_type: Any = "not-a-knot", nu: int = 0,
    extrapolate: Any = None,
) -> Any:  # fmt: skip
    """`CubicSpline(x, y, axis, bc_type, extrapolate)(xi, nu)`: the spline through points, at xi."""
    return CubicSpline(x, y, axis, bc_type, extrapolate)(xi, nu)
