"""Kernels by formula: compiled when first asked for, or left to the interpreter."""

from __future__ import annotations

import os
import platform
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgrad import dtypes
from tensorgrad.codegen.compiler import compiler
from tensorgrad.codegen.entry import Entry
from tensorgrad.codegen.llvm import FLAGS, function, has_index, operands, types_of
from tensorgrad.codegen.ufunc import Entries, arrays_only, as_words, counted, register
from tensorgrad.expr.evaluate import plan
from tensorgrad.expr.formula import Formula

UINT16 = np.dtype(np.uint16).num
_LOCK = threading.RLock()


class Kernels:
    """The kernels of a process, made when first asked for; none once generation has failed."""

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}
        self.broken = os.name == "nt" or platform.machine() not in FLAGS

    def find(self, mark: Any, build: Callable[[], Any]) -> Any:
        """What `build` made for `mark`, or None; a failure is told once and ends all generation.

        None at once where the environment says TG_KERNELS=0.
        """
        if os.environ.get("TG_KERNELS") == "0":
            return None
        with _LOCK:
            if mark not in self._known:
                self._known[mark] = None if self.broken else self._attempt(build)
            return self._known[mark]

    def _attempt(self, build: Callable[[], Any]) -> Any:
        try:
            return build()
        except Exception as error:
            self.broken = True
            warnings.warn(
                f"kernels: got {type(error).__name__} ({error}) from llvmlite, expected machine "
                "code; formulas run on NumPy, slower; try reinstalling llvmlite, or TG_KERNELS=0",
                RuntimeWarning,
                stacklevel=4,
            )
            return None


KERNELS = Kernels()
_ENTRIES = Entries()


@dataclass(frozen=True, slots=True)
class _Made:
    """A kernel: how it is called, where its loop lies, and the dtypes of its operands."""

    run: Callable[..., Any]
    address: int
    arrays: list[np.dtype[Any]]


def _build(
    formula: Formula, dtype: np.dtype[Any], integers: tuple[Any, ...] | None
) -> _Made | None:
    types = types_of(formula, dtype, integers)
    if types is None:
        return None
    address = compiler().address(function(formula, dtype, "", integers))
    arrays, inputs = operands(formula, dtype, types), len(formula.inputs)
    if has_index(formula):
        slow = _interpreted(formula, dtype)
    else:
        numbers = [UINT16 if d.kind == "V" else d.num for d in arrays]
        slow = arrays_only(register(formula.name, address, numbers, inputs))
        if any(d.kind == "V" for d in arrays):
            slow = as_words(slow, arrays, inputs)
    run = _ENTRIES.wrap(formula.name, address, arrays, inputs, slow, compiler().address)
    return _Made(run, address, arrays)


def _interpreted(formula: Formula, dtype: np.dtype[Any]) -> Callable[..., Any]:
    """The formula by its interpreter, called as a kernel is; the 16-bit floats in 32 bits."""
    computed, count = dtypes.compute(dtype), len(formula.inputs)
    steps = plan(formula, computed)
    real = [e.kind == "f" for e in formula.inputs]
    results = [dtype if o.kind == "f" and dtype != computed else None for o in formula.outputs]

    def run(*arrays: Any, out: Any = None) -> Any:
        counted(arrays, count, len(results))
        given = zip(arrays[:count], real, strict=True)
        with np.errstate(all="ignore"):
            found = steps([a.astype(computed, copy=False) if r else a for a, r in given])
            outs = [o if r is None else o.astype(r) for o, r in zip(found, results)]
        targets = arrays[count:] if out is None else out if isinstance(out, tuple) else (out,)
        for target, value in zip(targets, outs):
            np.copyto(target, value, casting="same_kind")
        outs = list(targets) or outs
        return outs[0] if len(results) == 1 else tuple(outs)

    return run


def kernel(
    formula: Formula, dtype: Any, integers: Sequence[Any] | None = None
) -> Callable[..., Any] | None:
    """f(*inputs, *outputs) -> the output, or a tuple of several; None where there is no kernel.

    Outputs are made where none are given, by position or as out= (an array or a tuple of them);
    they may be among the inputs. Real arrays are of `dtype` (any real dtype; the 16-bit floats are
    computed in float32 and rounded once), integer inputs of the dtypes `integers` (by default
    int64), bool ones bool; any layout, and they broadcast. A formula that asks for positions
    counts them in row-major order. No floating-point warning is given and no flag of the processor
    changes; above `entry.LIMIT` elements other threads run meanwhile. There is no kernel where
    `supports` is False, where the environment says TG_KERNELS=0, or where llvmlite is missing or
    fails, which is told once by a RuntimeWarning.
    """
    made = _find(formula, dtype, integers)
    return None if made is None else made.run


def shortcut(
    formula: Formula,
    dtype: Any,
    integers: Sequence[Any] | None,
    other: Callable[..., Any],
    most: int,
) -> Callable[..., Any] | None:
    """The kernel on contiguous arrays of up to `most` elements, which leaves all else to `other`.

    None where there is no such entry.
    """
    made = _find(formula, dtype, integers)
    if made is None or not _ENTRIES.trusted:
        return None
    entry = Entry(formula.name, made.address, made.arrays, len(formula.inputs), other, most)
    return _ENTRIES.open(entry, compiler().address)


def _find(formula: Formula, dtype: Any, integers: Sequence[Any] | None) -> _Made | None:
    wanted = np.dtype(dtype)
    given = None if integers is None else tuple([np.dtype(d) for d in integers])
    return KERNELS.find((formula, wanted, given), lambda: _build(formula, wanted, given))  # type: ignore[no-any-return]
