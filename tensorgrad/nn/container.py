"""Modules that hold modules: one after the other, as a list, by name."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, Self

from tensorgrad.nn.activation import GELU, ReLU
from tensorgrad.nn.linear import Linear
from tensorgrad.nn.module import MODULE, Module


class _Members(Module):
    """What the containers of numbered members share; member k is the attribute named "k"."""

    def _members(self) -> list[Module]:
        held = self.__dict__
        return [held[name] for name, kind in self._kinds.items() if kind == MODULE]

    def _names(self) -> list[str]:
        return [name for name, kind in self._kinds.items() if kind == MODULE]

    def _at(self, index: int) -> str:
        names = self._names()
        if not -len(names) <= index < len(names):
            raise IndexError(
                f"{type(self).__name__}: got index {index}, expected one of {len(names)} members; "
                f"try len()"
            )
        return names[index]

    def _refill(self, modules: Iterable[Module]) -> None:
        for name in self._names():
            delattr(self, name)
        for k, module in enumerate(modules):
            self.add_module(str(k), module)

    def __len__(self) -> int:
        return len(self._members())

    def __iter__(self) -> Iterator[Module]:
        return iter(self._members())

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(self._at(index), module)

    def __delitem__(self, index: int | slice) -> None:
        if not isinstance(index, slice):
            self._at(index)
        members = self._members()
        del members[index]
        self._refill(members)

    def append(self, module: Module) -> Self:
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end."""
        for module in modules:
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> None:
        """Put a module before the one at `index`."""
        members = self._members()
        members.insert(index, module)
        self._refill(members)

    def pop(self, index: int = -1) -> Module:
        """Take a module out and return it; those behind it move up."""
        module: Module = self.__dict__[self._at(index)]
        del self[index]
        return module

    def __iadd__(self, other: Iterable[Module]) -> Self:
        return self.extend(list(other))

    def __add__(self, other: Iterable[Module]) -> Self:
        """A new container of the members of both."""
        found = type(self)()
        found += [*self, *other]
        return found


class Sequential(_Members):
    """Modules applied one after the other; a Linear and the ReLU (or tanh GELU) after it as one.

    >>> from tensorgrad.nn import Linear, ReLU
    >>> Sequential(Linear(2, 3), ReLU())[1]
    ReLU()
    """

    def __init__(self, *args: Any) -> None:
        """Modules in order, or one OrderedDict of named modules."""
        super().__init__()
        named = args[0] if len(args) == 1 and isinstance(args[0], Mapping) else None
        for name, module in named.items() if named else enumerate(() if named == {} else args):
            self.add_module(str(name), module)

    def __getitem__(self, index: int | slice) -> Any:
        """One member, or a Sequential of the same members under the same names."""
        if isinstance(index, slice):
            names = self._names()[index]
            return type(self)(OrderedDict((name, self.__dict__[name]) for name in names))
        return self.__dict__[self._at(index)]

    def __mul__(self, count: int) -> Sequential:
        """The members that often, one after the other; they share their parameters."""
        return Sequential(*(list(self) * count))

    __rmul__ = __mul__

    def forward(self, input: Any) -> Any:
        waiting: Any = None  # a Linear, until it is known what comes next
        parts = self.__dict__
        for name, kind in self._kinds.items():
            if kind != MODULE:
                continue
            module = parts[name]
            if waiting is not None:
                joined = _JOINED.get(type(module))
                if joined is not None and not module._hooks:
                    run = joined(waiting, module)
                    if run is not None:
                        input, waiting = run(input), None
                        continue
                input = waiting(input)
            waiting = module if type(module) is Linear and _joinable(module) else None
            if waiting is None:
                input = module(input)
        return input if waiting is None else waiting(input)


_JOINED: dict[type, Any] = {
    ReLU: lambda linear, _: linear.rectified,
    GELU: lambda linear, gelu: linear.with_gelu if gelu.approximate == "tanh" else None,
}
"""Activations that a Linear takes in: the method of the Linear that does both, or None."""


def _joinable(linear: Any) -> bool:
    """Whether nobody sees what comes between a Linear and the next module."""
    return linear.bias is not None and not linear._hooks


class ModuleList(_Members):
    """A list whose modules are registered."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def __getitem__(self, index: int | slice) -> Any:
        """One member, or a ModuleList of some."""
        if isinstance(index, slice):
            return type(self)(self._members()[index])
        return self.__dict__[self._at(index)]

    def __repr__(self) -> str:
        if not len(self):
            return f"{type(self).__name__}()"
        lines, first = [], 0
        for shown, equal in groupby(repr(module) for module in self):
            last = first + len(list(equal)) - 1
            many = f"({first}-{last}): {last - first + 1} x " if last > first else f"({first}): "
            lines.append(many + shown.replace("\n", "\n  "))
            first = last + 1
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"


class ModuleDict(Module):
    """A dictionary whose modules are registered."""

    def __init__(
        self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None
    ) -> None:
        super().__init__()
        self.update(modules or {})

    def __getitem__(self, key: str) -> Module:
        if self._kinds.get(key) != MODULE:
            raise KeyError(f"ModuleDict: got {key!r}, expected one of {list(self.keys())}")
        return self.__dict__[key]  # type: ignore[no-any-return]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        self[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(list(self.keys()))

    def __iter__(self) -> Iterator[str]:
        return self.keys()

    def __contains__(self, key: object) -> bool:
        return key in list(self.keys())

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add modules by name, or replace those of the same names."""
        for name, module in modules.items() if isinstance(modules, Mapping) else modules:
            self.add_module(name, module)

    def keys(self) -> Iterator[str]:
        """The names, in order."""
        return (name for name, _ in self.items())

    def values(self) -> Iterator[Module]:
        """The modules, in order."""
        return (module for _, module in self.items())

    def items(self) -> Iterator[tuple[str, Module]]:
        """Names and modules, in order."""
        return self._own(MODULE)

    def pop(self, key: str) -> Module:
        """Take a module out and return it."""
        module = self[key]
        del self[key]
        return module

    def clear(self) -> None:
        """Take all modules out."""
        for key in list(self):
            del self[key]
