"""What a module holds under a dotted name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tensorgrad.nn.module import Module


def part(module: Module, target: str) -> Module:
    """The part of a dotted name; raises `AttributeError` naming the first that is not there."""
    for name in target.split(".") if target else ():
        below = dict(module._parts())
        if name not in below:
            raise AttributeError(_missing(module, target, name, "part", below))
        module = below[name]
    return module


def held(module: Module, target: str, kind: str) -> Any:
    """The parameter or buffer of a dotted name; raises `AttributeError`."""
    above, _, name = target.rpartition(".")
    owner = part(module, above)
    found = dict(owner._own(kind))
    if name not in found:
        raise AttributeError(_missing(owner, target, name, kind, found))
    return found[name]


def _missing(owner: Module, target: str, name: str, kind: str, there: Any) -> str:
    names = ", ".join(there) or "none"
    where = f"{type(owner).__name__} has no {kind} {name!r}"
    return f"{target}: got a name that is not there ({where}), expected one of: {names}"
