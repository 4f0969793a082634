"""Dropout: of elements, of whole channels, and such as keeps mean and variance."""

from __future__ import annotations

from typing import Any

import tensorgrad as tg
from tensorgrad.nn import functional as F  # noqa: N812  (the field's name)
from tensorgrad.nn.activation import InPlace


class Dropout(InPlace):
    """While training, zeros elements with probability p and scales the others by 1 / (1 - p).

    In evaluation it is the identity. Srivastava et al. 2014. The numbers come from `generator`, or
    from tg's own (`tg.manual_seed`). Raises `ValueError` for p outside 0 to 1.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False, generator: Any = None) -> None:
        super().__init__(inplace)
        if not 0 <= p <= 1:
            name = type(self).__name__
            raise ValueError(f"{name}: got p={p}, expected 0 <= p <= 1; try {name}(0.5)")
        self.p, self.generator = p, generator

    def values(self, input: Any) -> Any:
        if not self.training or not self.p:
            return input
        return tg.dropout(input, self.p, generator=self.generator)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout1d(Dropout):
    """While training, zeros channels of (N, C, L) or (C, L) with probability p.

    The others are scaled by 1 / (1 - p). Tompson et al. 2015.
    """

    def values(self, input: Any) -> Any:
        return F.dropout1d(input, self.p, self.training, generator=self.generator)


class Dropout2d(Dropout):
    """While training, zeros channels of (N, C, H, W) or (N, C, L) with probability p.

    The others are scaled by 1 / (1 - p).
    """

    def values(self, input: Any) -> Any:
        return F.dropout2d(input, self.p, self.training, generator=self.generator)


class Dropout3d(Dropout):
    """While training, zeros channels of (N, C, D, H, W) or (C, D, H, W) with probability p.

    The others are scaled by 1 / (1 - p).
    """

    def values(self, input: Any) -> Any:
        return F.dropout3d(input, self.p, self.training, generator=self.generator)


class AlphaDropout(Dropout):
    """While training, sets elements to SELU's limit -1.758 with probability p.

    All are then scaled and shifted, so that mean 0 and variance 1 stay so. Klambauer et al. 2017.
    """

    def values(self, input: Any) -> Any:
        return F.alpha_dropout(input, self.p, self.training, generator=self.generator)


class FeatureAlphaDropout(Dropout):
    """`AlphaDropout` of whole channels of (N, C, ...)."""

    def values(self, input: Any) -> Any:
        return F.feature_alpha_dropout(input, self.p, self.training, generator=self.generator)
