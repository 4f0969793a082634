"""Layers that multiply by a weight, and those that only rearrange."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorgrad as tg
from tensorgrad.nn import functional as F  # noqa: N812  (the field's name)
from tensorgrad.nn import init
from tensorgrad.nn.module import Module
from tensorgrad.nn.parameter import Parameter


def need_dtype(layer: Module, input: Any, dtype: Any) -> None:
    """Raise `DTypeError` unless a layer's input has the dtype of its parameters.

    In `autocast` any real floats go together.
    """
    found = getattr(input, "dtype", None)
    if found != dtype:
        floats = found is not None and tg.dtypes.is_float(found)
        if floats and tg.is_autocast_enabled() and tg.dtypes.is_float(dtype):
            return
        name = type(layer).__name__
        shown = type(input).__name__ if found is None else found.name
        cast = (
            f'tg.asarray(x, dtype="{dtype.name}")'
            if found is None
            else (f'x.astype("{dtype.name}")')
        )
        also = ""
        if found is not None and tg.dtypes.is_inexact(found):
            also = f', or layer.to("{found.name}")'
        raise tg.DTypeError(
            f"{name}: got an input of {shown}, expected {dtype.name} as its parameters have; "
            f"try {cast}{also}"
        )


class Linear(Module):
    """y = x Wᵀ + b: x of shape (..., in_features), y of shape (..., out_features).

    `weight` (out_features, in_features) and `bias` (out_features,) start uniform in
    ±1/√in_features. Raises `ShapeError` for another last axis, `DTypeError` for another dtype than
    the weight's.

    >>> Linear(3, 2)
    Linear(in_features=3, out_features=2, bias=True)
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        dtype = dtype or tg.dtypes.default()
        # In memory the weight lies as (in, out): x Wᵀ is then what BLAS multiplies fastest.
        self.weight = Parameter(tg.zeros((in_features, out_features), dtype=dtype, device=device).T)
        values = Parameter(tg.zeros((out_features,), dtype=dtype, device=device)) if bias else None
        self.register_parameter("bias", values)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init.kaiming_uniform_(self.weight, a=5**0.5)
        if self.bias is not None and self.in_features:
            bound = self.in_features**-0.5
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Any) -> Any:
        weight = self.weight
        if type(input) is not tg.Tensor or input.data.dtype is not weight.data.dtype:
            need_dtype(self, input, weight.dtype)
        return tg.linear(input, weight, self.bias)

    def rectified(self, input: Any) -> Any:
        """max(y, 0) in one operation; the layer must have a bias."""
        weight = self.weight
        if type(input) is not tg.Tensor or input.data.dtype is not weight.data.dtype:
            need_dtype(self, input, weight.dtype)
        return tg.linear_relu(input, weight, self.bias)

    def with_gelu(self, input: Any) -> Any:
        """gelu(y, approximate="tanh") in one operation; the layer must have a bias."""
        weight = self.weight
        if type(input) is not tg.Tensor or input.data.dtype is not weight.data.dtype:
            need_dtype(self, input, weight.dtype)
        return tg.linear_gelu(input, weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Bilinear(Module):
    """y_k = x₁ᵀ W_k x₂ + b_k, over the last axes.

    x₁ is (..., in1_features), x₂ (..., in2_features), y (..., out_features) and `weight`
    (out_features, in1_features, in2_features). Raises `ShapeError`, and `DTypeError` for another
    dtype than the weight's.
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in1_features, self.in2_features = in1_features, in2_features
        self.out_features = out_features
        dtype = dtype or tg.dtypes.default()
        shape = (out_features, in1_features, in2_features)
        self.weight = Parameter(tg.zeros(shape, dtype=dtype, device=device))
        values = Parameter(tg.zeros((out_features,), dtype=dtype, device=device)) if bias else None
        self.register_parameter("bias", values)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values, uniform in ±1/√in1_features."""
        bound = self.in1_features**-0.5 if self.in1_features else 0.0
        for param in self.parameters():
            init.uniform_(param, -bound, bound)

    def forward(self, input1: Any, input2: Any) -> Any:
        for given in (input1, input2):
            need_dtype(self, given, self.weight.dtype)
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )


class Identity(Module):
    """y = x, whatever arguments it was built with."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        return input


class Flatten(Module):
    """The axes start_dim to end_dim (included) as one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Any) -> Any:
        shape, rank = tuple(input.shape), len(input.shape)
        first, last = (k + rank if k < 0 else k for k in (self.start_dim, self.end_dim))
        if not rank and first in (-1, 0) and last in (-1, 0):
            return tg.reshape(input, (1,))
        if not 0 <= first <= last < rank:
            raise tg.ShapeError(
                f"Flatten: got an input of shape {shape}, expected axes {self.start_dim} to "
                f"{self.end_dim} in it; try Flatten(0)"
            )
        merged = 1
        for extent in shape[first : last + 1]:
            merged *= extent
        return tg.reshape(input, (*shape[:first], merged, *shape[last + 1 :]))

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """The axis `dim` as several, of lengths `unflattened_size` (one may be -1)."""

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        self.dim, self.unflattened_size = dim, unflattened_size

    def forward(self, input: Any) -> Any:
        shape, rank = tuple(input.shape), len(input.shape)
        dim = self.dim + rank if self.dim < 0 else self.dim
        if not 0 <= dim < rank:
            raise tg.ShapeError(
                f"Unflatten: got an input of shape {shape}, expected an axis {self.dim} in it; "
                f"try Unflatten(-1, {self.unflattened_size})"
            )
        sizes = tuple(self.unflattened_size)
        if 0 in shape and sizes.count(-1) == 1:  # what reshape cannot tell for no elements
            known = -math.prod(sizes)
            sizes = tuple([shape[dim] // known if n < 0 < known else n for n in sizes])
        if -1 not in sizes and math.prod(sizes) != shape[dim]:
            raise tg.ShapeError(
                f"Unflatten: got an input of shape {shape}, expected {sizes} to make "
                f"{math.prod(sizes)} of axis {self.dim}; try Unflatten({self.dim}, (-1,))"
            )
        return tg.reshape(input, (*shape[:dim], *sizes, *shape[dim + 1 :]))

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
