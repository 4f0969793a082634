"""Group normalisation of CuPy arrays; see `backend/group_norm.py`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from tensorgrad.backend import group_norm as shared
from tensorgrad.backend.cuda.kernels import written
from tensorgrad.backend.cuda.staged import ReduceKernel
from tensorgrad.expr import Formula

Array = Any


@cache
def _find(formula: Formula, dtype: Any) -> ReduceKernel:
    return ReduceKernel(formula, dtype)


def group_norm(
    x: Array, weight: Array, bias: Array, *, groups: int, eps: float, out: Array | None = None
) -> Any:
    """The normalised array, and the mean and 1 / std of its groups."""
    y, mean, inverse = shared.forward(_find, x, weight, bias, groups, eps)
    return written(y, out), mean, inverse


def group_norm_pull(ct: Array, wanted: Sequence[int], saved: Sequence[Array], params: Any) -> Any:
    """The cotangents of x, weight and bias."""
    return shared.backward(_find, ct, wanted, saved, params["groups"])
