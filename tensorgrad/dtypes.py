"""Dtypes and promotion: NumPy 2's rules, decided here once and before any backend runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad import _config
from tensorgrad._errors import DTypeError, need

DType = np.dtype[Any]

float16, float32, float64 = (np.dtype(f"f{n}") for n in (2, 4, 8))
int8, int16, int32, int64 = (np.dtype(f"i{n}") for n in (1, 2, 4, 8))
uint8, uint16, uint32, uint64 = (np.dtype(f"u{n}") for n in (1, 2, 4, 8))
complex64, complex128 = np.dtype("c8"), np.dtype("c16")
bool_ = np.dtype("?")

NAMES = tuple(
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 float32 float64 "
    "complex64 complex128".split()
)


def bfloat16() -> DType:
    """The bfloat16 of `ml_dtypes` (imported when first asked for)."""
    import ml_dtypes

    found: DType = np.dtype(ml_dtypes.bfloat16)
    return found


_KNOWN: dict[Any, Any] = {}


def dtype(value: Any) -> Any:
    """The dtype meant by a name, a type or a dtype; raises `DTypeError` for what is none."""
    try:
        return _KNOWN[value]
    except (KeyError, TypeError):
        found = _found(value)
    if isinstance(value, str | type | np.dtype):
        _KNOWN[value] = found
    return found


def _found(value: Any) -> Any:
    if value == "bfloat16":
        return bfloat16()
    try:
        found = np.dtype(value)
    except TypeError:
        found = np.dtype(object)
    need(
        found.name in NAMES,
        "dtype",
        value=value,
        want="one of " + " ".join(NAMES),
        fix="a numeric dtype",
        error=DTypeError,
    )
    return found


def is_float(dt: DType) -> bool:
    """True for float16, bfloat16, float32 and float64."""
    return dt.kind == "f" or (dt.kind == "V" and dt.name == "bfloat16")


def is_inexact(dt: DType) -> bool:
    """True for the dtypes that can carry a gradient: real and complex floating point."""
    return dt.kind in "fc" or (dt.kind == "V" and dt.name == "bfloat16")


def is_half(dt: DType) -> bool:
    """True for the 16-bit floats, which are stored so and computed in float32."""
    return dt.itemsize == 2 and is_float(dt)


def compute(dt: DType) -> DType:
    """The dtype in which a formula on `dt` is computed: float32 for the 16-bit floats."""
    return float32 if is_half(dt) else dt


def inexact(dt: DType) -> DType:
    """The floating dtype that NumPy gives a transcendental function of `dt` (int8: float16)."""
    return dt if is_inexact(dt) else result_type(dt, float16)


def real(dt: DType) -> DType:
    """The dtype of the parts of `dt`: float32 for complex64, itself for a real dtype."""
    return dt if dt.kind != "c" else float32 if dt.itemsize == 8 else float64


def eps(dt: DType) -> float:
    """The distance from 1 to the next number of a floating dtype."""
    return 2.0**-7 if dt.kind == "V" else float(np.finfo(dt).eps)


def result_type(*operands: Any) -> DType:
    """NumPy 2's promotion of dtypes and Python scalars (which are weak).

    NumPy does not know bfloat16: it promotes as float16 does, and to float32 beside float16.
    """
    brains = [x for x in operands if getattr(x, "kind", "") == "V"]
    if not brains:
        return np.result_type(*operands)
    found = np.result_type(*(float16 if getattr(x, "kind", "") == "V" else x for x in operands))
    if found != float16:
        return found
    return float32 if float16 in [x for x in operands if isinstance(x, np.dtype)] else brains[0]


def weak(scalar: Any, dt: DType) -> DType:
    """The dtype that a Python scalar takes beside an array of dtype `dt`."""
    return result_type(dt, scalar) if type(scalar) in (bool, int, float, complex) else dt


def default() -> DType:
    """The dtype of new parameters (float32 unless `set_default_dtype` said otherwise)."""
    found: DType = dtype(_config.default_dtype.get())
    return found


def set_default_dtype(value: Any) -> None:
    """Set the dtype of new parameters; a real floating dtype, else `DTypeError`."""
    found = dtype(value)
    need(
        is_float(found),
        "set_default_dtype",
        dtype=found.name,
        want="a real floating dtype",
        fix='"float32"',
        error=DTypeError,
    )
    _config.default_dtype.set(found.name)
