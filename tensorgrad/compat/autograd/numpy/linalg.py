"""Linear algebra: NumPy's functions, which dispatch on tensors, and here on lists of them."""

from __future__ import annotations

from typing import Any

import numpy as _np

from tensorgrad.compat.autograd.namespaces import wrapped as _wrapped

globals().update(_wrapped(_np.linalg))


def __getattr__(name: str) -> Any:
    return getattr(_np.linalg, name)
