"""NumPy's namespace for programs that are differentiated: `np` of autograd.

Every function is NumPy's own and dispatches on tensors; what NumPy would convert (lists of tensors
in `np.array`, `np.sum`, `np.r_`) is stacked. Names that are not wrapped are NumPy's.
"""

from __future__ import annotations

from typing import Any

import numpy as _np

from tensorgrad.compat.autograd import namespaces as _namespaces
from tensorgrad.compat.autograd.numpy import fft, linalg, random
from tensorgrad.compat.autograd.numpy.numpy_wrapper import (
    _OWN,
    c_,
    concatenate_args,
    full,
    full_like,
    make_diagonal,
    r_,
    where,
)

globals().update({**_namespaces.wrapped(_np), **_OWN})

array = _namespaces.array


def __getattr__(name: str) -> Any:
    return getattr(_np, name)


__all__ = [
    "array",
    "c_",
    "concatenate_args",
    "fft",
    "full",
    "full_like",
    "linalg",
    "make_diagonal",
    "r_",
    "random",
    "where",
]
__all__ += [name for name in _np.__all__ if name in globals() and name not in __all__]
__version__ = _np.__version__
