"""Transforms: functions in, functions out."""

from tensorgrad.transforms.checkpoint import checkpoint
from tensorgrad.transforms.custom import custom_jvp, custom_vjp
from tensorgrad.transforms.forward import jvp, vmap
from tensorgrad.transforms.fuse import fuse
from tensorgrad.transforms.hessian import hessian
from tensorgrad.transforms.jacobian import jacobian
from tensorgrad.transforms.products import elementwise_grad, ggnvp, hvp, stop_gradient
from tensorgrad.transforms.reverse import grad, value_and_grad, vjp
from tensorgrad.transforms.show import show

__all__ = [
    "checkpoint",
    "custom_jvp",
    "custom_vjp",
    "elementwise_grad",
    "fuse",
    "ggnvp",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "show",
    "stop_gradient",
    "value_and_grad",
    "vjp",
    "vmap",
]
