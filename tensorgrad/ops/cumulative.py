"""Running operations along an axis, and the linear recurrence that their derivatives are.

Every one takes time proportional to the number of elements, at every order of derivative.
"""

from __future__ import annotations

from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes, shapes
from tensorgrad._errors import DTypeError, need
from tensorgrad.core.formula import Elementwise
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import known, operation, primitive
from tensorgrad.expr import call, equal, where
from tensorgrad.ops.axes import flip, moveaxis
from tensorgrad.ops.complex import conj
from tensorgrad.ops.join import pad_p
from tensorgrad.ops.reduce import accumulated, floating
from tensorgrad.ops.shape import all_batched, astype, reshape
from tensorgrad.ops.slicing import index_p

INF = float("inf")

# -- the linear recurrence ---------------------------------------------------------------------


def before(x: Any, first: Any = 0) -> Any:
    """x one place later along its last axis, with `first` in front."""
    lead = (slice(None),) * (x.ndim - 1)
    widths = ((0, 0),) * (x.ndim - 1) + ((1, 0),)
    kept = index_p.bind(x, key=(*lead, slice(0, max(x.shape[-1] - 1, 0))))
    if not x.shape[-1]:
        return x
    return pad_p.bind(kept, widths=widths, values=((first, 0),) * x.ndim)


def after(x: Any) -> Any:
    """x one place earlier along its last axis, with 0 behind."""
    if not x.shape[-1]:
        return x
    lead = (slice(None),) * (x.ndim - 1)
    widths = ((0, 0),) * (x.ndim - 1) + ((0, 1),)
    kept = index_p.bind(x, key=(*lead, slice(1, None)))
    return pad_p.bind(kept, widths=widths, values=((0, 0),) * x.ndim)


def _factor_ct(ct: Any, out: Any, a: Any, b: Any, *, reverse: bool) -> Any:
    moved = recurrence_p.bind(conj(a), ct, reverse=not reverse)
    return before(moved) * conj(out) if reverse else moved * conj(before(out))


def _factor_tangent(t: Any, out: Any, a: Any, b: Any, *, reverse: bool) -> Any:
    source = after(t * out) if reverse else t * before(out)
    return recurrence_p.bind(a, source, reverse=reverse)


recurrence_p: Primitive = primitive(
    "recurrence",
    nin=2,
    spec=lambda a, b, *, reverse: Spec(b.shape, dtypes.result_type(a.dtype, b.dtype)),
    vjp=(
        _factor_ct,
        lambda ct, out, a, b, *, reverse: recurrence_p.bind(conj(a), ct, reverse=not reverse),
    ),
    jvp=(_factor_tangent, None),
    linear=(1,),
    reads=((0, 2), (0,)),
    batch=lambda inputs, batched, *, reverse: recurrence_p.bind(
        *all_batched(inputs, batched), reverse=reverse
    ),
)
"""s_j = a_j s_(j-1) + b_j along the last axis; with `reverse` its adjoint, u_j = b_j + a_(j+1)
u_(j+1). The first factor is read by neither. Floats, a and b of one shape and dtype."""


# -- sums --------------------------------------------------------------------------------------

cumsum_p: Primitive = primitive(
    "cumsum",
    nin=1,
    spec=lambda x, *, axis: Spec(x.shape, accumulated(x.dtype)),
    vjp=(lambda ct, out, x, *, axis: flip(cumsum_p.bind(flip(ct, axis), axis=axis), axis),),
    linear=(0,),
    batch=lambda inputs, batched, *, axis: cumsum_p.bind(inputs[0], axis=axis + 1),
)


def _running(r: Any) -> Any:
    for x in r.layouts(r.normal):
        yield (x,), {} if x.ndim < 2 else {"axis": -1}
    yield (r.normal(3, 4),), {}
    yield (r.normal(3, 4),), {"axis": 0}


def along(op: str, a: Any, axis: int | None, dtype: Any = None) -> tuple[Any, int]:
    """The array of a running operation, flat without an axis, and its axis."""
    a = operand(a)
    if dtype is not None:
        a = astype(a, dtype, copy=False)
    if axis is None or not a.ndim:
        a, axis = reshape(a, -1), axis or 0
    return a, shapes.axis_index(axis, a.ndim, op)


