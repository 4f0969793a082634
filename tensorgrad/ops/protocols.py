"""NumPy's functions on tensors: `np.f(tensor)` is the operation that the registry maps f to.

A function that is mapped to nothing runs on the bare arrays if no argument is on the tape, or if
its result is a constant anyway; else it refuses by name. Never an object array, never a gradient
cut in silence.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad import shapes
from tensorgrad._errors import InPlaceError, NotDifferentiable
from tensorgrad.backend import base
from tensorgrad.core.registry import OPERATIONS
from tensorgrad.core.tensor import Tensor, make

CONSTANT = frozenset(
    """
    result_type can_cast common_type min_scalar_type iscomplexobj isrealobj
    iscomplex isreal shares_memory may_share_memory array_equal array_equiv allclose isclose
    array_repr array_str array2string argsort argpartition lexsort searchsorted digitize histogram
    bincount argwhere isin unravel_index ravel_multi_index nanargmax nanargmin matrix_rank
    """.split()
)
"""Functions whose result does not depend on the values, or is piecewise constant in them."""

WRITES = frozenset("copyto fill_diagonal place put put_along_axis putmask".split())
"""Functions that write into their first argument, behind the tape's back."""

NAMESPACES = ("fft", "linalg", "signal", "special", "stats")
"""Packages of operations that are loaded when they are first met, to keep the import light."""

UFUNCS: dict[Any, Callable[..., Any]] = {}
"""The operation that each of NumPy's ufuncs means."""

_LOADED: set[str] = set()
_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.shape: lambda a: a.shape,
    np.ndim: lambda a: a.ndim,
    np.size: lambda a, axis=None: shapes.size(
        tuple([a.shape[k] for k in shapes.axes(axis, a.ndim, "size")])
    ),
}
_BY_NAME: dict[str, Callable[..., Any]] = {}


def build() -> None:
    """Fill the tables from the registry. SciPy's ufuncs are known by name, so SciPy can wait."""
    for operation in OPERATIONS.values():
        for dotted in operation.numpy:
            if dotted.startswith("scipy."):
                _BY_NAME[dotted.rpartition(".")[2]] = operation.function
                continue
            found: Any = np
            for part in dotted.split("."):
                found = getattr(found, part, None)
            if isinstance(found, np.ufunc):
                UFUNCS[found] = operation.function
            elif found is not None:
                _FUNCTIONS[found] = operation.function


def load(namespace: str) -> None:
    """Fill the registry and the tables with the operations of a namespace."""
    if namespace not in _LOADED:
        _LOADED.add(namespace)
        importlib.import_module(f"tensorgrad.ops.{namespace}")
        build()


def _function(function: Any) -> Callable[..., Any] | None:
    """The operation that one of NumPy's functions means."""
    found = _FUNCTIONS.get(function)
    if found is None:
        namespace = (getattr(function, "__module__", "") or "").removeprefix("numpy.")
        if namespace in NAMESPACES and namespace not in _LOADED:
            load(namespace)
            found = _FUNCTIONS.get(function)
    return found


def named(ufunc: Any) -> Callable[..., Any] | None:
    """The operation that a ufunc means, one of SciPy's by its name."""
    found = UFUNCS.get(ufunc)
    if found is None and getattr(np, ufunc.__name__, None) is not ufunc:
        load("special")
        found = _BY_NAME.get(ufunc.__name__)
    return found


def into(name: str, result: Any, out: Any) -> Any:
    """A result written to `out=`, as an assignment in place is."""
    target = out[0] if isinstance(out, tuple) else out
    if not isinstance(target, Tensor):
        raise TypeError(
            f"{name}: got out={type(target).__name__} for a tensor's result, expected a tensor; "
            "try out=tg.tensor(array), which shares its memory"
        )
    target[...] = result
    return target


def array_function(self: Tensor, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
    """`np.sum(tensor)` and the like; see the NumPy protocol of that name."""
    mapped = _function(function)
    if mapped is None:
        return bare(_dotted(function), function, args, kwargs)
    out = kwargs.pop("out", None)
    try:
        result = mapped(*args, **kwargs)
    except TypeError:
        _check_call(_dotted(function), mapped, args, kwargs)
        raise
    return result if out is None else into(_dotted(function), result, out)


def _check_call(name: str, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
    """Raise `TypeError` that shows the signature where the arguments do not fit it."""
    signature = inspect.signature(function)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        names = ", ".join(signature.parameters)
        raise TypeError(
            f"{name}: got arguments that tensors do not take ({error}), expected ({names}); "
            "try it without them, with np.where(mask, x, 0) for where="
        ) from None


def _refuse_write(name: str) -> None:
    raise InPlaceError(
        f"{name}: got a tensor to write into, which the tape would not notice, expected x[key] = v;"
        " try x[mask] = v, or x = np.where(mask, v, x) to keep a gradient"
    )


def _dotted(function: Any) -> str:
    module = (getattr(function, "__module__", "") or "numpy").replace("numpy", "np", 1)
    return f"{module}.{function.__name__}"


def bare(name: str, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """An unmapped function on the arrays behind the tensors: for constants alone."""
    if function.__name__ in WRITES and args and isinstance(args[0], Tensor):
        _refuse_write(name)
    out = kwargs.pop("out", None)
    found: list[Tensor] = []

    def strip(value: Any) -> Any:
        if isinstance(value, Tensor):
            found.append(value)
            return value.value()
        if isinstance(value, list | tuple):
            stripped = [strip(v) for v in value]
            return type(value)(*stripped) if hasattr(value, "_fields") else type(value)(stripped)
        return {k: strip(v) for k, v in value.items()} if isinstance(value, dict) else value

    args, kwargs = strip(args), strip(kwargs)
    constant = function.__name__ in CONSTANT
    if not constant and any(t.node is not None or t.level for t in found):
        raise NotDifferentiable(
            f"{name}: got a tensor that needs a gradient, expected a function with a derivative; "
            "try tensorgrad's operations, or x.detach() where a constant is meant"
        )
    result = _wrap(function(*args, **kwargs))
    return result if out is None else into(name, result, out)


def _wrap(value: Any) -> Any:
    if base.known(type(value)) and value.dtype != object:
        return make(value)
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(_wrap(v) for v in value)
    return value
