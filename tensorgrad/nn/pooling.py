"""Pooling layers over one to three spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from tensorgrad.nn import functional
from tensorgrad.nn.module import Module
from tensorgrad.nn.sizes import Size, each


class _Pool(Module):
    """What the layers share: the number of their spatial axes."""

    rank: ClassVar[int]

    def _function(self, name: str) -> Any:
        """The function that `name` is for these axes."""
        return getattr(functional, f"{name}{self.rank}d")


class _MaxPool(_Pool):
    def __init__(
        self, kernel_size: Size, stride: Size | None = None, padding: Size = 0,
        dilation: Size = 1, return_indices: bool = False, ceil_mode: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size, self.padding, self.dilation = kernel_size, padding, dilation
        self.stride = kernel_size if stride is None else stride
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, input: Any) -> Any:
        return self._function("max_pool")(
            input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode,
            self.return_indices,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """The largest element of each window of (N, C, L) or (C, L); see `functional.max_pool1d`."""

    rank = 1


class MaxPool2d(_MaxPool):
    """The largest element of each window of (N, C, H, W); see `functional.max_pool2d`.

    >>> import tensorgrad as tg
    >>> MaxPool2d(2)(tg.ones((1, 3, 4, 6))).shape
    (1, 3, 2, 3)
    """

    rank = 2


class MaxPool3d(_MaxPool):
    """The largest element of each window of (N, C, D, H, W); see `functional.max_pool3d`."""

    rank = 3


class _AvgPool(_Pool):
    counted: ClassVar[bool] = True
    """Whether another divisor may be given, which PyTorch has for two axes and three."""

    def __init__(
        self, kernel_size: Size, stride: Size | None = None, padding: Size = 0,
        ceil_mode: bool = False, count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size, self.padding, self.ceil_mode = kernel_size, padding, ceil_mode
        self.stride = kernel_size if stride is None else stride
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, input: Any) -> Any:
        more = (self.divisor_override,) if self.counted else ()
        return self._function("avg_pool")(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
            self.count_include_pad, *more,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPool):
    """The mean of each window of (N, C, L) or (C, L); see `functional.avg_pool1d`."""

    rank = 1

    counted = False

    def __init__(
        self, kernel_size: Size, stride: Size | None = None, padding: Size = 0,
        ceil_mode: bool = False, count_include_pad: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)
        self.kernel_size = each(self, "kernel_size", kernel_size, 1, 1)
        self.stride = each(self, "stride", self.stride, 1, 1)
        self.padding = each(self, "padding", padding, 1, 0)


class AvgPool2d(_AvgPool):
    """The mean of each window of (N, C, H, W) or (C, H, W); see `functional.avg_pool2d`."""

    rank = 2


class AvgPool3d(_AvgPool):
    """The mean of each window of (N, C, D, H, W); see `functional.avg_pool3d`."""

    rank = 3


class _LPPool(_Pool):
    def __init__(
        self, norm_type: float, kernel_size: Size, stride: Size | None = None,
        ceil_mode: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm_type, self.kernel_size = norm_type, kernel_size
        self.stride, self.ceil_mode = stride, ceil_mode

    def forward(self, input: Any) -> Any:
        return self._function("lp_pool")(
            input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode
        )

    def extra_repr(self) -> str:
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_LPPool):
    """(Σ xᵖ)^(1/p) over each window of (N, C, L) or (C, L), p = `norm_type`."""

    rank = 1


class LPPool2d(_LPPool):
    """(Σ xᵖ)^(1/p) over each window of (N, C, H, W) or (C, H, W), p = `norm_type`."""

    rank = 2


class LPPool3d(_LPPool):
    """(Σ xᵖ)^(1/p) over each window of (N, C, D, H, W) or (C, D, H, W), p = `norm_type`."""

    rank = 3


class _AdaptiveAvgPool(_Pool):
    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Any) -> Any:
        return self._function("adaptive_avg_pool")(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Means of windows such that the spatial axis becomes `output_size`."""

    rank = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """Means of windows such that the spatial axes become `output_size`, None: as they are.

    >>> import tensorgrad as tg
    >>> AdaptiveAvgPool2d(1)(tg.ones((2, 3, 7, 7))).shape
    (2, 3, 1, 1)
    """

    rank = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """Means of windows such that the spatial axes become `output_size`, None: as they are."""

    rank = 3


class _AdaptiveMaxPool(_Pool):
    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, input: Any) -> Any:
        function = self._function("adaptive_max_pool")
        return function(input, self.output_size, self.return_indices)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """Maxima of windows such that the spatial axis becomes `output_size`."""

    rank = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """Maxima of windows such that the spatial axes become `output_size`, None: as they are."""

    rank = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """Maxima of windows such that the spatial axes become `output_size`, None: as they are."""

    rank = 3


class _FractionalMaxPool(_Pool):
    def __init__(
        self, kernel_size: Size, output_size: Size | None = None,
        output_ratio: float | Sequence[float] | None = None, return_indices: bool = False,
        generator: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if (output_size is None) == (output_ratio is None):
            raise ValueError(
                f"{type(self).__name__}: got output_size={output_size}, "
                f"output_ratio={output_ratio}, expected one of them; try output_ratio=0.5"
            )
        self.kernel_size, self.output_size = kernel_size, output_size
        self.output_ratio, self.return_indices = output_ratio, return_indices
        self.generator = generator

    def forward(self, input: Any) -> Any:
        return self._function("fractional_max_pool")(
            input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices,
            generator=self.generator,
        )  # fmt: skip

    def extra_repr(self) -> str:
        size, ratio = self.output_size, self.output_ratio
        wanted = f"output_ratio={ratio}" if size is None else f"output_size={size}"
        return f"kernel_size={self.kernel_size}, {wanted}"


class FractionalMaxPool2d(_FractionalMaxPool):
    """Maxima of windows that start at drawn places; see `functional.fractional_max_pool2d`."""

    rank = 2


class FractionalMaxPool3d(_FractionalMaxPool):
    """Maxima of windows that start at drawn places; see `functional.fractional_max_pool3d`."""

    rank = 3


class _MaxUnpool(_Pool):
    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> None:
        super().__init__()
        self.kernel_size = each(self, "kernel_size", kernel_size, self.rank, 1)
        self.padding = each(self, "padding", padding, self.rank, 0)
        self.stride = self.kernel_size
        if stride is not None:
            self.stride = each(self, "stride", stride, self.rank, 1)

    def forward(self, input: Any, indices: Any, output_size: Any = None) -> Any:
        return self._function("max_unpool")(
            input, indices, self.kernel_size, self.stride, self.padding, output_size
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """What `MaxPool1d` pooled, with zeros beside the maxima; see `functional.max_unpool1d`."""

    rank = 1


class MaxUnpool2d(_MaxUnpool):
    """What `MaxPool2d` pooled, with zeros beside the maxima; see `functional.max_unpool2d`."""

    rank = 2


class MaxUnpool3d(_MaxUnpool):
    """What `MaxPool3d` pooled, with zeros beside the maxima; see `functional.max_unpool3d`."""

    rank = 3
