"""The CPU backend: NumPy arrays, formulas interpreted, base primitives by NumPy's functions."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from tensorgrad import dtypes
from tensorgrad._errors import DTypeError, ShapeError
from tensorgrad.backend import (
    base,
    memory,
    numpy_complex,
    numpy_create,
    numpy_index,
    numpy_kernels,
    numpy_losses,
    numpy_products,
    numpy_pulls,
    numpy_put,
    numpy_random,
    numpy_reduce,
)
from tensorgrad.backend.base import LIFTS
from tensorgrad.backend.numpy_formula import ElementwiseKernel, single_ufunc
from tensorgrad.backend.numpy_leaves import leaf
from tensorgrad.backend.numpy_staged import ReduceKernel
from tensorgrad.backend.quiet import quietly, silence
from tensorgrad.expr import Formula

Array = np.ndarray[Any, Any]
KERNEL_MODULES = (
    numpy_kernels,
    numpy_reduce,
    numpy_index,
    numpy_put,
    numpy_products,
    numpy_losses,
    numpy_complex,
    numpy_random,
    numpy_create,
)
COPYING = (numpy_kernels, numpy_index)
"""Modules whose results are new arrays of NumPy's own functions, which recycled memory suits."""


_KNOWN = frozenset(np.dtype(name) for name in dtypes.NAMES if name != "bfloat16")
LIFTS.update({(d.type, np.ndarray): np.asarray for d in _KNOWN})


class NumpyBackend:
    """Arrays of NumPy in the memory of the host."""

    name = "numpy"
    device = "cpu"
    array_type: type = np.ndarray

    def kernel(self, name: str) -> Callable[..., Any]:
        for module in KERNEL_MODULES:
            found = getattr(module, name, None)
            if found is not None:
                return memory.recycling(found) if module in COPYING else found
        return memory.recycling(base.later(f"{__name__}_", name))

    def pull(self, name: str) -> Callable[..., Any] | None:
        return getattr(numpy_pulls, name, None)

    def elementwise(self, formula: Formula, order: int) -> Callable[..., Any]:
        direct = single_ufunc(formula)
        return ElementwiseKernel(formula, order) if direct is None else leaf(direct, formula)

    def reduce(self, formula: Formula, order: int) -> Callable[..., Any]:
        return ReduceKernel(formula, order)

    def near(self, array: Array) -> NumpyBackend:
        return self

    def constant(self, value: Any, dtype: Any) -> Array:
        found = np.asarray(value, dtype)
        found.flags.writeable = False
        return found

    def asarray(self, value: Any, dtype: Any = None) -> Array:
        try:
            found = np.asarray(value, None if dtype is None else dtypes.dtype(dtype))
        except ValueError as error:
            if "inhomogeneous" not in str(error):
                raise
            raise ShapeError(
                f"tensor: got a list of {len(value)} parts of different shapes, expected nested "
                "lists of equal lengths; try padding the shorter ones, or a list of tensors"
            ) from None
        if found.dtype not in _KNOWN and found.dtype.name not in dtypes.NAMES:
            raise DTypeError(
                f"tensor: got {type(value).__name__} of dtype {found.dtype}, expected numbers "
                f"(one of {' '.join(dtypes.NAMES)}); try np.stack(list) for a list of tensors, "
                "or x.astype(float)"
            )
        return found if type(found) is np.ndarray else found.view(np.ndarray)

    def to_numpy(self, array: Array) -> Array:
        return array

    def full(self, shape: tuple[int, ...], value: Any, dtype: Any) -> Array:
        out = np.empty(shape, dtype)
        out.fill(value)
        return out

    @cached_property
    def _added(self) -> Callable[..., Any]:
        return memory.recycling(np.add)

    def add(self, a: Array, b: Array) -> Array:
        return np.asarray(self._added(a, b))

    @cached_property
    def _conjugated(self) -> Callable[..., Any]:
        return memory.recycling(np.conjugate)

    def conj(self, a: Array) -> Array:
        return np.asarray(self._conjugated(a))

    def conform(self, ct: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        ct = np.asarray(ct)
        if ct.dtype.kind == "c" and np.dtype(dtype).kind != "c":
            ct = ct.real
        if ct.shape != shape:
            ct = numpy_kernels.sum_to(ct, shape=shape)
        return ct if ct.dtype == dtype else ct.astype(dtype)

    def assign(self, target: Array, value: Array) -> None:
        target[...] = value

    def bounds(self, array: Array) -> tuple[int, int]:
        return np.lib.array_utils.byte_bounds(array)

    def quiet(self) -> Any:
        return silence()

    quietly = staticmethod(quietly)
