"""Steps whose length does not depend on the gradient's: Rprop and Lion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import tensorgrad as tg
from tensorgrad.optim.formulas import lerp
from tensorgrad.optim.optimizer import Group, Optimizer
from tensorgrad.optim.params import pair


@tg.fuse
def rprop(
    param: Any,
    grad: Any,
    prev: Any,
    size: Any,
    start: Any,
    shrink: Any,
    grow: Any,
    least: Any,
    most: Any,
) -> Any:
    """`start`, where it is not 0, is the size of the first step."""
    turn = grad * prev
    size = tg.where(start > 0, start, size)
    size = size * tg.where(turn > 0, grow, tg.where(turn < 0, shrink, 1.0))
    size = tg.minimum(tg.maximum(size, least), most)
    grad = tg.where(turn < 0, 0.0, grad)
    return param - tg.sign(grad) * size, grad, size


class Rprop(Optimizer):
    """θ ← θ - sign(g) Δ with a step Δ of its own for each weight: times etas[1] where g keeps its
    sign, times etas[0], and no step, where it turns; at first lr, kept within step_sizes.

    For gradients of the whole data. Riedmiller, Braun, "RPROP", 1993; Igel, Hüsken's iRprop-, 2000.
    """

    rule = staticmethod(rprop)
    state_names = ("prev", "step_size")
    not_negative = ("lr",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50.0),
        *,
        maximize: bool = False,
        max_grad_norm: float | None = None,
    ) -> None:
        etas, step_sizes = pair(self._name, etas=etas), pair(self._name, step_sizes=step_sizes)
        named = {"lr": lr, "etas": etas, "step_sizes": step_sizes}
        super().__init__(params, {**named, "maximize": maximize}, max_grad_norm)

    def check(self, group: Group) -> None:
        super().check(group)
        (shrink, grow), (least, most) = group["etas"], group["step_sizes"]
        if not 0 < shrink < 1 < grow:
            raise ValueError(
                f"Rprop: got etas=({shrink}, {grow}), expected 0 < etas[0] < 1 < etas[1]; "
                f"try etas=(0.5, 1.2)"
            )
        if not 0 <= least <= most:
            raise ValueError(
                f"Rprop: got step_sizes=({least}, {most}), expected the least step first; "
                f"try step_sizes=(1e-6, 50)"
            )

    def scalars(self, group: Group, step: int) -> Sequence[float]:
        return group["lr"] if step == 1 else 0.0, *group["etas"], *group["step_sizes"]


@tg.fuse
def lion(param: Any, grad: Any, exp_avg: Any, lr: Any, c1: Any, c2: Any, shrink: Any) -> Any:
    """c1 = 1 - beta1, c2 = 1 - beta2, shrink = 1 - lr weight_decay."""
    step = tg.sign(lerp(exp_avg, grad, c1))
    return param * shrink - lr * step, lerp(exp_avg, grad, c2)


class Lion(Optimizer):
    """θ ← θ - lr (sign(β₁ m + (1-β₁) g) + weight_decay θ), then m ← β₂ m + (1-β₂) g.

    Rates are 3 to 10 times smaller than AdamW's, decays as much larger. Chen et al., "Symbolic
    discovery of optimization algorithms", 2023.
    """

    rule = staticmethod(lion)
    state_names = ("exp_avg",)
    not_negative = ("lr", "weight_decay")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        max_grad_norm: float | None = None,
    ) -> None:
        betas = pair(self._name, betas=betas)
        named = {"lr": lr, "betas": betas, "weight_decay": weight_decay}
        super().__init__(params, {**named, "maximize": maximize}, max_grad_norm)

    def scalars(self, group: Group, step: int) -> Sequence[float]:
        (beta1, beta2), lr = group["betas"], group["lr"]
        return lr, 1 - beta1, 1 - beta2, 1 - lr * group["weight_decay"]
