"""DLPack capsules of NumPy arrays, bfloat16 among them, which NumPy itself does not exchange.

A capsule of 16-bit integers over the same memory is taken, and its dtype is written anew: the
layout of the structures is that of dlpack.h, versions 0.8 and 1.0.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from tensorgrad import dtypes

Array = np.ndarray[Any, Any]

UNSIGNED, BRAIN = 1, 4
"""DLPack's numbers of unsigned integers and of bfloat16."""


class _Device(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int32), ("number", ctypes.c_int32))


class _DType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    """The head of `DLTensor`, as far as its dtype."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _DType),
    )


class _Versioned(ctypes.Structure):
    """`DLManagedTensorVersioned`, as far as its tensor's dtype."""

    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
_valid = ctypes.pythonapi.PyCapsule_IsValid
_valid.restype, _valid.argtypes = ctypes.c_int, (ctypes.py_object, ctypes.c_char_p)


def _dtype(capsule: Any) -> _DType:
    """The dtype in a capsule that nobody has taken yet; writing to it changes the capsule."""
    if _valid(capsule, b"dltensor_versioned"):
        whole = _Versioned.from_address(_pointer(capsule, b"dltensor_versioned"))
        return whole.tensor.dtype  # type: ignore[no-any-return]
    return _Tensor.from_address(_pointer(capsule, b"dltensor")).dtype  # type: ignore[no-any-return]


def to_dlpack(x: Array, **options: Any) -> Any:
    if x.dtype.kind != "V":
        return x.__dlpack__(**options)
    capsule = x.view(np.uint16).__dlpack__(**options)
    _dtype(capsule).code = BRAIN
    return capsule


class _Host:
    """An array of another library whose bfloat16 NumPy reads as 16-bit integers."""

    def __init__(self, array: Any) -> None:
        self.array, self.brain = array, False

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()

    def __dlpack__(self, **options: Any) -> Any:
        capsule = self.array.__dlpack__(**options)
        found = _dtype(capsule)
        if found.code == BRAIN and found.bits == 16:
            self.brain, found.code = True, UNSIGNED
        return capsule


def from_dlpack(x: Any) -> Array:
    host = _Host(x)
    found: Array = np.from_dlpack(host)
    return found.view(dtypes.bfloat16()) if host.brain else found
