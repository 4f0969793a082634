"""NumPy's random numbers, which are constants of every derivative."""

from __future__ import annotations

from typing import Any

import numpy as _np

from tensorgrad.compat.autograd.namespaces import joined as _joined

globals().update(_joined(_np.random, {}, "np.random"))


def __getattr__(name: str) -> Any:
    return getattr(_np.random, name)
