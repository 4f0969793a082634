"""Parametrizations: a parameter that is a function of others, which are what is trained.

Names, arguments and state_dict keys are PyTorch's: `parametrizations.weight.original` (or
`original0`, `original1` … where the right inverse gives several) and `parametrizations.weight.0.…`
for what the parametrization itself holds.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import tensorgrad as tg
from tensorgrad.nn.container import ModuleDict, ModuleList
from tensorgrad.nn.module import BUFFER, PARAMETER, Module
from tensorgrad.nn.parameter import Parameter

_Values = dict[tuple[int, str], tuple[Module, tuple[Any, ...], Any]]
_cached: ContextVar[_Values | None] = ContextVar("values of parametrizations", default=None)


@contextmanager
def cached() -> Iterator[None]:
    """Inside, a parametrized tensor is computed once for as long as it is made of the same tensors.

    Writes in place to those are not seen before the end of the block.
    """
    if _cached.get() is not None:
        yield
        return
    token = _cached.set({})
    try:
        yield
    finally:
        _cached.reset(token)


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor in order, and the tensors that it is made of."""

    def originals(self) -> tuple[Any, ...]:
        """The tensors that the first parametrization takes."""
        held = self.__dict__
        return tuple([held[name] for name in self._kinds if name.startswith("original")])

    def right_inverse(self, value: Any) -> None:
        """Set the originals so that the tensor is `value`; raises where a part has no inverse."""
        with tg.no_grad():
            for part in reversed(list(self)):
                if not hasattr(part, "right_inverse"):
                    raise NotImplementedError(
                        f"right_inverse: got a value for a tensor that {type(part).__name__} "
                        "makes, expected a method that undoes it; try writing right_inverse"
                    )
                value = part.right_inverse(value)
        self._hold(value)

    def _hold(self, value: Any) -> None:
        several = isinstance(value, Sequence) and not isinstance(value, tg.Tensor)
        values = list(value) if several else [value]
        names = [f"original{k}" for k in range(len(values))] if several else ["original"]
        for name, new in zip(names, values):
            old = self.__dict__[name]
            if old.shape == new.shape and old.dtype == new.dtype:
                with tg.no_grad():
                    old.detach()[...] = new.detach()
            elif isinstance(old, Parameter):
                self.register_parameter(name, Parameter(new, old.requires_grad))
            else:
                self.register_buffer(name, new.detach())

    def forward(self) -> Any:
        first, *rest = self
        value = first(*self.originals())
        for part in rest:
            value = part(value)
        return value


def _inverse(part: Module, value: Any) -> Any:
    """The right inverse; the value itself where a parametrization has none."""
    inverse = getattr(part, "right_inverse", None)
    if inverse is None:
        return value
    try:
        return inverse(value)
    except NotImplementedError:
        return value


class _Value:
    """The attribute of a class that computes a parametrized tensor."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, module: Any, owner: Any = None) -> Any:
        if module is None:
            return self
        parts, values = module.parametrizations[self.name], _cached.get()
        if values is None:
            return parts()
        key, made_of = (id(module), self.name), parts.originals()
        found = values.get(key)
        if found is None or not _valid(found[2], found[1], made_of):
            found = values[key] = (module, made_of, parts())
        return found[2]

    def __set__(self, module: Any, value: Any) -> None:
        module.parametrizations[self.name].right_inverse(value)


def _valid(value: Any, made_of: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    """Whether a value is of these tensors, and no gradient is lost that is asked for here."""
    if any(a is not b for a, b in zip(made_of, now)):
        return False
    leaves = [x for x in now if x.requires_grad]
    return value.requires_grad or not leaves or not tg.expand_dims(leaves[0], 0).requires_grad


class _Parametrized(Module):
    """What the classes of parametrized modules add to those that they stand for."""

    parametrizations: ModuleDict
    _base: type[Module]
    _names: tuple[str, ...]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._names:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return _blank, (self._base, self._names), self.__dict__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with cached():  # a forward may read a tensor more than once
            return super().__call__(*args, **kwargs)


@cache
def _parametrized(base: Hashable, names: tuple[str, ...]) -> type[_Parametrized]:
    """The class of a `base` some of whose tensors are parametrized."""
    kind: Any = base
    own: dict[str, Any] = {name: _Value(name) for name in names}
    own |= {"__module__": kind.__module__, "_base": kind, "_names": names}
    return type(f"Parametrized{kind.__name__}", (_Parametrized, kind), own)


def _blank(base: Any, names: tuple[str, ...]) -> Module:
    """A module without attributes, which copying and unpickling fill."""
    made = _parametrized(base, names)
    return made.__new__(made)


def _names(module: Module) -> tuple[str, ...]:
    """The parametrized tensors of a module."""
    return module._names if isinstance(module, _Parametrized) else ()


def _list(module: Module, name: str) -> ParametrizationList:
    found = module.get_submodule(f"parametrizations.{name}")
    assert isinstance(found, ParametrizationList)
    return found


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a tensor of the module, or any of them, has a parametrization."""
    names = _names(module)
    return bool(names) if tensor_name is None else tensor_name in names


