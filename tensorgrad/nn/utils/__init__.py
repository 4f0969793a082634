"""What works on modules from outside: clipping, vectors, fusion, parametrizations."""

from tensorgrad.nn.utils import parametrizations, parametrize, rnn
from tensorgrad.nn.utils.fusion import (
    fuse_conv_bn_eval,
    fuse_conv_bn_weights,
    fuse_linear_bn_eval,
    fuse_linear_bn_weights,
)
from tensorgrad.nn.utils.norms import clip_grads_with_norm_, get_total_norm
from tensorgrad.nn.utils.vectors import parameters_to_vector, vector_to_parameters
from tensorgrad.optim import clip_grad_norm_, clip_grad_value_

__all__ = [
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "fuse_conv_bn_eval",
    "fuse_conv_bn_weights",
    "fuse_linear_bn_eval",
    "fuse_linear_bn_weights",
    "get_total_norm",
    "parameters_to_vector",
    "parametrizations",
    "parametrize",
    "rnn",
    "vector_to_parameters",
]
