"""The operations of networks as functions, under PyTorch's names; an axis is `dim` here.

Those that need no other argument names are tensorgrad's own operations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorgrad as tg

# activations
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

# layers
linear = tg.linear
dropout = tg.dropout
one_hot = tg.one_hot
layer_norm = tg.layer_norm
rms_norm = tg.rms_norm

# losses
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

batch_norm = _LAYERS["batch_norm"]
group_norm = _LAYERS["group_norm"]
instance_norm = _LAYERS["instance_norm"]
local_response_norm = _LAYERS["local_response_norm"]
normalize = _LAYERS["normalize"]
# convolutions, attention
conv1d = _LAYERS["conv1d"]
conv2d = _LAYERS["conv2d"]
conv3d = _LAYERS["conv3d"]
conv_transpose1d = _LAYERS["conv_transpose1d"]
conv_transpose2d = _LAYERS["conv_transpose2d"]
conv_transpose3d = _LAYERS["conv_transpose3d"]
max_pool1d = _LAYERS["max_pool1d"]
max_pool2d = _LAYERS["max_pool2d"]
max_pool3d = _LAYERS["max_pool3d"]
avg_pool1d = _LAYERS["avg_pool1d"]
avg_pool2d = _LAYERS["avg_pool2d"]
avg_pool3d = _LAYERS["avg_pool3d"]
lp_pool1d = _LAYERS["lp_pool1d"]
lp_pool2d = _LAYERS["lp_pool2d"]
lp_pool3d = _LAYERS["lp_pool3d"]
adaptive_avg_pool1d = _LAYERS["adaptive_avg_pool1d"]
adaptive_avg_pool2d = _LAYERS["adaptive_avg_pool2d"]
adaptive_avg_pool3d = _LAYERS["adaptive_avg_pool3d"]
adaptive_max_pool1d = _LAYERS["adaptive_max_pool1d"]
adaptive_max_pool2d = _LAYERS["adaptive_max_pool2d"]
adaptive_max_pool3d = _LAYERS["adaptive_max_pool3d"]
max_unpool1d = _LAYERS["max_unpool1d"]
max_unpool2d = _LAYERS["max_unpool2d"]
max_unpool3d = _LAYERS["max_unpool3d"]
bilinear = _LAYERS["bilinear"]
fractional_max_pool2d = _LAYERS["fractional_max_pool2d"]
fractional_max_pool3d = _LAYERS["fractional_max_pool3d"]
embedding = _LAYERS["embedding"]
embedding_bag = _LAYERS["embedding_bag"]
rotary_embedding = _LAYERS["rotary_embedding"]
scaled_dot_product_attention = _LAYERS["scaled_dot_product_attention"]
lstm = _LAYERS["lstm"]
gru = _LAYERS["gru"]
rnn_tanh = _LAYERS["rnn_tanh"]
rnn_relu = _LAYERS["rnn_relu"]
lstm_cell = _LAYERS["lstm_cell"]
gru_cell = _LAYERS["gru_cell"]
rnn_tanh_cell = _LAYERS["rnn_tanh_cell"]
rnn_relu_cell = _LAYERS["rnn_relu_cell"]

# activations
celu = _LAYERS["celu"]
glu = _LAYERS["glu"]
hardshrink = _LAYERS["hardshrink"]
hardsigmoid = _LAYERS["hardsigmoid"]
hardswish = _LAYERS["hardswish"]
rrelu = _LAYERS["rrelu"]
softshrink = _LAYERS["softshrink"]
tanhshrink = _LAYERS["tanhshrink"]
threshold = _LAYERS["threshold"]

# losses and distances
cosine_embedding_loss = _LAYERS["cosine_embedding_loss"]
cosine_similarity = _LAYERS["cosine_similarity"]
ctc_loss = _LAYERS["ctc_loss"]
gaussian_nll_loss = _LAYERS["gaussian_nll_loss"]
kl_div = _LAYERS["kl_div"]
margin_ranking_loss = _LAYERS["margin_ranking_loss"]
multilabel_margin_loss = _LAYERS["multilabel_margin_loss"]
multilabel_soft_margin_loss = _LAYERS["multilabel_soft_margin_loss"]
pairwise_distance = _LAYERS["pairwise_distance"]
poisson_nll_loss = _LAYERS["poisson_nll_loss"]
soft_margin_loss = _LAYERS["soft_margin_loss"]
triplet_margin_loss = _LAYERS["triplet_margin_loss"]

# images and channels rearranged, dropout of channels, distances of all pairs
affine_grid = _LAYERS["affine_grid"]
alpha_dropout = _LAYERS["alpha_dropout"]
cdist = _LAYERS["cdist"]
channel_shuffle = _LAYERS["channel_shuffle"]
dropout1d = _LAYERS["dropout1d"]
dropout2d = _LAYERS["dropout2d"]
dropout3d = _LAYERS["dropout3d"]
feature_alpha_dropout = _LAYERS["feature_alpha_dropout"]
fold = _LAYERS["fold"]
grid_sample = _LAYERS["grid_sample"]
interpolate = _LAYERS["interpolate"]
pad = _LAYERS["pad"]
pdist = _LAYERS["pdist"]
pixel_shuffle = _LAYERS["pixel_shuffle"]
pixel_unshuffle = _LAYERS["pixel_unshuffle"]
unfold = _LAYERS["unfold"]


def softmax(input: Any, dim: int | None = None, dtype: Any = None) -> Any:
    """exp(x) / Σ exp(x) along the axis `dim`; raises `ShapeError` without one.

    With `dtype` the input is cast first, so that a sum of float16 does not overflow.
    """
    return tg.softmax(_cast(input, dtype), axis=_given("softmax", dim))


def log_softmax(input: Any, dim: int | None = None, dtype: Any = None) -> Any:
    """x - log Σ exp(x) along the axis `dim`; raises `ShapeError` without one.

    With `dtype` the input is cast first.
    """
    return tg.log_softmax(_cast(input, dtype), axis=_given("log_softmax", dim))


def softmin(input: Any, dim: int | None = None, dtype: Any = None) -> Any:
    """exp(-x) / Σ exp(-x) along the axis `dim`; raises `ShapeError` without one.

    With `dtype` the input is cast first.
    """
    return _LAYERS["softmin"](_cast(input, dtype), dim)


def _cast(input: Any, dtype: Any) -> Any:
    return input if dtype is None else tg.asarray(input).astype(dtype)


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


def gumbel_softmax(
    logits: Any, tau: float = 1.0, hard: bool = False, dim: int = -1, *, generator: Any = None
) -> Any:
    """softmax((logits + g) / tau) along `dim`, g Gumbel noise: a nearly discrete sample.

    `hard`: the one-hot vector of its largest element, with the gradient of the soft one (straight
    through). Jang et al., "Categorical reparameterization with Gumbel-softmax", 2017. Raises
    `ValueError` unless tau > 0.
    """
    if not tau > 0:
        raise ValueError(f"gumbel_softmax: got tau={tau}, expected tau > 0; try tau=1.0")
    x = logits if isinstance(logits, tg.Tensor) else tg.asarray(logits)
    u = tg.uniform(size=x.shape, dtype=x.dtype, device=x.device, generator=generator)
    least = tg.finfo(x.dtype).smallest_normal
    noise = -tg.log(tg.maximum(-tg.log1p(-u), least))  # 1 - u is never 0
    soft = tg.softmax((x + noise) / tau, axis=dim)
    if not hard:
        return soft
    chosen = tg.moveaxis(tg.one_hot(tg.argmax(soft, axis=dim), x.shape[dim], x.dtype), -1, dim)
    return chosen - tg.stop_gradient(soft) + soft


def triplet_margin_with_distance_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    *,
    distance_function: Callable[[Any, Any], Any] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Any:
    """max(0, margin + d(anchor, positive) - d(anchor, negative)), d any function of two tensors.

    d is `pairwise_distance` where none is given; `swap` as in `triplet_margin_loss`. Raises
    `ValueError` unless margin > 0.
    """
    if not margin > 0:
        raise ValueError(
            f"triplet_margin_with_distance_loss: got margin={margin}, expected margin > 0; "
            "try margin=1.0"
        )
    distance = distance_function or pairwise_distance
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = tg.minimum(far, distance(positive, negative))
    return margin_ranking_loss(far, near, tg.ones_like(near), margin, reduction)
