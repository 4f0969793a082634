"""What is done to weights after a step: the L1 step and the max-norm constraint.

L2 is the optimizers' `weight_decay`. Both work in place and off the tape.
"""

from __future__ import annotations

from collections.abc import Iterable

import tensorgrad as tg
from tensorgrad.optim.bucket import write
from tensorgrad.optim.optimizer import need_between

Params = tg.Tensor | Iterable[tg.Tensor]


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
