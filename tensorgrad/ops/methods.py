"""The Tensor methods, attached from the registry; the few that are properties or twins are here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tensorgrad import _config, dtypes
from tensorgrad._errors import DeviceError
from tensorgrad.backend import base
from tensorgrad.core.backward import backward
from tensorgrad.core.primitive import Primitive
from tensorgrad.core.registry import OPERATIONS
from tensorgrad.core.tensor import Tensor, make
from tensorgrad.ops import (
    array_api,
    at,
    attributes,
    exchange,
    inplace,
    protocols,
    splitting,
    ufuncs,
)
from tensorgrad.ops.operators import OPERATORS

PROPERTIES = {"T": "transpose", "mT": "matrix_transpose", "real": "real", "imag": "imag"}
"""Attributes of a Tensor that are operations without arguments."""

WRITABLE = ("real", "imag")
"""Those that NumPy lets a program assign to."""

REFLECTED = tuple(
    "add sub mul truediv floordiv mod divmod pow matmul and or xor lshift rshift".split()
)
"""Operators whose left operand may be something else; NumPy's order of arguments."""


def to(
    x: Tensor,
    target: Any = None,
    *,
    dtype: Any = None,
    device: Any = None,
    non_blocking: bool = False,
) -> Tensor:
    """x cast to a dtype, or on a device: `x.to("float32")`, `x.to("cpu")`; x itself where it is.

    With `non_blocking` a constant in pinned memory is read by the GPU while the program goes on; it
    must not change until the work given to the current stream is done. To the host a copy always
    waits. Raises `DeviceError` for a device that is not there, `DTypeError` for what is no dtype.
    """
    if isinstance(target, str | _config.device) and str(target) not in dtypes.NAMES:
        device = target
    elif target is not None:
        dtype = target
    if device is not None:
        wanted = base.on(device).device
        ahead = non_blocking and x.device == "cpu" and x.node is None and not x.level
        if wanted != x.device and ahead:
            x = make(base.on(device).kernel("sent")(host=x.data))
        elif wanted != x.device:
            x = transfer_p.bind(x, source=x.device, target=wanted)
    return x if dtype is None or dtypes.dtype(dtype) == x.dtype else x.astype(dtype)


def pin_memory(x: Tensor) -> Tensor:
    """A copy, off the tape, in memory of the host that a GPU reads by itself.

    Raises `DeviceError` without a GPU, and for a tensor that is on one.
    """
    home = base.on("cuda")
    if x.device != "cpu":
        raise DeviceError(
            f"pin_memory: got a tensor on {x.device}, expected one on the host; try x.to('cpu')"
        )
    return make(home.kernel("pinned")(host=x.value()))


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
    "pin_memory": pin_memory,
    "to": to,
    "__array_ufunc__": ufuncs.array_ufunc,
    "__array_function__": protocols.array_function,
    "__iter__": splitting.iterate,
    "__array_namespace__": array_api.namespace,
    "__dlpack__": exchange.dlpack,
    "__dlpack_device__": exchange.dlpack_device,
    "to_device": array_api.to_device,
}
"""Methods that are no operations."""


_ATTRIBUTES = {**attributes.PROPERTIES, **exchange.PROPERTIES, **at.PROPERTIES}


def attach() -> None:
    """Give Tensor every method that the registry names."""
    for operation in OPERATIONS.values():
        for name in operation.methods:
            setattr(Tensor, name, operation.function)
    others = {**OPERATORS, **inplace.METHODS, **attributes.METHODS, **OTHERS}
    for name, function in {**others, **_ATTRIBUTES}.items():
        setattr(Tensor, name, function)
    for name in REFLECTED:
        if f"__r{name}__" not in vars(Tensor):
            setattr(Tensor, f"__r{name}__", _reflected(getattr(Tensor, f"__{name}__")))
    for name, called in PROPERTIES.items():
        setattr(Tensor, name, _property(OPERATIONS[called].function, name in WRITABLE))


def _reflected(direct: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def call(x: Any, y: Any) -> Any:
        return direct(y, x)

    return call


def _property(function: Callable[..., Any], writable: bool) -> property:
    """An operation as an attribute; a writable one is a view, which assigning to it writes."""

    def write(x: Tensor, value: Any) -> None:
        part = function(x)
        if part is not x and x.dtype.kind != "c":
            raise TypeError(
                f"imag: got {x.dtype}{x.shape} to write to, expected complex numbers; "
                "try x = x + 1j * v"
            )
        part[...] = value

    doc = (function.__doc__ or "").split("\n")[0]
    return property(lambda x: function(x), write if writable else None, doc=doc)
