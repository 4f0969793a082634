"""The CPU backend: NumPy arrays, formulas interpreted by NumPy, base primitives by its functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad._errors import DTypeError
from tensorgrad.backend import (
    numpy_complex,
    numpy_create,
    numpy_index,
    numpy_kernels,
    numpy_products,
    numpy_pulls,
    numpy_random,
    numpy_reduce,
)
from tensorgrad.expr import COLUMN, ELEMENT, ROW, Formula
from tensorgrad.expr.evaluate import numpy_function, plan
from tensorgrad.expr.traits import traits

Array = np.ndarray[Any, Any]
KERNEL_MODULES = (
    numpy_kernels,
    numpy_reduce,
    numpy_index,
    numpy_products,
    numpy_complex,
    numpy_random,
    numpy_create,
)
_KNOWN = frozenset(np.dtype(name) for name in dtypes.NAMES if name != "bfloat16")


class NumpyBackend:
    """Arrays of NumPy in the memory of the host."""

    name = "numpy"
    device = "cpu"
    array_type: type = np.ndarray

    def kernel(self, name: str) -> Callable[..., Any]:
        for module in KERNEL_MODULES:
            found = getattr(module, name, None)
            if found is not None:
                return found  # type: ignore[no-any-return]
        raise NotImplementedError(f"{name}: the NumPy backend has no kernel of this name")

    def pull(self, name: str) -> Callable[..., Any] | None:
        return getattr(numpy_pulls, name, None)

    def elementwise(self, formula: Formula) -> Callable[..., Any]:
        direct = single_ufunc(formula)
        return direct if direct is not None else ElementwiseKernel(formula)

    def reduce(self, formula: Formula) -> Callable[..., Any]:
        return ReduceKernel(formula)

    def guarded(self, kernel: Callable[..., Any]) -> Callable[..., Any]:
        if isinstance(kernel, np.ufunc):
            return kernel

        def quiet(*arrays: Array, **params: Any) -> Any:
            with np.errstate(all="ignore"):
                return kernel(*arrays, **params)

        return quiet

    def asarray(self, value: Any, dtype: Any = None) -> Array:
        found = np.asarray(value, None if dtype is None else dtypes.dtype(dtype))
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

    def add(self, a: Array, b: Array) -> Array:
        return np.asarray(np.add(a, b))

    def conj(self, a: Array) -> Array:
        return np.asarray(np.conjugate(a))

    def conform(self, ct: Array, shape: tuple[int, ...], dtype: Any) -> Array:
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
        return np.errstate(all="ignore")


def single_ufunc(formula: Formula) -> Callable[..., Any] | None:
    """NumPy's own function of a formula that is one step on its inputs: it promotes and warns.

    SciPy's have no loops for the 16-bit floats and would answer in float32.
    """
    step = traits(formula.inputs, formula.outputs).single
    found = None if step is None else numpy_function(step)
    own = isinstance(found, np.ufunc) and getattr(np, found.__name__, None) is found
    return found if own else None


class ElementwiseKernel:
    """A formula of several steps: promoted once, computed in one dtype, the 16-bit floats in 32."""

    def __init__(self, formula: Formula) -> None:
        self._formula = formula
        self._kinds = [v.kind for v in formula.inputs]
        self._ready: dict[Any, tuple[list[Any], Any, list[Any]]] = {}
        self._single = len(formula.outputs) == 1
        self._traits = traits(formula.inputs, formula.outputs)

    def __call__(self, *arrays: Array, out: Any = None) -> Any:
        key = tuple([a.dtype for a in arrays])
        found = self._ready.get(key)
        if found is None:
            found = self._ready[key] = self._prepare(key)
        casts, run, results = found
        if casts:
            arrays = tuple([a if c is None else a.astype(c) for a, c in zip(arrays, casts)])
        outs = run(arrays)
        if results:
            outs = tuple([o if r is None else o.astype(r) for o, r in zip(outs, results)])
        return deliver(outs, out, self._single)

    def _prepare(self, key: tuple[Any, ...]) -> tuple[list[Any], Any, list[Any]]:
        floats = [d for d, kind in zip(key, self._kinds) if kind == "f"]
        result = dtypes.result_type(*floats) if floats else dtypes.float64
        if self._traits.inexact:
            result = dtypes.inexact(result)
        computed = dtypes.compute(result)
        casts = [
            computed if kind == "f" and d != computed else None for d, kind in zip(key, self._kinds)
        ]
        results = [
            result if o.kind == "f" and result != computed else None for o in self._formula.outputs
        ]
        return (
            casts if any(c is not None for c in casts) else [],
            plan(self._formula, computed),
            results if any(r is not None for r in results) else [],
        )


class ReduceKernel:
    """A staged formula over a (row, column) view; `axis` are the columns."""

    def __init__(self, formula: Formula) -> None:
        self._formula = formula
        self._plans: dict[Any, Any] = {}

    def __call__(
        self,
        *arrays: Array,
        axis: tuple[int, ...],
        shape: tuple[int, ...],
        out: Any = None,
    ) -> Any:
        inputs, outputs = self._formula.inputs, self._formula.outputs
        result = dtypes.inexact(
            dtypes.result_type(*[a.dtype for a, v in zip(arrays, inputs) if v.kind == "f"])
        )
        computed = dtypes.compute(result)
        run = self._plans.get(computed)
        if run is None:
            run = self._plans[computed] = plan(self._formula, computed)
        columns = shapes.size(tuple(shape[k] for k in axis))
        rows = shapes.size(shape) // columns if columns else _rows(shape, axis)
        view = View(axis, shape, rows, columns)
        flat = [
            view.flat(a if v.kind != "f" or a.dtype == computed else a.astype(computed), v.index)
            for a, v in zip(arrays, inputs)
        ]
        found = run(flat, shape=(rows, columns))
        outs = [
            view.shaped(f if o.kind != "f" or result == computed else f.astype(result), o.index)
            for f, o in zip(found, outputs)
        ]
        return deliver(outs, out, len(outs) == 1)


def _rows(shape: tuple[int, ...], axis: tuple[int, ...]) -> int:
    return shapes.size(tuple(size for k, size in enumerate(shape) if k not in axis))


class View:
    """How an array is seen as rows and columns, and how results are seen as arrays again."""

    def __init__(
        self, axis: tuple[int, ...], shape: tuple[int, ...], rows: int, columns: int
    ) -> None:
        kept = tuple(k for k in range(len(shape)) if k not in axis)
        order = kept + axis
        self.order = None if order == tuple(range(len(shape))) else order
        self.kept = tuple(shape[k] for k in kept)
        self.reduced = tuple(shape[k] for k in axis)
        self.sizes = {
            ELEMENT: (rows, columns),
            ROW: (rows, 1),
            COLUMN: (1, columns),
            0: (1, 1),
        }

    def flat(self, array: Array, index: int) -> Array:
        if index == ELEMENT and self.order is not None:
            array = array.transpose(self.order)
        return array.reshape(self.sizes[index])

    def shaped(self, array: Array, index: int) -> Array:
        if index == ROW:
            return array.reshape(self.kept)
        if index == COLUMN:
            return array.reshape(self.reduced)
        if index != ELEMENT:
            return array.reshape(())
        array = array.reshape(self.kept + self.reduced)
        return array if self.order is None else array.transpose(np.argsort(self.order))


def deliver(outs: Sequence[Array], out: Any, single: bool) -> Any:
    """Results as a kernel returns them: one or a tuple, copied into `out` where that was given."""
    if out is not None:
        targets = (out,) if single and not isinstance(out, tuple) else out
        for target, value in zip(targets, outs):
            np.copyto(target, value, casting="same_kind")
        outs = targets
    return outs[0] if single else tuple(outs)