def type_before_parametrizations(module: Module) -> type:
    """The class of a module as it was."""
    return module._base if isinstance(module, _Parametrized) else type(module)


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Make `module.tensor_name` the value of a parametrization; returns the module.

    The parameter that was there moves to `parametrizations.tensor_name.original`; where the
    parametrization has a method `right_inverse`, to what that makes of it, one tensor or a
    sequence of several, so that the value stays. A second one is applied to that of the first.
    Raises `ShapeError` and `DTypeError` where it changes the shape or dtype, unless `unsafe`;
    `KeyError` for a name that is no parameter or buffer.

    >>> from tensorgrad.nn import Linear
    >>> class Symmetric(Module):
    ...     def forward(self, x):
    ...         upper = tg.triu(x)
    ...         return upper + tg.triu(x, 1).T
    >>> layer = register_parametrization(Linear(2, 2), "weight", Symmetric())
    >>> bool((layer.weight == layer.weight.T).all()), sorted(layer.state_dict())
    (True, ['bias', 'parametrizations.weight.original'])
    """
    again = is_parametrized(module, tensor_name)
    kind = module._kinds.get(tensor_name)
    if not again and kind not in (PARAMETER, BUFFER):
        raise KeyError(
            f"register_parametrization: got {tensor_name!r}, expected a parameter or buffer of "
            f"{type(module).__name__}; try one of "
            f"{[n for n, k in module._kinds.items() if k in (PARAMETER, BUFFER)]}"
        )
    value = getattr(module, tensor_name).detach()
    with tg.no_grad():
        inner = value if again else _inverse(parametrization, value)
        if not unsafe:
            given = inner if isinstance(inner, tuple | list) else (inner,)
            _check(parametrization, parametrization(*given), value)
    if again:
        _list(module, tensor_name).append(parametrization)
        return module
    parts = _take(module, tensor_name, parametrization, inner)
    names = _names(module)
    if not names:
        module.add_module("parametrizations", ModuleDict())
    module.get_submodule("parametrizations").add_module(tensor_name, parts)
    _dress(module, (*names, tensor_name))
    return module


def _take(module: Module, name: str, parametrization: Module, inner: Any) -> ParametrizationList:
    """The list of a first parametrization, with the tensor of the module moved into it."""
    original, parts = getattr(module, name), ParametrizationList()
    delattr(module, name)
    if not isinstance(inner, tuple | list):
        _enter(parts, "original", original, original)
        parts._hold(inner)
    else:
        for k, tensor in enumerate(inner):
            _enter(parts, f"original{k}", tensor, original)
    parts.append(parametrization)
    return parts


def _enter(parts: Module, name: str, tensor: Any, original: Any) -> None:
    if not isinstance(original, Parameter):
        parts.register_buffer(name, tensor)
    elif tensor is original:
        parts.register_parameter(name, original)
    else:
        parts.register_parameter(name, Parameter(tensor, original.requires_grad))


def _dress(module: Module, names: tuple[str, ...]) -> None:
    base: Any = type_before_parametrizations(module)
    object.__setattr__(module, "__class__", _parametrized(base, names) if names else base)


def _check(parametrization: Module, found: Any, value: Any) -> None:
    name, fix = type(parametrization).__name__, "unsafe=True if that is meant"
    if tuple(found.shape) != tuple(value.shape):
        raise tg.ShapeError(
            f"register_parametrization: got {name} that makes {tuple(found.shape)} of "
            f"{tuple(value.shape)}, expected the same shape; try {fix}"
        )
    if found.dtype != value.dtype:
        raise tg.DTypeError(
            f"register_parametrization: got {name} that makes {found.dtype} of {value.dtype}, "
            f"expected the same dtype; try {fix}"
        )


def remove_parametrizations(
    module: Module, tensor_name: str, leave_parametrized: bool = True
) -> Module:
    """Make a parametrized tensor a plain one again: its value now, or what it was made of.

    Not `leave_parametrized` needs a single original. Returns the module; raises `ValueError`.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(
            f"remove_parametrizations: got {tensor_name!r}, which has none in "
            f"{type(module).__name__}, expected one of {list(_names(module))}"
        )
    parts = _list(module, tensor_name)
    originals = parts.originals()
    if not leave_parametrized and len(originals) > 1:
        raise ValueError(
            f"remove_parametrizations: got {tensor_name!r}, made of {len(originals)} tensors, "
            "expected one; try leave_parametrized=True"
        )
    found = originals[0]
    if leave_parametrized:
        with tg.no_grad():
            value = parts().detach()
        found = _written(found, value) if len(originals) == 1 else _like(found, value)
    names = tuple(name for name in _names(module) if name != tensor_name)
    delattr(module.get_submodule("parametrizations"), tensor_name)
    _dress(module, names)
    if not names:
        delattr(module, "parametrizations")
    if isinstance(found, Parameter):
        module.register_parameter(tensor_name, found)
    else:
        module.register_buffer(tensor_name, found)
    return module


def _written(original: Any, value: Any) -> Any:
    """The original itself with a new value, so that an optimizer keeps it, where it has room."""
    if original.shape != value.shape or original.dtype != value.dtype:
        return _like(original, value)
    with tg.no_grad():
        original.detach()[...] = value
    return original


def _like(original: Any, value: Any) -> Any:
    return Parameter(value, original.requires_grad) if isinstance(original, Parameter) else value
