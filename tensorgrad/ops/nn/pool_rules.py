"""The primitives of pooling: closed under differentiation, over the last axes of any array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tensorgrad import dtypes, shapes
from tensorgrad.backend.spans import Spans, transposed
from tensorgrad.core.primitive import Primitive, Spec
from tensorgrad.core.registry import primitive
from tensorgrad.ops.shape import all_batched

Shape = shapes.Shape


def _resized(x: Spec, shape: Shape) -> Spec:
    return Spec((*x.shape[: x.ndim - len(shape)], *shape), x.dtype)


def _size(x: Any, kernel: Shape) -> Shape:
    return x.shape[x.ndim - len(kernel) :]  # type: ignore[no-any-return]


def _max_ct(ct: Any, out: Any, x: Any, *, shape: Shape, **p: Any) -> Any:
    tap = max_taps_p.bind(x, out, **p)
    return pool_spread_p.bind(ct, tap, shape=_size(x, p["kernel"]), **p)


def _max_tangent(t: Any, out: Any, x: Any, *, shape: Shape, **p: Any) -> Any:
    return pool_pick_p.bind(t, max_taps_p.bind(x, out, **p), shape=shape, **p)


def _batch(inputs: Sequence[Any], batched: Sequence[bool], found: Primitive, p: Any) -> Any:
    """Every leading axis is a batch already."""
    return found.bind(*all_batched(inputs, batched), **p)


max_pool_p: Primitive = primitive(
    "max_pool",
    nin=1,
    spec=lambda x, *, shape, **p: _resized(x, shape),
    vjp=(_max_ct,),
    jvp=(_max_tangent,),
    reads=((0, 1),),
    batch=lambda inputs, batched, **p: _batch(inputs, batched, max_pool_p, p),
)
"""The largest element of each window; see backend/numpy_pool.py.

Its place is found again for the gradient, out of input and output, which the layers around keep
anyway: an index of 8 bytes a window would be memory on top.
"""

max_taps_p: Primitive = primitive(
    "max_taps",
    nin=2,
    spec=lambda x, y, *, kernel, **p: Spec(
        y.shape, dtypes.dtype("uint8" if shapes.size(kernel) < 256 else "int32")
    ),
    batch=lambda inputs, batched, **p: _batch(inputs, batched, max_taps_p, p),
)
"""The place of the largest element in its window."""

pool_pick_p: Primitive = primitive(
    "pool_pick",
    nin=2,
    spec=lambda x, tap, *, shape, **p: _resized(x, shape),
    vjp=(
        lambda ct, out, x, tap, *, shape, kernel, **p: pool_spread_p.bind(
            ct, tap, shape=_size(x, kernel), kernel=kernel, **p
        ),
        lambda *_, **__: None,
    ),
    linear=(0,),
    reads=((1,), ()),
    batch=lambda inputs, batched, **p: _batch(inputs, batched, pool_pick_p, p),
)
"""The element of each window at a given place."""

pool_spread_p: Primitive = primitive(
    "pool_spread",
    nin=2,
    spec=lambda ct, tap, *, shape, **p: _resized(ct, shape),
    vjp=(
        lambda g, out, ct, tap, *, shape, kernel, **p: pool_pick_p.bind(
            g, tap, shape=_size(ct, kernel), kernel=kernel, **p
        ),
        lambda *_, **__: None,
    ),
    linear=(0,),
    reads=((1,), ()),
    batch=lambda inputs, batched, **p: _batch(inputs, batched, pool_spread_p, p),
)
"""The adjoint of `pool_pick`: what windows have, added up at the elements that they picked."""

avg_pool_p: Primitive = primitive(
    "avg_pool",
    nin=1,
    spec=lambda x, *, shape, **p: _resized(x, shape),
    vjp=(
        lambda ct, out, x, *, shape, kernel, **p: avg_spread_p.bind(
            ct, shape=_size(x, kernel), kernel=kernel, **p
        ),
    ),
    linear=(0,),
    batch=lambda inputs, batched, **p: _batch(inputs, batched, avg_pool_p, p),
)
"""The mean of each window."""

avg_spread_p: Primitive = primitive(
    "avg_spread",
    nin=1,
    spec=lambda ct, *, shape, **p: _resized(ct, shape),
    vjp=(
        lambda g, out, ct, *, shape, kernel, **p: avg_pool_p.bind(
            g, shape=_size(ct, kernel), kernel=kernel, **p
        ),
    ),
    linear=(0,),
    batch=lambda inputs, batched, **p: _batch(inputs, batched, avg_spread_p, p),
)
"""The adjoint of `avg_pool`."""

# -- windows of any lengths --------------------------------------------------------------------


def _spanned(x: Spec, *, spans: Spans, axis: int) -> Spec:
    return Spec((*x.shape[:axis], len(spans), *x.shape[axis + 1 :]), x.dtype)


span_sum_p: Primitive = primitive(
    "span_sum",
    nin=1,
    spec=_spanned,
    vjp=(
        lambda ct, out, x, *, spans, axis: span_sum_p.bind(
            ct, spans=transposed(spans, x.shape[axis]), axis=axis
        ),
    ),
    linear=(0,),
    batch=lambda inputs, batched, *, spans, axis: span_sum_p.bind(
        inputs[0], spans=spans, axis=axis + 1
    ),
)
"""Σ of stretches (start, stop) of an axis, in order; its adjoint is one too."""

span_argmax_p: Primitive = primitive(
    "span_argmax",
    nin=1,
    spec=lambda x, *, size, spans: Spec(
        (*x.shape[: x.ndim - len(size)], *[len(one) for one in spans]), dtypes.int64
    ),
    batch=lambda inputs, batched, **p: _batch(inputs, batched, span_argmax_p, p),
)
"""The number in its image of the first largest element of each window; NaN is the largest."""
