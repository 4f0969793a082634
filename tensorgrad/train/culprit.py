"""Where a number that is not finite came from."""

from __future__ import annotations

from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.train.place import bare


def culprit(net: nn.Module, x: Any) -> str:
    """In words: a weight that is no number, the first layer whose output is none, or the loss.

    Runs the network on `x` once more, the layers of an `nn.Sequential` one by one.
    """
    for name, param in net.named_parameters():
        if not _finite(param.detach()):
            return f", since {name} is no longer finite"
    if not _finite(x):
        return ", since the rows are not finite"
    chain = isinstance(net, nn.Sequential)
    with tg.no_grad():
        for name, part in net.named_children() if chain else [("the network", net)]:
            x = part(x)
            if not _finite(x):
                return f", since the output of {name} is not finite"
    return f" of outputs up to {np.abs(bare(x)).max():.3g}"


def _finite(x: Any) -> bool:
    array = bare(x) if isinstance(x, tg.Tensor) else x
    return bool(np.isfinite(array).all())
