"""The Tensor methods, attached from the registry; the few that are properties or twins are here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tensorgrad import _config, dtypes
from tensorgrad.backend import base
from tensorgrad.core.backward import backward
from tensorgrad.core.primitive import Primitive
from tensorgrad.core.registry import OPERATIONS
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops import inplace, protocols, ufuncs
from tensorgrad.ops.operators import OPERATORS

PROPERTIES = {"T": "transpose", "mT": "matrix_transpose", "real": "real", "imag": "imag"}
"""Attributes of a Tensor that are operations without arguments."""

REFLECTED = tuple(
    "add sub mul truediv floordiv mod divmod pow matmul and or xor lshift rshift".split()
)
"""Operators whose left operand may be something else; NumPy's order of arguments."""


def to(x: Tensor, target: Any = None, *, dtype: Any = None, device: Any = None) -> Tensor:
    """x cast to a dtype, or on a device: `x.to("float32")`, `x.to("cpu")`; x itself where it is.

    Raises `DeviceError` for a device that is not there, `DTypeError` for what is no dtype.
    """
    if isinstance(target, str | _config.device) and str(target) not in dtypes.NAMES:
        device = target
    elif target is not None:
        dtype = target
    if device is not None:
        wanted = base.on(device).device
        if wanted != x.device:
            x = transfer_p.bind(x, source=x.device, target=wanted)
    return x if dtype is None or dtypes.dtype(dtype) == x.dtype else x.astype(dtype)


transfer_p: Primitive = Primitive(
    "transfer",
    nin=1,
    spec=lambda x, *, source, target: x,
    vjp=(lambda ct, out, x, *, source, target: transfer_p.bind(ct, source=target, target=source),),
    linear=(0,),
    batch=lambda inputs, batched, **params: transfer_p.bind(*inputs, **params),
)
"""A copy on another device; its cotangent comes back."""


OTHERS: dict[str, Callable[..., Any]] = {
    "backward": backward,
    "to": to,
    "__array_ufunc__": ufuncs.array_ufunc,
    "__array_function__": protocols.array_function,
}
"""Methods that are no operations."""


def attach() -> None:
    """Give Tensor every method that the registry names."""
    for operation in OPERATIONS.values():
        for name in operation.methods:
            setattr(Tensor, name, operation.function)
    for name, function in {**OPERATORS, **inplace.METHODS, **OTHERS}.items():
        setattr(Tensor, name, function)
    for name in REFLECTED:
        if f"__r{name}__" not in vars(Tensor):
            setattr(Tensor, f"__r{name}__", _reflected(getattr(Tensor, f"__{name}__")))
    for name, called in PROPERTIES.items():
        setattr(Tensor, name, _property(OPERATIONS[called].function))


def _reflected(direct: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def call(x: Any, y: Any) -> Any:
        return direct(y, x)

    return call


def _property(function: Callable[..., Any]) -> property:
    return property(lambda x: function(x), doc=(function.__doc__ or "").split("\n")[0])
