"""The methods and operators of `cupy.ndarray`, and what NumPy asks it for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import creation, indexing
from .array import known, ndarray, operand, produce, view
from .functions import BODIES, OWN, clip, delegate, fft, functions, linalg, reshape, rows
from .machine import machine
from .tables import METHODS
from .ufuncs import UFUNC

Function = Callable[..., Any]
ABSENT = frozenset("choose compress partition".split())  # methods that no backend needs


def _astype(
    self: ndarray,
    dtype: Any,
    order: str = "K",
    casting: Any = None,
    subok: Any = None,
    copy: bool = True,
) -> ndarray:
    for name, value in (("casting", casting), ("subok", subok)):
        if value is not None:
            raise TypeError(f"{name} is not supported yet")
    dtype = known(dtype)
    if not copy and dtype == self.dtype:
        return self
    source = operand(self)
    return produce(lambda: source.astype(dtype, order))  # type: ignore[no-any-return]


def _copy(self: ndarray, order: str = "C") -> ndarray:
    if self.data.device_id != machine().device:
        return creation.moved(self)
    source = operand(self)
    return produce(lambda: source.copy(order))  # type: ignore[no-any-return]


def _reshaped(self: ndarray, *shape: Any, order: str = "C", copy: Any = None) -> ndarray:
    return reshape(self, shape[0] if len(shape) == 1 else shape, order, copy=copy)


def _view(self: ndarray, dtype: Any = None, type: Any = None) -> ndarray:
    return view(self, self._a.view() if dtype is None else self._a.view(np.dtype(dtype)))


def _transpose(self: ndarray, *axes: Any) -> ndarray:
    return view(self, self._a.transpose(*axes))


def _swapaxes(self: ndarray, axis1: int, axis2: int) -> ndarray:
    if not all(-self.ndim <= axis < self.ndim for axis in (axis1, axis2)):
        raise ValueError("Axis out of range")
    return view(self, self._a.swapaxes(axis1, axis2))


def _squeeze(self: ndarray, axis: Any = None) -> ndarray:
    found = self._a.squeeze(axis)
    return self if found.shape == self.shape else view(self, found)


def _conj(self: ndarray) -> Any:
    return UFUNC["conj"](self) if self.dtype.kind == "c" else self


def _sorted(self: ndarray, axis: int = -1, kind: Any = None) -> None:
    creation.copyto(self, FUNCTION["sort"](self, axis, kind))


def _scattered(ufunc: str) -> Function:
    def method(self: ndarray, slices: Any, value: Any) -> None:
        UFUNC[ufunc].at(self, slices, value)

    return method


FUNCTION = functions()
METHOD: dict[str, Function] = {
    "astype": _astype,
    "copy": _copy,
    "reshape": _reshaped,
    "view": _view,
    "transpose": _transpose,
    "swapaxes": _swapaxes,
    "squeeze": _squeeze,
    "conj": _conj,
    "conjugate": _conj,
    "sort": _sorted,
    "flatten": lambda self, order="C": _copy(_reshaped(self, -1, order=order)),
    "clip": lambda self, min=None, max=None, out=None: clip(self, min, max, out),
    "scatter_add": _scattered("add"),
    "scatter_max": _scattered("maximum"),
    "scatter_min": _scattered("minimum"),
    "reduced_view": lambda self: _reshaped(self, -1) if self.flags.c_contiguous else self,
    "__copy__": _copy,
    "__getitem__": indexing.getitem,
    "__setitem__": indexing.setitem,
    "__abs__": lambda self: UFUNC["absolute"](self),
    "__neg__": lambda self: UFUNC["negative"](self),
    "__invert__": lambda self: UFUNC["invert"](self),
    "__pos__": lambda self: UFUNC["positive"](self),
}


def _defers(other: Any) -> bool:
    """Whether the right operand takes over, as NEP 13 has it."""
    try:
        return other.__array_ufunc__ is None
    except AttributeError:
        return bool(getattr(other, "__array_priority__", 0) > ndarray.__array_priority__)


def _operators(name: str, ufunc: str) -> None:
    numpy: Any = np.matmul if ufunc == "matmul" else getattr(np, ufunc)
    own = FUNCTION[ufunc]

    def forward(self: ndarray, other: Any) -> Any:
        if isinstance(other, ndarray):
            return own(self, other)
        return NotImplemented if _defers(other) else numpy(self, other)

    def backward(self: ndarray, other: Any) -> Any:
        return NotImplemented if _defers(other) else numpy(other, self)

    def inplace(self: ndarray, other: Any) -> Any:
        if ufunc == "matmul":
            raise TypeError("In-place matrix multiplication is not (yet) supported.")
        return own(self, other, self)

    setattr(ndarray, f"__{name}__", forward)
    if name not in ("lt", "le", "eq", "ne", "gt", "ge"):
        setattr(ndarray, f"__r{name}__", backward)
        if name != "divmod":
            setattr(ndarray, f"__i{name}__", inplace)


def _array_ufunc(self: ndarray, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
    own = FUNCTION.get(ufunc.__name__)
    if method != "__call__" or own is None:
        return NotImplemented
    out = kwargs.pop("out", ())
    if len(out) > 1:
        raise ValueError("The 'out' parameter must have exactly one array value")
    for x in (*inputs, *out):
        if not isinstance(x, ndarray | np.ndarray | np.generic | bool | int | float | complex):
            return NotImplemented
    return own(*inputs, **kwargs, **({"out": out[0]} if out else {}))


def _array_function(self: ndarray, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
    home = func.__module__.partition("numpy.")[2]
    tables = {"": FUNCTION, "linalg": linalg(), "fft": fft()}
    own = tables.get(home, {}).get(func.__name__)
    if own is None or not all(issubclass(t, ndarray | np.ndarray) for t in types):
        return NotImplemented
    return own(*args, **kwargs)


def _attach() -> None:
    """Give `ndarray` its methods and operators."""
    for name, text in rows(METHODS).items():
        if name in OWN:
            setattr(ndarray, name, OWN[name])
        elif not hasattr(ndarray, name) and name not in {*METHOD, *ABSENT}:
            setattr(ndarray, name, delegate(name, text, BODIES.get(name) or getattr(np, name)))
    for name, method in METHOD.items():
        setattr(ndarray, name, method)
    for name in "add sub mul truediv floordiv mod pow lshift rshift and or xor matmul".split():
        names = {"sub": "subtract", "mul": "multiply", "truediv": "true_divide", "pow": "power"}
        names |= {"floordiv": "floor_divide", "mod": "remainder", "lshift": "left_shift"}
        names |= {"rshift": "right_shift", "and": "bitwise_and", "or": "bitwise_or"}
        _operators(name, (names | {"xor": "bitwise_xor"}).get(name, name))
    for name, ufunc in zip(
        "lt le eq ne gt ge divmod".split(),
        "less less_equal equal not_equal greater greater_equal divmod".split(),
    ):
        _operators(name, ufunc)
    ndarray.__array_ufunc__ = _array_ufunc  # type: ignore[attr-defined]
    ndarray.__array_function__ = _array_function  # type: ignore[attr-defined]


_attach()
