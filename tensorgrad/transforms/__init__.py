"""Transforms: functions in, functions out."""

from tensorgrad.transforms.checkpoint import checkpoint
from tensorgrad.transforms.forward import jvp, vmap
from tensorgrad.transforms.fuse import fuse
from tensorgrad.transforms.reverse import grad, value_and_grad, vjp
from tensorgrad.transforms.show import show

__all__ = ["checkpoint", "fuse", "grad", "jvp", "show", "value_and_grad", "vjp", "vmap"]
