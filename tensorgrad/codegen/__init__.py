"""Code generation: formulas as machine code. Floor 2: no backend, no Tensor."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tensorgrad.codegen.kernels import kernel, shortcut
    from tensorgrad.codegen.llvm import supports

__all__ = ["kernel", "shortcut", "supports"]

_HOME = {"kernel": "kernels", "shortcut": "kernels", "supports": "llvm"}


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for.

    Two threads may begin this package at different modules, which are all imported late; were they
    imported here, each thread would wait for the other, and Python end one by an ImportError.
    """
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return found
