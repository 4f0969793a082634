"""What works on parameters and modules from outside: clipping, vectors, parametrizations."""

from tensorgrad.nn.utils import parametrizations, parametrize, rnn
from tensorgrad.nn.utils.vectors import parameters_to_vector, vector_to_parameters
from tensorgrad.optim import clip_grad_norm_, clip_grad_value_

__all__ = [
    "clip_grad_norm_",
    "clip_grad_value_",
    "parameters_to_vector",
    "parametrizations",
    "parametrize",
    "rnn",
    "vector_to_parameters",
]
