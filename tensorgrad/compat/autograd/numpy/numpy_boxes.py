"""autograd's name for an array that is differentiated."""

from tensorgrad import Tensor as ArrayBox

__all__ = ["ArrayBox"]
