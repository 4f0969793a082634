"""Normalisation layers: over a batch, an image, a group of channels, or the last axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorgrad as tg
from tensorgrad.nn import functional
from tensorgrad.nn.linear import need_dtype
from tensorgrad.nn.module import Module
from tensorgrad.nn.parameter import Parameter
from tensorgrad.nn.sizes import shape as lengths


class _Affine(Module):
    """A weight of ones and a bias of zeros, either of which may be missing."""

    weight: Parameter | None
    bias: Parameter | None

    def _learn(
        self, shape: tuple[int, ...], weight: bool, bias: bool, device: Any, dtype: Any
    ) -> None:
        for name, wanted in (("weight", weight), ("bias", bias)):
            value = None
            if wanted:
                value = Parameter(tg.zeros(shape, dtype=dtype, device=device))
            self.register_parameter(name, value)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to 1 and the bias to 0."""
        with tg.no_grad():
            if self.weight is not None:
                self.weight.fill(1.0)
            if self.bias is not None:
                self.bias.fill(0.0)

    def _checked(self, input: Any) -> Any:
        """The input as a tensor, in the dtype of what the layer holds."""
        held = self.weight if self.weight is not None else getattr(self, "running_mean", None)
        if type(input) is not tg.Tensor:
            input = tg.asarray(input)
        if held is not None and input.dtype != held.dtype:
            need_dtype(self, input, held.dtype)
        return input


