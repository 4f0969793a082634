"""Reductions over axes."""

from __future__ import annotations

from typing import Any

from tensorgrad import dtypes, shapes
from tensorgrad.core.primitive import Spec, operand
from tensorgrad.core.registry import operation, primitive
from tensorgrad.core.tensor import Tensor


def restored(ct: Any, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    """A cotangent of a reduction with the reduced axes back, of length 1."""
    return ct if keepdims else ct.reshape(shapes.reduced(x.shape, axis, True))


sum_p = primitive(
    "sum",
    nin=1,
    spec=lambda x, *, axis, keepdims: Spec(shapes.reduced(x.shape, axis, keepdims), x.dtype),
    vjp=(
        lambda ct, out, x, *, axis, keepdims: restored(ct, x, axis, keepdims).broadcast_to(x.shape),
    ),
    linear=(0,),
    batch=lambda inputs, batched, *, axis, keepdims: sum_p.bind(
        inputs[0], axis=tuple(k + 1 for k in axis), keepdims=keepdims
    ),
)


@operation(
    numpy="sum",
    methods="sum",
    oracle="sum",
    samples=lambda r: r.reductions(),
)
def sum(x: Any, axis: shapes.Axis = None, dtype: Any = None, *, keepdims: bool = False) -> Tensor:
    """The sum over axes: Σ x. Shape of x without the axes (of length 1 with `keepdims`)."""
    x = operand(x)
    if dtype is not None:
        x = x.astype(dtypes.dtype(dtype))
    return sum_p.bind(x, axis=shapes.axes(axis, x.ndim, "sum"), keepdims=keepdims)
