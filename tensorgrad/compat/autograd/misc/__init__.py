"""Flat vectors of nested containers, optimizers on them, fixed points."""

from tensorgrad.compat.autograd.misc.flatten import flatten

__all__ = ["flatten"]
