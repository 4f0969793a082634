"""`cupy.ndarray`: an array over device memory that never becomes a NumPy array by itself.

Its methods of the NumPy kind and its operators come from `functions.py`.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import memory, streams
from .device import Device
from .machine import bytes_at, machine

KINDS: list[type] = []  # the last one is `cupy.ndarray`
KNOWN = frozenset("?bBhHiIlLqQefdFD")


class PerformanceWarning(RuntimeWarning):
    """CuPy's warning of slow use."""


def known(dtype: Any) -> Any:
    """A dtype that CuPy has, else ValueError."""
    found = np.dtype(dtype)
    if found.char not in KNOWN and found.name != "bfloat16":
        raise ValueError(f"Unsupported dtype {found}")
    return found


class Capsule:
    """A DLPack capsule: an array, and the stream on which its consumer goes on."""

    def __init__(self, array: ndarray, stream: int | None) -> None:
        self.array, self.stream = array, stream


class Flags:
    """The three flags that CuPy has."""

    def __init__(self, c: bool, f: bool, own: bool) -> None:
        self.c_contiguous = c
        self.f_contiguous = f
        self.owndata = own

    @property
    def fnc(self) -> bool:
        return self.f_contiguous and not self.c_contiguous

    @property
    def forc(self) -> bool:
        return self.f_contiguous or self.c_contiguous

    def __getitem__(self, name: str) -> bool:
        names = {"C_CONTIGUOUS": "c_contiguous", "F_CONTIGUOUS": "f_contiguous"}
        if name not in {*names, "OWNDATA"}:
            raise KeyError(f"{name} is not defined for cupy.ndarray.flags")
        return bool(getattr(self, names.get(name, "owndata")))

    def __repr__(self) -> str:
        rows = [("C_CONTIGUOUS", self.c_contiguous), ("F_CONTIGUOUS", self.f_contiguous)]
        return "\n".join(
            f"  {name} : {value}" for name, value in [*rows, ("OWNDATA", self.owndata)]
        )


def over(memptr: Any, dtype: Any, shape: Any, strides: Any = None, order: Any = "C") -> Any:
    """A NumPy array over device memory, always writeable."""
    if not math.prod(shape):
        return np.empty(shape, dtype, order)
    found = memptr.mem
    block = machine().find(found.ptr)
    if block is None:
        buffer, start = bytes_at(found.ptr, found.size), found.ptr
    else:
        buffer, start = block.data, block.address
    return np.ndarray(shape, dtype, buffer, memptr.ptr - start, strides, order)


