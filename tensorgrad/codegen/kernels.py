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


def _build(formula: Formula, dtype: np.dtype[Any]) -> Callable[..., Any] | None:
    if not supports(formula, dtype):
        return None
    address = compiler().address(function(formula, dtype))
    nodes = (*formula.inputs, *formula.outputs)
    types = [dtype.num if e.kind == "f" else np.dtype(bool).num for e in nodes]
    made = register(formula.name, address, types, len(formula.inputs))
    slow = arrays_only(made)
    if any(e.kind != "f" for e in nodes):
        return slow
    return _ENTRIES.wrap(formula.name, address, dtype, made, slow, compiler().address)


def kernel(formula: Formula, dtype: Any) -> Callable[..., Any] | None:
    """f(*arrays, out=None) -> the output, or a tuple of several; None where there is no kernel.

    The arrays are of `dtype` (float32 or float64; bools where the formula wants them), of any
    layout, and broadcast. `out` is an array, or a tuple of them, and may be among the inputs. No
    floating-point warning is given and no flag of the processor changes. There is no kernel where
    `supports` is False, where the environment says TG_KERNELS=0, or where llvmlite is missing or
    fails, which is told once by a RuntimeWarning.
    """
    wanted = np.dtype(dtype)
    return KERNELS.find((formula, wanted.str), lambda: _build(formula, wanted))  # type: ignore[no-any-return]
