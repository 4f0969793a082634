"""Containers of parameters: as a list, by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import tensorgrad as tg
from tensorgrad.nn.module import PARAMETER, Module
from tensorgrad.nn.parameter import Parameter


def _parameter(owner: Module, value: Any) -> Parameter:
    if isinstance(value, Parameter):
        return value
    if not hasattr(value, "dtype"):
        raise TypeError(
            f"{type(owner).__name__}: got {type(value).__name__}, expected parameters, tensors or "
            "arrays; try nn.Parameter(value)"
        )
    return Parameter(value, bool(tg.dtypes.is_inexact(value.dtype)))


class _Parameters(Module):
    """What both containers share: a text with a line for each parameter."""

    def __len__(self) -> int:
        return len(list(self._own(PARAMETER)))

    def __repr__(self) -> str:
        lines = [
            f"({key}): Parameter containing: [{param.dtype} of size "
            f"{'x'.join(str(extent) for extent in param.shape)}"
            f"{'' if param.device == 'cpu' else f' on {param.device}'}]"
            for key, param in self._own(PARAMETER)
        ]
        name = type(self).__name__
        return f"{name}(\n  " + "\n  ".join(lines) + "\n)" if lines else f"{name}()"


class ParameterList(_Parameters):
    """A list whose parameters are registered, as "0", "1" …; a tensor or array becomes one.

    >>> import numpy as np
    >>> ParameterList([np.ones((2, 3), np.float32)])
    ParameterList(
      (0): Parameter containing: [float32 of size 2x3]
    )
    """

    def __init__(self, values: Iterable[Any] = ()) -> None:
        super().__init__()
        self.extend(values)

    def _at(self, index: int) -> str:
        count = len(self)
        if not -count <= index < count:
            raise IndexError(
                f"ParameterList: got index {index}, expected one of {count} parameters; try len()"
            )
        return str(index % count)

    def __getitem__(self, index: int | slice) -> Any:
        """One parameter, or a ParameterList of some."""
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        return self.__dict__[self._at(index)]

    def __setitem__(self, index: int, value: Any) -> None:
        self.register_parameter(self._at(index), _parameter(self, value))

    def __iter__(self) -> Iterator[Parameter]:
        return iter([value for _, value in self._own(PARAMETER)])

    def __iadd__(self, values: Iterable[Any]) -> Self:
        return self.extend(list(values))

    def append(self, value: Any) -> Self:
        """Add a parameter at the end."""
        self.register_parameter(str(len(self)), _parameter(self, value))
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Add parameters at the end."""
        for value in values:
            self.append(value)
        return self

    def pop(self, index: int = -1) -> Parameter:
        """Take a parameter out and return it; those behind it move up."""
        found: Parameter = self.__dict__[self._at(index)]
        values = list(self)
        del values[index]
        for name in range(len(self)):
            delattr(self, str(name))
        self.extend(values)
        return found


class ParameterDict(_Parameters):
    """A dictionary whose parameters are registered; a tensor or array becomes one."""

    def __init__(self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> None:
        super().__init__()
        self.update(parameters)

    def __getitem__(self, key: str) -> Parameter:
        if self._kinds.get(key) != PARAMETER:
            raise KeyError(f"ParameterDict: got {key!r}, expected one of {list(self.keys())}")
        return self.__dict__[key]  # type: ignore[no-any-return]

    def __setitem__(self, key: str, value: Any) -> None:
        self.register_parameter(key, _parameter(self, value))

    def __delitem__(self, key: str) -> None:
        self[key]
        delattr(self, key)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self.keys()))

    def __contains__(self, key: object) -> bool:
        return self._kinds.get(key) == PARAMETER if isinstance(key, str) else False

    def __or__(self, other: Mapping[str, Any] | ParameterDict) -> ParameterDict:
        return ParameterDict([*self.items(), *other.items()])

    def __ior__(self, other: Mapping[str, Any] | ParameterDict) -> Self:
        self.update(other.items())
        return self

    def update(self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Add parameters by name, or replace those of the same names."""
        for key, value in parameters.items() if isinstance(parameters, Mapping) else parameters:
            self[key] = value

    def keys(self) -> Iterator[str]:
        """The names, in order."""
        return (key for key, _ in self.items())

    def values(self) -> Iterator[Parameter]:
        """The parameters, in order."""
        return (value for _, value in self.items())

    def items(self) -> Iterator[tuple[str, Parameter]]:
        """Names and parameters, in order."""
        return self._own(PARAMETER)

    def get(self, key: str, default: Any = None) -> Any:
        """The parameter of a name, or the default."""
        return dict(self.items()).get(key, default)

    def setdefault(self, key: str, default: Any) -> Parameter:
        """The parameter of a name, which is made from the default if it is not there."""
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: str) -> Parameter:
        """Take a parameter out and return it."""
        found = self[key]
        del self[key]
        return found

    def popitem(self) -> tuple[str, Parameter]:
        """Take the last parameter out and return it with its name."""
        key = list(self.keys())[-1]
        return key, self.pop(key)

    def copy(self) -> ParameterDict:
        """A new dictionary of the same parameters."""
        return ParameterDict(list(self.items()))

    def clear(self) -> None:
        """Take all parameters out."""
        for key in self:
            del self[key]
