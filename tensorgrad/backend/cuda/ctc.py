"""Connectionist temporal classification of CuPy arrays: a generated kernel for each frame."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import cupy

from tensorgrad.backend import ctc as recursion
from tensorgrad.backend.cuda.formula import ElementwiseKernel
from tensorgrad.backend.cuda.kernels import cast, written

Array = Any


@cache
def _kernels() -> tuple[ElementwiseKernel, ElementwiseKernel]:
    ahead, back = recursion.formulas()
    return ElementwiseKernel(ahead), ElementwiseKernel(back)


def _as(x: Array, dtype: Any) -> Array:
    return x if x.dtype == dtype else cast(x, dtype)


def ctc(x: Array, states: Array, info: Array, *, blank: int, out: Array | None = None) -> Any:
    """The loss of every sequence, and what its derivative reads."""
    scores = _as(x, recursion.wide(x))
    loss, reached, score = recursion.forward(cupy, _kernels()[0], scores, states, info)
    return written(_as(loss, x.dtype), out), loss, reached, score


def pull(ct: Array, wanted: Sequence[int], saved: tuple[Any, ...], params: Any) -> Any:
    """The cotangent of the log-probabilities."""
    x, states, info, *kept = saved
    run, ct = _kernels()[1], _as(ct, recursion.wide(x))
    found = recursion.backward(cupy, run, ct, x.shape, states, info, params["blank"], *kept)
    return [(0, _as(found, x.dtype))]
