"""Convolution layers over one to three spatial axes, and their transposes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorgrad as tg
from tensorgrad.nn import functional, init
from tensorgrad.nn.linear import need_dtype
from tensorgrad.nn.module import Module
from tensorgrad.nn.parameter import Parameter
from tensorgrad.nn.sizes import Size, each

MODES = ("zeros", "reflect", "replicate", "circular")


class _Conv(Module):
    """What the layers share: their options, and weight and bias drawn uniformly."""

    rank: int
    transposed = False
    weight: Parameter
    bias: Parameter | None

    def _set(
        self, in_channels: int, out_channels: int, kernel_size: Size, stride: Size, padding: Any,
        dilation: Size, groups: int, bias: bool, padding_mode: str, device: Any, dtype: Any,
    ) -> None:  # fmt: skip
        name = type(self).__name__
        for what, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if groups < 1 or channels % groups:
                raise tg.ShapeError(
                    f"{name}: got {what}={channels}, groups={groups}, expected groups that divide "
                    f"{what}; try groups=1"
                )
        modes = ("zeros",) if self.transposed else MODES
        if padding_mode not in modes:
            raise ValueError(
                f"{name}: got padding_mode={padding_mode!r}, expected one of {', '.join(modes)}; "
                'try "zeros"'
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = self._each("kernel_size", kernel_size, 1)
        self.stride = self._each("stride", stride, 1)
        self.dilation = self._each("dilation", dilation, 1)
        self.padding = self._sides(padding)
        self.padding_mode = padding_mode
        sides = (out_channels, in_channels // groups)
        if self.transposed:
            sides = (in_channels, out_channels // groups)
        dtype = dtype or tg.dtypes.default()
        self.weight = Parameter(tg.zeros((*sides, *self.kernel_size), dtype=dtype, device=device))
        values = Parameter(tg.zeros((out_channels,), dtype=dtype, device=device)) if bias else None
        self.register_parameter("bias", values)
        self.reset_parameters()

    def _each(self, what: str, given: Any, least: int) -> tuple[int, ...]:
        """A number for each spatial axis."""
        return each(self, what, given, self.rank, least)

    def _sides(self, padding: Any) -> Any:
        """The padding as numbers; the words stay (no transpose has them)."""
        if not isinstance(padding, str):
            return self._each("padding", padding, 0)
        known = padding in ("same", "valid") and not self.transposed
        if known and (padding == "valid" or self.stride == (1,) * self.rank):
            self._even(padding)
            return padding
        words = "numbers" if self.transposed else 'numbers, "same" or "valid"'
        want = 'stride=1 for "same"' if known else words
        raise ValueError(
            f"{type(self).__name__}: got padding={padding!r}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, expected {want}; try padding=1"
        )

    def _even(self, padding: str) -> None:
        """Raise `ValueError` where "same" would be more on one side than on the other."""
        total = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size)]
        if padding == "same" and any(n % 2 for n in total):
            sides = tuple([side for n in total[::-1] for side in (n // 2, n - n // 2)])
            raise ValueError(
                f"{type(self).__name__}: got padding='same', kernel_size={self.kernel_size}, "
                f"dilation={self.dilation}, expected odd kernels with it, for two equal sides; "
                f"try padding=0 behind a ConstantPad{self.rank}d({sides}, 0.0), as PyTorch pads"
            )

    def reset_parameters(self) -> None:
        """Draw new initial values: uniform in ±1/√fan_in."""
        init.kaiming_uniform_(self.weight, a=5**0.5)
        if self.bias is not None:
            fan_in, _ = init.fans(self.weight)
            bound = fan_in**-0.5 if fan_in else 0.0
            init.uniform_(self.bias, -bound, bound)

    def _checked(self, input: Any) -> Any:
        weight = self.weight
        if type(input) is not tg.Tensor or input.data.dtype is not weight.data.dtype:
            need_dtype(self, input, weight.dtype)
        return input

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        text += f", stride={self.stride}"
        zeros = (0,) * self.rank
        if self.padding != zeros:
            text += f", padding={self.padding}"
        if self.dilation != (1,) * self.rank:
            text += f", dilation={self.dilation}"
        more = getattr(self, "output_padding", zeros)
        if more != zeros:
            text += f", output_padding={more}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        return text if self.padding_mode == "zeros" else f"{text}, padding_mode={self.padding_mode}"


class _Forward(_Conv):
    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Size, stride: Size = 1,
        padding: Any = 0, dilation: Size = 1, groups: int = 1, bias: bool = True,
        padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._set(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
            padding_mode, device, dtype,
        )  # fmt: skip

    def forward(self, input: Any) -> Any:
        x, padding = self._checked(input), self.padding
        if self.padding_mode != "zeros" and padding != "valid":
            x, padding = self._bordered(x), 0
        function = (functional.conv1d, functional.conv2d, functional.conv3d)[self.rank - 1]
        return function(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def _bordered(self, x: Any) -> Any:
        """The input with the border that padding_mode says."""
        widths = self.padding
        if widths == "same":
            pairs = [(d * (k - 1) // 2,) * 2 for d, k in zip(self.dilation, self.kernel_size)]
        else:
            pairs = [(n, n) for n in widths]
        return functional.pad(x, [n for pair in pairs[::-1] for n in pair], self.padding_mode)


class _Transposed(_Conv):
    transposed = True

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Size, stride: Size = 1,
        padding: Size = 0, output_padding: Size = 0, groups: int = 1, bias: bool = True,
        dilation: Size = 1, padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.output_padding = self._each("output_padding", output_padding, 0)
        self._set(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
            padding_mode, device, dtype,
        )  # fmt: skip

    def forward(self, input: Any, output_size: Sequence[int] | None = None) -> Any:
        """`output_size`: the spatial axes of the result, instead of what output_padding gives."""
        x, more = self._checked(input), self.output_padding
        if output_size is not None:
            more = self._to_reach(x, tuple(output_size)[-self.rank :])
        functions = (
            functional.conv_transpose1d,
            functional.conv_transpose2d,
            functional.conv_transpose3d,
        )
        return functions[self.rank - 1](
            x, self.weight, self.bias, self.stride, self.padding, more, self.groups, self.dilation
        )

    def _to_reach(self, x: Any, wanted: tuple[int, ...]) -> tuple[int, ...]:
        """The output_padding that gives a result of that size."""
        sizes = zip(x.shape[-self.rank :], self.stride, self.padding, self.dilation,
                    self.kernel_size)  # fmt: skip
        least = [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, s, p, d, k in sizes]
        most = [n + s - 1 for n, s in zip(least, self.stride)]
        if len(wanted) != self.rank or not all(
            low <= n <= high for low, n, high in zip(least, wanted, most)
        ):
            raise tg.ShapeError(
                f"{type(self).__name__}: got output_size={wanted}, expected {least} to {most}; "
                f"try output_size={tuple(least)}"
            )
        return tuple([n - low for n, low in zip(wanted, least)])


class Conv1d(_Forward):
    """`functional.conv1d` with a weight (out_channels, in_channels / groups, K) and a bias.

    Both start uniform in ±1/√fan_in. `padding` may be "same" (odd kernels) or "valid";
    padding_mode: "zeros", "reflect", "replicate" or "circular". Raises `ShapeError` for shapes
    that do not fit, `DTypeError` for another dtype than the weight's.

    >>> Conv1d(2, 4, 3)
    Conv1d(2, 4, kernel_size=(3,), stride=(1,))
    """

    rank = 1


class Conv2d(_Forward):
    """`functional.conv2d` with a weight (out_channels, in_channels / groups, K1, K2) and a bias.

    Options and errors are those of `Conv1d`.

    >>> Conv2d(3, 8, 3, padding=1)
    Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
    """

    rank = 2


class Conv3d(_Forward):
    """`functional.conv3d` with a weight (out_channels, in_channels / groups, K1, K2, K3).

    Options and errors are those of `Conv1d`.
    """

    rank = 3


class ConvTranspose1d(_Transposed):
    """`functional.conv_transpose1d` with a weight (in_channels, out_channels / groups, K).

    Weight and bias start uniform in ±1/√fan_in. Called with `output_size`, it finds the
    output_padding itself. Raises `ShapeError` for shapes that do not fit, `DTypeError` for another
    dtype than the weight's.

    >>> ConvTranspose1d(2, 4, 3, stride=2)
    ConvTranspose1d(2, 4, kernel_size=(3,), stride=(2,))
    """

    rank = 1


class ConvTranspose2d(_Transposed):
    """`functional.conv_transpose2d` with a weight (in_channels, out_channels / groups, K1, K2).

    Options and errors are those of `ConvTranspose1d`.
    """

    rank = 2


class ConvTranspose3d(_Transposed):
    """`functional.conv_transpose3d`: a weight (in_channels, out_channels / groups, K1, K2, K3).

    Options and errors are those of `ConvTranspose1d`.
    """

    rank = 3
