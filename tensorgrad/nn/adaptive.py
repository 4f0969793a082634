"""The adaptive softmax: many classes of which few are frequent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import tensorgrad as tg
from tensorgrad.nn import functional as F  # noqa: N812  (the field's name)
from tensorgrad.nn.container import ModuleList, Sequential
from tensorgrad.nn.linear import Linear
from tensorgrad.nn.module import Module


class ASMOutput(NamedTuple):
    """What `AdaptiveLogSoftmaxWithLoss` returns."""

    output: Any
    loss: Any


class AdaptiveLogSoftmaxWithLoss(Module):
    """log softmax over classes in clusters: the rarer, the smaller the layer in front of them.

    Classes are sorted by frequency, the most frequent first; `cutoffs` end the clusters. The head
    scores the classes in front of the first cutoff and each cluster as one; cluster i has a hidden
    layer of in_features / div_value^(i + 1). Returns (output, loss): the log-probability of every
    target and its negative mean. Grave et al., "Efficient softmax approximation for GPUs", 2017.
    Raises `ValueError` for cutoffs that do not rise from 1 to below n_classes, and `IndexError`
    naming a label out of range.
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        ends = [int(c) for c in cutoffs]
        rising = all(a < b for a, b in zip([0, *ends], [*ends, n_classes]))
        if not ends or not rising:
            raise ValueError(
                f"AdaptiveLogSoftmaxWithLoss: got cutoffs={list(cutoffs)} of {n_classes} classes, "
                f"expected numbers that rise from 1 to {n_classes - 1}; try [n_classes // 10]"
            )
        self.in_features, self.n_classes = in_features, n_classes
        self.cutoffs, self.div_value, self.head_bias = [*ends, n_classes], div_value, head_bias
        self.shortlist_size, self.n_clusters = ends[0], len(ends)
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, head_bias, device, dtype)
        self.tail = ModuleList()
        for k in range(self.n_clusters):
            hidden = int(in_features // div_value ** (k + 1))
            classes = self.cutoffs[k + 1] - self.cutoffs[k]
            self.tail.append(
                Sequential(
                    Linear(in_features, hidden, False, device, dtype),
                    Linear(hidden, classes, False, device, dtype),
                )
            )

    def reset_parameters(self) -> None:
        """Draw every weight anew."""
        self.head.reset_parameters()
        for layer in (layer for pair in self.tail for layer in pair):  # type: ignore[attr-defined]
            layer.reset_parameters()

    def forward(self, input: Any, target: Any) -> ASMOutput:
        labels = self._labels(input, target)
        if labels.ndim == 0:
            output = self.forward(input[None], labels[None]).output[0]
            return ASMOutput(output, -output)
        head = F.log_softmax(self.head(input), 1)
        cluster = np.searchsorted(self.cutoffs, labels, side="right")
        rows, parts = [], []
        for k in range(self.n_clusters + 1):
            mine = np.flatnonzero(cluster == k)
            if mine.size:
                rows.append(mine)
                parts.append(self._of_cluster(k, input, head, mine, labels[mine]))
        order = np.argsort(np.concatenate(rows or [labels]))
        output = tg.concatenate(parts)[order] if parts else head.sum(axis=1)
        return ASMOutput(output, -output.mean())

    def _labels(self, input: Any, target: Any) -> Any:
        """The labels on the host, in range."""
        labels = np.asarray(target.to("cpu") if isinstance(target, tg.Tensor) else target)
        if labels.dtype.kind not in "iu":
            raise tg.DTypeError(
                f"AdaptiveLogSoftmaxWithLoss: got labels of {labels.dtype}, expected integers; "
                "try target.astype(int)"
            )
        if len(input.shape) not in (1, 2) or labels.shape != tuple(input.shape[:-1]):
            raise tg.ShapeError(
                f"AdaptiveLogSoftmaxWithLoss: got input {tuple(input.shape)} and labels "
                f"of shape {labels.shape}, expected (N, in_features) and (N,), or (in_features,) "
                "and (); try input.reshape(-1, in_features)"
            )
        wrong = np.flatnonzero((labels < 0) | (labels >= self.n_classes))
        if wrong.size:
            raise IndexError(
                f"AdaptiveLogSoftmaxWithLoss: got label {labels.flat[wrong[0]]} in row {wrong[0]}, "
                f"expected 0 to {self.n_classes - 1}; try labels from 0"
            )
        return labels

    def _of_cluster(self, k: int, input: Any, head: Any, rows: Any, labels: Any) -> Any:
        """The log-probability of the labels of some rows, all in one cluster (0: the shortlist)."""
        if k == 0:
            return head[rows, labels]
        inside = F.log_softmax(self.tail[k - 1](input[rows]), 1)
        local = inside[np.arange(len(rows)), labels - self.cutoffs[k - 1]]
        return head[rows, self.shortlist_size + k - 1] + local

    def log_prob(self, input: Any) -> Any:
        """The log-probabilities of all classes: (N, in_features) gives (N, n_classes)."""
        head = F.log_softmax(self.head(input), 1)
        parts = [head[:, : self.shortlist_size]]
        for k, tail in enumerate(self.tail):
            own = head[:, self.shortlist_size + k][:, None]
            parts.append(F.log_softmax(tail(input), 1) + own)
        return tg.concatenate(parts, axis=1)

    def predict(self, input: Any) -> Any:
        """The most probable class of every row."""
        return tg.argmax(self.log_prob(input), axis=1)
