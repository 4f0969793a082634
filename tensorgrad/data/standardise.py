"""Features of mean 0 and standard deviation 1, measured on the training part alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgrad._errors import need
from tensorgrad.data.dataset import Array

_BLOCK = 4096  # rows a pass; float64 copies stay small beside the data


@dataclass(frozen=True, eq=False)
class Standardiser:
    """`z = (x - mean) / std` for every column of x (N, ...); both are float64.

    A column that is constant in the training part carries no information and has no scale: its
    std is 1 and its mean 0, so its values stay as they are.
    """

    mean: Array
    std: Array

    @classmethod
    def fit(cls, x: Any) -> Standardiser:
        """Measure the columns of `x` (N, ...), in float64; give it the training part alone."""
        x = _rows("Standardiser.fit", x)
        need(len(x) > 0, "Standardiser.fit", x=x, want="one row or more", fix="the training part")
        first = x[0].astype(np.float64)  # measured from it, a constant column is exactly 0
        mean = first + sum((block - first).sum(0) for block in _blocks(x)) / len(x)
        std = np.sqrt(sum(np.square(block - mean).sum(0) for block in _blocks(x)) / len(x))
        # a column that was computed may differ in its last digits only; that is no spread either
        rounding = 8 * np.finfo(np.result_type(x, np.float16)).eps * np.abs(x).max(0)
        constant = std <= rounding
        return cls(np.where(constant, 0.0, mean), np.where(constant, 1.0, std))

    def __call__(self, x: Any, dtype: Any = None) -> Array:
        """Standardise x (N, ...); the result has `dtype`, else that of x if floating."""
        return self._apply(x, dtype, lambda block: (block - self.mean) / self.std)

    def inverse(self, z: Any, dtype: Any = None) -> Array:
        """What was standardised to `z`: `z * std + mean`."""
        return self._apply(z, dtype, lambda block: block * self.std + self.mean)

    def _apply(self, x: Any, dtype: Any, formula: Any) -> Array:
        x = _rows("Standardiser", x)
        need(
            x.shape[1:] == self.mean.shape,
            "Standardiser",
            x=x,
            want=f"rows of shape {self.mean.shape}",
            fix="the columns it was fitted on",
        )
        floating = x.dtype if x.dtype.kind == "f" else np.float64
        found = np.empty(x.shape, floating if dtype is None else dtype)
        for start, block in zip(range(0, len(x), _BLOCK), _blocks(x)):
            found[start : start + _BLOCK] = formula(block)
        return found

    def to_dict(self) -> dict[str, Array]:
        """`mean` and `std` as float64 arrays, to be saved with a model."""
        return {"mean": self.mean, "std": self.std}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Standardiser:
        """The standardiser whose `to_dict` this was (arrays or nested lists)."""
        need(
            {"mean", "std"} <= set(saved),
            "Standardiser.from_dict",
            keys=sorted(saved),
            want="mean and std",
            fix="the result of to_dict",
        )
        return cls(*(np.asarray(saved[key], dtype=np.float64) for key in ("mean", "std")))


def _rows(op: str, x: Any) -> Array:
    array = np.asarray(x)
    need(array.ndim > 0, op, x=array, want="rows (N, ...)", fix="x[None]")
    return array


def _blocks(x: Array) -> Iterator[Array]:
    return (x[start : start + _BLOCK].astype(np.float64) for start in range(0, len(x), _BLOCK))