@operation(numpy="cumsum", methods="cumsum", oracle="cumsum", samples=_running)
def cumsum(a: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """The running sum along an axis: y_i = a_0 + ... + a_i; without an axis, of the flat array.

    >>> cumsum([1.0, 2.0, 3.0])
    tensor([1., 3., 6.])
    """
    a, axis = along("cumsum", a, axis, dtype)
    found = cumsum_p.bind(a, axis=axis)
    return found if dtype is None else astype(found, dtype, copy=False)


# -- products ----------------------------------------------------------------------------------


def _last(function: Any, axis: int, *arrays: Any) -> Any:
    """A function of arrays whose last axis it works along, on another axis."""
    if axis == arrays[0].ndim - 1:
        return function(*arrays)
    return moveaxis(function(*[moveaxis(x, axis, -1) for x in arrays]), -1, axis)


def _products_ct(ct: Any, out: Any, x: Any) -> Any:
    moved = recurrence_p.bind(conj(x), ct, reverse=True)
    return moved * conj(before(out, 1))


def _products_tangent(t: Any, out: Any, x: Any) -> Any:
    return recurrence_p.bind(x, t * before(out, 1), reverse=False)


cumprod_p: Primitive = primitive(
    "cumprod",
    nin=1,
    spec=lambda x, *, axis: Spec(x.shape, accumulated(x.dtype)),
    vjp=(lambda ct, out, x, *, axis: _last(_products_ct, axis, ct, out, x),),
    jvp=(lambda t, out, x, *, axis: _last(_products_tangent, axis, t, out, x),),
    reads=((0, 1),),
    batch=lambda inputs, batched, *, axis: cumprod_p.bind(inputs[0], axis=axis + 1),
)


def _products(r: Any) -> Any:
    for (x,), options in _running(r):
        yield (x,), options
    x = r.uniform(0.5, 1.5, 3, 5)
    x[0, 1] = x[1, 2] = x[1, 4] = x[2, 0] = 0.0
    yield (x,), {"axis": 1}


@operation(numpy="cumprod", methods="cumprod", oracle="cumprod", samples=_products)
def cumprod(a: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """The running product along an axis: y_i = a_0 · ... · a_i; without an axis, of the flat array.

    Its derivatives are exact where elements are zero.

    >>> cumprod([2.0, 3.0, 4.0])
    tensor([ 2.,  6., 24.])
    """
    a, axis = along("cumprod", a, axis, dtype)
    found = cumprod_p.bind(a, axis=axis)
    return found if dtype is None else astype(found, dtype, copy=False)


# -- under the array API's names ---------------------------------------------------------------


def _cumulative(r: Any) -> Any:
    for x in r.layouts(r.normal):
        if x.ndim:
            yield (x,), {"axis": -1, "include_initial": x.ndim == 2}


def _standard(op: str, x: Any, axis: int | None, dtype: Any, initial: bool) -> Any:
    x = operand(x)
    x = x if x.ndim else reshape(x, 1)
    need(axis is not None or x.ndim == 1, op, x=x, axis=axis,
         want="an axis where there are several", fix="axis=0")  # fmt: skip
    axis = shapes.axis_index(axis or 0, x.ndim, op)
    found = cumsum(x, axis, dtype) if op == "cumulative_sum" else cumprod(x, axis, dtype)
    if not initial:
        return found
    widths = tuple((int(k == axis), 0) for k in range(x.ndim))
    first = int(op == "cumulative_prod")
    return pad_p.bind(found, widths=widths, values=((first, first),) * x.ndim)


@operation(numpy="cumulative_sum", oracle="cumulative_sum", samples=_cumulative)
def cumulative_sum(
    x: Any, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    """`cumsum` under the array API's name: `axis` may be left out for one axis only."""
    return _standard("cumulative_sum", x, axis, dtype, include_initial)


@operation(numpy="cumulative_prod", oracle="cumulative_prod", samples=_cumulative)
def cumulative_prod(
    x: Any, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    """`cumprod` under the array API's name: `axis` may be left out for one axis only."""
    return _standard("cumulative_prod", x, axis, dtype, include_initial)


# -- extremes ----------------------------------------------------------------------------------

same_p = known(
    Elementwise.trace(
        "same",
        lambda x, y: equal(x, y) | (call("isnan", x) & call("isnan", y)),
        differentiable=False,
    )
)


def _ties(x: Any, out: Any, dtype: Any) -> tuple[Any, Any]:
    """1 where an element is the extreme so far; 1 where the extreme stays that of one before.

    The cotangent of a running extreme is shared equally by the elements so far that are it.
    """
    hit = astype(same_p.bind(x, out), dtype)
    stays = astype(same_p.bind(out, before(out)), dtype)
    return hit, stays


def _records_ct(ct: Any, out: Any, x: Any) -> Any:
    hit, stays = _ties(x, out, ct.dtype)
    count = recurrence_p.bind(stays, hit, reverse=False)
    return hit * recurrence_p.bind(stays, ct / count, reverse=True)


def _records_tangent(t: Any, out: Any, x: Any) -> Any:
    hit, stays = _ties(x, out, t.dtype)
    count = recurrence_p.bind(stays, hit, reverse=False)
    return recurrence_p.bind(stays, t * hit, reverse=False) / count


def _running_extreme(name: str) -> Primitive:
    found: Primitive = primitive(
        name,
        nin=1,
        spec=lambda x, *, axis: x,
        vjp=(lambda ct, out, x, *, axis: _last(_records_ct, axis, ct, out, x),),
        jvp=(lambda t, out, x, *, axis: _last(_records_tangent, axis, t, out, x),),
        reads=((0, 1),),
        batch=lambda inputs, batched, *, axis: found.bind(inputs[0], axis=axis + 1),
    )
    return found


cummax_p, cummin_p = _running_extreme("cummax"), _running_extreme("cummin")


def _records(r: Any) -> Any:
    for (x,), options in _running(r):
        yield (r.apart(*x.shape),), options
    yield (r.apart(4, 3).T,), {"axis": -1}


def _running_oracle(ufunc: Any) -> Any:
    def oracle(a: Any, axis: int | None = None) -> Any:
        a = a.reshape(-1) if axis is None or not a.ndim else a
        return ufunc.accumulate(a, axis or 0)

    return oracle


@operation(oracle=_running_oracle(np.maximum), samples=_records)
def cummax(a: Any, axis: int | None = None) -> Any:
    """The running maximum along an axis: y_i = max(a_0, ..., a_i); without an axis, flat.

    Ties so far share the gradient equally; a NaN stays.

    >>> cummax([1.0, 3.0, 2.0])
    tensor([1., 3., 3.])
    """
    a, axis = along("cummax", a, axis)
    return cummax_p.bind(a, axis=axis)


@operation(oracle=_running_oracle(np.minimum), samples=_records)
def cummin(a: Any, axis: int | None = None) -> Any:
    """The running minimum along an axis: y_i = min(a_0, ..., a_i); without an axis, flat.

    Ties so far share the gradient equally; a NaN stays.
    """
    a, axis = along("cummin", a, axis)
    return cummin_p.bind(a, axis=axis)


# -- log of the running sum of exponentials ----------------------------------------------------

exp_below_p = known(
    Elementwise.trace("exp_below", lambda x, y: where(y == -INF, 0.0, call("exp", x - y)))
)


def _exps_ct(ct: Any, out: Any, x: Any) -> Any:
    kept = exp_below_p.bind(before(out, -INF), out)
    return exp_below_p.bind(x, out) * recurrence_p.bind(kept, ct, reverse=True)


def _exps_tangent(t: Any, out: Any, x: Any) -> Any:
    kept = exp_below_p.bind(before(out, -INF), out)
    return recurrence_p.bind(kept, t * exp_below_p.bind(x, out), reverse=False)


logcumsumexp_p: Primitive = primitive(
    "logcumsumexp",
    nin=1,
    spec=lambda x, *, axis: x,
    vjp=(lambda ct, out, x, *, axis: _last(_exps_ct, axis, ct, out, x),),
    jvp=(lambda t, out, x, *, axis: _last(_exps_tangent, axis, t, out, x),),
    reads=((0, 1),),
    batch=lambda inputs, batched, *, axis: logcumsumexp_p.bind(inputs[0], axis=axis + 1),
)


@operation(oracle=_running_oracle(np.logaddexp), samples=_running)
def logcumsumexp(a: Any, axis: int | None = None) -> Any:
    """log Σ_(j≤i) exp(a_j) along an axis, without overflow; without an axis, of the flat array.

    Raises `DTypeError` for complex a.

    >>> logcumsumexp([1000.0, 1000.0])
    tensor([1000.        , 1000.69314718])
    """
    a, axis = along("logcumsumexp", floating(a), axis)
    need(a.dtype.kind != "c", "logcumsumexp", a=a, want="a real array", fix="a.real",
         error=DTypeError)  # fmt: skip
    return logcumsumexp_p.bind(a, axis=axis)
