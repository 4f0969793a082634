"""Further losses of PyTorch's, element by element, with its reductions.

>>> soft_margin_loss([0.0, 0.0], [1.0, -1.0])
tensor(0.69314718)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes
from tensorgrad._errors import DTypeError, need
from tensorgrad.backend import base
from tensorgrad.core.formula import Elementwise, Reduce
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import known, operation
from tensorgrad.core.tensor import Tensor, make
from tensorgrad.expr import ELEMENT, ROW, call, rsum, stop, where
from tensorgrad.ops import loss_cases as cases
from tensorgrad.ops.along import take_along_axis
from tensorgrad.ops.create import arange
from tensorgrad.ops.elementwise import where as select
from tensorgrad.ops.losses import (
    binary_cross_entropy_with_logits,
    check_reduction,
    matched,
    reduced,
)

_PI2 = 2 * math.pi


def _stirling(t: Any) -> Any:
    """log t! for t > 1 by Stirling's formula, else 0."""
    return where(t > 1, t * call("log", t) - t + 0.5 * call("log", _PI2 * t), 0)


def _normal(x: Any, t: Any, var: Any, eps: Any) -> Any:
    low = stop(call("maximum", var, eps)) + (var - stop(var))  # a bound that passes the gradient
    d = x - t
    return 0.5 * (call("log", low) + d * d / low)


def _loss(name: str, formula: Callable[..., Any]) -> Elementwise:
    return known(Elementwise.trace(name, formula))  # type: ignore[no-any-return]


_poisson = _loss("poisson_nll_loss", lambda x, t, eps: x - t * call("log", x + eps))
_poisson_log = _loss("poisson_nll_loss_log", lambda x, t: call("exp", x) - t * x)
_stirling_p = _loss("stirling", _stirling)
_gaussian = _loss("gaussian_nll_loss", _normal)
_kl = _loss("kl_div_loss", lambda x, t: where(t == 0, 0, t * call("log", t)) - t * x)
_kl_log = _loss("kl_div_loss_log", lambda x, t: call("exp", t) * (t - x))
_soft_margin = _loss("soft_margin_loss", lambda x, t: call("softplus", -t * x))


def _ranked(x: Any, y: Any, t: Any, margin: Any) -> Any:
    z = margin - t * (x - y)
    return where(z < 0, 0, z)


_ranking = _loss("margin_ranking_loss", _ranked)


# -- likelihoods -------------------------------------------------------------------------------


def _poisson_oracle(
    x: Any, t: Any, log_input: bool = True, full: bool = False, eps: float = 1e-8,
    reduction: str = "mean",
) -> Any:  # fmt: skip
    loss = np.exp(x) - t * x if log_input else x - t * np.log(x + eps)
    if full:
        big = np.maximum(t, 1)
        more = big * np.log(big) - big + 0.5 * np.log(_PI2 * big)
        loss = loss + np.where(t > 1, more, 0)
    return cases.reduced(loss, reduction)


def _poisson_samples(r: Any) -> Any:
    for k, x in enumerate(r.layouts(lambda *s: r.uniform(0.3, 2, *s))):
        t = np.asarray(
            r.integers(0, 4, *x.shape) + 0.3
        )  # away from 1, where Stirling's term begins
        options = {"log_input": k % 2 == 0, "full": k % 4 < 2}
        yield (x, t), {**options, "reduction": cases.turn(k, x)}


