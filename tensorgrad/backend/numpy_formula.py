"""Formulas on NumPy arrays: promoted once, computed in one dtype, by a generated loop or NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgrad import dtypes
from tensorgrad.expr import Formula
from tensorgrad.expr.evaluate import numpy_function, plan
from tensorgrad.expr.traits import traits

Array = np.ndarray[Any, Any]


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
