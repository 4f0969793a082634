"""Kernels by formula: compiled when first asked for, or left to the interpreter."""

from __future__ import annotations

import os
import platform
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad.codegen.compiler import compiler
from tensorgrad.codegen.llvm import FLAGS, function, supports
from tensorgrad.codegen.ufunc import Entries, arrays_only, register
from tensorgrad.expr.formula import Formula

_LOCK = threading.RLock()


class Kernels:
    """The kernels of a process; `broken` once generation has failed."""

    def __init__(self) -> None:
        self._known: dict[tuple[Formula, str], Callable[..., Any] | None] = {}
        self._entries = Entries()
        self.broken = os.name == "nt" or platform.machine() not in FLAGS

    def find(self, formula: Formula, dtype: Any) -> Callable[..., Any] | None:
        """The kernel of `formula` in `dtype`, or None; see `kernel`."""
        mark = (formula, np.dtype(dtype).str)
        with _LOCK:
            if mark not in self._known:
                wanted = not self.broken and supports(formula, dtype)
                self._known[mark] = self._attempt(formula, np.dtype(dtype)) if wanted else None
            return self._known[mark]

    def _attempt(self, formula: Formula, dtype: np.dtype[Any]) -> Callable[..., Any] | None:
        try:
            return self._build(formula, dtype)
        except Exception as error:
            self.broken = True
            warnings.warn(
                f"kernels: got {type(error).__name__} ({error}) from llvmlite, expected machine "
                "code; formulas run on NumPy, slower; try reinstalling llvmlite, or TG_KERNELS=0",
                RuntimeWarning,
                stacklevel=4,
            )
            return None

    def _build(self, formula: Formula, dtype: np.dtype[Any]) -> Callable[..., Any]:
        address = compiler().address(function(formula, dtype))
        nodes = (*formula.inputs, *formula.outputs)
        types = [dtype.num if e.kind == "f" else np.dtype(bool).num for e in nodes]
        made = register(formula.name, address, types, len(formula.inputs))
        slow = arrays_only(made)
        if any(e.kind != "f" for e in nodes):
            return slow
        compiled = compiler().address
        return self._entries.wrap(formula.name, address, dtype, made, slow, compiled)


_kernels = Kernels()


def kernel(formula: Formula, dtype: Any) -> Callable[..., Any] | None:
    """f(*arrays, out=None) -> the output, or a tuple of several; None where there is no kernel.

    The arrays are of `dtype` (float32 or float64; bools where the formula wants them), of any
    layout, and broadcast. `out` is an array, or a tuple of them, and may be among the inputs. No
    floating-point warning is given and no flag of the processor changes. There is no kernel where
    `supports` is False, where the environment says TG_KERNELS=0, or where llvmlite is missing or
    fails, which is told once by a RuntimeWarning.
    """
    if os.environ.get("TG_KERNELS") == "0":
        return None
    return _kernels.find(formula, dtype)
