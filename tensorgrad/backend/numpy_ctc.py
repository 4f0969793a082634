"""Connectionist temporal classification of NumPy arrays, named as the primitive is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from tensorgrad.backend import ctc as recursion
from tensorgrad.backend.numpy_formula import ElementwiseKernel
from tensorgrad.backend.numpy_kernels import written

Array = np.ndarray[Any, Any]


@cache
def _kernels() -> tuple[ElementwiseKernel, ElementwiseKernel]:
    ahead, back = recursion.formulas()
    return ElementwiseKernel(ahead, 1), ElementwiseKernel(back, 1)


def ctc(x: Array, states: Array, info: Array, *, blank: int, out: Array | None = None) -> Any:
    """The loss of every sequence, and what its derivative reads."""
    scores = x.astype(recursion.wide(x), copy=False)
    loss, reached, score = recursion.forward(np, _kernels()[0], scores, states, info)
    return written(loss.astype(x.dtype), out), loss, reached, score


def pull(ct: Array, wanted: Sequence[int], saved: tuple[Any, ...], params: Any) -> Any:
    """The cotangent of the log-probabilities."""
    x, states, info, *kept = saved
    ct = ct.astype(recursion.wide(x), copy=False)
    found = recursion.backward(np, _kernels()[1], ct, x.shape, states, info, params["blank"], *kept)
    return [(0, found.astype(x.dtype, copy=False))]
