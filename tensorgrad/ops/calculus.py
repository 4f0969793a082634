"""Differences, slopes and areas of sampled functions; linear interpolation; phases unwrapped.

>>> diff([1.0, 4.0, 9.0])
tensor([3., 5.])
>>> trapezoid([1.0, 2.0, 3.0])
tensor(4.)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes, shapes
from tensorgrad._errors import DTypeError, ShapeError, need
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import operation, primitive
from tensorgrad.ops.cumulative import cumsum
from tensorgrad.ops.elementwise import remainder, where
from tensorgrad.ops.join import concatenate, pad_p
from tensorgrad.ops.shape import astype, broadcast_to, ravel, reshape, whole
from tensorgrad.ops.slicing import index_p

# -- neighbours along an axis ------------------------------------------------------------------


def _longer(x: Spec, axis: int, by: int) -> Spec:
    return Spec((*x.shape[:axis], x.shape[axis] + by, *x.shape[axis + 1 :]), x.dtype)


neighbours_p: Primitive = primitive(
    "neighbours",
    nin=1,
    spec=lambda x, *, axis, sign: _longer(x, axis, -1),
    vjp=(lambda ct, out, x, *, axis, sign: spread_p.bind(ct, axis=axis, sign=sign),),
    linear=(0,),
    batch=lambda inputs, batched, *, axis, sign: neighbours_p.bind(
        *inputs, axis=axis + 1, sign=sign
    ),
)
"""x[1:] + sign x[:-1] along an axis of one element at least."""

spread_p: Primitive = primitive(
    "spread",
    nin=1,
    spec=lambda x, *, axis, sign: _longer(x, axis, 1),
    vjp=(lambda ct, out, x, *, axis, sign: neighbours_p.bind(ct, axis=axis, sign=sign),),
    linear=(0,),
    batch=lambda inputs, batched, *, axis, sign: spread_p.bind(*inputs, axis=axis + 1, sign=sign),
)
"""The adjoint: what each x[k] gives to places k + 1 and, times the sign, k."""


def along(x: Any, axis: int, key: Any) -> Any:
    """x[..., key, ...], the key on one axis."""
    return index_p.bind(x, key=(*(slice(None),) * axis, key))


def _differences(r: Any) -> Any:
    for shape, options in (
        ((5,), {}), ((3, 4), {"axis": 0}), ((3, 4), {"axis": -1, "n": 2}), ((2, 3, 4), {"axis": 1}),
        ((3, 4), {"n": 0}), ((2, 3), {"n": 5}), ((1, 3), {"axis": 0}), ((0, 3), {}),
        ((0, 3), {"axis": 0}),
        ((3, 4), {"prepend": np.ones(()), "append": np.ones((3, 2))}),
        ((3, 4), {"axis": 0, "prepend": np.zeros((2, 4))}),
    ):  # fmt: skip
        yield (r.normal(*shape),), options
    yield (r.normal(4, 3).T,), {"axis": 0}
    yield (r.normal(6, 4)[::2, ::-1],), {}
    yield (r.normal(4) + 1j * r.normal(4),), {}
    yield (r.integers(0, 9, 5),), {}
    yield (r.bools(6),), {}


@operation(numpy="diff", oracle="diff", samples=_differences)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """The n-th difference along an axis, which becomes n shorter: a[1:] - a[:-1], n times.

    `prepend` and `append` are numbers or arrays put before and behind. Of bools: what changes.
    """
    n = whole("diff", n)
    need(n >= 0, "diff", n=n, want="0 at least", fix="n=1", error=ValueError)
    a = operand(a, (), "diff")
    if not n:
        return a
    need(a.ndim, "diff", a=a, want="one axis at least", fix="tg.atleast_1d(a)", error=ValueError)
    axis = shapes.axis_index(axis, a.ndim, "diff")
    ends = [_end(x, a, axis) for x in (prepend, append)]
    if ends != [None, None]:
        a = concatenate([x for x in (ends[0], a, ends[1]) if x is not None], axis)
    for _ in range(n):
        if not a.shape[axis]:
            return a
        if a.dtype.kind == "b":
            a = along(a, axis, slice(1, None)) != along(a, axis, slice(None, -1))
        else:
            a = neighbours_p.bind(a, axis=axis, sign=-1)
    return a


def _end(x: Any, a: Any, axis: int) -> Any:
    """What stands before or behind `a` along an axis, a number being one slice of it."""
    if x is None:
        return None
    x = operand(x, (), "diff", a)
    return x if x.ndim else broadcast_to(x, (*a.shape[:axis], 1, *a.shape[axis + 1 :]))


def _flat_differences(r: Any) -> Any:
    for x in r.layouts(lambda *s: r.normal(*s)):
        if x.size:
            yield (x,), {}
    yield (r.normal(4), r.normal(2), r.normal(2, 2)), {}
    yield (r.normal(4), None, 1.5), {}
    yield (r.integers(0, 9, 4), 7), {}


@operation(numpy="ediff1d", oracle="ediff1d", samples=_flat_differences)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    """The differences of all elements in C order, `to_begin` before them and `to_end` behind."""
    ary = ravel(operand(ary, (), "ediff1d"))
    found = neighbours_p.bind(ary, axis=0, sign=-1) if ary.size else ary
    ends = [None if x is None else _like(x, ary) for x in (to_begin, to_end)]
    if ends == [None, None]:
        return found
    return concatenate([x for x in (ends[0], found, ends[1]) if x is not None])


_KINDS = "buifc"


def _like(x: Any, ary: Any) -> Any:
    """An end of `ediff1d` in the dtype of the array, whose kind must hold it."""
    x = operand(x, (ary,), "ediff1d")
    kinds = ["f" if dtypes.is_float(v.dtype) else v.dtype.kind for v in (x, ary)]
    need(_KINDS.index(kinds[0]) <= _KINDS.index(kinds[1]), "ediff1d", ary=ary, end=x,
         want="ends of a kind that the array can hold", fix="ary.astype(float)",
         error=DTypeError)  # fmt: skip
    return astype(ravel(x), ary.dtype)


# -- areas -------------------------------------------------------------------------------------


def _steps(op: str, y: Any, x: Any, dx: Any, axis: int) -> Any:
    """The distances of the samples: dx, or those of x along its only axis, or along `axis`."""
    if x is None:
        return operand(dx, (y,), op)
    x = operand(x, (y,), op)
    if x.ndim == 1:
        x = reshape(x, (*x.shape, *(1,) * (y.ndim - axis - 1)))
        return neighbours_p.bind(x, axis=0, sign=-1)
    # NumPy counts a negative axis in each array by itself.
    return neighbours_p.bind(x, axis=axis + x.ndim - y.ndim, sign=-1)


def _areas(r: Any) -> Any:
    for shape, axis in (((5,), -1), ((3, 4), 0), ((3, 4), -1), ((2, 3, 4), 1), ((1, 3), 0),
                        ((0, 3), 1), ((2, 2), -2)):  # fmt: skip
        yield (r.normal(*shape),), {"dx": 0.5, "axis": axis}
    yield (r.normal(4, 3).T, r.normal(4)), {}
    yield (r.normal(3, 4), r.normal(3)), {"axis": 0}
    yield (r.normal(3, 4), r.normal(3, 4)), {"axis": -2}
    yield (r.normal(6, 4)[::2], r.normal(1, 4)), {}
    yield (r.normal(4) + 1j * r.normal(4),), {}
    yield (r.integers(0, 9, 5),), {}


@operation(numpy="trapezoid", oracle="trapezoid", samples=_areas)
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """The area under y by the trapezoidal rule: Σ (x[k + 1] - x[k]) (y[k + 1] + y[k]) / 2.

    x: None (steps of dx), one axis of its own, or an array like y.
    """
    y = operand(y, (), "trapezoid")
    axis = shapes.axis_index(axis, y.ndim, "trapezoid")
    pairs = neighbours_p.bind(y, axis=axis, sign=1)
    if x is None and isinstance(dx, int | float):
        return pairs.sum(axis=axis) * (dx / 2)
    terms = _steps("trapezoid", y, x, dx, axis) * pairs
    return terms.sum(axis=axis) / 2.0


def _running_oracle(
    y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1, initial: Any = None
) -> Any:
    from scipy.integrate import cumulative_trapezoid  # late: only for tests

    return cumulative_trapezoid(y, x, dx, axis, initial)


def _running(r: Any) -> Any:
    for args, options in _areas(r):
        if args[0].size and args[0].dtype.kind == "f":
            yield args, options
    yield (r.normal(3, 4),), {"axis": 0, "initial": 0}


@operation(oracle=_running_oracle, samples=_running)
def cumulative_trapezoid(
    y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1, initial: Any = None
) -> Any:
    """The areas under y up to each sample but the first, with `initial` (0) put before them.

    As `scipy.integrate.cumulative_trapezoid`.
    """
    y = operand(y, (), "cumulative_trapezoid")
    axis = shapes.axis_index(axis, y.ndim, "cumulative_trapezoid")
    pairs = neighbours_p.bind(y, axis=axis, sign=1)
    found = cumsum(_steps("cumulative_trapezoid", y, x, dx, axis) * pairs / 2.0, axis=axis)
    if initial is None:
        return found
    need(initial == 0, "cumulative_trapezoid", initial=initial, want="0 or None",
         fix="cumulative_trapezoid(y, initial=0) + value", error=ValueError)  # fmt: skip
    widths = tuple((int(k == axis), 0) for k in range(y.ndim))
    return pad_p.bind(found, widths=widths, values=((0, 0),) * y.ndim)


# -- phases ------------------------------------------------------------------------------------


def _phases(r: Any) -> Any:
    def jumps(*shape: int, axis: int = -1, period: float = 2 * math.pi) -> Any:
        smooth = np.cumsum(r.uniform(-0.35, 0.35, *shape), axis=axis)
        return period * (smooth + r.integers(-1, 2, *shape))

    for shape, axis in (((5,), -1), ((3, 4), 0), ((2, 3, 4), 1), ((1,), 0), ((0, 3), -1)):
        yield (jumps(*shape, axis=axis),), {"axis": axis}
    yield (jumps(4, 3).T,), {"axis": 0}
    yield (jumps(6, 4)[:, ::-1],), {}
    yield (jumps(6), 4.0), {}
    yield (jumps(6, period=1.7),), {"period": 1.7}
    yield (r.integers(0, 30, 8),), {"period": 6}
    yield (r.integers(0, 30, 8),), {"period": 7}


@operation(numpy="unwrap", oracle="unwrap", samples=_phases)
def unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: Any = 2 * math.pi) -> Any:
    """p plus the multiples of `period` that make its steps along an axis at most half of it.

    Steps below `discont` (half a period) stay. The derivative in p is 1.

    >>> unwrap([0.0, 1.0, 7.0], period=6.0)
    tensor([0., 1., 1.])
    """
    p = operand(p, (), "unwrap")
    need(p.ndim, "unwrap", p=p, want="one axis at least", fix="tg.atleast_1d(p)", error=ShapeError)
    axis = shapes.axis_index(axis, p.ndim, "unwrap")
    exact = p.dtype.kind in "iu" and isinstance(period, int)
    if not exact and not dtypes.is_inexact(p.dtype):
        p = astype(p, dtypes.float64)
    if p.shape[axis] < 2:
        return p
    steps = neighbours_p.bind(p.detach(), axis=axis, sign=-1)
    half, odd = divmod(period, 2) if exact else (period / 2, 0)
    turned = remainder(steps + half, period) - half
    if not odd:
        # On the boundary the step keeps its sign.
        turned = where((turned == -half) & (steps > 0), half, turned)
    turns = turned - steps
    least = half if discont is None or discont < half else discont
    turns = where(abs(steps) < least, 0, turns)
    first = along(p, axis, slice(0, 1))
    rest = along(p, axis, slice(1, None)) + cumsum(turns, axis=axis)
    return concatenate([first, rest], axis)