class _Tracked(_Affine):
    """What batch and instance norm share: parameters and running statistics of each channel."""

    layouts: tuple[str, ...]
    running_mean: tg.Tensor | None
    running_var: tg.Tensor | None
    num_batches_tracked: tg.Tensor | None

    def _set(
        self, num_features: int, eps: float, momentum: float | None, affine: bool, track: bool,
        device: Any, dtype: Any, bias: bool,
    ) -> None:  # fmt: skip
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track
        dtype = dtype or tg.dtypes.default()
        self._learn((num_features,), affine, affine and bias, device, dtype)
        mean = var = count = None
        if track:
            mean = tg.zeros((num_features,), dtype=dtype, device=device)
            var = tg.ones((num_features,), dtype=dtype, device=device)
            count = tg.zeros((), dtype="int64", device=device)
        self.register_buffer("running_mean", mean)
        self.register_buffer("running_var", var)
        self.register_buffer("num_batches_tracked", count)

    def reset_running_stats(self) -> None:
        """Set the running mean to 0, the variance to 1 and the count of batches to 0."""
        values = (self.running_mean, 0.0), (self.running_var, 1.0), (self.num_batches_tracked, 0)
        for buffer, value in values:
            if buffer is not None:
                buffer.fill(value)

    def _fitting(self, input: Any) -> Any:
        x = self._checked(input)
        shape = tuple(x.shape)
        found = next((shape[one.index("C")] for one in self.layouts if len(one) == len(shape)), -1)
        if found != self.num_features:
            name = type(self).__name__
            axes = " or ".join(f"({', '.join(one)})" for one in self.layouts)
            fix = "input.reshape" if found < 0 else f"{name}({found})"
            raise tg.ShapeError(
                f"{name}: got an input of shape {shape}, expected {axes} with "
                f"C = {self.num_features}; try {fix}"
            )
        return x

    def _share(self) -> Any:
        """Count a batch; the part of the running statistics that it makes."""
        count = self.num_batches_tracked
        if count is None:
            return self.momentum
        count += 1
        # A 0-d tensor and no number of Python's: a captured step counts on.
        return 1.0 / count if self.momentum is None else self.momentum

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_Tracked):
    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
        affine: bool = True, track_running_stats: bool = True, device: Any = None,
        dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self._set(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(self, input: Any) -> Any:
        x = self._fitting(input)
        kept = self.running_mean, self.running_var
        given = kept[0] is not None
        training = self.training or not given
        momentum = self._share() if self.training and given else 0.0
        return functional.batch_norm(x, *kept, self.weight, self.bias, training, momentum, self.eps)


class BatchNorm1d(_BatchNorm):
    """`functional.batch_norm` of (N, C) or (N, C, L), with running statistics for evaluation.

    `weight` (C,) starts at 1, `bias` (C,) at 0; running_mean, running_var and num_batches_tracked
    are buffers, the variance kept unbiased. momentum None: the mean over all batches. Raises
    `ShapeError` for other channels, `DTypeError` for another dtype, `ValueError` for one value per
    channel in training.

    >>> BatchNorm1d(3)
    BatchNorm1d(3, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
    """

    layouts = ("NC", "NCL")


class BatchNorm2d(_BatchNorm):
    """`functional.batch_norm` of (N, C, H, W); see `BatchNorm1d`."""

    layouts = ("NCHW",)


class BatchNorm3d(_BatchNorm):
    """`functional.batch_norm` of (N, C, D, H, W); see `BatchNorm1d`."""

    layouts = ("NCDHW",)


class _InstanceNorm(_Tracked):
    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False, device: Any = None, dtype: Any = None, *,
        bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self._set(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(self, input: Any) -> Any:
        x = self._fitting(input)
        single = x.ndim == len(self.layouts[0])
        own = self.training or not self.track_running_stats
        y = functional.instance_norm(
            x.reshape((1, *x.shape)) if single else x, self.running_mean, self.running_var,
            self.weight, self.bias, own, self.momentum or 0.0, self.eps,
        )  # fmt: skip
        return y.reshape(x.shape) if single else y


class InstanceNorm1d(_InstanceNorm):
    """`functional.instance_norm` of (N, C, L) or (C, L).

    As in PyTorch neither weight and bias (`affine`) nor running statistics are there by default;
    batches are not counted, and with momentum None the statistics stay as they are. Raises
    `ShapeError` for other channels, `DTypeError` for another dtype.

    >>> InstanceNorm1d(3)
    InstanceNorm1d(3, eps=1e-05, momentum=0.1, affine=False, bias=False, track_running_stats=False)
    """

    layouts = ("CL", "NCL")


class InstanceNorm2d(_InstanceNorm):
    """`functional.instance_norm` of (N, C, H, W) or (C, H, W); see `InstanceNorm1d`."""

    layouts = ("CHW", "NCHW")


class InstanceNorm3d(_InstanceNorm):
    """`functional.instance_norm` of (N, C, D, H, W) or (C, D, H, W); see `InstanceNorm1d`."""

    layouts = ("CDHW", "NCDHW")


class GroupNorm(_Affine):
    """`functional.group_norm` of (N, C, ...): groups of num_channels / num_groups channels.

    `weight` (C,) starts at 1, `bias` (C,) at 0. Raises `ShapeError` where num_groups does not
    divide num_channels or the input has other channels, `DTypeError` for another dtype.

    >>> GroupNorm(2, 4)
    GroupNorm(2, 4, eps=1e-05, affine=True, bias=True)
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True,
        device: Any = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if num_groups < 1 or num_channels % num_groups:
            raise tg.ShapeError(
                f"GroupNorm: got num_groups={num_groups}, num_channels={num_channels}, expected "
                "groups that divide the channels; try GroupNorm(1, num_channels)"
            )
        self.num_groups, self.num_channels, self.eps = int(num_groups), int(num_channels), eps
        self.affine = affine
        dtype = dtype or tg.dtypes.default()
        self._learn((num_channels,), affine, affine and bias, device, dtype)

    def forward(self, input: Any) -> Any:
        x = self._checked(input)
        if x.ndim > 1 and x.shape[1] != self.num_channels:
            raise tg.ShapeError(
                f"GroupNorm: got an input of shape {x.shape}, expected (N, C, ...) with "
                f"C = {self.num_channels}; try GroupNorm({self.num_groups}, {x.shape[1]})"
            )
        return functional.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class _RowNorm(_Affine):
    """What layer and RMS norm share: the trailing axes they normalise."""

    def _set(
        self, shape: int | Sequence[int], affine: bool, bias: bool, device: Any, dtype: Any
    ) -> None:
        self.normalized_shape = lengths(self, "normalized_shape", shape)
        self.elementwise_affine = affine
        dtype = dtype or tg.dtypes.default()
        self._learn(self.normalized_shape, affine, affine and bias, device, dtype)


class LayerNorm(_RowNorm):
    """`functional.layer_norm` over the trailing axes normalized_shape (a number: the last one).

    `weight` of that shape starts at 1, `bias` at 0; without elementwise_affine there are none.
    Raises `ShapeError` where the input does not end with that shape, `DTypeError` for another
    dtype.

    >>> LayerNorm(4)
    LayerNorm((4,), eps=1e-05, elementwise_affine=True, bias=True)
    """

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float = 1e-5,
        elementwise_affine: bool = True, bias: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.eps = eps
        self._set(normalized_shape, elementwise_affine, bias, device, dtype)

    def forward(self, input: Any) -> Any:
        x = self._checked(input)
        return functional.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class RMSNorm(_RowNorm):
    """`functional.rms_norm` over the trailing axes normalized_shape (a number: the last one).

    `weight` of that shape starts at 1; eps None is the machine epsilon of the input's dtype.
    Raises `ShapeError` where the input does not end with that shape, `DTypeError` for another
    dtype.

    >>> RMSNorm(4)
    RMSNorm((4,), eps=None, elementwise_affine=True)
    """

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float | None = None,
        elementwise_affine: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.eps = eps
        self._set(normalized_shape, elementwise_affine, False, device, dtype)

    def forward(self, input: Any) -> Any:
        x = self._checked(input)
        return functional.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class LocalResponseNorm(Module):
    """`functional.local_response_norm`: x / (k + alpha / size Σ x²)^beta over `size` channels.

    >>> LocalResponseNorm(2)
    LocalResponseNorm(2, alpha=0.0001, beta=0.75, k=1.0)
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: Any) -> Any:
        return functional.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
