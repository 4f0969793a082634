"""Parameter groups by what should decay."""

from __future__ import annotations

from typing import Any

import tensorgrad as tg
from tensorgrad.optim.optimizer import Group, need_between


def decay_groups(model: Any, weight_decay: float, **settings: Any) -> list[Group]:
    """Two groups for an optimizer: parameters with this decay, and biases and norms without.

    Without decay are biases, whatever has fewer than two axes, and the parameters of modules whose
    class has "Norm" in its name. `settings` go into both groups; a group of nothing is left out. A
    tied parameter counts where it is met first.

    >>> import tensorgrad as tg
    >>> net = tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.Linear(3, 1))
    >>> [(len(g["params"]), g["weight_decay"]) for g in decay_groups(net, 0.1)]
    [(2, 0.1), (2, 0.0)]
    """
    need_between("decay_groups", 0, weight_decay=weight_decay)
    if not isinstance(model, tg.nn.Module):
        raise TypeError(
            f"decay_groups: got {type(model).__name__}, expected a module; "
            f"try decay_groups(model, {weight_decay})"
        )
    seen: set[int] = set()
    kept: tuple[list[Any], list[Any]] = [], []
    for module in model.modules():
        norm = "Norm" in type(module).__name__
        for name, param in module.named_parameters(recurse=False):
            if id(param) not in seen:
                seen.add(id(param))
                kept[norm or name.startswith("bias") or param.ndim < 2].append(param)
    decays = (weight_decay, 0.0)
    found = [{"params": p, "weight_decay": decay, **settings} for p, decay in zip(kept, decays)]
    return [group for group in found if group["params"]]
