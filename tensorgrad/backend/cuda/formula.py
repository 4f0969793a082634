"""Elementwise formulas on CuPy arrays: generated kernels, else CuPy's own functions.

Dtypes are promoted once, as on the CPU. What the layout of the arrays decides (kernel, grid, shape)
is worked out at the first call with arrays that lie so, and remembered.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import cupy
import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad.backend.cuda import launch
from tensorgrad.backend.cuda.interpret import Interpreter
from tensorgrad.backend.numpy_formula import single_ufunc
from tensorgrad.codegen import cuda, cuda_parts
from tensorgrad.codegen.cuda_views import arrange
from tensorgrad.expr import Formula
from tensorgrad.expr.graph import topo
from tensorgrad.expr.traits import traits

Array = Any
Run = Callable[[Sequence[Array], Sequence[Array]], None]
"""Reads inputs, writes outputs."""

REMEMBERED = 1024
"""Layouts that one formula remembers."""

_WHOLE = frozenset({"floor", "ceil", "trunc"})
"""What leaves integers as they are, in NumPy; CuPy makes float64 of them."""


class ElementwiseKernel:
    """A formula of elements: f(*arrays, out=None) -> one array, or a tuple of several."""

    def __init__(self, formula: Formula) -> None:
        self.formula = formula
        self._indexed = any(e.op == "index" for e in topo(formula.outputs))
        self._traits = traits(formula.inputs, formula.outputs)
        self._plans: dict[Any, Callable[..., Any]] = {}

    def __call__(self, *arrays: Array, out: Any = None) -> Any:
        outs = () if out is None else out if isinstance(out, tuple) else (out,)
        key = tuple([(a.shape, a.strides, a.dtype) for a in (*arrays, *outs)])
        run = self._plans.get(key)
        if run is None:
            if len(self._plans) >= REMEMBERED:
                self._plans.clear()
            run = self._plans[key] = self._prepare(arrays, outs)
        return run(arrays, outs)

    @cached_property
    def _direct(self) -> Any:
        """NumPy's own function of a formula that is one step on its inputs."""
        return single_ufunc(self.formula)

    def _prepare(self, arrays: Sequence[Array], outs: Sequence[Array]) -> Callable[..., Any]:
        """Who runs the formula on arrays that lie as these do."""
        given = [a.dtype for a in arrays]
        outs = [launch.writable(o) for o in outs]
        shape = shapes.broadcast(*[a.shape for a in arrays], op=self.formula.name)
        if self._direct is not None and not any(map(dtypes.is_inexact, given)):
            return _Direct(self._direct)
        names = [d.name for d in given]
        if not launch.generating():
            return _Written(_Interpreted(self.formula, self._result(given), shape))
        if cuda.supports(self.formula, names):
            made, direct = self._kernel(arrays, shape), None
            if made is not None and outs and _like(outs, made):
                direct = self._kernel(arrays, shape, outs)
            if made is not None:
                return _Written(made, direct)
        pieces = cuda_parts.parts(self.formula, names)
        if pieces is not None:
            return _Written(_Pieces(pieces, shape))
        return _Written(_Interpreted(self.formula, self._result(given), shape))

    def _kernel(
        self, arrays: Sequence[Array], shape: shapes.Shape, outs: Sequence[Array] = ()
    ) -> _Generated | None:
        names, stored = (tuple([a.dtype.name for a in group]) for group in (arrays, outs))
        return generated(
            self.formula, arrays, names, shape,
            outs=stored or None, indexed=self._indexed, into=outs,
        )  # fmt: skip

    def _result(self, given: Sequence[Any]) -> Any:
        floats = [d for d, v in zip(given, self.formula.inputs) if v.kind == "f"]
        found = dtypes.result_type(*floats) if floats else dtypes.float64
        return dtypes.inexact(found) if self._traits.inexact else found


