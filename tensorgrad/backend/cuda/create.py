"""CuPy arrays made from numbers and from class labels, one plain function per way."""

from __future__ import annotations

import weakref
from typing import Any

import cupy
import numpy as np

from tensorgrad import dtypes
from tensorgrad.backend.cuda import device, launch, moves
from tensorgrad.backend.cuda.faults import Fault, faults
from tensorgrad.backend.cuda.index import check
from tensorgrad.backend.cuda.kernels import bits, cast, full, moved, written
from tensorgrad.backend.numpy_create import LABELS

Array = Any

COUNTERS = 1024  # threads of the kernels that count labels


def zeroed(shape: Any, dtype: Any) -> Array:
    return cupy.zeros(shape, dtype)


def copied(x: Array) -> Array:
    return moves.copied(x)


def upload(host: Any) -> Array:
    """A NumPy array on the current device."""
    if host.dtype.name == "bfloat16":
        return cupy.asarray(host.view(np.uint16)).view(host.dtype)
    return cupy.asarray(host)


def arange(start: Any, stop: Any, step: Any, dtype: Any) -> Array:
    if np.dtype(dtype).kind in "iu" and {type(start), type(stop), type(step)} <= {int}:
        return cupy.arange(start, stop, step, dtype)
    host: Any = np.arange(start, stop, step, dtype)  # type: ignore[call-overload]
    return upload(host)  # the same roundings as on the CPU


def linspace(start: Any, stop: Any, num: int, endpoint: bool, dtype: Any) -> Array:
    return upload(np.linspace(start, stop, num, endpoint, dtype=dtype))


def tri(n: int, m: int, k: int, dtype: Any) -> Array:
    return _cast(cupy.tri(n, m, k, np.bool_), dtype)


def eye(n: int, m: int, k: int, dtype: Any) -> Array:
    return _cast(cupy.eye(n, m, k, np.bool_), dtype)


def _cast(found: Array, dtype: Any) -> Array:
    return found if found.dtype == dtype else cast(found, dtype)


def transfer(x: Array, *, source: str, target: str) -> Any:
    """A copy on another device, or on the host."""
    if target == "cpu":
        found = bits(x).get()
        faults().poll()
        return found.view(x.dtype)
    with device.using(device.index(target)):
        return moved(lambda b: b.copy(), x)


# -- constants ---------------------------------------------------------------------------------

_VALUES: dict[int, tuple[Any, Any]] = {}


def constant(value: Any, dtype: Any) -> Array:
    """A number as a 0-d array; the host remembers it, and need not ask the device: see `known`."""
    found = full((), value, dtype)
    key = id(found)
    _VALUES[key] = weakref.ref(found, lambda _: _VALUES.pop(key, None)), value
    return found


def known(array: Array) -> Any:
    """The number in a 0-d array that `constant` made; None for any other array."""
    found = _VALUES.get(id(array))
    return found[1] if found is not None and found[0]() is array else None


# -- class labels ------------------------------------------------------------------------------


def one_hot(x: Array, *, classes: int, dtype: Any, out: Array | None = None) -> Any:
    """1 at each label, 0 elsewhere, the classes on a new last axis; labels are range-checked."""
    check(Fault("one_hot", "label", classes, LABELS), x)
    return written(_cast(x[..., None] == cupy.arange(classes), dtype), out)


def counted(
    labels: Array, ignore: Array, dtype: Any, ct: Array | None = None, scale: Array | None = None
) -> Array:
    """How many labels are not `ignore`, as a number of `dtype`; `scale` is set to ct / count.

    labels: contiguous int64; ignore: int64, of one element; ct None is 1.
    """
    count = cupy.empty((), dtype)
    target = cupy.empty((), dtype) if scale is None else scale
    launch.kernel("softmax_xent", f"softmax_xent_scale_{launch.SUFFIX[np.dtype(dtype).name]}")(
        (1,), (COUNTERS,), launch.address(labels), launch.address(ct), launch.address(count),
        launch.address(target), np.int64(labels.size), launch.address(ignore),
    )  # fmt: skip
    return count


def mean_of(loss: Array, count: Array, dtype: Any) -> Array:
    """Σ loss / count in `dtype`, NaN for a count of 0; loss and count in its compute dtype."""
    found = cupy.empty((), dtype)
    launch.kernel("softmax_xent", f"softmax_xent_mean_{launch.SUFFIX[np.dtype(dtype).name]}")(
        (1,), (COUNTERS,), launch.address(loss), launch.address(count), launch.address(found),
        np.int64(loss.size),
    )  # fmt: skip
    return found


def mean_counted(loss: Array, labels: Array, ignore: Array, out: Array | None = None) -> Any:
    """Σ loss / n over the n rows whose label is not `ignore`; NaN where there is none."""
    wide = dtypes.compute(loss.dtype)
    given = launch.contiguous(loss if loss.dtype == wide else cast(loss, wide))
    flat = launch.contiguous(labels.astype(np.int64, copy=False))
    count = counted(flat, ignore.astype(np.int64, copy=False), dtypes.real(wide))
    if wide.kind == "c":
        return written(given.sum() / count, out)
    return written(mean_of(given, count, loss.dtype), out)


def stored(target: Array, value: Array) -> None:
    """Copy `value` into `target`, cast and broadcast."""
    same = target.dtype == value.dtype
    bits(target)[...] = bits(value if same else cast(value, target.dtype))
