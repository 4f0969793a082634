"""What autograd's boxes are here: tensors."""

from __future__ import annotations

from typing import Any

from tensorgrad import Tensor
from tensorgrad.compat.autograd.primitives import notrace_primitive, primitive, register_notrace
from tensorgrad.compat.autograd.values import bare

Box = Tensor


def isbox(x: Any) -> bool:
    """Whether a value is a tensor."""
    return isinstance(x, Tensor)


def getval(x: Any) -> Any:
    """The array behind a tensor, under every level; all else as it is."""
    return bare(x)


__all__ = ["Box", "getval", "isbox", "notrace_primitive", "primitive", "register_notrace"]
