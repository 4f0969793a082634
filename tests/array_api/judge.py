"""Inputs for the functions of the array API standard, and what counts as the same result.

`array-api-strict` is the judge: what it accepts must be accepted here, with the same dtypes, shapes
and values, special values and the signs of zeros included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import array_api_strict as strict
import numpy as np

import tensorgrad as tg

Array = np.ndarray[Any, Any]

strict.set_array_api_strict_flags(api_version=tg.__array_api_version__)

DTYPES = (
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64 complex64 complex128"
).split()
SPECIAL = (0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, -1.5, 2.0)
ULPS = 8
"""The error of an elementwise function, in units in the last place."""


class Inputs:
    """Arrays of every dtype from one generator: special values and limits among ordinary ones."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def plain(self, dtype: Any, shape: tuple[int, ...], low: float = -3, high: float = 3) -> Array:
        """Ordinary values: floats between the bounds, integers from -9 (or 0) to 9."""
        dtype = np.dtype(dtype)
        if dtype.kind == "b":
            return np.asarray(self.rng.integers(0, 2, shape) == 1)
        if dtype.kind in "iu":
            return np.asarray(self.rng.integers(0 if dtype.kind == "u" else -9, 10, shape, dtype))
        found = self.rng.uniform(low, high, shape)
        if dtype.kind == "c":
            found = found + 1j * self.rng.uniform(low, high, shape)
        return np.asarray(found, dtype)

    def mixed(self, dtype: Any, shape: tuple[int, ...]) -> Array:
        """Ordinary values, with special ones and limits in about half the places."""
        dtype, found = np.dtype(dtype), self.plain(dtype, shape)
        where = self.rng.integers(0, 2, shape) == 1
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)
            extreme = self.rng.choice(np.asarray([limits.min, limits.max, 0, 1], dtype), shape)
        elif dtype.kind in "fc":
            extreme = self.rng.choice(SPECIAL, shape).astype(dtype)
        else:
            return found
        return np.asarray(np.where(where, extreme, found), dtype)

    def shapes(self, full: bool) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Pairs of shapes that broadcast."""
        found = [
            ((), ()), ((7,), (7,)), ((3, 1), (1, 4)), ((0, 3), (3,)), ((2, 3, 4), (4,)), ((), (5,)),
        ]  # fmt: skip
        return found if full else [found[k] for k in self.rng.choice(len(found), 2, replace=False)]


def asked(function: Callable[..., Any], *args: Any, **options: Any) -> tuple[bool, Any]:
    """(whether the judge accepts a call, what it answers)."""
    with np.errstate(all="ignore"):
        try:
            return True, function(*strictly(args), **strictly(options))
        except (IndexError, TypeError, ValueError):
            return False, None


def ours(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    with np.errstate(all="ignore"):
        return function(*tensors(args), **tensors(options))


def strictly(value: Any) -> Any:
    """Arguments with arrays of the judge's own, and its dtypes."""
    return _mapped(value, strict.asarray, lambda d: getattr(strict, d.name))


def tensors(value: Any) -> Any:
    """Arguments with tensors for arrays."""
    return _mapped(value, tg.asarray, lambda d: getattr(tg, d.name))


def _mapped(value: Any, array: Callable[..., Any], dtype: Callable[..., Any]) -> Any:
    if isinstance(value, np.ndarray):
        return array(value)
    if isinstance(value, np.dtype):
        return dtype(value)
    if isinstance(value, dict):
        return {k: _mapped(v, array, dtype) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_mapped(v, array, dtype) for v in value)
    return value


def same(got: Any, want: Any, ulps: float = ULPS, scale: bool = False) -> None:
    """Raise `AssertionError` where results differ in structure, dtype, shape or values.

    `scale`: errors count against the largest value of the result, as in sums, not against each.
    """
    if isinstance(want, tuple | list):
        assert isinstance(got, tuple | list)
        assert len(got) == len(want)
        assert getattr(got, "_fields", None) == getattr(want, "_fields", None)
        for g, w in zip(got, want):
            same(g, w, ulps, scale)
        return
    if not hasattr(want, "dtype"):
        assert got == want
        return
    assert isinstance(got, tg.Tensor)
    assert got.dtype == want.dtype._np_dtype
    assert got.shape == want.shape
    close(got.numpy(), want._array, ulps, scale)


def close(got: Array, want: Array, ulps: float, scale: bool) -> None:
    if want.dtype.kind not in "fc":
        np.testing.assert_array_equal(got, want)
        return
    size = np.abs(np.where(np.isfinite(want), want, 0))
    if scale and size.size:
        size = np.maximum(size.max(), 1)
    budget = ulps * np.finfo(want.dtype).eps * size
    for part in ("real", "imag"):
        g, w = getattr(got, part), getattr(want, part)
        with np.errstate(all="ignore"):
            fine = (g == w) | (np.isnan(g) & np.isnan(w)) | (np.abs(g - w) <= budget)
        assert np.all(fine), f"{part}: got {g}, expected {w}"
        if not scale:
            zeros = (w == 0) & (g == 0)
            assert np.array_equal(np.signbit(g[zeros]), np.signbit(w[zeros])), (g, w)
