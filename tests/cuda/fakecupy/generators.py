"""`cupy.random`: generators by their own kernels, and cuRAND, which refuses a capturing stream.

The numbers are NumPy's, not CuPy's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import streams
from .array import produce

_NAMES = "random standard_normal integers uniform exponential standard_exponential gamma"
METHODS = f"{_NAMES} standard_gamma poisson binomial beta".split()
LEGACY = "rand randn randint normal uniform random standard_normal permutation".split()


class Generator:
    """`cupy.random.Generator`, as far as NumPy's has the same methods."""

    def __init__(self, seed: Any = None) -> None:
        self._host = np.random.default_rng(seed)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in METHODS:
            raise AttributeError(f"'Generator' object has no attribute {name!r}")
        method = getattr(self._host, name)
        return lambda *args, **kwargs: produce(lambda: method(*args, **kwargs))


class RandomState:
    """`cupy.random.RandomState`: cuRAND's generator."""

    def __init__(self, seed: Any = None) -> None:
        self._host = np.random.RandomState(seed)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in LEGACY:
            raise AttributeError(f"'RandomState' object has no attribute {name!r}")
        method = getattr(self._host, name)

        def draw(*args: Any, **kwargs: Any) -> Any:
            dtype = kwargs.pop("dtype", None)
            streams.no_library("cuRAND")
            return produce(lambda: np.asarray(method(*args, **kwargs)).astype(dtype or float))

        return draw


def members() -> dict[str, Any]:
    """The names of `cupy.random`."""
    state = RandomState()

    def seed(value: Any = None) -> None:
        state._host.seed(value)

    drawn = {name: getattr(state, name) for name in LEGACY}
    made = {"Generator": Generator, "RandomState": RandomState, "default_rng": Generator}
    return {**drawn, **made, "seed": seed}