class ndarray:  # noqa: N801
    """CuPy's array: `_a` is the NumPy array over the same memory.

    `cupy.ndarray` is a class below this one, of its own in every `install`: what a program keeps
    by the type of its arrays does not outlive the stand-in.
    """

    __slots__ = ("__weakref__", "_a", "base", "data")
    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return object.__new__(KINDS[-1] if cls is ndarray else cls)

    def __init__(
        self,
        shape: Any,
        dtype: Any = float,
        memptr: Any = None,
        strides: Any = None,
        order: str | None = "C",
    ) -> None:
        shape = (int(shape),) if isinstance(shape, int | np.integer) else tuple(map(int, shape))
        if any(size < 0 for size in shape):
            raise ValueError("Negative dimensions are not allowed")
        if order not in ("C", "F", None):
            raise TypeError(f"order not understood. order={order}")
        dtype = known(dtype)
        if strides is not None and memptr is None:
            raise ValueError("memptr is required if strides is given.")
        if memptr is None:
            memptr = memory.alloc(math.prod(shape) * dtype.itemsize)
        elif not isinstance(memptr, memory.MemoryPointer):
            raise TypeError(f"Expected cupy.cuda.MemoryPointer, got {type(memptr).__name__}")
        self.data = memptr
        self.base: Any = None
        self._a = over(memptr, dtype, shape, strides, order or "C")

    # -- what it is ----------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._a.shape)

    @shape.setter
    def shape(self, shape: Any) -> None:
        found = self._a.view()
        found.shape = shape
        self._a = found

    def _set_shape_and_strides(
        self, shape: Any, strides: Any, update_c_contiguity: bool, update_f_contiguity: bool
    ) -> None:
        self._a = over(self.data, self.dtype, tuple(shape), tuple(strides))

    dtype = property(lambda self: self._a.dtype)
    strides = property(lambda self: self._a.strides)
    ndim = property(lambda self: self._a.ndim)
    size = property(lambda self: self._a.size)
    itemsize = property(lambda self: self._a.itemsize)
    nbytes = property(lambda self: self._a.nbytes)
    device = property(lambda self: Device(self.data.device_id))
    _c_contiguous = property(lambda self: self._a.flags.c_contiguous)
    _f_contiguous = property(lambda self: self._a.flags.f_contiguous)

    @property
    def flags(self) -> Flags:
        return Flags(self._c_contiguous, self._f_contiguous, self.base is None)

    @property
    def T(self) -> ndarray:  # noqa: N802
        return self if self.ndim < 2 else view(self, self._a.T)

    @property
    def mT(self) -> ndarray:  # noqa: N802
        if self.ndim < 2:
            raise ValueError("matrix transpose with ndim < 2 is undefined")
        return view(self, self._a.swapaxes(-1, -2))

    @property
    def real(self) -> ndarray:
        return view(self, self._a.real) if self.dtype.kind == "c" else self

    @real.setter
    def real(self, value: Any) -> None:
        real: Any = self.real
        real[...] = value

    @property
    def imag(self) -> ndarray:
        if self.dtype.kind == "c":
            return view(self, self._a.imag)
        found = ndarray(self.shape, self.dtype)
        found.fill(0)
        return found

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        array: Any = self
        return (array[k] for k in range(len(self)))

    # -- to and from the host --------------------------------------------------------------------

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to "
            "construct a NumPy array explicitly."
        )

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "descr": self.dtype.descr,
            "stream": streams.current_ptr() or streams.LEGACY,
            "version": 3,
            "strides": None if self._c_contiguous else self.strides,
            "data": (self.data.ptr if self.size else 0, False),
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.data.device_id

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None,
        copy: Any = None,
    ) -> Capsule:  # fmt: skip
        if stream is not None and (type(stream) is not int or stream == 0 or stream < -1):
            raise ValueError(f"On CUDA, the stream may not be {stream!r} (ambiguous)")
        if dl_device not in (None, self.__dlpack_device__()):
            raise BufferError("the stand-in exports to the array's own device")
        array: Any = self
        return Capsule(array.copy() if copy else array, stream)

    def get(
        self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True
    ) -> Any:
        source = self._a
        if out is None:
            if not self.size:
                return np.ndarray(self.shape, self.dtype)
            out = np.empty(self.shape, self.dtype, "F" if order == "F" else "C")
        else:
            _fits(self, out)
        ptr = streams.current_ptr() if stream is None else stream.ptr
        _guard(ptr, "D2H transfers")
        with self.device:
            if not blocking and pinned(out):
                streams.defer(lambda: np.copyto(out, source), ptr)
                return out
            streams.submit(lambda: np.copyto(out, source), ptr)
            streams.wait(ptr)
        return out

    def set(self, arr: Any, stream: Any = None) -> None:
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if self.dtype != arr.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if self.shape != arr.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not self.flags.forc:
            raise RuntimeError("Cannot set to non-contiguous array")
        ptr = streams.current_ptr() if stream is None else stream.ptr
        with self.device:
            upload(self._a, arr, ptr)

    def item(self) -> Any:
        if self.size != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        return self.get().item()

    def tolist(self) -> Any:
        return self.get().tolist()

    def tobytes(self, order: str = "C") -> bytes:
        return bytes(self.get().tobytes(order))

    def __bool__(self) -> bool:
        if self.size > 1:
            raise ValueError(
                "The truth value of an array with more than one element is ambiguous. Use "
                "a.any() or a.all()"
            )
        return bool(self.get()) if self.size else False

    def __int__(self) -> int:
        return int(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __complex__(self) -> complex:
        return complex(self.get())

    def __repr__(self) -> str:
        return repr(self.get())

    def __str__(self) -> str:
        return str(self.get())

    def __format__(self, spec: str) -> str:
        return format(self.get(), spec)

    def __reduce__(self) -> Any:
        return uploaded, (self.get(),)

    # -- filling ---------------------------------------------------------------------------------

    def fill(self, value: Any) -> None:
        if isinstance(value, ndarray):
            if value.shape:
                raise ValueError("non-scalar cupy.ndarray cannot be used for fill")
            source = operand(value)
        else:
            if np.shape(value):
                raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
            source = np.asarray(value)[()]
        target = operand(self)
        streams.submit(lambda: np.copyto(target, source, casting="unsafe"))

    @classmethod
    def __class_getitem__(cls, item: Any) -> Any:
        return cls


def _fits(array: ndarray, out: Any) -> None:
    """What `get(out=...)` wants of its target."""
    if not isinstance(out, np.ndarray):
        raise TypeError("Only numpy.ndarray can be obtained from cupy.ndarray")
    if array.dtype != out.dtype:
        raise TypeError(f"{out.dtype} array cannot be obtained from {array.dtype} array")
    if array.shape != out.shape:
        raise ValueError(
            f"Shape mismatch. Expected shape: {array.shape}, actual shape: {out.shape}"
        )
    if not (out.flags.c_contiguous or out.flags.f_contiguous):
        raise RuntimeError("`out` cannot be specified when copying to non-contiguous ndarray")


def _guard(ptr: int, what: str) -> None:
    if streams.capturing(ptr):
        raise RuntimeError(f"the current stream is capturing, so {what} are disallowed")


def pinned(array: Any) -> bool:
    """Whether a NumPy array lies in pinned memory."""
    block = machine().find(array.ctypes.data)
    return block is not None and block.device == -1


def upload(target: Any, source: Any, ptr: int) -> None:
    """Copy a NumPy array to device memory: pinned memory is read when the copy runs."""
    _guard(ptr, "H2D transfers")
    if pinned(source):
        streams.defer(lambda: np.copyto(target, source), ptr)
        return
    taken = source.copy()
    streams.submit(lambda: np.copyto(target, taken), ptr)


def uploaded(host: Any) -> ndarray:
    """A NumPy array in fresh memory of the current device, in its own order of axes."""
    out = ndarray(host.shape, host.dtype, order="F" if np.isfortran(host) else "C")
    upload(out._a, host, streams.current_ptr())
    return out


def view(array: ndarray, found: Any) -> ndarray:
    """A NumPy view of an array's memory as an array."""
    result: ndarray = object.__new__(type(array))
    result.base = array if array.base is None else array.base
    result.data = array.data
    if found.size:
        result.data = array.data + (found.ctypes.data - array.data.ptr)
    if not found.flags.writeable:
        found = over(result.data, found.dtype, found.shape, found.strides)
    result._a = found
    return result


def operand(value: Any) -> Any:
    """What computes for an argument: its NumPy array, on the current device only; a scalar."""
    if isinstance(value, ndarray):
        here = machine().device
        if value.data.device_id != here:
            text = (
                f"The device where the array resides ({value.data.device_id}) is different from "
                f"the current device ({here})."
            )
            if not machine().peers:
                raise ValueError(f"{text} Peer access is unavailable between these devices.")
            warnings.warn(
                f"{text} Peer access has been activated automatically.",
                PerformanceWarning,
                stacklevel=3,
            )
        return value._a
    if isinstance(value, bool | int | float | complex | np.generic):
        return value
    raise TypeError(f"Unsupported type {type(value)}")


def produce(compute: Callable[[], Any]) -> Any:
    """New arrays with what `compute` gives; while a stream captures, on every replay."""
    streams.ready()
    with quiet():
        found = compute()
    if isinstance(found, tuple | list):
        outs = [_new(np.asarray(part)) for part in found]
        _write(outs, lambda: [np.asarray(part) for part in compute()], found)
        return type(found)(outs) if type(found) in (tuple, list) else tuple(outs)
    out = _new(np.asarray(found))
    _write([out], lambda: [np.asarray(compute())], [found])
    return out


def _new(like: Any) -> ndarray:
    order = "F" if like.flags.f_contiguous and not like.flags.c_contiguous else "C"
    return ndarray(like.shape, like.dtype, order=order)


def _write(outs: list[ndarray], compute: Callable[[], Any], found: Any) -> None:
    targets = [out._a for out in outs]

    def work(values: Any = None) -> None:
        for target, value in zip(targets, compute() if values is None else values):
            np.copyto(target, value)

    if streams.capturing():
        streams.submit(lambda: _quietly(work))
    else:
        work(found)


def _quietly(work: Callable[[], None]) -> None:
    with quiet():
        work()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """A GPU does not warn."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
