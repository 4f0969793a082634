"""Batch normalisation in evaluation as part of the layer in front of it, which is then faster."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import tensorgrad as tg
from tensorgrad import nn

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """A copy of a convolution that gives bn(conv(x)); both have to be in evaluation.

    `transpose`: its weight is (in, out / groups, ...), as it is of the transposed ones anyhow.
    Raises `ValueError` while training, or for a norm without running statistics.
    """
    return _fused("fuse_conv_bn_eval", conv, bn, transpose or isinstance(conv, _TRANSPOSED))


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """A copy of a linear layer that gives bn(linear(x)); both have to be in evaluation.

    Raises `ValueError` while training, for a norm without running statistics or of other features.
    """
    return _fused("fuse_linear_bn_eval", linear, bn, False)


def fuse_conv_bn_weights(
    conv_w: Any, conv_b: Any, bn_rm: Any, bn_rv: Any, bn_eps: float, bn_w: Any, bn_b: Any,
    transpose: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """(weight, bias) of a convolution and the batch norm behind it as one.

    weight · s and (bias - mean) s + bn_b, s = bn_w / sqrt(var + eps) for each output channel.
    """
    scale = (bn_rv + bn_eps) ** -0.5
    scale = scale if bn_w is None else scale * bn_w
    bias = (-bn_rm if conv_b is None else conv_b - bn_rm) * scale
    bias = bias if bn_b is None else bias + bn_b
    if not transpose:
        weight = conv_w * scale.reshape((-1, *(1,) * (conv_w.ndim - 1)))
    else:  # the output channels of one group of inputs follow those of the one before
        groups = scale.shape[0] // conv_w.shape[1]
        apart = conv_w.reshape((groups, conv_w.shape[0] // groups, *conv_w.shape[1:]))
        apart = apart * scale.reshape((groups, 1, -1, *(1,) * (conv_w.ndim - 2)))
        weight = apart.reshape(conv_w.shape)
    dtype = conv_w.dtype
    return nn.Parameter(weight.astype(dtype)), nn.Parameter(bias.astype(dtype))


def fuse_linear_bn_weights(
    linear_w: Any, linear_b: Any, bn_rm: Any, bn_rv: Any, bn_eps: float, bn_w: Any, bn_b: Any
) -> tuple[Any, Any]:
    """(weight, bias) of a linear layer and the batch norm behind it as one."""
    return fuse_conv_bn_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)


def _fused(op: str, layer: Any, bn: Any, transpose: bool) -> Any:
    if layer.training or bn.training or bn.running_mean is None:
        raise ValueError(
            f"{op}: got training={layer.training} and {bn.training}, "
            f"running_mean={bn.running_mean}, expected both in evaluation, and running statistics; "
            "try .eval()"
        )
    outputs = getattr(layer, "out_channels", None) or layer.out_features
    if outputs != bn.num_features:
        raise ValueError(
            f"{op}: got {outputs} outputs, num_features={bn.num_features}, expected as many of "
            f"both; try {type(bn).__name__}({outputs})"
        )
    found = deepcopy(layer)
    with tg.no_grad():
        found.weight, found.bias = fuse_conv_bn_weights(
            layer.weight, layer.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias,
            transpose,
        )  # fmt: skip
    return found
