"""Muon: momentum whose matrices are made orthogonal before the step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import tensorgrad as tg
from tensorgrad.optim.by_tensor import ByTensor, by_rows, need_real, norms
from tensorgrad.optim.optimizer import Group

_FACTORS = {
    "original": lambda rows, columns: math.sqrt(max(1, rows / columns)),
    "match_rms_adamw": lambda rows, columns: 0.2 * math.sqrt(max(rows, columns)),
}
Numbers = tuple[float, float, float]


def orthogonal(stack: Any, coefficients: Numbers, steps: int, eps: float) -> Any:
    """About U Vᵀ of matrices U S Vᵀ, by X ← a X + (b A + c A²) X with A = X Xᵀ, from X/‖X‖."""
    a, b, c = coefficients
    tall = stack.shape[1] > stack.shape[2]
    x = by_rows(_turned(stack) if tall else stack)
    x = x / tg.maximum(norms(x), eps)
    for _ in range(steps):
        gram = x @ _turned(x)
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return _turned(x) if tall else x


def _turned(stack: Any) -> Any:
    return tg.swapaxes(stack, 1, 2)


@cache
def _rule(coefficients: Numbers, steps: int, eps: float, nesterov: bool, adjust: str) -> Any:
    """The update with these constants."""

    def muon(
        param: Any, grad: Any, mean: Any, lr: Any, momentum: Any, share: Any, shrink: Any
    ) -> tuple[Any, ...]:
        mean = mean + share * (grad - mean)
        ahead = grad + momentum * (mean - grad) if nesterov else mean
        rate = lr * _FACTORS[adjust](*param.shape[1:])
        return param * shrink - rate * orthogonal(ahead, coefficients, steps, eps), mean

    return muon


class Muon(ByTensor):
    """B ← momentum B + (1-momentum) g, θ ← θ (1 - lr weight_decay) - lr r O, for matrices alone.

    O is about the orthogonal factor of B, with `nesterov` of g + momentum (B - g), by `ns_steps`
    Newton-Schulz steps in the dtype of the update (PyTorch takes bfloat16). r = √max(1, rows /
    columns), or 0.2 √max(rows, columns) with adjust_lr_fn="match_rms_adamw". Embeddings, biases and
    norms go to another optimizer. Jordan et al., "Muon", 2024; Liu et al., "Muon is scalable for
    LLM training", 2025. Raises `ShapeError` for what is no matrix, `DTypeError` for complex ones.
    """

    state_names = ("momentum_buffer",)
    not_negative = ("lr", "weight_decay", "momentum", "eps", "ns_steps")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: Numbers = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
        *,
        max_grad_norm: float | None = None,
    ) -> None:
        named = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "eps": eps}
        more: Group = {"nesterov": nesterov, "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn}
        more["ns_coefficients"] = tuple(ns_coefficients)
        super().__init__(params, {**named, **more}, max_grad_norm)

    def variant(self, group: Group) -> tuple[Any, Sequence[str]]:
        coefficients, steps, eps = tuple(group["ns_coefficients"]), group["ns_steps"], group["eps"]
        adjust = group["adjust_lr_fn"] or "original"
        return _rule(coefficients, steps, eps, group["nesterov"], adjust), self.state_names

    def check(self, group: Group) -> None:
        super().check(group)
        adjust = group["adjust_lr_fn"]
        if adjust is not None and adjust not in _FACTORS:
            raise ValueError(
                f"Muon: got adjust_lr_fn={adjust!r}, expected None or one of "
                f"{', '.join(_FACTORS)}; try None"
            )

    def _check_params(self, params: Sequence[Any]) -> None:
        super()._check_params(params)
        need_real("Muon", params)
        for param in params:
            if param.ndim != 2:
                raise tg.ShapeError(
                    f"Muon: got a parameter of shape {param.shape}, expected matrices; try "
                    f"optim.AdamW for the others and Muon([p for p in params if p.ndim == 2])"
                )

    def scalars(self, group: Group, step: int) -> Sequence[float]:
        lr, momentum = group["lr"], group["momentum"]
        return lr, momentum, 1 - momentum, 1 - lr * group["weight_decay"]
