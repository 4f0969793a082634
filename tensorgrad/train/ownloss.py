"""A loss of the user's own, named MODULE:FUNCTION."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

import tensorgrad as tg
from tensorgrad.train.options import ConfigError, nearest

Loss = Callable[[Any, Any], Any]


def is_own(name: str) -> bool:
    """True for MODULE:FUNCTION."""
    return ":" in name


def own_loss(name: str) -> Loss:
    """The function of a module, looked for beside the installed ones in the current folder.

    It is called with the outputs of the network (N, K) and the targets, (N,) classes or (N, K)
    numbers, and returns the mean over the rows. Raises `ConfigError` where there is none.
    """
    module, _, function = name.partition(":")
    found = getattr(_imported(name, module), function, None)
    if not callable(found):
        defined = [key for key, one in vars(sys.modules[module]).items() if callable(one)]
        near = nearest(function, defined)
        got = "no such function" if found is None else f"{type(found).__name__}"
        raise ConfigError(
            f"loss {name}: got {got} in {module}, expected a function of outputs and targets; "
            f"try {repr(f'{module}:{near}') if near else f'def {function}(outputs, targets)'}"
        )
    return _Checked(name, found)


def _imported(name: str, module: str) -> Any:
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as cause:
        if cause.name is None or not f"{module}.".startswith(f"{cause.name}."):
            raise  # of a module that the user's own imports
        raise ConfigError(
            f"loss {name}: got no module {module!r} in {here}, expected the file of the function; "
            f"try the folder that holds {module.replace('.', '/')}.py"
        ) from cause
    finally:
        sys.path.remove(here)


class _Checked:
    """A loss that must give one number on the tape."""

    def __init__(self, name: str, function: Loss) -> None:
        self.name, self.function = name, function

    def __call__(self, outputs: Any, targets: Any) -> Any:
        found = self.function(outputs, targets)
        if isinstance(found, tg.Tensor) and found.shape == ():
            return found
        got = (
            f"a tensor of shape {found.shape}"
            if isinstance(found, tg.Tensor)
            else f"{type(found).__name__}"
        )
        fix = ".mean()" if isinstance(found, tg.Tensor) else "NumPy's functions on the outputs"
        raise ConfigError(
            f"loss {self.name}: got {got} for outputs {outputs.shape} and targets "
            f"{targets.shape}, expected a scalar tensor; try {fix}"
        )
