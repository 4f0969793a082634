"""Linear filters along an axis: forward O(n), and backward O(n) by the filter of reversed time.

>>> lfilter([1.0], [1.0, -0.5], [1.0, 0.0, 0.0])
tensor([1.  , 0.5 , 0.25])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np  # samples only

from tensorgrad import dtypes, shapes
from tensorgrad._errors import ShapeError, need
from tensorgrad.core.calls import operands
from tensorgrad.core.primitive import Primitive, Spec
from tensorgrad.core.registry import operation, primitive
from tensorgrad.ops.axes import moveaxis
from tensorgrad.ops.complex import conj
from tensorgrad.ops.join import pad_p
from tensorgrad.ops.shape import all_batched, astype, broadcast_to, reshape
from tensorgrad.ops.slicing import index_p

# -- the primitives ----------------------------------------------------------------------------


def _like_signal(h: Spec, x: Spec, *, reverse: bool) -> Spec:
    return Spec(x.shape, dtypes.result_type(h.dtype, x.dtype))


def _taps(x: Any, w: Any, h: Any, reverse: bool) -> Any:
    """Σ_n x*[n - i] w[n], or x*[n + i] of reversed time, for every tap of h."""
    pair = (w, conj(x)) if reverse else (conj(x), w)
    return lagged_p.bind(*pair, count=h.shape[-1], lead=h.ndim - 1)


def _batch(bind: Any, inputs: Sequence[Any], batched: Sequence[bool], reverse: bool) -> Any:
    if batched[0] or inputs[0].ndim > 1:
        inputs = all_batched(inputs, batched)
    return bind(*inputs, reverse=reverse)


taps_p: Primitive = primitive(
    "taps",
    nin=2,
    spec=_like_signal,
    vjp=(
        lambda ct, out, h, x, *, reverse: _taps(x, ct, h, reverse),
        lambda ct, out, h, x, *, reverse: taps_p.bind(conj(h), ct, reverse=not reverse),
    ),
    linear=(0, 1),
    reads=((1,), (0,)),
    batch=lambda inputs, batched, *, reverse: _batch(taps_p.bind, inputs, batched, reverse),
)
"""y[..., n] = Σ_i h[i] x[..., n - i], x being 0 before its start; `reverse`: x[..., n + i].

