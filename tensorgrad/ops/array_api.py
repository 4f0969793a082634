"""The Python array API standard, 2024.12: what a namespace has beside operations.

`x.__array_namespace__()` is `tensorgrad` itself, with `tensorgrad.linalg` and `tensorgrad.fft`.

>>> isdtype(result_type("int8", "float32"), "real floating")
True
"""

from __future__ import annotations

import builtins
import math
import sys
from typing import Any, NamedTuple

import numpy as np

from tensorgrad import _config, dtypes, shapes
from tensorgrad._errors import DeviceError, DTypeError, need
from tensorgrad.core.tensor import Tensor
from tensorgrad.dtypes import complex128, float64, int64

__array_api_version__ = "2024.12"
OLDER = ("2021.12", "2022.12", "2023.12")

e, pi, inf, nan, newaxis = math.e, math.pi, math.inf, math.nan, None
bool = dtypes.bool_


def namespace(x: Tensor, api_version: str | None = None) -> Any:
    """The functions that work on tensors: the package `tensorgrad`, of version 2024.12.

    Raises `ValueError` for a version that is not there.
    """
    known = api_version in (None, __array_api_version__, *OLDER)
    need(known, "__array_namespace__", api_version=api_version,
         want="2024.12 or older", fix='api_version="2024.12"', error=ValueError)  # fmt: skip
    return sys.modules["tensorgrad"]


def to_device(x: Any, device: str, /, *, stream: Any = None) -> Tensor:
    """x on a device ("cpu", "cuda:0"), itself if it is there; recorded as `x.to(device)` is."""
    need(stream is None, "to_device", stream=stream, want="stream=None", fix="with stream: ...",
         error=ValueError)  # fmt: skip
    found: Tensor = x.to(device=device)
    return found


# -- dtypes ------------------------------------------------------------------------------------

_WEAK = (builtins.bool, int, float, complex)


def _dtype(x: Any) -> Any:
    """The dtype of an array, or the one that is meant by a name or a type."""
    return x.dtype if hasattr(x, "dtype") and not isinstance(x, type) else dtypes.dtype(x)


def result_type(*arrays_and_dtypes: Any) -> Any:
    """The dtype of arrays, dtypes and Python numbers together, as NumPy 2 promotes.

    bfloat16 promotes as float16 does, and to float32 beside float16.

    >>> result_type("float32", 1.0)
    dtype('float32')
    """
    need(arrays_and_dtypes, "result_type", arrays_and_dtypes=(), want="one at least",
         fix="result_type(x)", error=ValueError)  # fmt: skip
    return dtypes.result_type(*(x if type(x) in _WEAK else _dtype(x) for x in arrays_and_dtypes))


def can_cast(from_: Any, to: Any, casting: Any = "safe") -> builtins.bool:
    """Whether a dtype, or an array of it, may become another by a rule; as `numpy.can_cast`."""
    need(type(from_) not in _WEAK, "can_cast", from_=from_, want="a dtype or an array",
         fix="result_type(dtype, number) == dtype", error=TypeError)  # fmt: skip
    return np.can_cast(_dtype(from_), dtypes.dtype(to), casting)


def isdtype(dtype: Any, kind: Any) -> builtins.bool:
    """Whether a dtype is of a kind, or of one of several.

    A kind is a dtype, or "bool", "signed integer", "unsigned integer", "integral", "real floating",
    "complex floating" or "numeric"; bfloat16 is a real floating one.
    """
    dtype = dtypes.dtype(dtype)
    if isinstance(kind, tuple):
        return any(isdtype(dtype, one) for one in kind)
    if not isinstance(kind, str):
        found: builtins.bool = dtype == dtypes.dtype(kind)
        return found
    need(kind in KINDS, "isdtype", kind=kind, want=f"a dtype or one of {', '.join(KINDS)}",
         fix='"numeric"', error=ValueError)  # fmt: skip
    return (dtype.kind if dtype.kind != "V" else "f") in KINDS[kind]