@operation(oracle=_poisson_oracle, samples=_poisson_samples, namespace="nn")
def poisson_nll_loss(
    input: Any,
    target: Any,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    """exp(x) - t x for x = input the logarithm of a rate; without `log_input` x - t log(x + eps).

    `full` adds log t! by Stirling's formula where t > 1. Raises `ShapeError` where the shapes
    differ.

    >>> poisson_nll_loss([0.0], [2.0])
    tensor(1.)
    """
    x, t = matched("poisson_nll_loss", input, target, reduction)
    loss = _poisson_log.bind(x, t) if log_input else _poisson.bind(x, t, float(eps))
    return reduced(loss + _stirling_p.bind(t) if full else loss, reduction)  # type: ignore[no-any-return]


def _gaussian_oracle(
    x: Any, t: Any, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Any:
    if np.ndim(var) and var.shape == x.shape[:-1]:
        var = var[..., None]
    var = np.maximum(var, eps)
    loss = (np.log(var) + (x - t) ** 2 / var) / 2 + (np.log(_PI2) / 2 if full else 0)
    return cases.reduced(loss, reduction)


def _gaussian_samples(r: Any) -> Any:
    for k, x in enumerate(r.layouts(r.normal)):
        var = r.uniform(0.5, 2, *x.shape)
        yield (x, r.normal(*x.shape), var), {"full": k % 2 == 0, "reduction": cases.turn(k, x)}
    yield (r.normal(3, 4), r.normal(3, 4), r.uniform(0.5, 2, 3)), {}
    yield (r.normal(3, 4), r.normal(3, 4), r.uniform(0.5, 2, 3, 1)), {"reduction": "none"}
    yield (r.normal(3, 4), r.normal(3, 4), 0.7), {}


@operation(oracle=_gaussian_oracle, samples=_gaussian_samples, namespace="nn")
def gaussian_nll_loss(
    input: Any,
    target: Any,
    var: Any,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """(log v + (input - target)² / v) / 2, v = max(var, eps), whose gradient is that of var.

    var: a number, of input's shape, or without its last axis (or of length 1 there). `full` adds
    log(2π) / 2. Nix, Weigend, "Estimating the mean and variance of the target probability
    distribution", 1994. Raises `ShapeError`, and `ValueError` for a negative variance.

    >>> gaussian_nll_loss([1.0], [3.0], [4.0])
    tensor(1.19314718)
    """
    op = "gaussian_nll_loss"
    x, t = matched(op, input, target, reduction)
    need(eps > 0, op, eps=eps, want="eps > 0", fix="eps=1e-6", error=ValueError)
    v = operand(var, (x,), op)
    if v.ndim and v.shape == x.shape[:-1] and v.shape != x.shape:
        v = v.reshape((*v.shape, 1))
    need(v.shape in ((), x.shape, (*x.shape[:-1], 1)), op, input=x, var=v,
         want="a variance of input's shape, or of length 1 (or none) on its last axis",
         fix="var.reshape(input.shape)")  # fmt: skip
    need(not bool((make(v.value()) < 0).any()), op, var=var, want="variances of 0 or more",
         fix="np.exp(var) of a network's output", error=ValueError)  # fmt: skip
    loss = _gaussian.bind(x, t, v, float(eps))
    return reduced(loss + 0.5 * math.log(_PI2) if full else loss, reduction)  # type: ignore[no-any-return]


def _kl_oracle(x: Any, t: Any, reduction: str = "mean", log_target: bool = False) -> Any:
    p = np.exp(t) if log_target else t
    loss = p * (np.log(p) - x)
    if reduction == "batchmean":
        return loss.sum() / len(x)
    return cases.reduced(loss, reduction)


def _kl_samples(r: Any) -> Any:
    for k, x in enumerate(r.layouts(r.normal)):
        t = r.uniform(0.1, 1, *x.shape)
        yield (x, t), {"reduction": cases.turn(k, x), "log_target": k % 2 == 1}
    yield (r.normal(3, 4), r.uniform(0.1, 1, 3, 4)), {"reduction": "batchmean"}


@operation(oracle=_kl_oracle, samples=_kl_samples, namespace="nn")
def kl_div(input: Any, target: Any, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """t (log t - input), 0 where t = 0: target's divergence from exp(input), element by element.

    input holds logarithms of probabilities, target probabilities, or with `log_target` their
    logarithms. "batchmean" divides the sum by the length of axis 0, which is the mean divergence.
    Kullback, Leibler, 1951. Raises `ShapeError` where the shapes differ.

    >>> kl_div([[-1.0, -1.0]], [[0.5, 0.5]], "batchmean")
    tensor(0.30685282)
    """
    batch = reduction == "batchmean"
    x, t = matched("kl_div", input, target, "sum" if batch else reduction)
    loss = (_kl_log if log_target else _kl).bind(x, t)
    if batch:
        return loss.sum() / x.shape[0] if x.ndim else loss  # type: ignore[no-any-return]
    return reduced(loss, reduction)  # type: ignore[no-any-return]


# -- margins -----------------------------------------------------------------------------------


def _ranking_samples(r: Any) -> Any:
    for k, x in enumerate(r.layouts(lambda *s: r.apart(*s, gap=0.37))):
        t = 2 * r.integers(0, 2, *x.shape) - 1
        y = np.asarray(x + np.where(r.bools(*x.shape), 1.3, -1.7))
        yield (x, y, t), {"margin": (0.0, 0.55)[k % 2], "reduction": cases.turn(k, x)}


@operation(
    oracle=lambda x, y, t, margin=0.0, reduction="mean": cases.reduced(
        np.maximum(0, margin - t * (x - y)), reduction
    ),
    samples=_ranking_samples,
    namespace="nn",
)
def margin_ranking_loss(
    input1: Any, input2: Any, target: Any, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """max(0, margin - t (input1 - input2)): t = 1 where input1 should be larger, else -1.

    Raises `ShapeError` where the shapes differ.

    >>> margin_ranking_loss([1.0], [3.0], [1.0])
    tensor(2.)
    """
    op = "margin_ranking_loss"
    x, y = matched(op, input1, input2, reduction)
    x, t = matched(op, x, target, reduction)
    return reduced(_ranking.bind(x, y, t, float(margin)), reduction)  # type: ignore[no-any-return]


@operation(
    oracle=lambda x, t, reduction="mean": cases.reduced(np.logaddexp(0, -t * x), reduction),
    samples=lambda r: (
        ((x, 2 * r.integers(0, 2, *x.shape) - 1), {"reduction": cases.turn(k, x)})
        for k, x in enumerate(r.layouts(r.normal))
    ),
    namespace="nn",
)
def soft_margin_loss(input: Any, target: Any, reduction: str = "mean") -> Tensor:
    """log(1 + exp(-t x)), t the class 1 or -1: the logistic loss, without overflow.

    Raises `ShapeError` where the shapes differ.
    """
    x, t = matched("soft_margin_loss", input, target, reduction)
    return reduced(_soft_margin.bind(x, t), reduction)  # type: ignore[no-any-return]


# -- several labels ----------------------------------------------------------------------------


def _soft_labels_oracle(x: Any, t: Any, weight: Any = None, reduction: str = "mean") -> Any:
    loss = cases.binary_with_logits(x, t, weight, "none").mean(-1)
    return cases.reduced(loss, reduction)


def _soft_labels_samples(r: Any) -> Any:
    shapes = ((5,), (3, 4), (2, 3, 4), (1, 3), (3, 1), (2, 2), (6, 2), (4, 5))
    for k, shape in enumerate(shapes):
        x = r.normal(*shape)
        weight = r.uniform(0.5, 2, shape[-1]) if k % 2 else None
        yield (x, r.uniform(0, 1, *shape), weight), {"reduction": cases.turn(k, x)}
    yield (r.normal(4, 3).T, r.uniform(0, 1, 3, 4)), {}


@operation(oracle=_soft_labels_oracle, samples=_soft_labels_samples, namespace="nn")
def multilabel_soft_margin_loss(
    input: Any, target: Any, weight: Any = None, reduction: str = "mean"
) -> Tensor:
    """The mean over the last axis, the classes, of the binary cross-entropy of logits.

    `weight`, one per class, multiplies its terms. Raises `ShapeError` where the shapes differ.

    >>> multilabel_soft_margin_loss([[0.0, 0.0]], [[1.0, 0.0]])
    tensor(0.69314718)
    """
    op = "multilabel_soft_margin_loss"
    x, t = matched(op, input, target, reduction)
    need(x.ndim and x.shape[-1], op, input=x, want="classes on the last axis", fix="input[None]")
    if reduction == "mean":
        return binary_cross_entropy_with_logits(x, t, weight)  # type: ignore[no-any-return]
    loss = binary_cross_entropy_with_logits(x, t, weight, "none").mean(-1)
    return reduced(loss, reduction)  # type: ignore[no-any-return]


def _above(x: Any, own: Any, mine: Any, counts: Any) -> Any:
    """Σ max(0, 1 - own + x) over the classes that are none of the row's own."""
    z = 1 - own + x
    return where(counts > 0, rsum(where(mine > 0, 0, where(z > 0, z, 0))), 0)


_label_margin_p = known(
    Reduce.trace(
        "multilabel_margin_loss",
        _above,
        {"input": ("f", ELEMENT), "own": ("f", ROW), "mine": ("f", ELEMENT), "counts": ("f", ROW)},
    )
)


def _labels_oracle(x: Any, target: Any, reduction: str = "mean") -> Any:
    rows, labels = np.atleast_2d(x), np.atleast_2d(target)
    loss = np.zeros(len(rows), x.dtype)
    for n, (row, found) in enumerate(zip(rows, labels)):
        own = found[: list(found).index(-1)] if -1 in found else found
        rest = [c for c in range(len(row)) if c not in own]
        loss[n] = sum(max(0, 1 - row[j] + row[c]) for j in own for c in rest) / len(row)
    return cases.reduced(loss.reshape(x.shape[:-1]), reduction)


def _labels_samples(r: Any) -> Any:
    for k, shape in enumerate(((5,), (3, 4), (1, 3), (3, 1), (2, 6), (5, 2), (6, 3), (4, 5))):
        x, rows = r.apart(*shape, gap=0.37), shape[:-1]
        order = np.argsort(r.uniform(0, 1, *shape), -1)
        count = r.integers(0, shape[-1] + 1, *rows)[..., None]
        labels = np.where(np.arange(shape[-1]) < count, order, -1)
        labels = np.where(np.arange(shape[-1]) > count, order, labels)  # behind -1 nothing counts
        yield (x, labels), {"reduction": cases.turn(k, x)}
    yield (r.apart(4, 3, gap=0.37).T, np.array([[1, -1, 0, 0], [3, 0, 2, -1], [2, 1, -1, -1]])), {}


def _counts(labels: Any) -> Any:
    """How many labels a row has in front of its first -1."""
    ended = labels == -1
    return select(ended.any(axis=-1), ended.argmax(axis=-1), labels.shape[-1])


def _columns(x: Any) -> Any:
    return arange(x.shape[-1], device=x.device)


def _own_labels(op: str, x: Tensor, target: Any) -> tuple[Tensor, Tensor]:
    """Labels (rows, most labels of a row), 0 for none, and which of them there are."""
    labels = operand(target, (), op, x)
    need(labels.dtype.kind in "iu", op, target=labels, want="integer class indices",
         fix="target.astype(int)", error=DTypeError)  # fmt: skip
    need(x.ndim in (1, 2) and labels.shape == x.shape and x.shape[-1], op, input=x, target=labels,
         want="both (N, C) or (C,), the labels of a row padded with -1",
         fix="target padded with -1")  # fmt: skip
    there = make(labels.value())
    counts = _counts(there)
    most = max(1, int(counts.max().item())) if counts.size else 1
    within = there[..., :most]
    wrong = (_columns(within) < counts[..., None]) & ((within < 0) | (within >= x.shape[-1]))
    if bool(wrong.any()):
        place = int(wrong.reshape(-1).argmax().item())
        place_ = tuple([int(k) for k in np.unravel_index(place, wrong.shape)])
        raise IndexError(
            f"{op}: got label {within[place_].item()} at {place_}, expected 0 to "
            f"{x.shape[-1] - 1}, or -1 behind the last; try labels from 0"
        )
    mask = _columns(labels[..., :most]) < _counts(labels)[..., None]
    labels = labels[..., :most]
    return labels * mask, mask.astype(dtypes.inexact(x.dtype))


@operation(oracle=_labels_oracle, samples=_labels_samples, namespace="nn")
def multilabel_margin_loss(input: Any, target: Any, reduction: str = "mean") -> Tensor:
    """Σ max(0, 1 - x_j + x_i) / C of a row, over its labels j and the classes i that are none.

    input (N, C) or (C,); target of the same shape: a row's labels, ended by -1 where there are
    fewer than C. Derivative 0 where the margin is just met. Raises `ShapeError`, and `IndexError`
    naming a label out of range.

    >>> multilabel_margin_loss([[0.1, 0.2, 0.4, 0.8]], [[3, 0, -1, 1]])
    tensor(0.85)
    """
    op = "multilabel_margin_loss"
    check_reduction(op, reduction)
    x = operand(input, (), op)
    labels, counts = _own_labels(op, x, target)
    mine = _marked(labels, counts, x)
    own = take_along_axis(x, labels, -1)
    view: Any = {"axis": (x.ndim - 1,), "shape": x.shape}
    # A pass over the rows for each label: rows are long, and have few of them.
    terms = [
        _label_margin_p.bind(x, own[..., k], mine, counts[..., k], **view)
        for k in range(labels.shape[-1])
    ]
    return reduced(sum(terms[1:], terms[0]) / x.shape[-1], reduction)  # type: ignore[no-any-return]


def _marked(labels: Tensor, counts: Tensor, x: Tensor) -> Any:
    """Above 0 at a row's own labels, else 0; of x's shape."""
    none: Any = make(base.of(x.value()).full(x.shape, 0, counts.dtype))
    if x.ndim == 1:
        return none.at[labels].add(counts)
    rows = arange(x.shape[0], device=x.device)[:, None]
    return none.at[rows, labels].add(counts)
