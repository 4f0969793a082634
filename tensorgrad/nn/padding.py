"""Padding layers over one to three spatial axes."""

from __future__ import annotations

from typing import Any, ClassVar

import tensorgrad as tg
from tensorgrad.nn import functional
from tensorgrad.nn.module import Module
from tensorgrad.nn.sizes import Size, each


class _Pad(Module):
    """What the layers share: `padding`, the widths before and after each axis, the last first."""

    rank: ClassVar[int]
    mode: ClassVar[str]

    def __init__(self, padding: Size) -> None:
        super().__init__()
        self.padding = each(self, "padding", padding, 2 * self.rank)

    def forward(self, input: Any) -> Any:
        found = len(input.shape)
        if found not in (self.rank + 1, self.rank + 2):
            axes = "C" + "DHW"[3 - self.rank :]
            raise tg.ShapeError(
                f"{type(self).__name__}: got an input of shape {tuple(input.shape)}, expected axes "
                f"{axes}, or N{axes}; try functional.pad"
            )
        return functional.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    """With a value, over the last axes of anything."""

    mode = "constant"

    def __init__(self, padding: Size, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Any) -> Any:
        return functional.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """A border of `value` along the last axis: padding is a number or (left, right)."""

    rank = 1


class ConstantPad2d(_ConstantPad):
    """A border of `value` around images: padding is a number or (left, right, top, bottom).

    >>> import tensorgrad as tg
    >>> ConstantPad2d((1, 0, 0, 1), 7.0)(tg.ones((1, 1, 2)))
    tensor([[[7., 1., 1.],
            [7., 7., 7.]]])
    """

    rank = 2


class ConstantPad3d(_ConstantPad):
    """A border of `value` around volumes: (left, right, top, bottom, front, back)."""

    rank = 3


class _ZeroPad(_ConstantPad):
    def __init__(self, padding: Size) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad1d(_ZeroPad):
    """A border of zeros along the last axis: padding is a number or (left, right)."""

    rank = 1


class ZeroPad2d(_ZeroPad):
    """A border of zeros around images: padding is a number or (left, right, top, bottom)."""

    rank = 2


class ZeroPad3d(_ZeroPad):
    """A border of zeros around volumes: (left, right, top, bottom, front, back)."""

    rank = 3


class ReflectionPad1d(_Pad):
    """A border that mirrors (N, C, L) or (C, L), without the edge; narrower than L."""

    rank, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """A border that mirrors (N, C, H, W) or (C, H, W), without the edge; narrower than those."""

    rank, mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """A border that mirrors (N, C, D, H, W) or (C, D, H, W), without the edge."""

    rank, mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """A border that repeats the edge of (N, C, L) or (C, L)."""

    rank, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """A border that repeats the edge of (N, C, H, W) or (C, H, W)."""

    rank, mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """A border that repeats the edge of (N, C, D, H, W) or (C, D, H, W)."""

    rank, mode = 3, "replicate"


class CircularPad1d(_Pad):
    """A border that wraps (N, C, L) or (C, L) around; no wider than L."""

    rank, mode = 1, "circular"


class CircularPad2d(_Pad):
    """A border that wraps (N, C, H, W) or (C, H, W) around; no wider than those."""

    rank, mode = 2, "circular"


class CircularPad3d(_Pad):
    """A border that wraps (N, C, D, H, W) or (C, D, H, W) around."""

    rank, mode = 3, "circular"
