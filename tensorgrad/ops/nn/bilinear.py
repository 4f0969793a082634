"""The form that is linear in each of two inputs."""

from __future__ import annotations

from typing import Any

import numpy as np  # oracles only

from tensorgrad._errors import need
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import operation
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops.einsum import einsum


def _oracle(x: Any, y: Any, w: Any, b: Any = None) -> Any:
    found = np.einsum("...i,kij,...j->...k", x, w, y)
    return found if b is None else found + b


def _samples(r: Any) -> Any:
    for lead, i, j, k in (
        ((2,), 3, 2, 4), ((), 2, 2, 1), ((2, 3), 1, 2, 2), ((0,), 2, 3, 2), ((1,), 1, 1, 1),
        ((2,), 2, 1, 3),
    ):  # fmt: skip
        yield (r.normal(*lead, i), r.normal(*lead, j), r.normal(k, i, j), r.normal(k)), {}
    yield (r.normal(2, 3), r.normal(2, 2), r.normal(2, 3, 2)), {}
    x, y = r.normal(3, 4).T[::2, ::-1], r.normal(2, 4)[:, ::2]
    yield (x, y, r.normal(2, 3, 2).transpose(2, 1, 0)), {}


@operation(oracle=_oracle, samples=_samples, namespace="nn")
def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Tensor:
    """y_k = x₁ᵀ W_k x₂ + b_k, over the last axes of x₁ = input1 and x₂ = input2.

    input1 is (..., in1_features), input2 (..., in2_features), weight (out_features, in1_features,
    in2_features), bias (out_features,) or None, the result (..., out_features). Raises
    `ShapeError` for other shapes.

    >>> bilinear([1.0, 2.0], [3.0], [[[1.0], [1.0]]])
    tensor([9.])
    """
    op = "bilinear"
    w = operand(weight, (), op)
    x, y = operand(input1, (w,), op), operand(input2, (w,), op)
    need(w.ndim == 3, op, weight=w, want="(out_features, in1_features, in2_features)",
         fix="weight[None]")  # fmt: skip
    fits = x.ndim and y.ndim and x.shape[:-1] == y.shape[:-1]
    need(fits and (x.shape[-1], y.shape[-1]) == w.shape[1:], op, input1=x, input2=y, weight=w,
         want=f"inputs (..., {w.shape[1]}) and (..., {w.shape[2]}) of the same leading axes",
         fix="bilinear(input2, input1, ...) where they are the other way round")  # fmt: skip
    out = einsum("...i,kij,...j->...k", x, w, y)
    if bias is None:
        return out  # type: ignore[no-any-return]
    b = operand(bias, (out,), op)
    need(b.shape == w.shape[:1], op, bias=b, weight=w, want=f"a bias of shape {w.shape[:1]}",
         fix="bias.reshape(-1)")  # fmt: skip
    return out + b  # type: ignore[no-any-return]
