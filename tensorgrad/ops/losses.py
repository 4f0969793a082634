"""Losses element by element, under PyTorch's names and with its reductions.

A reduction is "mean", "sum" or "none". The losses over classes are in `class_losses.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

from tensorgrad import dtypes, shapes
from tensorgrad._errors import need
from tensorgrad.backend import base
from tensorgrad.core.formula import Elementwise
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import known, operation
from tensorgrad.core.tensor import Tensor
from tensorgrad.expr import call, stop, where
from tensorgrad.ops import loss_cases as cases


def check_reduction(op: str, reduction: str) -> None:
    """Raise `ShapeError` unless the reduction is one of the three."""
    need(
        reduction in ("mean", "sum", "none"),
        op,
        reduction=reduction,
        want='"mean", "sum" or "none"',
        fix='"mean"',
    )


def reduced(loss: Any, reduction: str) -> Any:
    """The loss of every element as the reduction asks."""
    if reduction == "none":
        return loss
    return loss.sum() if reduction == "sum" else loss.mean()


def _log_clamped(p: Any, log: Any) -> Any:
    """log p ≥ -100, its derivative 1 / p ≤ 1e12: PyTorch's two bounds, which keep both finite."""
    low = stop(call("maximum", log, -100.0)) + (p - stop(p)) * 1e12
    return where(p > 1e-12, log, low)


def _binary(p: Any, t: Any) -> Any:
    one, zero = _log_clamped(p, call("log", p)), _log_clamped(1 - p, call("log1p", -p))
    return -(t * one + (1 - t) * zero)


def _huber(x: Any, t: Any, delta: Any) -> Any:
    d = x - t
    z = call("abs", d)
    return where(z <= delta, 0.5 * (d * d), delta * (z - 0.5 * delta))


def _smooth(x: Any, t: Any, beta: Any) -> Any:
    d = x - t
    z = call("abs", d)
    return where(z < beta, 0.5 * (d * d) / beta, z - 0.5 * beta)


def _loss(name: str, formula: Callable[..., Any]) -> Elementwise:
    return known(Elementwise.trace(name, formula))  # type: ignore[no-any-return]


_mse_p = _loss("mse_loss", lambda x, t: call("square", x - t))
_l1_p = _loss("l1_loss", lambda x, t: call("abs", x - t))
_binary_p = _loss("binary_cross_entropy", _binary)
_logits_p = _loss(
    "binary_cross_entropy_with_logits",
    # Two softplus, since x (1 - t) + softplus(-x) loses all digits of a small loss.
    lambda x, t, pos: (1 - t) * call("softplus", x) + pos * t * call("softplus", -x),
)
_embedding_p = _loss(
    "hinge_embedding_loss",
    lambda x, t, margin: where(t == 1, x, where(margin - x < 0, 0, margin - x)),
)


_outside_p = Elementwise.trace("outside_0_to_1", lambda x: (x < 0) | (x > 1))


def _need_probabilities(x: Tensor, what: str, fix: str) -> None:
    """Raise `ValueError` for a number outside 0 .. 1; NaN passes, and makes the loss NaN."""
    values: Any = x.value()
    kind: Any = type(values)
    wrong = _outside_p.kernels[kind](values)
    _checks(kind)(values, wrong, op="binary_cross_entropy", what=what, fix=fix)


@cache
def _checks(kind: type) -> Any:
    return base.of_type(kind).kernel("need_probabilities")


@lru_cache(maxsize=64)
def _rounded(name: str, width: float) -> Elementwise:
    """Huber's loss or the smooth one for one width, a constant: an operand costs a sixth more."""
    formula = {"huber_loss": _huber, "smooth_l1_loss": _smooth}[name]
    return Elementwise.trace(name, lambda x, t: formula(x, t, width))


def matched(op: str, input: Any, target: Any, reduction: str) -> tuple[Any, Any]:
    """Input and target as tensors of one shape; broadcasting here is nearly always a mistake.

    Integer and bool targets take the dtype of a floating input.
    """
    check_reduction(op, reduction)
    x, t = operand(input, (target,), op), operand(target, (input,), op)
    need(
        x.shape == t.shape,
        op,
        input=x,
        target=t,
        want="a target of the input's shape (nothing is broadcast)",
        fix="target.reshape(input.shape)",
    )
    if t.dtype.kind in "iub" and dtypes.is_float(x.dtype):
        t = t.astype(x.dtype)
    return x, t


@operation(oracle=cases.mse_loss, samples=cases.pairs())
def mse_loss(input: Any, target: Any, reduction: str = "mean") -> Tensor:
    """(input - target)², the mean squared error. Raises `ShapeError` where the shapes differ.

    >>> mse_loss([1.0, 2.0], [1.0, 4.0])
    tensor(2.)
    """
    x, t = matched("mse_loss", input, target, reduction)
    return reduced(_mse_p.bind(x, t), reduction)  # type: ignore[no-any-return]


