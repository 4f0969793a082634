"""Functions of NumPy and SciPy that take tensors, also within lists, and NumPy's values as ever."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad import GradientError, Tensor
from tensorgrad.compat.autograd.core import NoDerivativeError
from tensorgrad.compat.autograd.values import bare, mapped, moving, tensors

Function = Callable[..., Any]

_OF_UFUNCS = ("accumulate", "at", "identity", "nargs", "nin", "nout", "outer", "reduce", "reduceat")


def array(a: Any, *args: Any, **kwargs: Any) -> Any:
    """`np.array`, which makes a tensor of nested lists with tensors in them, by stacking them."""
    return _made(np.array, a, args, kwargs)


def _made(function: Function, a: Any, args: Any, kwargs: Any) -> Any:
    like = next(tensors(a), None)
    if like is None:
        return function(a, *args, **kwargs)
    return function(a, *args, like=like, **kwargs)


def maker(function: Function) -> Function:
    """`np.asarray` and the like, for tensors too."""

    @functools.wraps(function)
    def made(a: Any, *args: Any, **kwargs: Any) -> Any:
        return _made(function, a, args, kwargs)

    return made


def stacked(value: Any) -> Any:
    """A list of tensors as one; all else as it is."""
    nested = isinstance(value, list | tuple) and any(True for _ in tensors(value))
    return array(value) if nested else value


def dispatched(function: Any) -> Function:
    """A NumPy function that dispatches on tensors, and here also on lists of them.

    NumPy asks the tensors that are arguments themselves; in a list it would convert them, which
    they refuse. Only then is the list made a tensor.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except GradientError:
            given = [stacked(a) for a in args]
            named = {name: stacked(a) for name, a in kwargs.items()}
            if all(a is b for a, b in zip((*args, *kwargs.values()), (*given, *named.values()))):
                raise
            return function(*given, **named)

    if isinstance(function, np.ufunc):
        for name in _OF_UFUNCS:
            setattr(call, name, getattr(function, name))
    return call


def either(theirs: Any, ours: Function | None, name: str) -> Function:
    """A SciPy function on NumPy's values, tensorgrad's on tensors.

    Where there is none of ours, constants go to SciPy and recorded tensors raise
    `NotImplementedError`.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        found = list(tensors((args, kwargs)))
        if not found:
            return theirs(*args, **kwargs)
        if ours is not None:
            return ours(*[stacked(a) for a in args], **kwargs)
        if any(map(moving, found)):
            raise NoDerivativeError(
                f"{name}: got a tensor that needs a gradient, expected a function with a "
                f"derivative; try primitive({name}) with a rule by defvjp"
            )
        named = {key: mapped(bare, a) for key, a in kwargs.items()}
        return theirs(*[mapped(bare, a) for a in args], **named)

    call.__name__ = name.rpartition(".")[2]
    call.__doc__ = getattr(theirs, "__doc__", None)
    return call


def wrapped(module: types.ModuleType) -> dict[str, Any]:
    """The names of a NumPy module, its functions as ones of tensors too; types as they are."""
    found: dict[str, Any] = {}
    seen: dict[int, Any] = {}
    for name, value in vars(module).items():
        if name.startswith("_") or isinstance(value, types.ModuleType):
            continue
        if callable(value) and not isinstance(value, type):
            value = seen.setdefault(id(value), dispatched(value))
        found[name] = value
    return found


def joined(theirs: types.ModuleType, ours: dict[str, Function], lead: str) -> dict[str, Any]:
    """The names of a SciPy module; those in `ours` take tensors by tensorgrad's function."""
    found: dict[str, Any] = {}
    for name, value in vars(theirs).items():
        if name.startswith("_") or isinstance(value, types.ModuleType):
            continue
        function = callable(value) and not isinstance(value, type)
        found[name] = either(value, ours.get(name), f"{lead}.{name}") if function else value
    return found


def is_array(x: Any) -> bool:
    """Whether a value is an array or tensor, or a list with one in it."""
    if isinstance(x, list | tuple):
        return any(map(is_array, x))
    return isinstance(x, Tensor | np.ndarray | np.generic)
