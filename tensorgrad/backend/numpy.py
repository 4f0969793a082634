"""The CPU backend: NumPy arrays, formulas interpreted, base primitives by NumPy's functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad._errors import DTypeError, ShapeError
from tensorgrad.backend import (
    numpy_complex,
    numpy_create,
    numpy_index,
    numpy_kernels,
    numpy_losses,
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
    numpy_losses,
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
        raise LookupError(f"{name}: got no kernel of this name in the NumPy backend, expected one")

    def pull(self, name: str) -> Callable[..., Any] | None:
        return getattr(numpy_pulls, name, None)

    def elementwise(self, formula: Formula, order: int) -> Callable[..., Any]:
        direct = single_ufunc(formula)
        return direct if direct is not None else ElementwiseKernel(formula, order)

    def reduce(self, formula: Formula, order: int) -> Callable[..., Any]:
        kernel = ReduceKernel(formula)
        return kernel if order else quiet(kernel)

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

    def add(self, a: Array, b: Array) -> Array:
        return np.asarray(np.add(a, b))

    def conj(self, a: Array) -> Array:
        return np.asarray(np.conjugate(a))

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
        return np.errstate(all="ignore")


def single_ufunc(formula: Formula) -> Callable[..., Any] | None:
    """NumPy's own function of a formula that is one step on its inputs: it promotes and warns.

    SciPy's have no loops for the 16-bit floats and would answer in float32.
    """
    step = traits(formula.inputs, formula.outputs).single
    found = None if step is None else numpy_function(step)
    own = isinstance(found, np.ufunc) and getattr(np, found.__name__, None) is found
    return found if own else None


def quiet(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel whose steps do not warn."""

    def run(*arrays: Array, **params: Any) -> Any:
        with np.errstate(all="ignore"):
            return kernel(*arrays, **params)

    return run


GENERATED = 1  # the highest order of derivative that is compiled; above it NumPy interprets


class ElementwiseKernel:
    """A formula of several steps: promoted once, computed in one dtype, the 16-bit floats in 32.

    In float32 and float64 a generated loop does it in one pass, where there is one.
    """

    def __init__(self, formula: Formula, order: int) -> None:
        self._formula, self._order = formula, order
        self._kinds = [v.kind for v in formula.inputs]
        self._ready: dict[Any, tuple[list[Any], Any, list[Any]]] = {}
        self._traits = traits(formula.inputs, formula.outputs)

    def __call__(self, *arrays: Array, out: Any = None) -> Any:
        key = tuple([a.dtype for a in arrays])
        found = self._ready.get(key)
        if found is None:
            found = self._ready[key] = self._prepare(key)
        casts, run, results = found
        if casts:
            arrays = tuple([a if c is None else a.astype(c) for a, c in zip(arrays, casts)])
        if not results:
            return run(*arrays) if out is None else run(*arrays, out=out)
        outs = run(*arrays)
        single = len(results) == 1
        outs = (outs,) if single else outs
        outs = tuple([o if r is None else o.astype(r) for o, r in zip(outs, results)])
        return deliver(outs, out, single)

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
            self._runner(computed),
            results if any(r is not None for r in results) else [],
        )

    def _runner(self, dtype: Any) -> Callable[..., Any]:
        """What computes the formula in a dtype: a generated loop, else its interpreter."""
        if self._order <= GENERATED:
            from tensorgrad import codegen  # late: for import time

            made = codegen.kernel(self._formula, dtype)
            if made is not None:
                return made
        steps, single = plan(self._formula, dtype), len(self._formula.outputs) == 1

        def run(*arrays: Array, out: Any = None) -> Any:
            if arrays[0].size > 2 * BLOCK:
                return by_blocks(steps, arrays, out, single)
            return deliver(steps(arrays), out, single)

        return run if self._order or self._traits.silent else quiet(run)


class ReduceKernel:
    """A staged formula over a (row, column) view; `axis` are the columns."""

    def __init__(self, formula: Formula) -> None:
        self._formula = formula
        self._ready: dict[Any, Layout] = {}

    def __call__(
        self,
        *arrays: Array,
        axis: tuple[int, ...],
        shape: tuple[int, ...],
        out: Any = None,
    ) -> Any:
        key = (axis, shape, *[a.dtype for a in arrays])
        layout = self._ready.get(key)
        if layout is None:
            if len(self._ready) > 256:
                self._ready.clear()
            layout = self._ready[key] = Layout(self._formula, axis, shape, key[2:])
        found = layout.run(layout.flat(arrays), shape=layout.extent)
        outs = layout.shaped(found)
        return deliver(outs, out, len(outs) == 1)


