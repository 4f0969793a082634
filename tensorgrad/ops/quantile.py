"""Medians, quantiles and percentiles: order statistics, and what lies between two of them.

Hyndman & Fan, "Sample quantiles in statistical packages", 1996. The gradient of an order statistic
goes to the element that is it, of equal elements to the one that a stable sort puts there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad._errors import DTypeError, need
from tensorgrad.backend import base
from tensorgrad.core.calls import constant
from tensorgrad.core.formula import Elementwise
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import known, operation, primitive
from tensorgrad.core.tensor import Tensor
from tensorgrad.expr import where as choose
from tensorgrad.ops.axes import moveaxis, transpose
from tensorgrad.ops.compare import isnan, less, logical_not
from tensorgrad.ops.create import full
from tensorgrad.ops.cumulative import cumsum_p
from tensorgrad.ops.elementwise import maximum, minimum
from tensorgrad.ops.elementwise import where as select
from tensorgrad.ops.gather import add_along_p, take_along_p
from tensorgrad.ops.index import concrete, take
from tensorgrad.ops.join import concatenate
from tensorgrad.ops.reduce import mean, sum
from tensorgrad.ops.shape import all_batched, astype, broadcast_to, expand_dims, reshape
from tensorgrad.ops.sorting import argsort_p, permute_p
from tensorgrad.ops.statistics import weights_along

# -- order statistics --------------------------------------------------------------------------


def _ranked_spec(x: Spec, *, ranks: shapes.Shape) -> Spec:
    return Spec((*x.shape[:-1], len(ranks)), x.dtype)


def _ranked_ct(ct: Any, out: Any, x: Any, *, ranks: shapes.Shape) -> Any:
    places = ranked_places_p.bind(x, out, ranks=ranks)
    return add_along_p.bind(ct, places, axis=x.ndim - 1, shape=x.shape)


def _ranked_tangent(t: Any, out: Any, x: Any, *, ranks: shapes.Shape) -> Any:
    return take_along_p.bind(t, ranked_places_p.bind(x, out, ranks=ranks), axis=x.ndim - 1)


ranked_p: Primitive = primitive(
    "ranked",
    nin=1,
    spec=_ranked_spec,
    vjp=(_ranked_ct,),
    jvp=(_ranked_tangent,),
    reads=((0, 1),),
    batch=lambda inputs, batched, *, ranks: ranked_p.bind(*inputs, ranks=ranks),
)
"""The elements of the ranks, ascending, along the last axis; NaN where a row has one."""

ranked_places_p: Primitive = primitive(
    "ranked_places",
    nin=2,
    spec=lambda x, out, *, ranks: Spec(out.shape, dtypes.int64),
    batch=lambda inputs, batched, *, ranks: ranked_places_p.bind(*inputs, ranks=ranks),
)


def _picked_ct(ct: Any, out: Any, x: Any, ranks: Any) -> Any:
    places = picked_places_p.bind(x, ranks, out)
    return add_along_p.bind(ct, places, axis=x.ndim - 1, shape=x.shape)


def _picked_tangent(t: Any, out: Any, x: Any, ranks: Any) -> Any:
    return take_along_p.bind(t, picked_places_p.bind(x, ranks, out), axis=x.ndim - 1)


picked_p: Primitive = primitive(
    "picked",
    nin=2,
    spec=lambda x, ranks: Spec(ranks.shape, x.dtype),
    vjp=(_picked_ct, lambda *_: None),
    jvp=(_picked_tangent, lambda *_: None),
    reads=((0, 1, 2), ()),
    batch=lambda inputs, batched: picked_p.bind(*all_batched(inputs, batched)),
)
"""The elements of the ranks along the last axis, which every row has of its own."""

picked_places_p: Primitive = primitive(
    "picked_places",
    nin=3,
    spec=lambda x, ranks, out: Spec(ranks.shape, dtypes.int64),
    batch=lambda inputs, batched: picked_places_p.bind(*all_batched(inputs, batched)),
)

lerp_p = known(
    Elementwise.trace(
        "lerp", lambda a, b, t: choose(t >= 0.5, b - (b - a) * (1 - t), a + (b - a) * t)
    )
)

# -- which two elements, and how far between ---------------------------------------------------

Rule = Callable[[Any, Any], tuple[Any, Any, Any, Any]]
"""(n, q) -> lower and upper index, the way from one to the other (None: no way, they are one
element), and its derivative by q. Written in operators, for numbers, arrays and tensors alike."""


def _clipped(index: Any, n: Any) -> Any:
    index = index - (index - (n - 1)) * (index > n - 1)
    return index * (index > 0)


def _between(n: Any, v: Any, slope: Any, way: Any = None) -> Any:
    low = v // 1
    inside = (v >= 0) * (v < n - 1)
    return _clipped(low, n), _clipped(low + 1, n), v - low if way is None else way, inside * slope


def _continuous(alpha: float, beta: float) -> Rule:
    less = 1 - alpha - beta
    return lambda n, q: _between(n, n * q + (alpha + q * less) - 1, n + less)


def _linear(n: Any, q: Any) -> Any:
    return _between(n, (n - 1) * q, n - 1)


def _averaged(n: Any, q: Any) -> Any:
    v = n * q - 1
    return _between(n, v, 0, 1 - 0.5 * (v == v // 1))


def _midpoint(n: Any, q: Any) -> Any:
    v = (n - 1) * q
    v = 0.5 * (v // 1 - (-v) // 1)
    return _between(n, v, 0, 0.5 * (v % 1 != 0))


def _discrete(rule: Callable[[Any, Any], Any]) -> Rule:
    def found(n: Any, q: Any) -> Any:
        index = _clipped(rule(n, q), n)
        return index, index, None, None

    return found


def _inverted(n: Any, q: Any) -> Any:
    v = n * q - 1
    return v // 1 + (v != v // 1)


def _closest(n: Any, q: Any) -> Any:
    v = n * q - 1.5
    low = v // 1
    return low + 1 - (v == low) * (low % 2 == 1)


def _nearest(n: Any, q: Any) -> Any:
    v = (n - 1) * q + 0.5
    return v // 1 - (v == v // 1) * (v // 1 % 2 == 1)


METHODS: dict[str, Rule] = {
    "inverted_cdf": _discrete(_inverted),
    "averaged_inverted_cdf": _averaged,
    "closest_observation": _discrete(_closest),
    "interpolated_inverted_cdf": _continuous(0, 1),
    "hazen": _continuous(0.5, 0.5),
    "weibull": _continuous(0, 0),
    "linear": _linear,
    "median_unbiased": _continuous(1 / 3, 1 / 3),
    "normal_unbiased": _continuous(3 / 8, 3 / 8),
    "lower": _discrete(lambda n, q: ((n - 1) * q) // 1),
    "higher": _discrete(lambda n, q: -((-(n - 1) * q) // 1)),
    "midpoint": _midpoint,
    "nearest": _discrete(_nearest),
}

# -- the parts of every quantile ---------------------------------------------------------------


def _columns(op: str, a: Any, axis: shapes.Axis) -> tuple[Any, shapes.Shape]:
    """The array with its reduced axes as one, last; and these axes."""
    need(a.dtype.kind != "c", op, a=a, want="a real array", fix="a.real", error=DTypeError)
    axes = shapes.axes(axis, a.ndim, op)
    kept = [k for k in range(a.ndim) if k not in axes]
    order = (*kept, *axes)
    if order != tuple(range(a.ndim)):
        a = transpose(a, order)
    count = shapes.size(a.shape[len(kept) :])
    return reshape(a, (*a.shape[: len(kept)], count)), axes


def _levels(op: str, q: Any, top: float) -> tuple[Any, Any]:
    """The levels as an array of the host, from 0 to 1, and as a tensor if they are on the tape."""
    moving = q if isinstance(q, Tensor) and (q.node is not None or q.level) else None
    if isinstance(q, Tensor):
        array = concrete(op, q)
        values = base.of(array).to_numpy(array)
    else:
        values = np.asarray(q)
    values = values / top if top != 1 else values
    need(values.size == 0 or (values.min() >= 0 and values.max() <= 1), op, q=q,
         want=f"0 <= q <= {top:g}", fix="np.clip", error=ValueError)  # fmt: skip
    return values, None if moving is None else moving / top


def _finished(found: Any, a: Any, axes: shapes.Shape, shape: shapes.Shape, keepdims: bool) -> Any:
    """(kept axes, levels) with the levels, of `shape`, in front, and the reduced axes if kept."""
    kept = shapes.reduced(a.shape, axes, keepdims)
    if not shape:
        return reshape(found, kept)
    return reshape(moveaxis(found, -1, 0), (*shape, *kept))


def _nan(shape: shapes.Shape, a: Any) -> Any:
    """NaN, as the mean of nothing is."""
    dtype = a.dtype if dtypes.is_inexact(a.dtype) else dtypes.float64
    return full(shape, float("nan"), dtype=dtype, device=a.device)


def _way(gamma: Any, slope: Any, moving: Any, a: Any, dtype: Any) -> Any:
    """How far between two elements, in the dtype of the levels; it may move with them."""
    if moving is not None:
        move = reshape(moving - moving.detach(), (-1,))
        gamma = move * slope + gamma
    elif not isinstance(gamma, Tensor):
        gamma = constant(np.asarray(gamma, float), a)
    if dtype is None:
        dtype = dtypes.inexact(a.dtype)
    return astype(gamma, dtypes.inexact(dtype), copy=False)


def _interpolated(x: Any, levels: Any, rule: Rule, dtype: Any, moving: Any) -> Any:
    """Quantiles along the last axis of x, whose ranks are the same in every row."""
    low, high, gamma, slope = rule(x.shape[-1], np.asarray(levels, float).reshape(-1))
    low, high = low.astype(int).tolist(), high.astype(int).tolist()
    ranks = sorted({*low, *high})
    if not ranks:
        return astype(x[..., :0], dtypes.result_type(x.dtype, dtypes.float64))
    picked = ranked_p.bind(x, ranks=tuple(ranks))
    at = [[ranks.index(k) for k in part] for part in (low, high)]
    below = picked if at[0] == list(range(len(ranks))) else take(picked, at[0], -1)
    if gamma is None:
        return below
    way = _way(gamma, slope, moving, x, dtype)
    return lerp_p.bind(below, take(picked, at[1], -1), way)


def _interpolated_without_nan(x: Any, levels: Any, rule: Rule, dtype: Any, moving: Any) -> Any:
    """Quantiles along the last axis of what is a number, in every row its own ranks."""
    count = astype(sum(logical_not(isnan(x)), -1, keepdims=True), dtypes.float64)
    q = constant(np.asarray(levels, float).reshape(-1), x)
    low, high, gamma, slope = rule(count, q)
    if gamma is None:
        return picked_p.bind(x, astype(low, dtypes.int64))
    both = picked_p.bind(x, astype(concatenate([low, high], -1), dtypes.int64))
    below, above = both[..., : low.shape[-1]], both[..., low.shape[-1] :]
    return lerp_p.bind(below, above, _way(gamma, slope, moving, x, dtype))


def _weighted(op: str, x: Any, levels: Any, weights: Any, skip: bool) -> Any:
    """Quantiles along the last axis by the weighted distribution function: steps, no way between.

    The lowest element at which the normalised running sum of the weights reaches the level.
    """
    if not weights.level:
        need(not (weights < 0).any(), op, weights=weights, want="weights of 0 or more", fix="abs",
             error=ValueError)  # fmt: skip
    last = x.ndim - 1
    if skip:
        weights = select(isnan(x), 0, weights)
    order = argsort_p.bind(x, axis=last)
    ordered = permute_p.bind(x, order, axis=last)
    weights = astype(broadcast_to(weights.detach(), x.shape), dtypes.float64)
    run = cumsum_p.bind(permute_p.bind(weights, order, axis=last), axis=last)
    run = run / run[..., -1:]
    run = select(run == 0, -1.0, run)
    q = constant(np.asarray(levels, float).reshape(-1, 1), x)
    index = sum(less(expand_dims(run, -2), q), -1)
    index = minimum(index, x.shape[-1] - 1)
    found = take_along_p.bind(ordered, index, axis=last)
    if skip or not dtypes.is_inexact(x.dtype):
        return found
    return select(isnan(ordered[..., -1:]), ordered[..., -1:], found)


def _quantile(
    op: str, a: Any, q: Any, top: float, axis: Any, method: str, keepdims: bool, weights: Any,
    skip: bool,
) -> Any:  # fmt: skip
    """Every public form: `top` is the highest level, `skip` leaves NaNs out."""
    a = operand(a)
    rule = METHODS.get(method)
    need(rule is not None, op, method=method, want=f"one of {', '.join(METHODS)}",
         fix="method='linear'", error=ValueError)  # fmt: skip
    weak = type(q) in (int, float)
    levels, moving = _levels(op, q, top)
    x, axes = _columns(op, a, axis)
    skip = skip and dtypes.is_inexact(a.dtype)
    if skip and not x.shape[-1]:
        return _nan((*levels.shape, *shapes.reduced(a.shape, axes, keepdims)), a)
    need(x.shape[-1], op, a=a, axis=axes, want="at least one element along the axes",
         fix="an array that is not empty")  # fmt: skip
    if weights is not None:
        need(method == "inverted_cdf", op, method=method, want="method='inverted_cdf' with weights",
             fix="method='inverted_cdf'", error=ValueError)  # fmt: skip
        wide = weights_along(op, operand(weights, (a,)), a, axis)
        found = _weighted(op, x, levels, _columns(op, broadcast_to(wide, a.shape), axis)[0], skip)
    else:
        if method == "linear" and levels.dtype.kind in "iu":
            rule = METHODS["lower"]
        find = _interpolated_without_nan if skip else _interpolated
        dtype = None if weak else levels.dtype
        found = find(x, levels, rule, dtype, moving)  # type: ignore[arg-type]
    return _finished(found, a, axes, levels.shape, keepdims)


# -- quantiles and percentiles -----------------------------------------------------------------


def _cases(top: float, nan: bool) -> Callable[[Any], Any]:
    """Every method; axes, keepdims, levels as numbers and arrays, weights."""

    def samples(r: Any) -> Any:
        def draw(*shape: int) -> Any:
            x = r.apart(*shape)
            if nan and x.size > 3:
                x.reshape(-1)[[1, x.size // 2 + 1]] = np.nan
            return x

        for k, method in enumerate(METHODS):
            options: Any = {"method": method} if k else {}
            yield (draw(7), 0.3 * top), options
            yield (draw(5, 3), [0.35 * top, 0.0, 0.8 * top]), {**options, "axis": k % 2}
        yield (draw(6, 4)[::2, ::-1], [[0.25 * top, 0.5 * top]]), {"axis": -1, "keepdims": True}
        yield (draw(2, 3, 4), 0.9 * top), {"axis": (2, 0), "keepdims": True}
        yield (draw(4, 3).T, 1.0 * top), {"axis": 1}
        yield (r.apart(), 0.5 * top), {}
        yield (r.apart(0, 3), 0.5 * top), {"axis": 1}
        weights = r.uniform(0.5, 2.0, 5, 3) if nan else r.uniform(0.5, 2.0, 5)
        yield (draw(5, 3), [0.3 * top, 0.6 * top]), {"axis": 0, "method": "inverted_cdf",
                                                     "weights": weights}  # fmt: skip
        yield (draw(5, 3), 0.4 * top), {"method": "inverted_cdf",
                                        "weights": r.uniform(0.5, 2.0, 5, 3)}  # fmt: skip

    return samples


@operation(numpy="quantile", oracle="quantile", samples=_cases(1, False))
def quantile(
    a: Any, q: Any, axis: shapes.Axis = None, *, overwrite_input: bool = False,
    method: str = "linear", keepdims: bool = False, weights: Any = None,
) -> Any:  # fmt: skip
    """The q-th quantiles over axes, 0 <= q <= 1, by any of NumPy's thirteen methods.

    The axes of q come first. NaN where there is a NaN. The gradient by q is that of the line
    between two elements; by the weights it is zero. Raises `ValueError` for q out of range.

    >>> quantile([1.0, 2.0, 3.0, 5.0], 0.5)
    tensor(2.5)
    """
    return _quantile("quantile", a, q, 1, axis, method, keepdims, weights, False)


@operation(numpy="percentile", oracle="percentile", samples=_cases(100, False))
def percentile(
    a: Any, q: Any, axis: shapes.Axis = None, *, overwrite_input: bool = False,
    method: str = "linear", keepdims: bool = False, weights: Any = None,
) -> Any:  # fmt: skip
    """`quantile` with 0 <= q <= 100."""
    return _quantile("percentile", a, q, 100, axis, method, keepdims, weights, False)


@operation(numpy="nanquantile", oracle="nanquantile", samples=_cases(1, True))
def nanquantile(
    a: Any, q: Any, axis: shapes.Axis = None, *, overwrite_input: bool = False,
    method: str = "linear", keepdims: bool = False, weights: Any = None,
) -> Any:  # fmt: skip
    """`quantile` of what is a number; NaN where nothing is."""
    return _quantile("nanquantile", a, q, 1, axis, method, keepdims, weights, True)


@operation(numpy="nanpercentile", oracle="nanpercentile", samples=_cases(100, True))
def nanpercentile(
    a: Any, q: Any, axis: shapes.Axis = None, *, overwrite_input: bool = False,
    method: str = "linear", keepdims: bool = False, weights: Any = None,
) -> Any:  # fmt: skip
    """`percentile` of what is a number; NaN where nothing is."""
    return _quantile("nanpercentile", a, q, 100, axis, method, keepdims, weights, True)


# -- medians -----------------------------------------------------------------------------------


def _nan_cases(r: Any) -> Any:
    for (x,), options in r.several_axes(r.apart):
        x = np.array(x)
        if x.size > 3:
            x.reshape(-1)[[1, x.size // 2 + 1]] = np.nan
        yield (x,), options


@operation(numpy="median", oracle="median", samples=lambda r: r.several_axes(r.apart))
def median(
    a: Any, axis: shapes.Axis = None, *, overwrite_input: bool = False, keepdims: bool = False
) -> Any:
    """The middle element over axes, or the mean of the middle two; NaN where there is a NaN.

    >>> median([3.0, 1.0, 2.0, 7.0])
    tensor(2.5)
    """
    a = operand(a)
    x, axes = _columns("median", a, axis)
    n = x.shape[-1]
    if not n:
        return _nan(shapes.reduced(a.shape, axes, keepdims), a)
    ranks = (n // 2,) if n % 2 else (n // 2 - 1, n // 2)
    return _finished(mean(ranked_p.bind(x, ranks=ranks), -1), a, axes, (), keepdims)


@operation(numpy="nanmedian", oracle="nanmedian", samples=_nan_cases)
def nanmedian(
    a: Any, axis: shapes.Axis = None, *, overwrite_input: bool = False, keepdims: bool = False
) -> Any:
    """The median over axes of what is a number; NaN where nothing is."""
    a = operand(a)
    if not dtypes.is_inexact(a.dtype) or not a.size:
        return median(a, axis, keepdims=keepdims)
    x, axes = _columns("nanmedian", a, axis)
    count = sum(logical_not(isnan(x)), -1, keepdims=True)
    both = concatenate([maximum(count - 1, 0) // 2, count // 2], -1)
    return _finished(mean(picked_p.bind(x, both), -1), a, axes, (), keepdims)