@operation(oracle=cases.l1_loss, samples=cases.pairs())
def l1_loss(input: Any, target: Any, reduction: str = "mean") -> Tensor:
    """|input - target|, the mean absolute error; derivative 0 where they are equal.

    Raises `ShapeError` where the shapes differ.

    >>> l1_loss([1.0, 2.0], [1.0, 4.0])
    tensor(1.)
    """
    x, t = matched("l1_loss", input, target, reduction)
    return reduced(_l1_p.bind(x, t), reduction)  # type: ignore[no-any-return]


@operation(oracle=cases.huber_loss, samples=cases.pairs(delta=(0.7, 1.0, 2.3)))
def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """z²/2 for |z| ≤ delta, else delta (|z| - delta/2), z = input - target.

    Huber, "Robust estimation of a location parameter", 1964. Raises `ShapeError` where the shapes
    differ.

    >>> huber_loss([0.0, 0.0], [1.0, 3.0], "none")
    tensor([0.5, 2.5])
    """
    need(delta > 0, "huber_loss", delta=delta, want="delta > 0", fix="delta=1.0")
    x, t = matched("huber_loss", input, target, reduction)
    return reduced(_rounded("huber_loss", float(delta)).bind(x, t), reduction)  # type: ignore[no-any-return]


@operation(oracle=cases.smooth_l1_loss, samples=cases.pairs(beta=(0.7, 1.0, 0.0)))
def smooth_l1_loss(input: Any, target: Any, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """z²/(2 beta) for |z| < beta, else |z| - beta/2, z = input - target; beta 0 is `l1_loss`.

    Girshick, "Fast R-CNN", 2015. Raises `ShapeError` where the shapes differ.
    """
    need(beta >= 0, "smooth_l1_loss", beta=beta, want="beta >= 0", fix="beta=1.0")
    x, t = matched("smooth_l1_loss", input, target, reduction)
    loss = _rounded("smooth_l1_loss", float(beta)).bind(x, t) if beta else _l1_p.bind(x, t)
    return reduced(loss, reduction)  # type: ignore[no-any-return]


def _weighted(op: str, loss: Any, weight: Any) -> Any:
    if weight is None:
        return loss
    weight = operand(weight, (loss,), op)
    shapes_agree = shapes.broadcast(weight.shape, loss.shape, op=op) == loss.shape
    need(
        shapes_agree, op, weight=weight, input=loss, want="a weight that broadcasts to the input",
        fix="weight.reshape(input.shape)",
    )  # fmt: skip
    return loss * weight


@operation(oracle=cases.binary_cross_entropy, samples=cases.probabilities)
def binary_cross_entropy(
    input: Any, target: Any, weight: Any = None, reduction: str = "mean"
) -> Tensor:
    """-(t log p + (1 - t) log(1 - p)) for probabilities p = input and t = target.

    Both logarithms are at least -100 and their derivatives at most 1e12, as in PyTorch, so loss and
    gradient are finite at p = 0 and 1. `binary_cross_entropy_with_logits` is more accurate.
    `weight` multiplies the loss and broadcasts to it. Raises `ShapeError` where the shapes differ,
    and `ValueError` naming an input or target outside 0 to 1.

    >>> binary_cross_entropy([0.5], [1.0])
    tensor(0.69314718)
    """
    p, t = matched("binary_cross_entropy", input, target, reduction)
    _need_probabilities(p, "input", "tg.sigmoid(input)")
    _need_probabilities(t, "target", "labels 0 and 1")
    loss = _weighted("binary_cross_entropy", _binary_p.bind(p, t), weight)
    return reduced(loss, reduction)  # type: ignore[no-any-return]


@operation(oracle=cases.binary_with_logits, samples=cases.logits)
def binary_cross_entropy_with_logits(
    input: Any,
    target: Any,
    weight: Any = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Tensor:
    """-(pos_weight t log σ(x) + (1 - t) log σ(-x)) for logits x = input, stable for every x.

    `weight` multiplies the loss, `pos_weight` the part of the positive targets; both broadcast to
    the input's shape. Raises `ShapeError` where input and target differ in shape.

    >>> binary_cross_entropy_with_logits([0.0], [1.0])
    tensor(0.69314718)
    """
    op = "binary_cross_entropy_with_logits"
    x, t = matched(op, input, target, reduction)
    positive = operand(1.0 if pos_weight is None else pos_weight, (x,), op)
    fits = shapes.broadcast(positive.shape, x.shape, op=op) == x.shape
    need(
        fits, op, pos_weight=positive, input=x, want="a weight that broadcasts to the input",
        fix="pos_weight.reshape(-1)",
    )  # fmt: skip
    loss = _weighted(op, _logits_p.bind(x, t, positive), weight)
    return reduced(loss, reduction)  # type: ignore[no-any-return]


@operation(oracle=cases.hinge_embedding_loss, samples=cases.signs)
def hinge_embedding_loss(
    input: Any, target: Any, margin: float = 1.0, reduction: str = "mean"
) -> Tensor:
    """x where the target is 1, max(0, margin - x) where it is -1, x = input.

    Raises `ShapeError` where the shapes differ.
    """
    x, t = matched("hinge_embedding_loss", input, target, reduction)
    return reduced(_embedding_p.bind(x, t, float(margin)), reduction)  # type: ignore[no-any-return]