class Made(ABC):
    """A way to compute a formula: the dtypes of new outputs, and what fills given ones."""

    shape: shapes.Shape
    dtypes: Sequence[Any]
    order = "C"

    @abstractmethod
    def __call__(self, arrays: Sequence[Array], outs: Sequence[Array]) -> None:
        """Fill the outputs."""


class _Written:
    """Runs what was made, into new arrays or into `out`; `direct` writes there at once."""

    def __init__(self, made: Made, direct: Made | None = None) -> None:
        self._made, self._direct = made, direct
        self._single = len(made.dtypes) == 1

    def __call__(self, arrays: Sequence[Array], outs: Sequence[Array]) -> Any:
        if self._direct is not None and not _clash(arrays, outs):
            self._direct(arrays, outs)
            return outs[0] if self._single else tuple(outs)
        made = self._made
        found = [cupy.empty(made.shape, d, made.order) for d in made.dtypes]
        made(arrays, found)
        if outs:
            for o, value in zip(outs, found):
                cupy.copyto(o, value, casting="same_kind")
            found = list(outs)
        return found[0] if self._single else tuple(found)


def _like(outs: Sequence[Array], made: Made) -> bool:
    """Whether these are arrays of the shape and dtypes that come out, or 16-bit ones of float32."""
    return len(outs) == len(made.dtypes) and all(
        o.shape == made.shape
        and (o.dtype == d or (d == dtypes.float32 and dtypes.is_half(o.dtype)))
        for o, d in zip(outs, made.dtypes)
    )


def _clash(arrays: Sequence[Array], outs: Sequence[Array]) -> bool:
    """Whether an output meets what is still to be read, or another output.

    It may lie exactly on an input that is read element by element.
    """
    for k, o in enumerate(outs):
        for a in arrays:
            same = a.data.ptr == o.data.ptr and a.itemsize == o.itemsize
            if not (same and a.shape == o.shape and a.strides == o.strides) and overlap(a, o):
                return True
        if any(overlap(o, other) for other in outs[:k]):
            return True
    return False


def overlap(a: Array, b: Array) -> bool:
    """Whether the stretches of memory that two arrays span meet."""
    (start, stop), (first, last) = bounds(a), bounds(b)
    return start < last and first < stop


def bounds(a: Array) -> tuple[int, int]:
    """The first byte of an array in memory, and the byte after its last."""
    low = high = launch.address(a)
    if not a.size:
        return low, low
    for size, step in zip(a.shape, a.strides):
        if step < 0:
            low += (size - 1) * step
        else:
            high += (size - 1) * step
    return low, high + a.itemsize


# -- generated kernels -------------------------------------------------------------------------


class _Generated(Made):
    """One generated kernel on arrays of one layout."""

    def __init__(self, source: Any, view: Any, shape: shapes.Shape, order: str, count: int) -> None:
        self.shape, self.order = shape, order
        self.dtypes = [dtypes.dtype(name) for name in source.dtypes[count:]]
        self._grid, self._block = source.grid(view.size), (source.block,)
        self._run = launch.generated(source.text, source.name) if view.size else None
        # CuPy passes a struct as an array of no axes, not as a scalar.
        first, *rest = view.arguments(())
        self._first, self._rest = first, [np.asarray(s) for s in rest]

    def __call__(self, arrays: Sequence[Array], outs: Sequence[Array]) -> None:
        if self._run is not None:
            pointers = [a.data.ptr for a in (*arrays, *outs)]
            self._run(self._grid, self._block, self._first, *pointers, *self._rest)


def generated(
    formula: Formula,
    arrays: Sequence[Array],
    names: tuple[str, ...],
    shape: shapes.Shape,
    real: str | None = None,
    outs: tuple[str, ...] | None = None,
    indexed: bool = False,
    into: Sequence[Array] = (),
) -> _Generated | None:
    """The kernel for arrays that lie as these do, into new ones or ones that lie as `into`.

    None where their layout has none.
    """
    order, count = _order(arrays, shape), len(formula.outputs)
    placed = [(a.shape, a.strides, a.itemsize) for a in (*arrays, *into)]
    if not into:
        placed += [(shape, _packed(shape, order), 1)] * count
    try:
        view = arrange(tuple(placed), count, indexed)
    except ValueError:  # more axes than a kernel has
        return None
    source = cuda.elementwise(formula, names, view.layout, view.wide, view.reads, real, outs)
    return _Generated(source, view, shape, order, len(formula.inputs))


