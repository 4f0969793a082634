"""Regularisers: penalties for the loss, and what is done to weights after a step.

L2 is the optimizers' `weight_decay` too. Names that end in an underscore work in place and off the
tape.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tensorgrad as tg
from tensorgrad.optim.memory import write
from tensorgrad.optim.optimizer import need_between

Params = tg.Tensor | Iterable[tg.Tensor]


def elastic_penalty(parameters: Params, l1: float = 0.0, l2: float = 0.0) -> Any:
    """l1 Σ|w| + l2/2 Σw², to be added to a loss; its gradient is l1 sign(w) + l2 w.

    Zou, Hastie, "Regularization and variable selection via the elastic net", 2005.

    >>> w = tg.nn.Parameter([3.0, -4.0])
    >>> elastic_penalty([w], l1=1.0, l2=2.0).item()
    32.0
    """
    need_between("elastic_penalty", 0, l1=l1)
    need_between("elastic_penalty", 0, l2=l2)
    found: Any = 0.0
    for param in _listed(parameters):
        found = found + l1 * tg.sum(abs(param)) + l2 / 2 * tg.sum(abs(param) ** 2)
    return found


def elastic_(parameters: Params, l1: float, l2: float) -> None:
    """The proximal step of `elastic_penalty`: w ← sign(w) max(|w| - l1, 0) / (1 + l2).

    With l1 and l2 times lr it follows an update without decay; a weight that would cross zero is
    zero.
    """
    need_between("elastic_", 0, l2=l2)
    soft_threshold_(parameters := list(_listed(parameters)), l1)
    for param in parameters:
        write(param.data, (param.detach() / (1 + l2)).data)


def soft_threshold_(parameters: Params, threshold: float) -> None:
    """The L1 step: w ← sign(w) max(|w| - threshold, 0); a weight that would cross zero is zero.

    With threshold = lr · l1 after an update it is the proximal gradient step of l1 Σ|w|.
    Daubechies, Defrise, De Mol, "An iterative thresholding algorithm", 2004.
    """
    need_between("soft_threshold_", 0, threshold=threshold)
    for param in _listed(parameters):
        w = param.detach()
        write(param.data, (w - tg.clip(w, -threshold, threshold)).data)


def max_norm_(parameters: Params, max_norm: float, dim: int = 0) -> None:
    """Scale every slice along `dim` whose Euclidean norm exceeds `max_norm` back to it.

    With dim 0 of a weight (out_features, in_features): the incoming weights of each unit. A bias is
    best left out. Srivastava et al., "Dropout", 2014. Raises `ShapeError` for a 0-d parameter.
    """
    need_between("max_norm_", 0, max_norm=max_norm)
    for param in _listed(parameters):
        w = param.detach()
        if not -w.ndim <= dim < w.ndim:
            raise tg.ShapeError(
                f"max_norm_: got a parameter of shape {w.shape} and dim={dim}, expected an axis of "
                f"it; try the weights of the layers only"
            )
        others = tuple(axis for axis in range(w.ndim) if axis != dim % w.ndim)
        norm = tg.norm(w, axis=others, keepdims=True) if others else tg.absolute(w)
        scale = tg.where(norm > max_norm, max_norm / tg.maximum(norm, max_norm), 1.0)
        write(param.data, (w * scale).data)


def _listed(parameters: Params) -> Iterable[tg.Tensor]:
    return [parameters] if isinstance(parameters, tg.Tensor) else parameters
