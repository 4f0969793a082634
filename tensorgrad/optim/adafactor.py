"""Adafactor: the mean square of a matrix's gradient kept as a row and a column."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import tensorgrad as tg
from tensorgrad.optim.by_tensor import ByTensor, Shapes, by_rows, need_real, norms
from tensorgrad.optim.optimizer import Group, need_between
from tensorgrad.optim.params import pair


@tg.fuse
def _mean(state: Any, total: Any, count: Any, share: Any, rest: Any) -> Any:
    """The running mean after new values, given as their sum and their count; rest = 1 - share."""
    return rest * state + share * (total / count)


@tg.fuse
def _square(state: Any, grad: Any, share: Any, rest: Any) -> Any:
    return rest * state + share * (grad * grad)


@tg.fuse
def _scaled(grad: Any, square: Any, least: Any) -> Any:
    return grad / tg.sqrt(tg.maximum(square, least * least))


@tg.fuse
def _factored(grad: Any, row: Any, column: Any, total: Any, rows: Any, least: Any) -> Any:
    square = row * column / tg.maximum(total / rows, least)
    return grad / tg.sqrt(tg.maximum(square, least * least))


@tg.fuse
def _rate(lr: Any, weight: Any, update: Any, root: Any, eps2: Any, d: Any) -> Any:
    """From the norms of parameter and update; root² is how many elements they have."""
    return lr * tg.maximum(weight / root, eps2) / tg.maximum(update / root / d, 1.0)


@tg.fuse
def _moved(param: Any, update: Any, rate: Any, shrink: Any) -> Any:
    return param * shrink - rate * update


class _Rule:
    """The update with these constants."""

    def __init__(self, eps1: float | None, eps2: float, d: float) -> None:
        self.eps1, self.constants = eps1, (eps2, d)
        self._known: dict[tuple[Any, ...], list[Any]] = {}

    def __call__(self, param: Any, grad: Any, *given: Any) -> tuple[Any, ...]:
        *states, lr, share, rest, shrink = given
        rows, columns, root, least, *constants = self._numbers(param)
        if len(states) == 2:
            row, column = states
            square = by_rows(grad * grad)
            row = _mean(row, tg.sum(square, -1, keepdims=True), columns, share, rest)
            column = _mean(column, tg.sum(square, -2, keepdims=True), rows, share, rest)
            total, states = tg.sum(row, -2, keepdims=True), [row, column]
            update = _factored(grad, row, column, total, rows, least)
        else:
            states = [_square(states[0], grad, share, rest)]
            update = _scaled(grad, states[0], least)
        rate = _rate(lr, norms(param), norms(update), root, *constants)
        return _moved(param, update, rate, shrink), *states

    def _numbers(self, param: Any) -> list[Any]:
        """The numbers of a shape as tensors, which formulas take without a kernel for each."""
        shape, dtype, device = kind = param.shape[1:], param.dtype, param.device
        if kind not in self._known:
            rows, columns = shape[-2:] if len(shape) > 1 else (1, 1)
            least = tg.finfo(dtype).eps if self.eps1 is None else self.eps1
            values = rows, columns, math.prod(shape) ** 0.5, least, *self.constants
            made = [tg.tensor(float(value), dtype=dtype, device=device) for value in values]
            self._known[kind] = made
        return self._known[kind]


class Adafactor(ByTensor):
    """θ ← θ (1 - lr weight_decay) - α u / max(1, rms(u)/d), u = g / √max(V, eps₁²).

    V is the running mean of g², its newest share being step^beta2_decay; over the last two axes of
    a matrix it is row ⊗ column / mean(row), so that only their sums are kept. α = max(eps₂, rms(θ))
    min(lr, 1/√step). eps[0] None is the machine epsilon. Shazeer, Stern, "Adafactor: adaptive
    learning rates with sublinear memory cost", 2018. Raises `DTypeError` for complex parameters.
    """

    not_negative = ("lr", "weight_decay")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        max_grad_norm: float | None = None,
    ) -> None:
        named = {"lr": lr, "beta2_decay": beta2_decay, "eps": pair(self._name, eps=eps), "d": d}
        more = {"weight_decay": weight_decay, "maximize": maximize}
        self._rules: dict[tuple[Any, ...], _Rule] = {}
        super().__init__(params, {**named, **more}, max_grad_norm)

    def variant(self, group: Group) -> tuple[Any, Sequence[str]]:
        constants = *group["eps"], group["d"]
        if constants not in self._rules:
            self._rules[constants] = _Rule(*constants)
        return self._rules[constants], ()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_rules": {}}

    def own(self, group: Group, param: tg.Tensor) -> Shapes:
        shape = param.shape
        if len(shape) < 2:
            return {"variance": shape}
        return {"row_var": (*shape[:-1], 1), "col_var": (*shape[:-2], 1, shape[-1])}

    def check(self, group: Group) -> None:
        super().check(group)
        need_between("Adafactor", 1, d=group["d"])
        eps1, eps2 = group["eps"]
        need_between("Adafactor", 0, eps1=0.0 if eps1 is None else eps1)
        need_between("Adafactor", 0, eps2=eps2)
        if group["beta2_decay"] > 0:
            raise ValueError(
                f"Adafactor: got beta2_decay={group['beta2_decay']}, expected beta2_decay <= 0; "
                f"try beta2_decay=-0.8"
            )

    def _check_params(self, params: Sequence[Any]) -> None:
        super()._check_params(params)
        need_real("Adafactor", params)

    def scalars(self, group: Group, step: int) -> Sequence[float]:
        lr = group["lr"]
        share = step ** group["beta2_decay"]
        return min(lr, step**-0.5), share, 1 - share, 1 - lr * group["weight_decay"]
