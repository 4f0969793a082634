"""Products of matrices and tensors on CuPy arrays: cuBLASLt, and CuPy's own kernel for integers.

The 16-bit floats are multiplied and summed in float32 and rounded once.
"""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad.backend import contraction, formulas
from tensorgrad.backend.contraction import Labels
from tensorgrad.backend.cuda import launch
from tensorgrad.backend.cuda.formula import ElementwiseKernel, overlap
from tensorgrad.backend.cuda.kernels import cast, full, written
from tensorgrad.backend.cuda.layout import matmul_plan
from tensorgrad.backend.cuda.lt import WORKSPACE, Lt
from tensorgrad.backend.cuda.module import launches
from tensorgrad.backend.cuda.plan import OUTPUTS, NeedsCopy
from tensorgrad.expr import Formula
from tensorgrad.expr import input as variable

Array = Any

_X, _Y = variable("x"), variable("y")
ADD = ElementwiseKernel(Formula.trace("add", lambda x, y: x + y, [_X, _Y]))
MULTIPLY = ElementwiseKernel(Formula.trace("multiply", lambda x, y: x * y, [_X, _Y]))
RELU = ElementwiseKernel(formulas.RELU)
RELU_VJP = ElementwiseKernel(formulas.RELU_VJP)

WITH_BIAS = frozenset({"float16", "bfloat16", "float32"})
"""Dtypes in which cuBLASLt adds a bias within the product."""


# -- the door to cuBLASLt ----------------------------------------------------------------------

make_engine = Lt
"""What carries plans out on one device."""

_ENGINES: dict[int, Any] = {}


def engine(device: int) -> Any:
    """The engine of a device, made when its first product runs."""
    if device not in _ENGINES:
        _ENGINES[device] = make_engine()
    return _ENGINES[device]


def execute(
    x: Array, y: Array, out: Array, *, epilogue: str = "none", bias: Array | None = None,
    beta: float = 0.0,
) -> None:  # fmt: skip
    """out = epilogue(x @ y + beta out); operands that no plan reads in place are copied."""
    options = {"epilogue": epilogue, "bias": bias, "beta": beta}
    target = out
    while True:
        try:
            plan = matmul_plan(x, y, target, **options)  # type: ignore[arg-type]
            break
        except NeedsCopy as needs:
            if needs.operand == "x":
                x = launch.contiguous(x)
            elif needs.operand == "y":
                y = launch.contiguous(y)
            else:
                target = launch.contiguous(out) if beta else cupy.empty(out.shape, out.dtype)
    # It goes back to its stream at the end, for the next product there; a graph keeps its own.
    scratch = cupy.empty(WORKSPACE, np.uint8)
    launches["matmul" if epilogue == "none" else f"matmul_{epilogue}"] += 1
    engine(x.data.device_id).execute(
        plan,
        launch.address(x),
        launch.address(y),
        launch.address(target),
        bias=launch.address(bias),
        stream=launch.stream(),
        workspace=launch.address(scratch),
        workspace_bytes=scratch.size,
    )
    if target is not out:
        written(target, out)


def _product_shape(x: Array, y: Array) -> shapes.Shape:
    """The shape of x @ y; raises ValueError where the two do not fit, as NumPy does."""
    if not x.ndim or not y.ndim:
        raise ValueError(f"matmul: got shapes {x.shape} and {y.shape}, expected an axis in each")
    inner = y.shape[-2] if y.ndim > 1 else y.shape[0]
    if x.shape[-1] != inner:
        raise ValueError(f"matmul: got shapes {x.shape} @ {y.shape}, expected equal inner sizes")
    lead = shapes.broadcast(x.shape[:-2], y.shape[:-2], op="matmul")
    return (*lead, *x.shape[-2:-1], *(y.shape[-1:] if y.ndim > 1 else ()))


def matmul(x: Array, y: Array, out: Array | None = None) -> Any:
    return multiply(x, y, out)


def multiply(x: Array, y: Array, out: Array | None = None, bias: Array | None = None) -> Any:
    """x @ y (+ bias) in the dtype to which they promote."""
    shape = _product_shape(x, y)
    result = x.dtype if x.dtype == y.dtype else dtypes.result_type(x.dtype, y.dtype)
    if result.name not in OUTPUTS:  # integers and bools: CuPy's own kernel, exact
        return _whole(x, y, out, bias, result)
    x, y = (a if a.dtype == result else cast(a, result) for a in (x, y))
    fits = out is not None and out.shape == shape and out.dtype == result
    apart = fits and not (overlap(x, out) or overlap(y, out))
    found = out if apart else cupy.empty(shape, result)
    within = bias is not None and result.name in WITH_BIAS and bias.dtype == result
    if not x.size or not y.size:
        found.fill(0)  # type: ignore[union-attr]
        within = False
    elif within:
        execute(x, y, found, epilogue="bias", bias=launch.contiguous(bias))
    else:
        execute(x, y, found)
    if bias is not None and not within:
        found = ADD(found, bias, out=found if bias.dtype == result else None)
    return found if found is out else written(found, out)


def _whole(x: Array, y: Array, out: Array | None, bias: Array | None, result: Any) -> Any:
    found = cupy.matmul(x.astype(result), y.astype(result))
    return written(found if bias is None else ADD(found, bias), out)


def scale(x: Array, factor: float) -> None:
    """x ← factor x."""
    MULTIPLY(x, full((), factor, x.dtype), out=x)


# -- layers ------------------------------------------------------------------------------------


def linear(x: Array, weight: Array, bias: Array | None = None, out: Array | None = None) -> Any:
    if weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
        raise ValueError(f"linear: got a weight of shape {weight.shape}, expected (out, in)")
    if x.ndim == 2:
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

    Not by cuBLASLt's own epilogue: that is reported to turn a NaN into 0.
    """
    found = linear(x, weight, bias, out)
    return RELU(found, out=found), found


# -- tensors -----------------------------------------------------------------------------------


def contract(
    x: Array, y: Array, *, left: Labels, right: Labels, result: Labels, out: Array | None = None
) -> Any:
    """Σ over the labels that `result` lacks of x y; each label is in two of the three at least."""
    labels = (left, right, result)
    return written(contraction.contract(x, y, labels, MULTIPLY, multiply), out)
