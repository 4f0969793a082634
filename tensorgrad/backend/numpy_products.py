"""Products of matrices and tensors on NumPy arrays, one plain function per base primitive.

The 16-bit floats are multiplied in float32 and rounded once: NumPy's own loops for them are
scalar, and those of bfloat16 round every partial sum.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from tensorgrad import dtypes
from tensorgrad.backend.blas import DOOR
from tensorgrad.backend.numpy_formula import ElementwiseKernel
from tensorgrad.backend.numpy_kernels import written
from tensorgrad.expr import Formula, call, where
from tensorgrad.expr import input as variable

Array = np.ndarray[Any, Any]
Labels = tuple[int, ...]


def matmul(x: Array, y: Array, out: Array | None = None) -> Any:
    if x.itemsize == 2 or y.itemsize == 2:
        return _wide(np.matmul, x, y, out)
    return DOOR.multiply(x, y, out)


def _wide(product: Callable[..., Any], x: Array, y: Array, out: Array | None) -> Any:
    """A product whose 16-bit floats are computed in float32."""
    result = np.result_type(x, y)
    if dtypes.is_half(result):
        x, y = x.astype(np.float32), y.astype(np.float32)
    found = np.asarray(product(x, y)).astype(result, copy=False)
    return written(found, out)


def linear(x: Array, weight: Array, bias: Array | None = None, out: Array | None = None) -> Any:
    if x.ndim == weight.ndim == 2 and x.itemsize > 2:
        return DOOR.multiply(x, weight.T, out, bias)
    if weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
        raise ValueError(f"linear: got a weight of shape {weight.shape}, expected (out, in)")
    if x.ndim > 2:  # one product of matrices instead of one per leading index
        shape = (*x.shape[:-1], weight.shape[0])
        found = linear(x.reshape(-1, x.shape[-1]), weight, bias).reshape(shape)
    else:
        found = matmul(x, weight.T)
        found = found if bias is None else np.add(found, bias)
    return written(found, out)


def linear_relu(
    x: Array, weight: Array, bias: Array, out: Array | None = None
) -> tuple[Array, Array]:
    """max(x Wᵀ + b, 0), and the same once more: it is what its derivative reads."""
    found = linear(x, weight, bias, out)
    return RELU(found, found), found


_X, _Y, _CT = (variable(name) for name in ("x", "y", "ct"))
RELU = ElementwiseKernel(Formula.trace("relu", lambda x: call("relu", x), [_X]), order=0)
RELU_VJP = ElementwiseKernel(
    Formula.trace("relu_vjp", lambda y, ct: where(y <= 0, 0, ct), [_Y, _CT]), order=1
)


class _Plan(NamedTuple):
    """How two labelled arrays meet: the axes of each in the order batch, own, contracted."""

    left: Labels
    right: Labels
    counts: tuple[int, int, int, int]  # axes: batch, left's own, right's own, contracted
    order: Labels | None


@lru_cache(maxsize=1024)
def _plan(left: Labels, right: Labels, out: Labels) -> _Plan:
    both = [k for k in left if k in right]
    batch = [k for k in both if k in out]
    summed = [k for k in both if k not in out]
    mine = [k for k in left if k not in right]
    yours = [k for k in right if k not in left]
    made = batch + mine + yours
    order = tuple(made.index(k) for k in out)
    return _Plan(
        tuple(left.index(k) for k in batch + mine + summed),
        tuple(right.index(k) for k in batch + summed + yours),
        (len(batch), len(mine), len(yours), len(summed)),
        None if order == tuple(range(len(order))) else order,
    )


def contract(
    x: Array, y: Array, *, left: Labels, right: Labels, result: Labels, out: Array | None = None
) -> Any:
    """Σ over the labels that `result` lacks of x y; each label is in two of the three at least."""
    plan = _plan(left, right, result)
    batch, mine, yours, summed = plan.counts
    x, y = x.transpose(plan.left), y.transpose(plan.right)
    if not summed:
        x = x.reshape(x.shape + (1,) * yours)
        y = y.reshape(y.shape[:batch] + (1,) * mine + y.shape[batch:])
        found = np.multiply(x, y)
    else:
        lead, own, other = x.shape[:batch], x.shape[batch : batch + mine], y.shape[batch + summed :]
        inner = int(np.prod(x.shape[batch + mine :]))
        a = x.reshape((*lead, int(np.prod(own)), inner))
        b = y.reshape((*lead, inner, int(np.prod(other))))
        found = np.asarray(matmul(a, b)).reshape(lead + own + other)
    if plan.order is not None:
        found = found.transpose(plan.order)
    return written(found, out)
