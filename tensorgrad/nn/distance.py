"""Distances and similarities of vectors as modules, named and parametrised as in PyTorch."""

from __future__ import annotations

from typing import Any

from tensorgrad.nn import functional as F  # noqa: N812  (the field's name)
from tensorgrad.nn.module import Module


class PairwiseDistance(Module):
    """(Σ |x1 - x2 + eps|^p)^(1/p) over the last axis."""

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm, self.eps, self.keepdim = p, eps, keepdim

    def forward(self, x1: Any, x2: Any) -> Any:
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)


class CosineSimilarity(Module):
    """x1 · x2 / (max(||x1||, eps) max(||x2||, eps)) along `dim`."""

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim, self.eps = dim, eps

    def forward(self, x1: Any, x2: Any) -> Any:
        return F.cosine_similarity(x1, x2, self.dim, self.eps)