def _order(arrays: Sequence[Array], shape: shapes.Shape) -> str:
    """The order of new results in memory: that of the arrays which are as large."""
    large = [a for a in arrays if a.shape == shape and not a.flags.c_contiguous]
    return "F" if large and all(a.flags.f_contiguous for a in large) else "C"


def _packed(shape: shapes.Shape, order: str) -> tuple[int, ...]:
    steps, step = [], 1
    for size in shape if order == "F" else reversed(shape):
        steps.append(step)
        step *= size
    return tuple(steps if order == "F" else reversed(steps))


class _Pieces(Made):
    """A formula too large for one kernel, as kernels over temporary arrays."""

    def __init__(self, pieces: Any, shape: shapes.Shape) -> None:
        self.shape, self._pieces = shape, pieces
        self.dtypes = [dtypes.dtype(name) for name in pieces.dtypes]

    def __call__(self, arrays: Sequence[Array], outs: Sequence[Array]) -> None:
        values = list(arrays)
        for part in self._pieces.parts:
            given = [values[k] for k in part.sources]
            shape = shapes.broadcast(*[a.shape for a in given])
            made = generated(part.formula, given, part.given, shape, part.real, part.outs)
            if made is None:
                given = [launch.contiguous(cupy.broadcast_to(a, shape)) for a in given]
                made = generated(part.formula, given, part.given, shape, part.real, part.outs)
            found = [cupy.empty(shape, d, made.order) for d in made.dtypes]  # type: ignore[union-attr]
            made(given, found)  # type: ignore[misc]
            values += found
        for o, number in zip(outs, self._pieces.outputs):
            cupy.copyto(o, values[number], casting="unsafe")


# -- CuPy's functions --------------------------------------------------------------------------


class _Direct:
    """CuPy's function of the same name, in the dtype that NumPy's gives: whole numbers alone."""

    def __init__(self, ufunc: np.ufunc) -> None:
        self._ufunc = ufunc
        whole = ufunc.__name__ in _WHOLE
        self._run = (lambda x: x.copy()) if whole else getattr(cupy, ufunc.__name__)

    def __call__(self, arrays: Sequence[Array], outs: Sequence[Array]) -> Any:
        kinds = (*[a.dtype for a in arrays], None)
        wanted = self._ufunc.resolve_dtypes(kinds)[-1]
        found = self._run(*arrays)
        if found.dtype != wanted:
            found = found.astype(wanted)
        if not outs:
            return found
        cupy.copyto(outs[0], found, casting="same_kind")
        return outs[0]


class _Interpreted(Made):
    """The formula step by step; the 16-bit floats are computed in float32."""

    def __init__(self, formula: Formula, result: Any, shape: shapes.Shape) -> None:
        self.shape, self._computed = shape, dtypes.compute(result)
        self._steps = Interpreter(formula, self._computed)
        self._casts = [v.kind == "f" for v in formula.inputs]
        whole = self._computed if self._computed.kind in "iu" else dtypes.int64
        self.dtypes = [
            {"f": result, "i": whole, "b": dtypes.bool_}[o.kind] for o in formula.outputs
        ]

    def __call__(self, arrays: Sequence[Array], outs: Sequence[Array]) -> None:
        given = [
            a.astype(self._computed) if cast and a.dtype != self._computed else a
            for a, cast in zip(arrays, self._casts)
        ]
        for o, value in zip(outs, self._steps(given, self.shape)):
            cupy.copyto(o, value, casting="unsafe")