KINDS = {
    "bool": "b",
    "signed integer": "i",
    "unsigned integer": "u",
    "integral": "iu",
    "real floating": "f",
    "complex floating": "c",
    "numeric": "iufc",
}
"""The letters of NumPy's dtypes by the standard's kinds."""


class FloatLimits(NamedTuple):
    """What `finfo` gives: eps is the distance from 1 to the next number."""

    dtype: Any
    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float

    @property
    def tiny(self) -> float:
        """NumPy's other name of the smallest normal number."""
        return self.smallest_normal


def finfo(type: Any, /) -> FloatLimits:
    """The limits of a floating dtype, or of an array's; of a complex one, those of its parts.

    Raises `DTypeError` for what is no float.

    >>> finfo("float32").eps
    1.1920928955078125e-07
    """
    given = _dtype(type)
    need(dtypes.is_inexact(given), "finfo", dtype=given.name, want="a floating dtype",
         fix="tg.finfo(tg.float64)", error=DTypeError)  # fmt: skip
    found = dtypes.real(given)
    limits: Any = _brain() if found.kind == "V" else np.finfo(found)
    numbers = (limits.eps, limits.max, limits.min, limits.smallest_normal)
    return FloatLimits(found, 8 * found.itemsize, *map(float, numbers))


def _brain() -> Any:
    import ml_dtypes  # late: for import time

    found: Any = ml_dtypes.finfo
    return found(ml_dtypes.bfloat16)


class IntegerLimits(NamedTuple):
    """What `iinfo` gives."""

    dtype: Any
    bits: int
    max: int
    min: int


def iinfo(type: Any, /) -> IntegerLimits:
    """The limits of an integer dtype, or of an array's; raises `DTypeError` for any other.

    >>> iinfo("uint8").max
    255
    """
    given = _dtype(type)
    need(given.kind in "iu", "iinfo", dtype=given.name, want="an integer dtype",
         fix="tg.iinfo(tg.int64)", error=DTypeError)  # fmt: skip
    limits = np.iinfo(given)
    return IntegerLimits(given, limits.bits, int(limits.max), int(limits.min))


def broadcast_shapes(*args: Any) -> tuple[int, ...]:
    """The shape of arrays of these shapes together; raises `ShapeError` if there is none.

    >>> broadcast_shapes((3, 1), (4,))
    (3, 4)
    """
    given = [(int(s),) if isinstance(s, int | np.integer) else tuple(s) for s in args]
    return shapes.broadcast(*given, op="broadcast_shapes") if given else ()


# -- inspection --------------------------------------------------------------------------------

_ALL = {name: dtypes.dtype(name) for name in dtypes.NAMES if name not in ("float16", "bfloat16")}


class Info:
    """What the namespace offers: capabilities, devices, dtypes."""

    def capabilities(self) -> dict[str, Any]:
        """Boolean indexing and shapes that depend on data are there; 64 axes at most."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> str:
        """Where new tensors go."""
        return _config.default_device.get()

    def devices(self) -> list[str]:
        """The devices that are there; looking for GPUs loads CuPy, where it is installed."""
        return ["cpu", *(f"cuda:{k}" for k in range(_gpus()))]

    def default_dtypes(self, *, device: str | None = None) -> dict[str, Any]:
        """The dtypes of new tensors without one; the same on every device."""
        return {
            "real floating": float64,
            "complex floating": complex128,
            "integral": int64,
            "indexing": int64,
        }

    def dtypes(self, *, device: str | None = None, kind: Any = None) -> dict[str, Any]:
        """The standard's dtypes by name, all of them or those of a kind as `isdtype` has it."""
        return {n: d for n, d in _ALL.items() if kind is None or isdtype(d, kind)}


def _gpus() -> int:
    from tensorgrad.backend.cuda.device import count  # late: for import time

    try:
        return count()
    except DeviceError:
        return 0


__array_namespace_info__ = Info
