"""The affine map of a dense layer, alone and with the activation that often follows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes, shapes
from tensorgrad._errors import need
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import fused, operation, primitive
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops.activations import gelu, relu
from tensorgrad.ops.complex import conj
from tensorgrad.ops.products import matmul, turned


def _linear_spec(x: Spec, weight: Spec, bias: Spec | None = None) -> Spec:
    fix = "weight.reshape(out_features, in_features)"
    need(weight.ndim == 2, "linear", weight=weight, want="(out_features, in_features)", fix=fix)
    need(
        bias is None or bias.shape == weight.shape[:1],
        "linear",
        bias=bias,
        weight=weight,
        want=f"a bias of shape {weight.shape[:1]}, one number per row of the weight",
        fix="bias.reshape(-1)",
    )
    need(
        x.ndim and x.shape[-1] == weight.shape[1],
        "linear",
        x=x,
        weight=weight,
        want=f"x.shape[-1] == in_features == {weight.shape[1]} (weight is (out, in))",
        fix="weight.T if the weight is (in, out), or x.reshape(len(x), -1)",
    )
    found = [s.dtype for s in (x, weight, bias) if s is not None]
    return Spec((*x.shape[:-1], weight.shape[0]), dtypes.result_type(*found))


def _linear_weight(ct: Any, out: Any, x: Any, *others: Any) -> Any:
    x, ct = (t.reshape((shapes.size(t.shape[:-1]), t.shape[-1])) for t in (conj(x), ct))
    return matmul(turned(ct), x)


def _linear_batch(inputs: Sequence[Any], batched: Sequence[bool]) -> Any:
    if not any(batched[1:]):
        return linear_p.bind(*inputs)
    x, weight, *bias = inputs
    weight = turned(weight)
    if batched[1]:
        rank = x.ndim - batched[0]
        weight = weight.reshape((weight.shape[0], *(1,) * (rank - 2), *weight.shape[1:]))
    if batched[0] and x.ndim == 2 and batched[1]:
        out = matmul(x.reshape((x.shape[0], 1, x.shape[1])), weight)
        out = out.reshape((out.shape[0], out.shape[2]))
    else:
        out = matmul(x, weight)
    for b, has in zip(bias, batched[2:]):
        if has and not (batched[0] or batched[1]):
            out = out.reshape((1, *out.shape))
        out = out + (b.reshape((b.shape[0], *(1,) * (out.ndim - 2), b.shape[1])) if has else b)
    return out


linear_p: Primitive = primitive(
    "linear",
    nin=3,
    spec=_linear_spec,
    vjp=(
        lambda ct, out, x, weight, *bias: matmul(ct, conj(weight)),
        _linear_weight,
        lambda ct, out, *inputs: ct,
    ),
    jvp=(
        lambda t, out, x, weight, bias: linear(t, weight),
        lambda t, out, x, *others: linear(x, t),
        lambda t, out, *inputs: t.broadcast_to(out.shape),
    ),
    reads=((1,), (0,), ()),
    batch=_linear_batch,
    params=False,
)


def _linear_samples(r: Any) -> Any:
    for lead in ((), (4,), (2, 3), (0,), (2, 0), (2, 1, 3), (1,)):
        yield (r.normal(*lead, 3), r.normal(2, 3), r.normal(2)), {}
    yield (r.normal(4, 3), r.normal(2, 3)), {}
    yield (r.normal(3), r.normal(2, 3)), {}
    yield (r.normal(3, 4).T, r.normal(6, 6)[::3, ::2]), {}
    yield (r.normal(2, 3) + 1j * r.normal(2, 3), r.normal(2, 3) - 1j * r.normal(2, 3)), {}


@operation(
    oracle=lambda x, w, b=0.0: np.einsum("...i,oi->...o", x, w) + b,
    samples=_linear_samples,
)
def linear(x: Any, weight: Any, bias: Any = None) -> Tensor:
    """x Wᵀ + b, the affine map of a layer: out[..., o] = Σ_i x[..., i] weight[o, i] + bias[o].

    x (..., in_features), weight (out_features, in_features), bias (out_features,) or None; the
    result is (..., out_features). Raises `ShapeError` for other shapes.

    >>> linear([1.0, 2.0], [[3.0, 4.0]], [5.0])
    tensor([16.])
    """
    if not isinstance(weight, Tensor):
        weight = operand(weight, (x,), "linear")
    if bias is None:
        x = operand(x, (weight,), "linear")
        if weight.ndim != 2 or x.shape[-1:] != weight.shape[1:]:
            _linear_spec(Spec(x.shape, x.dtype), Spec(weight.shape, weight.dtype))
        return matmul(x, turned(weight))  # type: ignore[no-any-return]
    if not isinstance(bias, Tensor):
        bias = operand(bias, (weight,), "linear")
    return linear_p.bind(x, weight, bias)  # type: ignore[no-any-return]


linear_relu_p = fused(
    "linear_relu", lambda x, weight, bias: relu(linear(x, weight, bias)), nin=3, spec=_linear_spec
)


def _rectified_samples(r: Any) -> Any:
    # Every sum lies well away from 0, where the rectifier bends.
    for lead in ((), (4,), (2, 3), (0,), (2, 0), (2, 1, 3), (1,)):
        yield (0.2 * r.normal(*lead, 3), r.normal(2, 3), np.array([3.0, -3.0])), {}
    yield (0.2 * r.normal(3, 4).T, r.normal(6, 6)[::3, ::2], np.array([-3.0, 3.0])), {}


@operation(
    oracle=lambda x, w, b: np.maximum(np.einsum("...i,oi->...o", x, w) + b, 0),
    samples=_rectified_samples,
)
def linear_relu(x: Any, weight: Any, bias: Any) -> Tensor:
    """max(x Wᵀ + b, 0), an affine map and its rectifier in one step; derivative 0 at 0.

    Shapes and errors are those of `linear`.

    >>> linear_relu([1.0, 2.0], [[3.0, 4.0], [-3.0, 0.0]], [5.0, 0.0])
    tensor([16.,  0.])
    """
    return linear_relu_p.bind(x, weight, bias)  # type: ignore[no-any-return]


linear_gelu_p = fused(
    "linear_gelu",
    lambda x, weight, bias: gelu(linear(x, weight, bias), approximate="tanh"),
    nin=3,
    spec=_linear_spec,
)


def _gelu_oracle(x: Any, w: Any, b: Any) -> Any:
    h = np.einsum("...i,oi->...o", x, w) + b
    return h / (1 + np.exp(-np.sqrt(8 / np.pi) * (h + 0.044715 * h**3)))


@operation(oracle=_gelu_oracle, samples=_rectified_samples)
def linear_gelu(x: Any, weight: Any, bias: Any) -> Tensor:
    """gelu(x Wᵀ + b, approximate="tanh"), an affine map and its GELU in one step.

    Shapes and errors are those of `linear`.

    >>> linear_gelu([1.0, 2.0], [[3.0, 4.0], [-3.0, 0.0]], [5.0, 3.0])
    tensor([16.,  0.])
    """
    return linear_gelu_p.bind(x, weight, bias)  # type: ignore[no-any-return]
