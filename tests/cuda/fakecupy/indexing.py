"""Indexing as CuPy does it: integer arrays wrap around, masks wait for the device, no errors.

Where an assignment names a place twice, CuPy leaves open which value stays; here it is the first,
where NumPy keeps the last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import streams
from .array import ndarray, operand, produce, quiet, upload, view

SUMMABLE = "int32 int64 float16 float32 float64 uint32 uint64".split()
ORDERABLE = "int32 int64 float32 float64 uint32 uint64".split()


def _parts(key: Any) -> list[Any]:
    """The parts of a key: None, Ellipsis, slices, integers, and arrays on the device."""
    parts = list(key) if isinstance(key, tuple) else [key]
    for k, part in enumerate(parts):
        if part is None or part is Ellipsis or isinstance(part, slice | ndarray):
            continue
        scalar: Any = part
        if np.isscalar(scalar) and not isinstance(scalar, bool | np.bool_):
            parts[k] = int(scalar)  # type: ignore[arg-type]
            continue
        host = np.asarray(part)
        if host.dtype.kind not in "biu" and host.size:
            raise IndexError(
                "arrays used as indices must be of integer or boolean type. (actual: "
                f"{host.dtype.type})"
            )
        found = ndarray(host.shape, host.dtype if host.size else np.int32)
        upload(found._a, host.astype(found.dtype), streams.current_ptr())
        parts[k] = found
    return parts


def _width(part: Any) -> int:
    """How many axes a part takes."""
    if part is None or part is Ellipsis:
        return 0
    if isinstance(part, ndarray):
        if part.dtype.kind not in "biu":
            raise IndexError(
                "arrays used as indices must be of integer or boolean type. (actual: "
                f"{part.dtype.type})"
            )
        return part.ndim if part.dtype.kind == "b" else 1
    return 1


def _resolved(array: ndarray, key: Any) -> tuple[bool, bool, Callable[[], Any]]:
    """Whether a key has arrays, whether it has masks, and the key for NumPy, read when it runs."""
    parts = _parts(key)
    if sum(part is Ellipsis for part in parts) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    taken = sum(map(_width, parts))
    if taken > array.ndim:
        raise IndexError(
            f"too many indices for array: array is {array.ndim}-dimensional, but {taken} were "
            "indexed"
        )
    axis, steps = 0, []
    for part in parts:
        size = array.shape[axis] if axis < array.ndim else 0
        steps.append((operand(part) if isinstance(part, ndarray) else part, size))
        if isinstance(part, int) and not -size <= part < size:
            raise IndexError(f"Index {part} is out of bounds for axis {axis} with size {size}")
        axis += array.ndim - taken if part is Ellipsis else _width(part)
    arrays = [p for p in parts if isinstance(p, ndarray)]

    def now() -> Any:
        return tuple([_wrapped(part, size) for part, size in steps])

    return bool(arrays), any(p.dtype.kind == "b" for p in arrays), now


def _wrapped(part: Any, size: int) -> Any:
    if isinstance(part, np.ndarray) and part.dtype.kind in "iu" and size:
        return part % size
    return part


def getitem(array: ndarray, key: Any) -> ndarray:
    advanced, mask, now = _resolved(array, key)
    if not advanced:
        found = array._a[(*now(), ...)] if Ellipsis not in now() else array._a[now()]
        return view(array, found)
    if mask:
        streams.no_sync("D2H transfers")  # CuPy reads how many are True
    source = operand(array)
    return produce(lambda: source[now()])  # type: ignore[no-any-return]


def setitem(array: ndarray, key: Any, value: Any) -> None:
    advanced, mask, now = _resolved(array, key)
    if mask:
        streams.no_sync("D2H transfers")
    if not advanced:
        _fill(getitem(array, key), value)
        return
    source = _value(value, array.dtype)
    target = operand(array)

    def work() -> None:
        places = np.arange(target.size).reshape(target.shape)[now()]
        values = np.broadcast_to(source(), places.shape)
        target.flat[places.ravel()[::-1]] = values.ravel()[::-1]

    streams.submit(work)


def _fill(target: ndarray, value: Any) -> None:
    if not isinstance(value, ndarray):
        target.fill(value)
        return
    source, to = operand(value), operand(target)
    lead = source.ndim - to.ndim
    if lead > 0 and not any(size != 1 for size in source.shape[:lead]):
        source = source.reshape(source.shape[lead:])
    np.broadcast_to(source, to.shape)  # raises where it does not fit
    streams.submit(lambda: np.copyto(to, source.copy(), casting="unsafe"))


def on_device(value: Any, dtype: Any) -> Any:
    """Numbers of the host as the NumPy array over device memory that they are copied to."""
    host = np.asarray(value, dtype)
    found = ndarray(host.shape, host.dtype)
    upload(found._a, host, streams.current_ptr())
    return found._a


def _value(value: Any, dtype: Any) -> Callable[[], Any]:
    """What is written, read when it runs, cast as CuPy casts: without asking."""
    if isinstance(value, ndarray):
        source = operand(value)
    else:
        source = np.asarray(value) if np.isscalar(value) else on_device(value, dtype)
    return lambda: source.astype(dtype)


def scatter(array: ndarray, key: Any, value: Any, combine: Any, name: str) -> None:
    """`scatter_add` and its like: every value counts, also where a place is named twice."""
    advanced, mask, now = _resolved(array, key)
    allowed = SUMMABLE if combine in (np.add, np.subtract) else ORDERABLE
    if advanced and combine not in _ANY and array.dtype.name not in allowed:
        raise TypeError(f"cupy.{name}.at only supports {', '.join(allowed)} as data type")
    if mask:
        streams.no_sync("D2H transfers")
    target, source = operand(array), _value(value, array.dtype)

    def work() -> None:
        with quiet():
            combine.at(target, now(), source())

    streams.submit(work)


_ANY = (np.bitwise_and, np.bitwise_or, np.bitwise_xor)


def take(array: ndarray, indices: Any, axis: Any = None, out: Any = None) -> ndarray:
    """Elements along an axis; indices outside wrap around."""
    if axis is not None and not -max(array.ndim, 1) <= axis < max(array.ndim, 1):
        raise np.exceptions.AxisError(axis, array.ndim)
    if not isinstance(indices, ndarray) and not np.isscalar(indices):
        which = on_device(indices, np.int64)
    else:
        which = operand(indices)
    if isinstance(which, np.ndarray) and which.dtype.kind not in "iu":
        raise TypeError(f"take: got indices of {which.dtype}, expected integers")
    source = operand(array)
    if not source.size and np.size(which):
        raise IndexError("cannot do a non-empty take from an empty axes.")
    if out is None:
        return produce(lambda: source.take(which, axis, mode="wrap"))  # type: ignore[no-any-return]
    if out.dtype != array.dtype:
        raise TypeError("Output dtype mismatch")
    target = operand(out)
    if source.take(np.zeros(np.shape(which), int), axis, mode="wrap").shape != out.shape:
        raise ValueError("Output shape mismatch")
    streams.submit(lambda: np.copyto(target, source.take(which, axis, mode="wrap")))
    return out  # type: ignore[no-any-return]


def along(array: ndarray, indices: ndarray, axis: Any) -> tuple[ndarray, Any]:
    """The array and the key of `take_along_axis` and `put_along_axis`."""
    if indices.dtype.kind not in "iu":
        raise IndexError("`indices` must be an integer array")
    if axis is None:
        array, axis = array.ravel(), 0  # type: ignore[attr-defined]
    axis = range(array.ndim)[axis]
    if array.ndim != indices.ndim:
        raise ValueError("`indices` and `a` must have the same number of dimensions")
    key: list[Any] = []
    for k, size in enumerate(array.shape):
        if k == axis:
            key.append(indices)
            continue
        shape = [-1 if j == k else 1 for j in range(array.ndim)]
        key.append(_counted(size, shape))
    return array, tuple(key)


def _counted(size: int, shape: list[int]) -> Any:
    return produce(lambda: np.arange(size).reshape(shape))


def take_along_axis(a: ndarray, indices: ndarray, axis: Any) -> ndarray:
    found, key = along(a, indices, axis)
    return getitem(found, key)


def put_along_axis(arr: ndarray, indices: ndarray, values: Any, axis: Any) -> None:
    found, key = along(arr, indices, axis)
    setitem(found, key, values)


def put(a: ndarray, ind: Any, v: Any, mode: str = "wrap") -> None:
    """Flat places; `raise` reads an error flag from the device."""
    if mode not in ("raise", "wrap", "clip"):
        raise ValueError("clipmode not understood")
    if mode == "raise":
        streams.no_sync("D2H transfers")
    which = operand(ind) if isinstance(ind, ndarray) else on_device(ind, None)
    values, target = _value(v, a.dtype), operand(a)
    streams.submit(lambda: target.put(which, values(), mode))
