"""What every function of NumPy's own lists does with a tensor, as rows for the documentation."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

from tensorgrad.core.registry import OPERATIONS, Operation
from tensorgrad.ops import protocols
from tensorgrad.ops.refusals import AS_TENSOR, CONSTANT, CREATION, REFUSED, WRITES, dotted

HOWS = ("differentiable", "constant", "writes", "refused", "missing")
"""What a function can do; "missing": nobody has said it yet."""

_PARTS = ("char", "fft", "lib.recfunctions", "linalg", "polynomial", "strings")


class Row(NamedTuple):
    """One function of NumPy.

    name: dotted, without the leading "np."
    how: one of `HOWS`
    operation: the operation that it is, empty where it is none
    orders: the orders of derivative that are tested, 0 for a constant
    reason: of a refusal, what the function wants, and what to use instead
    """

    name: str
    how: str
    operation: str = ""
    orders: int = 0
    reason: str = ""


def listed() -> dict[str, Any]:
    """Every ufunc and array function that NumPy lets others override, by its dotted name."""
    from numpy.testing import overrides  # late: for import time

    for part in _PARTS:  # a part that nobody has imported has nothing in the lists
        importlib.import_module(f"numpy.{part}")
    functions = [
        *overrides.get_overridable_numpy_ufuncs(),
        *overrides.get_overridable_numpy_array_functions(),
    ]
    return {dotted(function): function for function in functions}


def surface() -> list[Row]:
    """A row for every function that NumPy lets others override, by name."""
    for namespace in protocols.NAMESPACES:
        protocols.load(namespace)
    meant = {
        protocols.resolve(name): operation
        for operation in OPERATIONS.values()
        for name in operation.numpy
        if not name.startswith("scipy.")
    }
    meant |= {protocols.resolve(name): OPERATIONS[of] for name, of in protocols.INNER.items()}
    return [_row(name, meant.get(function)) for name, function in sorted(listed().items())]


def _row(name: str, operation: Operation | None) -> Row:
    if operation is not None:
        how = "differentiable" if operation.orders else "constant"
        return Row(name, how, operation.name, operation.orders)
    if name in AS_TENSOR:
        return Row(name, "differentiable", "asarray", OPERATIONS["asarray"].orders)
    if name in CONSTANT or name in CREATION:
        return Row(name, "constant")
    if name in WRITES:
        return Row(name, "writes")
    want, instead = REFUSED.get(name, ("", ""))
    if want:
        return Row(name, "refused", reason=f"wants {want}; try {instead}")
    return Row(name, "missing")
