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
    debug,
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
from tensorgrad.core.autocast import autocast, get_autocast_dtype, is_autocast_enabled
from tensorgrad.core.hooks import RemovableHandle
from tensorgrad.core.registry import OPERATIONS
from tensorgrad.core.tensor import Tensor
from tensorgrad.dtypes import (
    complex64,
    complex128,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    set_default_dtype,
    uint8,
    uint16,
    uint32,
    uint64,
)
from tensorgrad.ops.array_api import (
    __array_api_version__,
    __array_namespace_info__,
    bool,
    broadcast_shapes,
    can_cast,
    e,
    finfo,
    iinfo,
    inf,
    isdtype,
    nan,
    newaxis,
    pi,
    result_type,
)
from tensorgrad.ops.create import from_numpy
from tensorgrad.ops.exchange import from_dlpack
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
from tensorgrad.transforms import (
    checkpoint,
    custom_jvp,
    custom_vjp,
    elementwise_grad,
    fuse,
    ggnvp,
    grad,
    hessian,
    hvp,
    jacobian,
    jvp,
    show,
    stop_gradient,
    value_and_grad,
    vjp,
    vmap,
)

__version__ = "0.1.0"

PACKAGES = (
    *("cli", "cuda", "data", "examples", "io", "models", "nn", "optim", "testing", "train"),
    *ops.NAMESPACES,
)
"""Imported when first used, so that `import tensorgrad` stays cheap."""

LATE = {
    "NonFiniteError": "anomaly",
    "custom_root": "roots",
    "detect_anomaly": "anomaly",
    "draw": "draw",
    "fixed_point": "roots",
    "odeint": "odeint",
    "pack_bfloat16": "saved",
    "peak_memory": "memory",
    "primitive": "primitive",
    "profile": "profile",
    "root": "roots",
    "save_on_cpu": "saved",
    "saved_tensors_hooks": "saved",
    "scan": "scan",
    "while_loop": "loops",
}
"""Transforms by the file of `transforms` that has them, imported when first used."""

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
    "RemovableHandle",
    "ShapeError",
    "Tensor",
    "TensorgradError",
    "__array_api_version__",
    "__array_namespace_info__",
    "autocast",
    "bernoulli",
    "bool",
    "broadcast_shapes",
    "can_cast",
    "checkpoint",
    "complex64",
    "complex128",
    "custom_jvp",
    "custom_vjp",
    "debug",
    "default_generator",
    "device",
    "dtypes",
    "e",
    "elementwise_grad",
    "enable_grad",
    "finfo",
    "float16",
    "float32",
    "float64",
    "from_dlpack",
    "from_numpy",
    "fuse",
    "get_autocast_dtype",
    "get_float32_matmul_precision",
    "get_num_threads",
    "ggnvp",
    "grad",
    "hessian",
    "hvp",
    "iinfo",
    "inf",
    "int8",
    "int16",
    "int32",
    "int64",
    "integers",
    "is_autocast_enabled",
    "isdtype",
    "jacobian",
    "jvp",
    "manual_seed",
    "nan",
    "newaxis",
    "no_grad",
    "normal",
    "ops",
    "permutation",
    "pi",
    "rand",
    "randint",
    "randn",
    "result_type",
    "set_default_dtype",
    "set_float32_matmul_precision",
    "set_num_threads",
    "show",
    "stop_gradient",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "uniform",
    "value_and_grad",
    "vjp",
    "vmap",
]
__all__.extend(sorted({*ALIASES, *LATE, *_own}))


def __getattr__(name: str) -> Any:
    if name == "bfloat16":
        return dtypes.bfloat16()
    if name in PACKAGES:
        return importlib.import_module(f"tensorgrad.{name}")
    if name in LATE:
        module = importlib.import_module(f"tensorgrad.transforms.{LATE[name]}")
        return globals().setdefault(name, getattr(module, name))
    raise AttributeError(f"module 'tensorgrad' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *PACKAGES, "bfloat16"})