class Layout:
    """How a staged formula runs on arrays of one shape and dtypes: casts, views, the plan."""

    def __init__(
        self, formula: Formula, axis: tuple[int, ...], shape: tuple[int, ...], given: Any
    ) -> None:
        floats = [d for d, v in zip(given, formula.inputs) if v.kind == "f"]
        self._result = dtypes.inexact(dtypes.result_type(*floats))
        self._computed = dtypes.compute(self._result)
        self.run = plan(formula, self._computed)
        kept = tuple(k for k in range(len(shape)) if k not in axis)
        straight = kept + axis == tuple(range(len(shape)))
        self._order = None if straight else kept + axis
        self._back = None if straight else tuple(np.argsort(kept + axis))
        rows, columns = (tuple(shape[k] for k in part) for part in (kept, axis))
        self.extent = (shapes.size(rows), shapes.size(columns))
        sizes = {ELEMENT: self.extent, ROW: (self.extent[0], 1), COLUMN: (1, self.extent[1])}
        whole = {ELEMENT: rows + columns, ROW: rows, COLUMN: columns}
        self._inputs = [
            (v.index, sizes.get(v.index, (1, 1)), v.kind == "f" and d != self._computed)
            for v, d in zip(formula.inputs, given)
        ]
        cast = self._result != self._computed
        self._outputs = [
            (o.index, whole.get(o.index, ()), cast and o.kind == "f") for o in formula.outputs
        ]

    def flat(self, arrays: Sequence[Array]) -> list[Array]:
        """The inputs as (rows, columns), (rows, 1), (1, columns) or (1, 1)."""
        found = []
        for a, (index, size, cast) in zip(arrays, self._inputs):
            if index == ELEMENT and self._order is not None:
                a = a.transpose(self._order)
            if a.shape != size:
                a = a.reshape(size)
            found.append(a.astype(self._computed) if cast else a)
        return found

    def shaped(self, found: Sequence[Array]) -> list[Array]:
        """The outputs in the shapes and the dtype that they have outside."""
        outs = []
        for f, (index, whole, cast) in zip(found, self._outputs):
            if f.shape != whole:
                f = f.reshape(whole)
            if index == ELEMENT and self._back is not None:
                f = f.transpose(self._back)
            outs.append(f.astype(self._result) if cast else f)
        return outs


BLOCK = 8192  # elements: the temporaries of a formula stay in the second cache


def by_blocks(run: Callable[..., Any], arrays: Sequence[Array], out: Any, single: bool) -> Any:
    """A formula over large arrays of one layout in blocks, so that no temporary leaves the cache.

    Arrays of other layouts, or that broadcast, run whole. `out` may be among the inputs.
    """
    whole = [a for a in arrays if a.size != 1]
    targets = [] if out is None else [out] if single and not isinstance(out, tuple) else list(out)
    shape = whole[0].shape if whole else ()
    if any(a.shape != shape or not a.flags.c_contiguous for a in (*whole, *targets)):
        return deliver(run(arrays), out, single)
    flat = [a.reshape(()) if a.size == 1 else a.reshape(-1) for a in arrays]
    size = whole[0].size
    outs = [t.reshape(-1) for t in targets]
    for start in range(0, size, BLOCK):
        part = slice(start, start + BLOCK)
        found = run([a[part] if a.ndim else a for a in flat])
        if not outs:
            outs = [np.empty(size, f.dtype) for f in found]
        for o, f in zip(outs, found):
            o[part] = f
    shaped = targets or [o.reshape(shape) for o in outs]
    return shaped[0] if single else tuple(shaped)


def deliver(outs: Sequence[Array], out: Any, single: bool) -> Any:
    """Results as a kernel returns them: one or a tuple, copied into `out` where that was given."""
    if out is not None:
        targets = (out,) if single and not isinstance(out, tuple) else out
        for target, value in zip(targets, outs):
            np.copyto(target, value, casting="same_kind")
        outs = targets
    return outs[0] if single else tuple(outs)
