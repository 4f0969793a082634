"""Products of matrices and tensors on NumPy arrays, one plain function per base primitive.

The 16-bit floats are multiplied in float32 and rounded once: NumPy's own loops for them are
scalar, and those of bfloat16 round every partial sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad import dtypes
from tensorgrad.backend import contraction, formulas, outer
from tensorgrad.backend.blas import DOOR
from tensorgrad.backend.contraction import Labels
from tensorgrad.backend.numpy_formula import ElementwiseKernel
from tensorgrad.backend.numpy_kernels import written

Array = np.ndarray[Any, Any]


def matmul(x: Array, y: Array, out: Array | None = None) -> Any:
    if x.itemsize == 2 or y.itemsize == 2:
        return _wide(np.matmul, x, y, out)
    return DOOR.multiply(x, y, out)


def _wide(product: Callable[..., Any], x: Array, y: Array, out: Array | None) -> Any:
    """A product whose 16-bit floats are computed in float32."""
    result = dtypes.result_type(x.dtype, y.dtype)
    inner = dtypes.compute(result)
    x, y = x.astype(inner, copy=False), y.astype(inner, copy=False)
    found = np.asarray(product(x, y)).astype(result, copy=False)
    return written(found, out)


def linear(x: Array, weight: Array, bias: Array | None = None, out: Array | None = None) -> Any:
    if x.ndim == weight.ndim == 2 and x.itemsize > 2:
        return DOOR.multiply(x, weight.T, out, bias)
    if weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
        raise ValueError(f"linear: got a weight of shape {weight.shape}, expected (out, in)")
    if x.ndim > 2:  # one product of matrices instead of one per leading index
        shape = (*x.shape[:-1], weight.shape[0])
        found = linear(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), weight, bias).reshape(shape)
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


def linear_gelu(
    x: Array, weight: Array, bias: Array, out: Array | None = None
) -> tuple[Array, Array]:
    """GELU(x Wᵀ + b) by tanh, and its argument: it is what its derivative reads."""
    kept = linear(x, weight, bias)
    return (GELU(kept) if out is None else GELU(kept, out)), kept


GELU = ElementwiseKernel(formulas.GELU, order=0)
RELU = ElementwiseKernel(formulas.RELU, order=0)
RELU_VJP = ElementwiseKernel(formulas.RELU_VJP, order=1)


def contract(
    x: Array, y: Array, *, left: Labels, right: Labels, result: Labels, out: Array | None = None
) -> Any:
    """Σ over the labels that `result` lacks of x y; each label is in two of the three at least."""
    labels = (left, right, result)
    return written(
        contraction.contract(x, y, labels, outer.multiply, lambda a, b: np.asarray(matmul(a, b))),
        out,
    )
