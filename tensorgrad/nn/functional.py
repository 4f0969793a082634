"""The operations of networks as functions, under PyTorch's names; an axis is `dim` here.

Those that need no other argument names are tensorgrad's own operations.
"""

from __future__ import annotations

from typing import Any

import tensorgrad as tg

step = tg.step
sigmoid = tg.sigmoid
logsigmoid = tg.log_sigmoid
tanh = tg.tanh
relu = tg.relu
relu6 = tg.relu6
leaky_relu = tg.leaky_relu
prelu = tg.prelu
elu = tg.elu
selu = tg.selu
softplus = tg.softplus
softsign = tg.softsign
gelu = tg.gelu
silu = tg.silu
mish = tg.mish
hardtanh = tg.hardtanh
linear = tg.linear
dropout = tg.dropout
one_hot = tg.one_hot
layer_norm = tg.layer_norm
rms_norm = tg.rms_norm
mse_loss = tg.mse_loss
l1_loss = tg.l1_loss
huber_loss = tg.huber_loss
smooth_l1_loss = tg.smooth_l1_loss
binary_cross_entropy = tg.binary_cross_entropy
binary_cross_entropy_with_logits = tg.binary_cross_entropy_with_logits
cross_entropy = tg.cross_entropy
nll_loss = tg.nll_loss
multi_margin_loss = tg.multi_margin_loss
hinge_embedding_loss = tg.hinge_embedding_loss

_LAYERS = tg.ops.layers()
"""Operations that stand here alone."""

conv1d = _LAYERS["conv1d"]
conv2d = _LAYERS["conv2d"]
conv3d = _LAYERS["conv3d"]
conv_transpose1d = _LAYERS["conv_transpose1d"]
conv_transpose2d = _LAYERS["conv_transpose2d"]
conv_transpose3d = _LAYERS["conv_transpose3d"]
scaled_dot_product_attention = _LAYERS["scaled_dot_product_attention"]


def softmax(input: Any, dim: int | None = None) -> Any:
    """exp(x) / Σ exp(x) along the axis `dim`; raises `ShapeError` without one."""
    return tg.softmax(input, axis=_given("softmax", dim))


def log_softmax(input: Any, dim: int | None = None) -> Any:
    """x - log Σ exp(x) along the axis `dim`; raises `ShapeError` without one."""
    return tg.log_softmax(input, axis=_given("log_softmax", dim))


def _given(op: str, dim: int | None) -> int:
    if dim is None:
        raise tg.ShapeError(f"{op}: got dim=None, expected the axis that sums to 1; try dim=-1")
    return dim


def maxout(input: Any, pieces: int, dim: int = -1) -> Any:
    """The largest of `pieces` neighbours along `dim`: an axis of pieces · n becomes n.

    Goodfellow et al., "Maxout networks", 2013. Raises `ShapeError` unless `pieces` divides it.
    """
    shape, rank = tuple(input.shape), len(input.shape)
    axis = dim + rank if dim < 0 else dim
    if not 0 <= axis < rank or pieces < 1 or shape[axis] % pieces:
        raise tg.ShapeError(
            f"maxout: got an input of shape {shape} with pieces={pieces}, dim={dim}, expected an "
            f"axis that pieces divides; try a Linear with pieces * n outputs in front"
        )
    split = (*shape[:axis], shape[axis] // pieces, pieces, *shape[axis + 1 :])
    return tg.max(tg.reshape(input, split), axis=axis + 1)


def rmse_loss(input: Any, target: Any) -> Any:
    """The root of the mean squared error, ||input - target|| / √n; gradient 0 at a perfect fit.

    Raises `ShapeError` unless both have one shape.
    """
    input, target = (x if isinstance(x, tg.Tensor) else tg.asarray(x) for x in (input, target))
    if input.shape != target.shape:
        raise tg.ShapeError(
            f"rmse_loss: got input {input.shape}, target {target.shape}, expected one shape; "
            f"try target.reshape(input.shape)"
        )
    return tg.norm(input - target) / max(input.size, 1) ** 0.5
