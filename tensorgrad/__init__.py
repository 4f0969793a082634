"""tensorgrad: gradients for NumPy and CuPy arrays.

>>> import numpy as np, tensorgrad as tg
>>> tg.grad(lambda x: np.sum(np.sin(x) ** 2))(np.array([0.0, 1.0]))
array([0.        , 0.90929743])
"""

from __future__ import annotations

import importlib
from typing import Any

from tensorgrad import dtypes, ops
from tensorgrad._config import (
    device,
    enable_grad,
    get_float32_matmul_precision,
    no_grad,
    set_float32_matmul_precision,
)
from tensorgrad._errors import (
    DataError,
    DeviceError,
    DTypeError,
    GradientError,
    InPlaceError,
    NotDifferentiable,
    ShapeError,
    TensorgradError,
)
from tensorgrad.backend.threads import get_num_threads, set_num_threads
from tensorgrad.core.registry import OPERATIONS
from tensorgrad.core.tensor import Tensor
from tensorgrad.dtypes import set_default_dtype
from tensorgrad.ops.create import from_numpy
from tensorgrad.ops.operators import ALIASES
from tensorgrad.ops.random import (
    Generator,
    bernoulli,
    default_generator,
    integers,
    manual_seed,
    normal,
    permutation,
    rand,
    randint,
    randn,
    uniform,
)
from tensorgrad.transforms import checkpoint, fuse, grad, jvp, show, value_and_grad, vjp, vmap

__version__ = "0.1.0"

PACKAGES = (
    *("cli", "cuda", "data", "examples", "io", "nn", "optim", "testing", "train"),
    *ops.NAMESPACES,
)
"""Imported when first used, so that `import tensorgrad` stays cheap."""

_own = {name: operation.function for name, operation in OPERATIONS.items() if "." not in name}
globals().update(_own)
globals().update({name: OPERATIONS[called].function for name, called in ALIASES.items()})

__all__ = [
    "DTypeError",
    "DataError",
    "DeviceError",
    "Generator",
    "GradientError",
    "InPlaceError",
    "NotDifferentiable",
    "ShapeError",
    "Tensor",
    "TensorgradError",
    "bernoulli",
    "checkpoint",
    "default_generator",
    "device",
    "dtypes",
    "enable_grad",
    "from_numpy",
    "fuse",
    "get_float32_matmul_precision",
    "get_num_threads",
    "grad",
    "integers",
    "jvp",
    "manual_seed",
    "no_grad",
    "normal",
    "ops",
    "permutation",
    "rand",
    "randint",
    "randn",
    "set_default_dtype",
    "set_float32_matmul_precision",
    "set_num_threads",
    "show",
    "uniform",
    "value_and_grad",
    "vjp",
    "vmap",
]
__all__.extend(sorted({*ALIASES, *_own}))


def __getattr__(name: str) -> Any:
    if name in PACKAGES:
        return importlib.import_module(f"tensorgrad.{name}")
    raise AttributeError(f"module 'tensorgrad' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *PACKAGES})
