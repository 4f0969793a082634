"""Making arrays: `empty`, `zeros`, `asarray` and their like."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import streams
from .array import known, ndarray, operand, produce, quiet, uploaded, view
from .device import Device
from .machine import machine


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return ndarray(shape, dtype, order=order)


def full(shape: Any, fill_value: Any, dtype: Any = None, order: str = "C") -> ndarray:
    if dtype is None:
        kept = isinstance(fill_value, ndarray | np.generic)
        dtype = fill_value.dtype if kept else np.array(fill_value).dtype
    found = ndarray(shape, dtype, order=order)
    copyto(found, fill_value, casting="unsafe")
    return found


def zeros(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return full(shape, 0, dtype, order)


def ones(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return full(shape, 1, dtype, order)


def empty_like(
    prototype: Any, dtype: Any = None, order: Any = "K", subok: None = None, shape: Any = None
) -> ndarray:
    if subok is not None:
        raise TypeError("subok is not supported yet")
    like = prototype._a if isinstance(prototype, ndarray) else prototype
    layout = np.empty_like(like, dtype, order, shape=shape)
    found = ndarray(layout.shape, layout.dtype)
    if layout.strides != found.strides and layout.size:
        found = ndarray(layout.shape, layout.dtype, found.data, layout.strides)
    return found


def full_like(
    a: Any,
    fill_value: Any,
    dtype: Any = None,
    order: Any = "K",
    subok: None = None,
    shape: Any = None,
) -> ndarray:
    found = empty_like(a, dtype, order, subok, shape)
    copyto(found, fill_value, casting="unsafe")
    return found


def zeros_like(
    a: Any, dtype: Any = None, order: Any = "K", subok: None = None, shape: Any = None
) -> ndarray:
    return full_like(a, 0, dtype, order, subok, shape)


def ones_like(
    a: Any, dtype: Any = None, order: Any = "K", subok: None = None, shape: Any = None
) -> ndarray:
    return full_like(a, 1, dtype, order, subok, shape)


def copyto(dst: Any, src: Any, casting: Any = "same_kind", where: Any = None) -> None:
    """Between arrays, or from a number; from another device too."""
    if not isinstance(dst, ndarray):
        raise TypeError(f"Argument 'dst' has incorrect type {type(dst)}, expected cupy.ndarray")
    if not isinstance(src, ndarray) and not np.isscalar(src):
        if np.shape(src):
            raise ValueError("non-scalar numpy.ndarray cannot be used for copyto")
        src = np.asarray(src)[()]
    kind = np.dtype(type(src)) if not hasattr(src, "dtype") else src.dtype
    weak = type(src) in (bool, int, float, complex)
    if not np.can_cast(np.result_type(src, dst.dtype) if weak else kind, dst.dtype, casting):
        raise TypeError(f"Cannot cast {kind} to {dst.dtype} in {casting} casting mode")
    source = src._a if isinstance(src, ndarray) else src
    target = dst._a
    lead = np.ndim(source) - target.ndim
    if lead > 0 and set(source.shape[:lead]) == {1}:
        source = source.reshape(source.shape[lead:])
    try:
        np.broadcast_to(source, target.shape)
    except ValueError:
        raise ValueError(
            f"could not broadcast input array from shape {np.shape(src)} into shape {dst.shape}"
        ) from None
    keep = True if where is None else operand(where)

    def work() -> None:
        with quiet():
            np.copyto(target, np.copy(source), casting="unsafe", where=keep)

    with dst.device:
        streams.submit(work)


def array(
    obj: Any,
    dtype: Any = None,
    copy: Any = True,
    order: Any = "K",
    subok: bool = False,
    ndmin: int = 0,
    *,
    blocking: bool = False,
) -> ndarray:
    """From an array of the device, of the host, or nested lists of either."""
    if isinstance(obj, ndarray):
        found = _converted(obj, dtype, copy, order)
        missing = ndmin - found.ndim
        return found if missing <= 0 else found.reshape((1,) * missing + found.shape)  # type: ignore[attr-defined]
    if isinstance(obj, list | tuple) and _holds(obj):
        source = _unwrapped(obj)
        return produce(lambda: np.array(source, dtype))  # type: ignore[no-any-return]
    host: Any = np.array(obj, dtype, order=order or "K", ndmin=ndmin)
    known(host.dtype)
    return uploaded(host)


def _converted(obj: ndarray, dtype: Any, copy: Any, order: Any) -> ndarray:
    same = dtype is None or np.dtype(dtype) == obj.dtype
    if same and not copy and obj.data.device_id == machine().device:
        fits = {"C": obj.flags.c_contiguous, "F": obj.flags.f_contiguous}.get(order, True)
        if fits:
            return obj
    found: Any = obj if obj.data.device_id == machine().device else moved(obj)
    return found.astype(obj.dtype if dtype is None else dtype, order or "K")  # type: ignore[no-any-return]


def moved(array: ndarray) -> ndarray:
    """A copy on the current device."""
    found = ndarray(array.shape, array.dtype)
    target, source = found._a, array._a
    streams.submit(lambda: np.copyto(target, source))
    return found


def _holds(obj: Any) -> bool:
    return any(
        isinstance(part, ndarray) or (isinstance(part, list | tuple) and _holds(part))
        for part in obj
    )


def _unwrapped(obj: Any) -> Any:
    if isinstance(obj, ndarray):
        return operand(obj)
    if isinstance(obj, np.ndarray):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to "
            "construct a NumPy array explicitly."
        )
    return [_unwrapped(part) for part in obj] if isinstance(obj, list | tuple) else obj


def asarray(
    a: Any, dtype: Any = None, order: Any = None, *, copy: Any = None, blocking: bool = False
) -> ndarray:
    return array(a, dtype, bool(copy), order or "K", blocking=blocking)


def ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    return _laid(a, dtype, "C")


def asfortranarray(a: Any, dtype: Any = None) -> ndarray:
    return _laid(a, dtype, "F")


def _laid(a: Any, dtype: Any, order: str) -> ndarray:
    if not isinstance(a, ndarray):
        raise TypeError(
            "Argument 'a' has incorrect type (expected cupy._core.core._ndarray_base, got "
            f"{type(a).__name__})"
        )
    found = _converted(a, dtype, False, order)
    return found if found.ndim else found.reshape(1)  # type: ignore[attr-defined]


def from_dlpack(array: Any, *, device: Any = None, copy: Any = None) -> ndarray:
    if not hasattr(array, "__dlpack__"):
        raise TypeError(f"{type(array).__name__} has no __dlpack__")
    kind, number = array.__dlpack_device__() if device is None else device
    if kind not in (2, 13):
        raise TypeError(
            "CPU arrays cannot be directly imported to CuPy. Use "
            "`cupy.array(numpy.from_dlpack(input))` instead."
        )
    with Device(number):
        stream = streams.current_ptr() or streams.LEGACY
        capsule = array.__dlpack__(stream=stream, max_version=(1, 0))
    return view(capsule.array, capsule.array._a)


def asnumpy(
    a: Any, stream: Any = None, order: str = "C", out: Any = None, *, blocking: bool = True
) -> Any:
    if isinstance(a, ndarray):
        return a.get(stream, order, out, blocking)
    if out is not None:
        np.copyto(out, a)
        return out
    return np.asarray(a, order=order)  # type: ignore[call-overload]


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> ndarray:
    limits = (0, start) if stop is None else (start, stop)
    host = np.arange(*limits, 1 if step is None else step, dtype)  # type: ignore[call-overload]
    return produce(lambda: host)  # type: ignore[no-any-return]


def eye(N: int, M: Any = None, k: int = 0, dtype: Any = float, order: str = "C") -> ndarray:
    host = np.eye(N, M, k, dtype, order)  # type: ignore[call-overload]
    return produce(lambda: host)  # type: ignore[no-any-return]


def identity(n: int, dtype: Any = float) -> ndarray:
    return eye(n, dtype=dtype)


def tri(N: int, M: Any = None, k: int = 0, dtype: Any = float) -> ndarray:
    host = np.tri(N, M, k, dtype)
    return produce(lambda: host)  # type: ignore[no-any-return]
