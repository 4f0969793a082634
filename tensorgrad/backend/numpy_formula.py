"""Formulas on NumPy arrays: promoted once, computed in one dtype, by a generated loop or NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgrad import dtypes
from tensorgrad.backend import memory
from tensorgrad.expr import Formula
from tensorgrad.expr.evaluate import numpy_function, plan
from tensorgrad.expr.graph import topo
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


ALWAYS = 1
"""Orders of derivative up to which a formula is generated for arrays of any size."""

LARGE = 65536
"""Elements of an operand from which every order is generated.

A machine compiles the second derivative of a GELU in 35 ms and the fourth in 125 ms, as long as it
interprets 4 and 2 million elements, which small arrays never become. What is compiled already has
no say.
"""


SHORTCUTS = 3
"""Combinations of dtypes that a formula's calls try first, each in some nanoseconds."""


def generated(
    formula: Formula, order: int, dtype: Any, given: Sequence[Any], large: bool
) -> Callable[..., Any] | None:
    """Who runs a formula: f(*inputs, *outputs) of generated code, or None for the interpreter.

    `dtype` is that of the real inputs and of the results, `given` are the dtypes of all inputs.
    """
    if order > ALWAYS and not large:
        return None
    if any(v.kind == "b" and d != np.bool_ for d, v in zip(given, formula.inputs)):
        return None
    from tensorgrad import codegen  # late: for import time

    made = codegen.kernel(formula, dtype, integers_of(formula, given))
    if made is None:
        from tensorgrad.codegen.pieces import pieces  # late: for import time

        made = pieces(formula, dtype)
        if made is None or (made.least and not large):  # type: ignore[attr-defined]
            return None
    return spread(made, formula, dtype) if large else made


def integers_of(formula: Formula, given: Sequence[Any]) -> list[Any]:
    """The dtypes of the integer inputs among those of all inputs."""
    return [d for d, v in zip(given, formula.inputs) if v.kind == "i"]


class ElementwiseKernel:
    """A formula of several steps: promoted once, computed in one dtype, the 16-bit floats in 32.

    A generated loop does it in one pass, where there is one.
    """

    def __init__(self, formula: Formula, order: int) -> None:
        self._formula, self._order = formula, order
        self._ready: dict[Any, Callable[..., Any]] = {}
        self._run: Callable[..., Any] = self._dispatch
        self._shortcuts = 0
        self._traits = traits(formula.inputs, formula.outputs)

    def __call__(self, *arrays: Array, out: Any = None) -> Any:
        if out is None:
            return self._run(*arrays)
        return self._run(*arrays, *(out if isinstance(out, tuple) else (out,)))

    def _dispatch(self, *arrays: Array) -> Any:
        """What no shortcut took: f(*inputs, *outputs) by dtypes and size."""
        given = arrays[: len(self._formula.inputs)]
        large = max([a.size for a in given]) >= LARGE
        key = (large, *[a.dtype for a in given])
        run = self._ready.get(key)
        if run is None:
            run = self._ready[key] = self._prepare(key[1:], large)
        return run(*arrays)

    def _prepare(self, key: tuple[Any, ...], large: bool) -> Callable[..., Any]:
        """f(*inputs, *outputs) for arrays of these dtypes."""
        floats = [d for d, v in zip(key, self._formula.inputs) if v.kind == "f"]
        result = dtypes.result_type(*floats) if floats else dtypes.float64
        if self._traits.inexact:
            result = dtypes.inexact(result)
        found, taken = generated(self._formula, self._order, result, key, large), result
        if found is None:
            found, taken = self._interpreter(result), dtypes.compute(result)
        run, count = memory.recycling(found, 0) if large else found, len(key)
        casts = [
            taken if v.kind == "f" and d != taken else None
            for d, v in zip(key, self._formula.inputs)
        ]
        if all(c is None for c in casts):
            if not large and self._order <= ALWAYS:
                self._shorten(result, key)
            return run

        def cast(*arrays: Array) -> Any:
            given = [a if c is None else a.astype(c) for a, c in zip(arrays, casts)]
            return run(*given, *arrays[count:])

        return cast

    def _shorten(self, dtype: Any, given: Sequence[Any]) -> None:
        """Lets calls on small arrays of these dtypes go straight to the kernel, if there is one."""
        from tensorgrad import codegen  # late: for import time

        if self._shortcuts < SHORTCUTS:
            integers = integers_of(self._formula, given)
            found = codegen.shortcut(self._formula, dtype, integers, self._run, LARGE - 1)
            if found is not None:
                self._run = found
                self._shortcuts += 1

    def _interpreter(self, dtype: Any) -> Callable[..., Any]:
        """The formula by NumPy; the 16-bit floats come in float32 and are rounded at the end."""
        computed = dtypes.compute(dtype)
        steps, count = plan(self._formula, computed), len(self._formula.inputs)
        single = len(self._formula.outputs) == 1
        whole = any(e.op == "index" for e in topo(self._formula.outputs))
        halves = [o.kind == "f" and dtype != computed for o in self._formula.outputs]

        def run(*arrays: Array) -> Any:
            given, out = arrays[:count], arrays[count:] or None
            if not any(halves) and not whole and given[0].size > 2 * BLOCK:
                return by_blocks(steps, given, out, single)
            outs = steps(given)
            if any(halves):
                outs = tuple([o.astype(dtype) if half else o for o, half in zip(outs, halves)])
            return deliver(outs, out, single)

        return run if self._order or self._traits.silent else quiet(run)


