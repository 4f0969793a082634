"""Dense layers on CuPy arrays, forward and backward: what cuBLASLt does within a product.

The last bit of a sum may differ between a product and the launches that stand for it; which of them
runs depends on shapes, dtypes and the library alone.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import cupy

from tensorgrad import dtypes, shapes
from tensorgrad._config import get_float32_matmul_precision
from tensorgrad.backend import formulas
from tensorgrad.backend.cuda import device, launch
from tensorgrad.backend.cuda import reduce as sums
from tensorgrad.backend.cuda.formula import ElementwiseKernel
from tensorgrad.backend.cuda.kernels import written
from tensorgrad.backend.cuda.products import ADD, execute, multiply, with_bias
from tensorgrad.backend.cuda.staged import ReduceKernel

Array = Any

RELU = ElementwiseKernel(formulas.RELU)
RELU_VJP = ElementwiseKernel(formulas.RELU_VJP)
GELU = ElementwiseKernel(formulas.GELU)


def linear(x: Array, weight: Array, bias: Array | None = None, out: Array | None = None) -> Any:
    if weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
        raise ValueError(f"linear: got a weight of shape {weight.shape}, expected (out, in)")
    if x.ndim == 2 or (x.ndim > 2 and not x.flags.c_contiguous):
        return multiply(x, weight.T, out, bias)
    if x.ndim < 2:
        found = multiply(x, weight.T)
        return written(found if bias is None else ADD(found, bias), out)
    shape = (*x.shape[:-1], weight.shape[0])  # one product instead of one per leading index
    flat = multiply(x.reshape(shapes.size(x.shape[:-1]), x.shape[-1]), weight.T, None, bias)
    return written(flat.reshape(shape), out)


def linear_relu(
    x: Array, weight: Array, bias: Array, out: Array | None = None
) -> tuple[Array, Array]:
    """max(x Wᵀ + b, 0), and the same once more: it is what its derivative reads.

    Not by cuBLASLt's own epilogue: what that makes of a NaN is not documented.
    """
    found = linear(x, weight, bias, out)
    return RELU(found, out=found), found


def linear_gelu(
    x: Array, weight: Array, bias: Array, out: Array | None = None
) -> tuple[Array, Array]:
    """GELU(x Wᵀ + b) by tanh, and its argument: it is what its derivative reads."""
    columns = weight.shape[0] if weight.ndim == 2 else 0
    if not (x.dtype == weight.dtype == bias.dtype and x.size and gelu_within(x.dtype, columns)):
        kept = linear(x, weight, bias)
        return GELU(kept, out=out), kept
    if x.shape[-1:] != weight.shape[1:] or bias.shape != weight.shape[:1]:
        raise ValueError(f"linear_gelu: got {x.shape}, {weight.shape} and {bias.shape}")
    flat = x.reshape(x.size // x.shape[-1], x.shape[-1])
    found, kept = (cupy.empty((flat.shape[0], columns), x.dtype) for _ in range(2))

    def apart(out: Array, bias: Array, aux: Array) -> None:
        with_bias(flat, weight.T, aux, bias)
        GELU(aux, out=out)

    bias = launch.contiguous(bias)
    execute(flat, weight.T, found, epilogue="gelu_aux_bias", bias=bias, aux=kept, apart=apart)
    shape = (*x.shape[:-1], columns)
    return written(found.reshape(shape), out), kept.reshape(shape)


def gelu_within(dtype: Any, columns: int) -> bool:
    """Whether GELU is left to cuBLASLt's epilogue.

    How exact its tanh is in float32 is not stated, so there only where TF32 was asked for. The
    argument that it keeps has rows of a multiple of 8 elements.
    """
    wide = dtype.name == "float32" and get_float32_matmul_precision() == "high"
    return columns > 0 and columns % 8 == 0 and (wide or dtypes.is_half(dtype))


class Product:
    """A cotangent that is still to be multiplied, ct @ weight: what comes next may take part in it.

    A GELU behind it then costs no pass over the matrix (`gelu_cotangent`).
    """

    __slots__ = ("ct", "data", "dtype", "shape", "weight")

    def __init__(self, ct: Array, weight: Array, shape: shapes.Shape) -> None:
        self.ct, self.weight, self.shape, self.dtype = ct, weight, shape, ct.dtype
        self.data = ct.data  # where it is

    def value(self) -> Array:
        """The cotangent."""
        with device.using(self.data.device_id):
            return multiply(self.ct, self.weight).reshape(self.shape)


def gelu_cotangent(product: Product, kept: Array, bias: Array | None) -> Array:
    """(ct @ weight) · GELU'(kept), and into `bias` its sum over the rows, in one product."""
    rows, columns = product.ct.shape[0], product.weight.shape[1]
    found = cupy.empty((rows, columns), product.dtype)

    def apart(out: Array, bias: Array | None, aux: Array) -> None:
        execute(product.ct, product.weight, out)
        gelu_vjp()(aux, out, out=out)
        if bias is not None:
            sum_rows(out, bias)

    execute(
        product.ct, product.weight, found, epilogue="dgelu" if bias is None else "dgelu_bgrad",
        bias=bias, aux=launch.contiguous(kept.reshape(rows, columns)), apart=apart,
    )  # fmt: skip
    return found


@cache
def gelu_vjp() -> ElementwiseKernel:
    """The kernel of ct · GELU'(kept), of kept and ct."""
    return ElementwiseKernel(formulas.gelu_vjp())


def weight_gradients(ct: Array, x: Array, weight: Array, bias: Array, beta: float) -> None:
    """weight ← ctᵀ x + beta weight, and bias ← Σ of ct over its rows, in one product."""

    def apart(weight: Array, bias: Array, aux: Any) -> None:
        execute(ct.T, x, weight, beta=beta)
        sum_rows(ct, bias)

    execute(ct.T, x, weight, epilogue="bgrad_x", bias=bias, beta=beta, apart=apart)


_SUM = ReduceKernel(formulas.SUM_ROWS)


def sum_rows(x: Array, out: Array | None) -> Any:
    """Σ over the rows of a matrix, parts of them first: the order depends on the shape alone."""
    if not x.size or x.dtype.kind == "c":
        return sums.sum(x, axis=(0,), keepdims=False, out=out)
    return _SUM(x, axis=(1,), shape=x.shape, out=out)
