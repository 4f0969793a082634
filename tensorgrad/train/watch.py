"""What a run is warned about: equal weights, gradients that vanish, explode, overflow, the fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgrad import nn
from tensorgrad.train.loop import Callback, Loop, Record
from tensorgrad.train.network import linear_layers

Array = np.ndarray[Any, Any]

VANISHING = 1e-3  # of the largest layer's norm: below it a layer hardly moves beside the others
EXPLODING = 1e3  # a gradient norm, or the factor by which it grew since the first epoch
_HALF = 0.5  # of the error that no model at all makes
_GAP = 0.1  # of that error, between training and validation


class Watch(Callback):
    """Collects warnings, each once, and hands new ones to `tell`."""

    def __init__(self, tell: Any) -> None:
        self.tell = tell
        self.warnings: list[str] = []
        self._seen: set[str] = set()

    def on_start(self, loop: Loop) -> None:
        """Check the first weights; of a resumed run, take what its history was warned about."""
        if loop.progress.step == 0:
            for text in equal_weights(loop.net):
                self.add(text, text)
        for k in range(len(loop.history)):
            found = gradient_warnings(loop.history[: k + 1])
            for key, text in (*found, *scale_warnings(loop.history[k])):
                self._note(key, text)

    def on_epoch(self, loop: Loop, record: Record) -> None:
        """Check the gradient norms of the epoch."""
        for key, text in (*gradient_warnings(loop.history), *scale_warnings(record)):
            self.add(key, text)

    def add(self, key: str, text: str) -> None:
        """Warn, unless this key was warned about."""
        if self._note(key, text):
            self.tell(text)

    def _note(self, key: str, text: str) -> bool:
        if key in self._seen:
            return False
        self._seen.add(key)
        self.warnings.append(text)
        return True


def equal_weights(net: nn.Module) -> list[str]:
    """Layers before the last whose weights are all equal: their units can never differ."""
    found = []
    for name, layer in linear_layers(net)[:-1]:
        values = layer.weight.detach().numpy()
        if values.size > 1 and (values == values.flat[0]).all():
            what = "zero" if values.flat[0] == 0 else f"{values.flat[0]:g}"
            found.append(
                f"all weights of {name} are {what}: every unit of it learns the same; "
                "try --init auto"
            )
    return found


def gradient_warnings(history: Sequence[Record]) -> list[tuple[str, str]]:
    """(key, text) for each layer whose gradient vanishes or explodes in the last epoch."""
    norms = history[-1]["grad_norm"]
    first: dict[str, float] = next((one["grad_norm"] for one in history if one["grad_norm"]), {})
    epoch, largest = history[-1]["epoch"], max(norms.values(), default=0.0)
    found = []
    for name, norm in norms.items():
        if norm < VANISHING * largest:
            found.append(
                (
                    f"vanishing {name}",
                    f"vanishing gradient in {name} (norm {norm:.1e} at epoch {epoch}, the largest "
                    f"layer has {largest:.1e}); try --activation relu, --init auto, fewer layers",
                )
            )
        if norm > EXPLODING or norm > EXPLODING * first[name] > 0:
            found.append(
                (
                    f"exploding {name}",
                    f"exploding gradient in {name} (norm {norm:.1e} at epoch {epoch}); "
                    "try --clip-norm 1, a lower --lr, --init auto",
                )
            )
    return found


def scale_warnings(record: Record) -> list[tuple[str, str]]:
    """(key, text) for an epoch at whose end even unscaled gradients overflow float16."""
    scale = record.get("loss_scale", 1.0)
    if scale >= 1:
        return []
    text = (
        f"gradients overflow float16 (loss scale {scale:.1e} at epoch {record['epoch']}, "
        f"{record['skipped']} steps left out in it); try --amp bfloat16, or a lower --lr"
    )
    return [("overflow", text)]


def verdict(
    score_name: str, train: float, validation: float, baseline: float, best_epoch: int
) -> str | None:
    """Over- or underfitting in a sentence, None for neither.

    Errors are measured in units of the error `1 - baseline` that the best constant makes:
    underfitting leaves more than half of it in training, overfitting loses a tenth of it between
    training and validation and at least doubles the error.
    """
    unit = max(1.0 - baseline, 1e-12)
    seen, unseen = (1.0 - train) / unit, (1.0 - validation) / unit
    both = (
        f"training {score_name} {shown(score_name, train)}, "
        f"validation {score_name} {shown(score_name, validation)}"
    )
    if seen > _HALF:
        return (
            f"underfitting: {both}, and a constant would reach {shown(score_name, baseline)}; "
            "try wider --layers, more --epochs, another --lr, or features that say more"
        )
    if unseen - seen > _GAP and unseen > 2 * seen:
        return (
            f"overfitting: {both}, lowest validation loss at epoch {best_epoch}; "
            "try more data, --dropout 0.2, --l2 0.001, or smaller --layers"
        )
    return None


def shown(score_name: str, value: float) -> str:
    """A score as people read it: an accuracy in percent, R2 as it is."""
    return f"{100 * value:.2f} %" if score_name == "accuracy" else f"{value:.4f}"