The axes of h before its last are the first of x: a filter for each.
"""

lagged_p: Primitive = primitive(
    "lagged",
    nin=2,
    spec=lambda x, w, *, count, lead: Spec(
        (*x.shape[:lead], count), dtypes.result_type(x.dtype, w.dtype)
    ),
    vjp=(
        lambda ct, out, x, w, *, count, lead: taps_p.bind(ct, conj(w), reverse=True),
        lambda ct, out, x, w, *, count, lead: taps_p.bind(ct, conj(x), reverse=False),
    ),
    linear=(0, 1),
    reads=((1,), (0,)),
    batch=lambda inputs, batched, *, count, lead: lagged_p.bind(
        *all_batched(inputs, batched), count=count, lead=lead + 1
    ),
)
"""c[i] = Σ x[..., n - i] w[..., n] over all axes but the first `lead`, for i < count."""


def _feedback_vjp(ct: Any, out: Any, a: Any, u: Any, *, reverse: bool) -> Any:
    return -_taps(out, feedback_p.bind(conj(a), ct, reverse=not reverse), a, reverse)


def _feedback_jvp(t: Any, out: Any, a: Any, u: Any, *, reverse: bool) -> Any:
    return -feedback_p.bind(a, taps_p.bind(t, out, reverse=reverse), reverse=reverse)


feedback_p: Primitive = primitive(
    "feedback",
    nin=2,
    spec=_like_signal,
    vjp=(
        _feedback_vjp,
        lambda ct, out, a, u, *, reverse: feedback_p.bind(conj(a), ct, reverse=not reverse),
    ),
    jvp=(_feedback_jvp, None),
    linear=(1,),
    reads=((0, 2), (0,)),
    batch=lambda inputs, batched, *, reverse: _batch(feedback_p.bind, inputs, batched, reverse),
)
"""y of Σ_j a[j] y[..., n - j] = u[..., n] (`reverse`: n + j); axes as in `taps`."""


# -- arguments ---------------------------------------------------------------------------------


def floating(op: str, values: tuple[Any, ...]) -> list[Any]:
    """Values as tensors of one floating dtype, float64 for whole numbers."""
    found = operands(values, op)
    dtype = dtypes.result_type(*[x.dtype for x in found])
    dtype = dtype if dtypes.is_inexact(dtype) else dtypes.float64
    return [astype(x, dtype, copy=False) for x in found]


def coefficients(op: str, **given: Any) -> list[Any]:
    """The two polynomials of a filter as vectors."""
    found = []
    for name, x in given.items():
        x = x if x.ndim else reshape(x, (1,))
        need(x.ndim == 1 and x.size, op, **{name: x}, want="a vector of one element at least",
             fix=f"{name}.ravel()", error=ShapeError)  # fmt: skip
        found.append(x)
    return found


def _state(op: str, zi: Any, x: Any, order: int, axis: int) -> Any:
    """The state before the signal, its axis last, of the shape that x and the filter want."""
    wanted = (*x.shape[:-1], order)
    given = moveaxis(zi, axis, -1) if zi.ndim == x.ndim else zi
    fits = given.ndim == x.ndim and given.shape[-1] == order
    fits = fits and all(n in (1, m) for n, m in zip(given.shape, wanted))
    need(fits, op, zi=zi, x=x, want=f"as many axes as x, and {order} states along the axis",
         fix="zi=zi[None]", error=ShapeError)  # fmt: skip
    return broadcast_to(given, wanted)


def _tail(h: Any, x: Any, order: int) -> Any:
    """Σ_i h[i] x[n - i] at the `order` places behind the end of x."""
    kept = min(order, x.shape[-1])
    key = (*(slice(None),) * (x.ndim - 1), slice(x.shape[-1] - kept, None))
    last = index_p.bind(x, key=key)
    wide = (*((0, 0),) * (x.ndim - 1), (order - kept, order))
    last = pad_p.bind(last, widths=wide, values=((0, 0),) * x.ndim)
    key = (*(slice(None),) * (x.ndim - 1), slice(order, None))
    return index_p.bind(taps_p.bind(h, last, reverse=False), key=key)


def _begun(u: Any, zi: Any) -> Any:
    """u with the state added to its first places; and what of the state lies behind its end."""
    count, order = u.shape[-1], zi.shape[-1]
    lead = (slice(None),) * (zi.ndim - 1)
    inside = index_p.bind(zi, key=(*lead, slice(0, min(count, order))))
    outside = index_p.bind(zi, key=(*lead, slice(min(count, order), None)))
    gap = (*((0, 0),) * (zi.ndim - 1), (0, max(count - order, 0)))
    u = u + pad_p.bind(inside, widths=gap, values=((0, 0),) * zi.ndim)
    rest = (*((0, 0),) * (zi.ndim - 1), (0, order - outside.shape[-1]))
    return u, pad_p.bind(outside, widths=rest, values=((0, 0),) * zi.ndim)


def filtered(op: str, b: Any, a: Any, x: Any, zi: Any = None, axis: int = -1) -> Any:
    """The filter along the last axis of x, and the state behind it where one was given before.

    `axis` is where that axis lies in `zi`.
    """
    order = max(a.shape[0], b.shape[0]) - 1
    u = taps_p.bind(b, x, reverse=False)
    if zi is None:
        return feedback_p.bind(a, u, reverse=False)
    b, a, u = b / a[:1], a / a[:1], u / a[:1]
    u, beyond = _begun(u, _state(op, zi, x, order, axis))
    y = feedback_p.bind(a, u, reverse=False)
    return y, _tail(b, x, order) - _tail(a, y, order) + beyond


# -- operations --------------------------------------------------------------------------------


def _samples(r: Any) -> Any:
    def draw(n: int) -> Any:
        return np.concatenate([r.uniform(0.8, 1.5, 1), r.uniform(-0.3, 0.3, n - 1)])

    for shape, axis, n, m in (((8,), -1, 3, 3), ((8,), 0, 1, 3), ((8,), -1, 4, 1),
                              ((3, 5), 0, 2, 2), ((3, 5), 1, 1, 1), ((2, 3, 4), 1, 2, 3),
                              ((2,), -1, 4, 5), ((1, 3, 1), -2, 2, 2)):  # fmt: skip
        yield (r.normal(n), draw(m), r.normal(*shape), axis), {}
    yield (r.normal(2), draw(2), r.normal(6, 4)[::2, ::-1]), {"axis": 0}
    z = r.normal(6) + 1j * r.normal(6)
    yield (r.normal(2) + 0.5j, draw(3) * (1 + 0.2j), z), {}
    yield (r.normal(3), draw(2), r.normal(2, 5), 1, r.normal(2, 2)), {}
    yield (r.normal(2), draw(4), r.normal(2, 5), 1, r.normal(1, 3)), {}
    yield (r.normal(3), draw(4), r.normal(2, 2), 0, r.normal(3, 2)), {}


@operation(oracle="scipy.signal.lfilter", samples=_samples, namespace="signal")
def lfilter(b: Any, a: Any, x: Any, axis: int = -1, zi: Any = None) -> Any:
    """y of Σ_j a[j] y[n - j] = Σ_i b[i] x[n - i] along an axis; differentiable in all of them.

    With `zi`, the state before the signal (max(len(a), len(b)) - 1 numbers along the axis), it is
    (y, the state behind it). float64 for whole numbers. a[0] = 0 gives infinities.
    """
    if zi is None:
        b, a, x = floating("lfilter", (b, a, x))
    else:
        b, a, x, zi = floating("lfilter", (b, a, x, zi))
    b, a = coefficients("lfilter", b=b, a=a)
    axis = shapes.axis_index(axis, x.ndim, "lfilter")
    moved = moveaxis(x, axis, -1)
    if zi is None:
        return moveaxis(filtered("lfilter", b, a, moved), -1, axis)
    y, zf = filtered("lfilter", b, a, moved, zi, axis)
    return moveaxis(y, -1, axis), moveaxis(zf, -1, axis)
