"""A copy of an array with other elements in a part of it: by views, or by arrays of integers.

`put` writes where a row of view operations leads (its `steps`), `scatter` where `gather` reads; the
cotangent of the value is read there, that of the array is zero there. A write in place is recorded
as one of the two.
"""

from __future__ import annotations

from typing import Any

from tensorgrad import dtypes, shapes
from tensorgrad._errors import need
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import primitive
from tensorgrad.ops.axes import transpose
from tensorgrad.ops.complex import imag, of_parts, real
from tensorgrad.ops.elementwise import where
from tensorgrad.ops.gather import batch_rows, gather_p
from tensorgrad.ops.shape import astype, broadcast_to, reshape

Steps = tuple[tuple[Any, dict[str, Any]], ...]


def viewed(x: Any, steps: Steps) -> Any:
    """The part of x that the steps lead to."""
    for op, params in steps:
        x = op.bind(x, **params)
    return x


def part_of(x: Spec, steps: Steps) -> Spec:
    """Its shape and dtype."""
    for op, params in steps:
        x = op.spec(x, **params)
    return x


def zero(x: Any) -> Any:
    """A real number 0 beside x, which a part of x may be too."""
    return astype(operand(0.0, near=x), dtypes.real(x.dtype), copy=False)


def _zeros(x: Any) -> Any:
    return broadcast_to(astype(zero(x), x.dtype, copy=False), x.shape)


# -- by views ----------------------------------------------------------------------------------


def _put_batch(inputs: Any, batched: Any, *, steps: Steps) -> Any:
    x, value = inputs
    size = (x if batched[0] else value).shape[0]
    x = x if batched[0] else broadcast_to(x, (size, *x.shape))
    if not batched[1]:
        value = broadcast_to(value, (size, *value.shape))
    return _put_rows(x, value, steps)


def _put_rows(x: Any, value: Any, steps: Steps) -> Any:
    """x with the value in the part that the steps lead to in every row, one step at a time."""
    if not steps:
        region = x.shape[1:]
        lead = (1,) * (len(region) - value.ndim + 1)
        return broadcast_to(reshape(value, (x.shape[0], *lead, *value.shape[1:])), x.shape)
    (op, params), rest = steps[0], steps[1:]
    inner = _put_rows(op.batch((x,), (True,), **params), value, rest)
    if op.name == "index":
        key = (slice(None), *params["key"])
        return put_p.bind(x, inner, steps=((op, {"key": key}),))
    if op.name == "reshape":
        return reshape(inner, x.shape)
    if op.name == "transpose":
        axes = (0, *(k + 1 for k in params["axes"]))
        return transpose(inner, [axes.index(k) for k in range(len(axes))])
    if op.name == "flip":
        return op.batch((inner,), (True,), **params)
    if op.name in ("real", "imag"):
        return of_parts.bind(*((inner, imag(x)) if op.name == "real" else (real(x), inner)))
    need(op.name == "broadcast_to" and inner.shape == x.shape, "put", x=x, view=op.name,
         want="no write to a read-only view", fix="x.copy() first", error=ValueError)  # fmt: skip
    return inner


put_p: Primitive = primitive(
    "put",
    nin=2,
    spec=lambda x, value, *, steps: x,
    vjp=(
        lambda ct, out, x, value, *, steps: put_p.bind(ct, zero(ct), steps=steps),
        lambda ct, out, x, value, *, steps: viewed(ct, steps),
    ),
    jvp=(
        lambda t, out, x, value, *, steps: put_p.bind(t, zero(t), steps=steps),
        lambda t, out, x, value, *, steps: put_p.bind(_zeros(out), t, steps=steps),
    ),
    batch=_put_batch,
)
"""x with `value`, of the part's shape or without axes, in the part that `steps` lead to."""

# -- by arrays of integers ---------------------------------------------------------------------


def _block(ndim: int, width: int, at: int) -> list[int]:
    """The order of axes, a batch in front, that brings the index's axes behind the batch."""
    block = list(range(1 + at, 1 + at + width))
    return [0, *block, *(k for k in range(1, ndim) if k not in block)]


def _scatter_batch(inputs: Any, batched: Any, *, axes: shapes.Shape, at: int) -> Any:
    x, index, value = inputs
    moved, width = tuple(k + 1 for k in axes), index.ndim - 1 - batched[1]
    size = next(a.shape[0] for a, b in zip(inputs, batched) if b)
    x = x if batched[0] else broadcast_to(x, (size, *x.shape))
    full = value if batched[2] else broadcast_to(value, (size, *value.shape))
    if not batched[1]:
        single = value.ndim == batched[2]
        full = reshape(full, (size, *(1,) * (x.ndim - 1 - len(axes) + width))) if single else full
        if single:
            shape = gather_p.spec(x, index, axes=moved, at=at + 1).shape
            full = broadcast_to(full, shape)
        return scatter_p.bind(x, index, full, axes=moved, at=at + 1)
    rows = batch_rows(index, size, True)
    if full.ndim > 1:
        full = transpose(full, _block(full.ndim, width, at))
    else:
        kept = [n for k, n in enumerate(x.shape) if k and k not in moved]
        shape = (size, *index.shape[2:], *kept)
        full = broadcast_to(reshape(full, (size, *(1,) * (len(shape) - 1))), shape)
    return scatter_p.bind(x, rows, full, axes=(0, *moved), at=0)


def _scatter_value(
    ct: Any, out: Any, x: Any, index: Any, value: Any, *, axes: shapes.Shape, at: int
) -> Any:
    found = gather_p.bind(ct, index, axes=axes, at=at)
    last = last_p.bind(index, sizes=tuple([ct.shape[k] for k in axes]))
    behind = found.ndim - at - last.ndim
    return where(reshape(last, (*last.shape, *(1,) * behind)), found, zero(found))


def _scatter_zero(
    ct: Any, out: Any, x: Any, index: Any, value: Any, *, axes: shapes.Shape, at: int
) -> Any:
    return scatter_p.bind(ct, index, zero(ct), axes=axes, at=at)


last_p: Primitive = primitive(
    "last_place",
    nin=1,
    spec=lambda index, *, sizes: Spec(index.shape[1:], dtypes.bool_),
    batch=lambda inputs, batched, *, sizes: last_p.bind(
        batch_rows(inputs[0], inputs[0].shape[0], True), sizes=(inputs[0].shape[0], *sizes)
    ),
)

scatter_p: Primitive = primitive(
    "scatter",
    nin=3,
    spec=lambda x, index, value, *, axes, at: x,
    vjp=(_scatter_zero, lambda *_, **__: None, _scatter_value),
    jvp=(
        _scatter_zero,
        lambda *_, **__: None,
        lambda t, out, x, index, value, *, axes, at: scatter_p.bind(
            _zeros(out), index, t, axes=axes, at=at
        ),
    ),
    reads=((1,), (), (1,)),
    batch=_scatter_batch,
)
"""x with `value`, of the shape that `gather` gives or without axes, where `gather` reads."""
