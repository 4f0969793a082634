"""The kernels of `kernels/*.cu` and of generated texts, ready to be launched, and how they are."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any
from weakref import WeakValueDictionary

import cupy

from tensorgrad.backend.cuda import moves
from tensorgrad.backend.cuda.module import load, source
from tensorgrad.codegen.cuda import OPTIONS

Array = Any

contiguous = moves.contiguous

SUFFIX = {"float32": "f32", "float64": "f64", "float16": "f16", "bfloat16": "bf16"}
"""How the floating dtypes are named in the kernels of `kernels/`."""


@cache
def kernel(file: str, name: str) -> Any:
    """The launcher of one kernel of `kernels/<file>.cu`, by its exported name."""
    return load(source(file), (name,), OPTIONS)[name]


@cache
def generated(text: str, name: str) -> Any:
    """The launcher of one kernel of a generated text."""
    return load(text, (name,), OPTIONS)[name]


def generating() -> bool:
    """Whether formulas run as generated kernels: not where the environment says TG_KERNELS=0."""
    return os.environ.get("TG_KERNELS") != "0"


def stream() -> int:
    """The address of the current stream."""
    return int(cupy.cuda.get_current_stream().ptr)


def blocks(count: int, per_block: int, most: int = 2**20) -> int:
    """Blocks for `count` items; the kernels walk on where there are fewer."""
    return max(1, min(-(-count // per_block), most))


READ_ONLY: WeakValueDictionary[int, Array] = WeakValueDictionary()
"""By `id` the views that nobody may write to: CuPy has no flag for it, NumPy has."""


def writable(x: Array) -> Array:
    """x; raises ValueError, in NumPy's words, for a read-only view and where elements are one."""
    shared = x.size and any(n > 1 and not step for n, step in zip(x.shape, x.strides))
    if shared or READ_ONLY.get(id(x)) is x:
        raise ValueError("assignment destination is read-only")
    return x


def viewing(view: Callable[..., Any], always: bool) -> Callable[..., Any]:
    """A primitive that looks at its array otherwise; of a read-only one the view is that too.

    always: whatever the array, as NumPy's broadcasts, diagonals and windows are.
    """

    def run(x: Array, **params: Any) -> Any:
        found = view(x, **params)
        if always or READ_ONLY.get(id(x)) is x:
            root = x if x.base is None else x.base
            for one in found if type(found) is tuple else (found,):
                if one is not x and one.base is root:
                    READ_ONLY[id(one)] = one
        return found

    return run


def address(x: Array | None) -> int:
    """Where an array begins in the memory of its device, 0 for none."""
    return 0 if x is None else int(x.data.ptr)
