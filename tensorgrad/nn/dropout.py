"""Dropout."""

from __future__ import annotations

from typing import Any

import tensorgrad as tg
from tensorgrad.nn.module import Module


class Dropout(Module):
    """While training, zeros elements with probability p and scales the others by 1 / (1 - p).

    In evaluation it is the identity. Srivastava et al. 2014. Raises `ValueError` for p outside
    0 to 1. The numbers come from `generator`, or from tg's own (`tg.manual_seed`).
    """

    def __init__(self, p: float = 0.5, generator: Any = None) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: got p={p}, expected 0 <= p <= 1; try Dropout(0.5)")
        self.p, self.generator = p, generator

    def forward(self, input: Any) -> Any:
        if not self.training or not self.p:
            return input
        return tg.dropout(input, self.p, generator=self.generator)

    def extra_repr(self) -> str:
        return f"p={self.p}"