SHARED, GRAIN = 2**17, 16384
"""Elements from which a formula is split over threads, and the boundaries of the parts."""

WORTH = 150_000  # ns of work on one thread that make up for waking the others


def spread(run: Callable[..., Any], formula: Formula, dtype: Any) -> Callable[..., Any]:
    """A kernel that runs on several threads where its arrays are large, of one shape, contiguous.

    Operands of one element are shared. Every element is computed as on one thread.
    """
    nodes, count = topo(formula.outputs), len(formula.inputs)
    if any(e.op == "index" for e in nodes) or any(o.kind == "i" for o in formula.outputs):
        return run
    results = [dtype if o.kind == "f" else dtypes.bool_ for o in formula.outputs]
    calls, size_of = sum(e.op == "call" for e in nodes), np.dtype(dtype).itemsize
    # ns an element, as measured on activations in float32; vectors of float64 hold half as many.
    steps = (0.01 * len(nodes) + 0.15 * calls) * max(1.0, size_of / 4)
    cost = steps + 0.02 * size_of * (count + len(results))

    def over_threads(*arrays: Array) -> Any:
        size = max([a.size for a in arrays])
        if size < SHARED or size * cost < WORTH or not _sliceable(arrays, size, count):
            return run(*arrays)
        from tensorgrad.backend import threads  # late: for import time

        shape = next(a.shape for a in arrays if a.size == size)
        outs = arrays[count:] or tuple([np.empty(shape, d) for d in results])
        flat = [a.reshape(() if a.size == 1 else -1) for a in (*arrays[:count], *outs)]

        def job(start: int, stop: int) -> None:
            run(*[a[start:stop] if a.ndim else a for a in flat])

        threads.split(size, GRAIN, job)
        return outs[0] if len(outs) == 1 else outs

    return over_threads


def _sliceable(arrays: Sequence[Array], size: int, count: int) -> bool:
    """Whether slices of the flat arrays can be computed in any order."""
    shape = next(a.shape for a in arrays if a.size == size)
    for a in arrays:
        if a.size == 1:
            if a.ndim > len(shape):
                return False
        elif a.shape != shape or not a.flags.c_contiguous:
            return False
    for k in range(count, len(arrays)):
        o = arrays[k]
        if o.size != size:
            return False
        for a in arrays[:k]:
            if np.may_share_memory(a, o) and not (a.size == size and _in_place(a, o)):
                return False
    return True


def _in_place(a: Array, o: Array) -> bool:
    same = a.__array_interface__["data"] == o.__array_interface__["data"]
    return same and a.itemsize == o.itemsize


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
