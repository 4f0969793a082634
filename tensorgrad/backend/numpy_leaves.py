"""Single functions whose loops in NumPy are slow: large arrays take the generated ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad.backend import memory, numpy_reduce
from tensorgrad.backend.numpy_formula import ElementwiseKernel
from tensorgrad.backend.numpy_kernels import written
from tensorgrad.expr import Formula

Array = np.ndarray[Any, Any]

_DOUBLE = frozenset({np.dtype(np.float64)})
_BOTH = _DOUBLE | {np.dtype(np.float32)}
QUICKER: dict[str, frozenset[np.dtype[Any]]] = {
    "sin": _DOUBLE,
    "cos": _DOUBLE,
    "hypot": _BOTH,
    "logaddexp": _BOTH,
    "fmod": _BOTH,
    "remainder": _BOTH,
    "floor_divide": _BOTH,
}
"""Where our loop takes at most a third of NumPy's time (a tenth, mostly), with its dtypes."""


def leaf(ufunc: Any, formula: Formula) -> Callable[..., Any]:
    """NumPy's function, above `memory.ELEMENTS` elements by a generated loop where it is quicker.

    Either way it warns as NumPy does.
    """
    if ufunc.__name__ not in QUICKER:
        return memory.recycling(ufunc)
    large = LargeLeaf(ufunc, formula)
    return memory.recycling(ufunc, large=large) if memory.recycler() else large.any_size


class LargeLeaf:
    """A generated loop in place of a ufunc, where all arrays are of one of its dtypes."""

    def __init__(self, ufunc: Any, formula: Formula) -> None:
        self._ufunc, self._dtypes = ufunc, QUICKER[ufunc.__name__]
        self._kernel = ElementwiseKernel(formula, order=1)

    def any_size(self, *arrays: Array, **more: Any) -> Any:
        """The same for calls on small arrays too."""
        large = any(a.size >= memory.ELEMENTS for a in arrays)
        return (self if large else self._ufunc)(*arrays, **more)

    def __call__(self, *arrays: Array, out: Any = None, **more: Any) -> Any:
        dtype, told = arrays[0].dtype, np.geterr()
        alike = all(a.dtype == dtype for a in arrays) and len(arrays) == self._ufunc.nin
        # Whether a step loses digits near 0 is NumPy's own affair.
        if more or not alike or dtype not in self._dtypes or told["under"] != "ignore":
            return self._ufunc(*arrays, out=out, **more)
        if out is not None and (type(out) is not np.ndarray or not self._free(arrays, out)):
            return written(self(*arrays), out)
        found = self._kernel(*arrays, out=out)
        if any(told[kind] != "ignore" for kind in ("divide", "over", "invalid")):
            self._warn(arrays, found)
        return found

    def _free(self, arrays: tuple[Array, ...], out: Array) -> bool:
        """Whether the result may be written at once: the warnings need the arguments."""
        return out.dtype == arrays[0].dtype and not any(np.may_share_memory(a, out) for a in arrays)

    def _warn(self, arrays: tuple[Array, ...], found: Array) -> None:
        """NumPy's warnings: its function is called once more where the result is not finite."""
        with np.errstate(all="ignore"):
            whole = numpy_reduce.sum(found, axis=tuple(range(found.ndim)), keepdims=False)
            odd = None if np.isfinite(whole) else ~np.isfinite(found)
        if odd is not None:
            self._ufunc(*[np.broadcast_to(a, found.shape)[odd] for a in arrays])
