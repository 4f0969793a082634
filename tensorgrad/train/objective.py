"""What each task asks of a network: outputs, loss, score and how outputs are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.train.config import Config
from tensorgrad.train.options import ConfigError
from tensorgrad.train.ownloss import Loss, is_own, own_loss

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Part:
    """Rows ready for the network; `spread` is what the score is measured against.

    spread: the number of rows (classification) or labels (binary, multilabel) or, for a
    regression, the sum of squares of y about its mean. x, y: on a GPU tensors
    """

    x: Any
    y: Any
    spread: float

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class Objective:
    """A loss, and the score that is reported beside it.

    loss: (outputs, targets) -> scalar tensor, the mean over the rows
    points: (outputs, targets) -> the sum that the score is made of, arrays or tensors alike
    """

    task: str
    name: str
    loss: Loss
    points: Callable[[Any, Any], Any]

    @property
    def score_name(self) -> str:
        """accuracy, or r2 for a regression."""
        return "r2" if self.task == "regression" else "accuracy"

    def score(self, points: float, spread: float) -> float:
        """Accuracy: points / spread. R2: 1 - squared error / spread, 1 or 0 of a constant y."""
        if self.task != "regression":
            return points / spread
        return 1.0 - points / spread if spread else float(points == 0)

    def part(self, x: Array, y: Array) -> Part:
        """A part with the spread that this task's score needs."""
        return Part(x, y, self.spread(y))

    def spread(self, y: Array) -> float:
        """See `Part`."""
        if self.task != "regression":
            return float(len(y) if self.task == "classification" else y.size)
        wide = y.astype(np.float64)
        return float(np.square(wide - wide.mean(0)).sum())


def objective(task: str, config: Config) -> Objective:
    """The objective of a task; `ConfigError` when the loss does not belong to it."""
    table = _LOSSES[task]
    name = next(iter(table)) if config.loss == "auto" else config.loss
    if is_own(name):
        return Objective(task, name, own_loss(name), _POINTS[task])
    if name not in table:
        raise ConfigError(
            f"loss: got {name!r} for a {task} task, expected one of {', '.join(table)}; "
            f"try --loss {next(iter(table))}, or another --task"
        )
    if config.label_smoothing and name != "cross_entropy":
        raise ConfigError(
            f"label_smoothing: got {config.label_smoothing} beside loss {name} of a {task} task, "
            "expected loss cross_entropy; try leaving it out"
        )
    return Objective(task, name, table[name](config), _POINTS[task])


def probabilities(task: str, outputs: Array) -> Array:
    """Softmax or sigmoid of the outputs, in float64."""
    wide = outputs.astype(np.float64)
    if task == "classification":
        shifted = np.exp(wide - wide.max(1, keepdims=True))
        return np.asarray(shifted / shifted.sum(1, keepdims=True))
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-wide))


def labels(task: str, outputs: Array) -> Array:
    """The class of each row (N,), or for multilabel the 0 and 1 of each label (N, K)."""
    if task == "classification":
        return np.asarray(outputs.argmax(1))
    signs = (outputs > 0).astype(np.int64)
    return signs if task == "multilabel" else signs[:, 0]


def shaped(task: str, y: Array, dtype: str) -> Array:
    """Targets as the loss takes them: (N,) classes, else (N, K) of `dtype`."""
    if task == "classification" and y.ndim == 1:
        return y.astype(np.int64)
    return y.astype(dtype).reshape(len(y), -1)


def _hits(outputs: Any, y: Any) -> Any:
    return np.count_nonzero(outputs.argmax(1) == classes(y))


def classes(y: Any) -> Any:
    """The classes (N,) of the targets of a classification: of probabilities, the likeliest."""
    return y if y.ndim == 1 else y.argmax(1)


def _agreements(outputs: Any, y: Any) -> Any:
    return np.count_nonzero((outputs > 0) == (y > 0.5))


def _squares(outputs: Any, y: Any) -> Any:
    gap = (outputs - y).astype(np.float64).ravel()
    return gap @ gap


_POINTS = {
    "classification": _hits,
    "binary": _agreements,
    "multilabel": _agreements,
    "regression": _squares,
}


def _plain(loss: Loss) -> Callable[[Config], Loss]:
    return lambda config: loss


def _huber(config: Config) -> Loss:
    delta = config.huber_delta or 1.0
    return lambda out, y: tg.huber_loss(out, y, delta=delta)


def _cross_entropy(config: Config) -> Loss:
    share = config.label_smoothing or 0.0
    if not share:
        return lambda out, y: tg.cross_entropy(out, y)
    return lambda out, y: tg.cross_entropy(out, y, label_smoothing=share)


def _rmse(out: Any, y: Any) -> Any:
    """The norm of the errors over √n: its gradient is 0 where all are 0, that of a root infinite"""
    return tg.norm(out - y) / out.size**0.5


def _hinge_of_signs(out: Any, y: Any) -> Any:
    """Mean of max(0, 1 - t·out) for t = ±1."""
    return tg.relu(1.0 - (2.0 * y - 1.0) * out).mean()


_TWO_SIDED: dict[str, Callable[[Config], Loss]] = {
    "bce": _plain(lambda out, y: tg.binary_cross_entropy_with_logits(out, y)),
    "bce_probabilities": _plain(lambda out, y: tg.binary_cross_entropy(tg.sigmoid(out), y)),
    "hinge": _plain(_hinge_of_signs),
}
# the first loss of a task is its default
_LOSSES: dict[str, dict[str, Callable[[Config], Loss]]] = {
    "classification": {
        "cross_entropy": _cross_entropy,
        "hinge": _plain(lambda out, y: tg.multi_margin_loss(out, y)),
    },
    "binary": _TWO_SIDED,
    "multilabel": _TWO_SIDED,
    "regression": {
        "mse": _plain(lambda out, y: tg.mse_loss(out, y)),
        "rmse": _plain(_rmse),
        "mae": _plain(lambda out, y: tg.l1_loss(out, y)),
        "huber": _huber,
    },
}
