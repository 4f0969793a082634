"""Operations that rearrange elements and leave their values alone."""

from __future__ import annotations

from typing import Any

from tensorgrad import dtypes, shapes
from tensorgrad.core.primitive import Spec, operand
from tensorgrad.core.registry import operation, primitive
from tensorgrad.core.tensor import Tensor

sum_to_p = primitive(
    "sum_to",
    nin=1,
    spec=lambda x, *, shape: Spec(shape, x.dtype),
    vjp=(lambda ct, out, x, *, shape: broadcast_to(ct, x.shape),),
    linear=(0,),
    batch=lambda inputs, batched, *, shape: _sum_to_batch(inputs[0], shape),
)


def _sum_to_batch(x: Tensor, shape: shapes.Shape) -> Tensor:
    lead = x.ndim - 1 - len(shape)
    aligned = (x.shape[0], *(1,) * lead, *shape)
    return sum_to_p.bind(x, shape=aligned).reshape((x.shape[0], *shape))


@operation(methods="sum_to", oracle=lambda x, shape: x, samples=lambda r: ())
def sum_to(x: Any, shape: shapes.Shape) -> Tensor:
    """Sum over the axes along which `shape` would be repeated to reach x's: broadcast_to's VJP."""
    return sum_to_p.bind(operand(x), shape=tuple(shape))


broadcast_to_p = primitive(
    "broadcast_to",
    nin=1,
    spec=lambda x, *, shape: Spec(shape, x.dtype),
    vjp=(lambda ct, out, x, *, shape: sum_to(ct, x.shape),),
    linear=(0,),
    batch=lambda inputs, batched, *, shape: broadcast_to_p.bind(
        inputs[0].reshape(
            (inputs[0].shape[0], *(1,) * (len(shape) - inputs[0].ndim + 1), *inputs[0].shape[1:])
        ),
        shape=(inputs[0].shape[0], *shape),
    ),
)


@operation(numpy="broadcast_to", methods="broadcast_to", oracle="broadcast_to", samples=lambda r: ())
def broadcast_to(x: Any, shape: shapes.Shape) -> Tensor:
    """x repeated to `shape` by NumPy's broadcasting; a read-only view."""
    return broadcast_to_p.bind(operand(x), shape=tuple(shape))


reshape_p = primitive(
    "reshape",
    nin=1,
    spec=lambda x, *, shape: Spec(shape, x.dtype),
    vjp=(lambda ct, out, x, *, shape: ct.reshape(x.shape),),
    linear=(0,),
    batch=lambda inputs, batched, *, shape: reshape_p.bind(
        inputs[0], shape=(inputs[0].shape[0], *shape)
    ),
)


@operation(numpy="reshape", methods="reshape", oracle="reshape", samples=lambda r: ())
def reshape(x: Any, shape: Any) -> Tensor:
    """The same elements in C order under another shape; one length may be -1."""
    return reshape_p.bind(operand(x), shape=shape)


astype_p = primitive(
    "astype",
    nin=1,
    spec=lambda x, *, dtype: Spec(x.shape, dtype),
    vjp=(lambda ct, out, x, *, dtype: ct.astype(x.dtype),),
    linear=(0,),
    batch=lambda inputs, batched, *, dtype: astype_p.bind(inputs[0], dtype=dtype),
)


@operation(methods="astype", oracle=lambda x, dtype: x.astype(dtype), samples=lambda r: ())
def astype(x: Any, dtype: Any) -> Tensor:
    """The elements cast to another dtype; off the tape where the result is no float."""
    return astype_p.bind(operand(x), dtype=dtypes.dtype(dtype))
