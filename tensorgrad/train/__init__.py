"""Training runs: one configuration, a loop with callbacks, a run folder, a report.

    >>> from tensorgrad import train
    >>> train.Config(layers=(32,), epochs=5).optimizer
    'adam'

`train.run(config)` does what `tensorgrad train` does. Every name is imported when first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tensorgrad.train.config import Config
    from tensorgrad.train.job import Result, resume, run
    from tensorgrad.train.loop import Callback, DivergedError, Loop, Progress, evaluate, predict
    from tensorgrad.train.model import Card, load_model, save_model
    from tensorgrad.train.network import Architecture
    from tensorgrad.train.objective import Objective, Part
    from tensorgrad.train.options import ConfigError
    from tensorgrad.train.recipe import Recipe
    from tensorgrad.train.report import Reporter

__all__ = [
    "Architecture",
    "Callback",
    "Card",
    "Config",
    "ConfigError",
    "DivergedError",
    "Loop",
    "Objective",
    "Part",
    "Progress",
    "Recipe",
    "Reporter",
    "Result",
    "evaluate",
    "load_model",
    "predict",
    "resume",
    "run",
    "save_model",
]

_MODULES = {
    "config": ("Config",),
    "job": ("Result", "resume", "run"),
    "loop": ("Callback", "DivergedError", "Loop", "Progress", "evaluate", "predict"),
    "model": ("Card", "load_model", "save_model"),
    "network": ("Architecture",),
    "objective": ("Objective", "Part"),
    "options": ("ConfigError",),
    "recipe": ("Recipe",),
    "report": ("Reporter",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
