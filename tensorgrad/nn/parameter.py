"""Parameter: a leaf tensor that a `Module` counts among its weights."""

from __future__ import annotations

import sys
from typing import Any

import tensorgrad as tg


class Parameter(tg.Tensor):
    """A tensor that requires a gradient and registers itself when assigned to a `Module`.

    An array or a tensor keeps its dtype and memory; a number or a list of numbers takes the dtype
    of new parameters (`tg.set_default_dtype`). Raises `DTypeError` for integers with a gradient.

    >>> Parameter([1.0, 2.0]).dtype
    dtype('float32')
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        if isinstance(data, tg.Tensor):
            data = data.detach()
        dtype = None if hasattr(data, "dtype") else tg.dtypes.default()
        super().__init__(data, dtype, requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"

    def __copy__(self) -> Parameter:
        return Parameter(self.data.copy(), self.requires_grad)

    def __reduce__(self) -> tuple[Any, ...]:
        return Parameter, (self.data, self.requires_grad)


def drop_gradient(tensor: tg.Tensor) -> None:
    """Set `tensor.grad` to None; a gradient that the caller still holds gets memory of its own.

    The next backward writes into the same gradient buffer, which would change it unseen.
    """
    gradient = tensor.grad
    if gradient is None:
        return
    tensor.grad = None
    if sys.getrefcount(gradient) > _ALONE:
        gradient.data = gradient.data.copy()


def _alone() -> int:
    """The reference count that a local variable's only holder sees (it depends on the Python)."""
    gradient = object()
    return sys.getrefcount(gradient)


_ALONE = _alone()
