"""Floating-point warnings turned off, at a fifth of the price of `numpy.errstate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np

_umath = import_module("numpy._core.umath")
_handling: Any = getattr(_umath, "_extobj_contextvar", None)
_make: Any = getattr(_umath, "_make_extobj", None)
_ignore = _make(all="ignore") if _handling is not None and _make is not None else None


class Quiet:
    """`numpy.errstate(all="ignore")` with the setting made once; entered once per object."""

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token = _handling.set(_ignore)

    def __exit__(self, *exc: object) -> None:
        _handling.reset(self._token)


def silence() -> Any:
    """A context without floating-point warnings; NumPy's own where it keeps them otherwise."""
    return np.errstate(all="ignore") if _ignore is None else Quiet()


def quietly(kernel: Callable[..., Any], arrays: Sequence[Any], params: dict[str, Any]) -> Any:
    """What a kernel gives without floating-point warnings, at a third of the context's price."""
    if _ignore is None:
        with silence():
            return kernel(*arrays, **params)
    token = _handling.set(_ignore)
    try:
        return kernel(*arrays, **params)
    finally:
        _handling.reset(token)
