"""Losses over classes, under PyTorch's names, as staged formulas over rows of logits."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from tensorgrad import dtypes, shapes
from tensorgrad._errors import DTypeError, need
from tensorgrad.backend import base
from tensorgrad.core.formula import Elementwise, Reduce
from tensorgrad.core.primitive import Spec, operand
from tensorgrad.core.registry import fused, known, operation, primitive
from tensorgrad.core.tensor import Tensor, make
from tensorgrad.expr import (
    COLUMN,
    ELEMENT,
    ROW,
    SCALAR,
    at,
    call,
    equal,
    iota,
    ncols,
    rmax,
    rsum,
    stop,
    where,
)
from tensorgrad.ops import loss_cases as cases
from tensorgrad.ops.losses import check_reduction, reduced
from tensorgrad.ops.shape import all_batched

_LOGITS, _LABEL, _IGNORE = ("f", ELEMENT), ("i", ROW), ("i", SCALAR)
_WEIGHT, _NUMBER = ("f", COLUMN), ("f", SCALAR)


def _shift_and_sum(x: Any) -> tuple[Any, Any, Any]:
    """(x - m, Σ exp(x - m), m) of a row, m its maximum."""
    m = stop(rmax(x))
    s = x - m
    return s, rsum(call("exp", s)), m


def _cross_entropy(x: Any, label: Any, ignore: Any) -> Any:
    # The row's sum and maximum are outputs so that backward reads them instead of reducing again.
    s, total, m = _shift_and_sum(x)
    skip = equal(label, ignore)
    chosen = at(s, where(skip, 0, label))
    return where(skip, 0, call("log", total) - chosen), total, m


def _cross_entropy_weighted(x: Any, label: Any, ignore: Any, weight: Any, smoothing: Any) -> Any:
    s, total, m = _shift_and_sum(x)
    skip = equal(label, ignore)
    picked = where(skip, 0, label)
    minus = (call("log", total) - s) * weight
    loss = at(minus, picked) * (1 - smoothing) + rsum(minus) * (smoothing / ncols())
    return where(skip, 0, loss), where(skip, 0, at(weight, picked)), total, m


def _cross_entropy_soft(x: Any, target: Any, weight: Any, smoothing: Any) -> Any:
    s, total, m = _shift_and_sum(x)
    share = target * (1 - smoothing) + smoothing / ncols()
    return rsum(share * ((call("log", total) - s) * weight)), total, m


def _nll(x: Any, label: Any, ignore: Any, weight: Any) -> Any:
    skip = equal(label, ignore)
    picked = where(skip, 0, label)
    own = at(weight, picked)
    return where(skip, 0, -(own * at(x, picked))), where(skip, 0, own)


def _nll_plain(x: Any, label: Any, ignore: Any) -> Any:
    skip = equal(label, ignore)
    return where(skip, 0, -at(x, where(skip, 0, label)))


def _hinges(x: Any, label: Any, margin: Any) -> Any:
    """max(0, margin - x_y + x_c), 0 for the label itself."""
    z = margin - at(x, label) + x
    return where(equal(iota(), label), 0, where(z > 0, z, 0))


def _margin(x: Any, label: Any, margin: Any, weight: Any) -> Any:
    return rsum(_hinges(x, label, margin)) * at(weight, label) / ncols()


def _margin_squared(x: Any, label: Any, margin: Any, weight: Any) -> Any:
    z = _hinges(x, label, margin)
    return rsum(z * z) * at(weight, label) / ncols()


_HARD = {"input": _LOGITS, "target": _LABEL, "ignore_index": _IGNORE}
_cross_entropy_p = known(Reduce.trace("cross_entropy", _cross_entropy, _HARD, 3))
_cross_entropy_weighted_p = known(
    Reduce.trace(
        "cross_entropy_weighted",
        _cross_entropy_weighted,
        {**_HARD, "weight": _WEIGHT, "label_smoothing": _NUMBER},
        4,
    )
)
_cross_entropy_soft_p = known(
    Reduce.trace(
        "cross_entropy_soft",
        _cross_entropy_soft,
        {"input": _LOGITS, "target": _LOGITS, "weight": _WEIGHT, "label_smoothing": _NUMBER},
        3,
    )
)
_nll_p = known(Reduce.trace("nll_loss", _nll, {**_HARD, "weight": _WEIGHT}, 2))
_nll_plain_p = known(Reduce.trace("nll_loss_plain", _nll_plain, _HARD))
_MARGIN = {"input": _LOGITS, "target": _LABEL, "margin": _NUMBER, "weight": _WEIGHT}
_margin_p = {
    1: known(Reduce.trace("multi_margin_1", _margin, _MARGIN)),
    2: known(Reduce.trace("multi_margin_2", _margin_squared, _MARGIN)),
}

_mean_counted_p = primitive(
    "mean_counted",
    nin=3,
    spec=lambda loss, labels, ignore: Spec((), loss.dtype),
    vjp=(
        lambda ct, out, loss, labels, ignore: (ct / _count(labels, ignore, ct)).broadcast_to(
            loss.shape
        ),
        lambda ct, out, *inputs: None,
        lambda ct, out, *inputs: None,
    ),
    linear=(0,),
    reads=((1, 2), (), ()),
    batch=lambda inputs, batched: _mean_counted_batch(inputs, batched),
)
"""The mean of a loss over the rows whose label is not ignored, in one step; NaN for none."""


def _count(labels: Any, ignore: Any, like: Any) -> Any:
    return (labels != ignore).sum().astype(like.dtype)


def _mean_counted_batch(inputs: Sequence[Any], batched: Sequence[bool]) -> Any:
    loss, labels, ignore = all_batched(inputs, batched)
    size, rows = loss.shape[0], shapes.size(loss.shape[1:])
    counted = labels.reshape((size, rows)) != ignore.reshape((size, 1))
    return loss.reshape((size, rows)).sum(axis=1) / counted.sum(axis=1).astype(loss.dtype)


def _softmax_xent(x: Any, target: Any, ignore: Any, *, axis: int) -> Any:
    loss = _cross_entropy_p.bind(x, target, ignore, axis=(axis,), shape=x.shape)[0]
    return _mean_counted_p.bind(loss, target, ignore)


softmax_xent_p = fused(
    "softmax_xent",
    _softmax_xent,
    nin=3,
    spec=lambda x, target, ignore, *, axis: Spec((), dtypes.inexact(x.dtype)),
)
"""The mean cross entropy of integer labels, forward and gradient in one kernel each."""


def _constant(value: int, x: Tensor) -> Tensor:
    """An integer as a 0-d int64 tensor: beside the logits alone it would become a float."""
    home: Any = base.of(x.value())
    return _held(int(value), home)


@lru_cache(maxsize=64)
def _held(value: int, home: base.Backend) -> Tensor:
    return make(home.constant(value, dtypes.int64))


def _classes(op: str, x: Any, target: Any) -> tuple[Any, int, int]:
    """(labels, class axis, number of classes) with the shapes and dtype checked."""
    target = operand(target, (), op, x)
    axis = 0 if x.ndim == 1 else 1
    rows = x.shape[:axis] + x.shape[axis + 1 :]
    if target.dtype.kind not in "iu" or target.shape != rows or not x.shape or not x.shape[axis]:
        _refuse(op, x, target, axis, rows)
    return target, axis, x.shape[axis]


def _fit(x: Tensor, labels: Tensor) -> bool:
    """Whether these are logits (N, C) and labels (N,), the usual case, in a few comparisons."""
    shape = x.shape
    return (
        len(shape) == 2
        and shape[1] > 0
        and labels.shape == shape[:1]
        and x.dtype.kind == "f"
        and labels.dtype.kind in "iu"
    )


def _refuse(op: str, x: Any, target: Any, axis: int, rows: shapes.Shape) -> None:
    """Raise the error of an input and labels that do not fit; out of the way of those that do."""
    shape = "(classes,), (N, classes) or (N, classes, ...), with at least one class"
    need(x.ndim and x.shape[axis], op, input=x, want=shape, fix="x.reshape(-1, classes)")
    need(
        target.dtype.kind in "iu",
        op,
        target=target,
        want="integer class indices",
        fix="target.astype(int)",
        error=DTypeError,
    )
    need(
        False,
        op,
        input=x,
        target=target,
        want=f"class indices of shape {rows} (the input's without axis {axis}, the classes)",
        fix="target.reshape(-1), or probabilities of the input's shape",
    )


def _picked(op: str, kernel: Any, x: Tensor, labels: Tensor, *rest: Any, axis: int) -> Any:
    """What a kernel gives that picks by label; its IndexError names the operation and the place."""
    try:
        return kernel.bind(x, labels, *rest, axis=(axis,), shape=x.shape)
    except IndexError as error:
        raise _located(op, labels, error) from None


def _located(op: str, labels: Tensor, error: IndexError) -> IndexError:
    """The error of a label with its place among those of several axes, instead of a row."""
    text = f"{op}:{str(error).partition(':')[2]}"
    row = re.search(r"in row (\d+)", text)
    if row is None or labels.ndim < 2:
        return IndexError(text)
    left, place = int(row[1]), []
    for extent in reversed(labels.shape):
        left, k = divmod(left, extent)
        place.append(k)
    return IndexError(text.replace(row[0], f"at {tuple(reversed(place))}"))


def _class_weight(op: str, x: Any, weight: Any, classes: int) -> Any:
    """One weight per class; ones where none is given."""
    if weight is None:
        return _ones(classes, x)
    weight = operand(weight, (x,), op)
    need(
        weight.shape == (classes,),
        op,
        weight=weight,
        want=f"one weight per class, shape ({classes},)",
        fix="weight.reshape(-1)",
    )
    return weight


def _ones(count: int, x: Tensor) -> Tensor:
    """A constant vector of ones, of the dtype that a loss on `x` has."""
    return operand(1.0, near=x).astype(dtypes.inexact(x.dtype)).broadcast_to((count,))


_share_p = known(
    Elementwise.trace("class_mean", lambda total, count: where(count == 0, math.nan, total / count))
)
"""A mean that is NaN, without a warning, where nothing counts."""


def _averaged(loss: Any, weights: Any, reduction: str) -> Any:
    """Reduced, the mean weighted by what each row counted."""
    if reduction != "mean":
        return reduced(loss, reduction)
    return _share_p.bind(loss.sum(), weights.sum())


@operation(oracle=cases.cross_entropy, samples=cases.cross_entropy_samples)
def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(input)[target], the classes on axis 1 (axis 0 of a single vector).

    target: integer class indices, input's shape without the class axis, `ignore_index` counting
    nothing; or probabilities of input's shape. With w = `weight` (one per class), ε =
    `label_smoothing`, C classes: -Σ_c w_c ((1 - ε) t_c + ε / C) log softmax(input)_c; "mean"
    divides by the sum of the targets' weights (by the number of rows for probabilities). All
    targets ignored: NaN. Raises `ShapeError`, and `IndexError` naming a label out of range.

    >>> cross_entropy([[0.0, 0.0]], [1])
    tensor(0.69314718)
    """
    op = "cross_entropy"
    x = operand(input, (), op)
    target = operand(target, (), op, x)
    mean = weight is None and reduction == "mean" and not label_smoothing
    if mean and _fit(x, target):
        return softmax_xent_p.bind(x, target, _constant(ignore_index, x), axis=1)  # type: ignore[no-any-return]
    check_reduction(op, reduction)
    if not 0 <= label_smoothing <= 1:
        need(False, op, label_smoothing=label_smoothing, want="0 to 1", fix="0.1")
    if dtypes.is_float(target.dtype):
        return _soft(x, target, weight, reduction, label_smoothing)
    target, axis, classes = _classes(op, x, target)
    ignore = _constant(ignore_index, x)
    if mean and dtypes.is_float(x.dtype):
        try:
            return softmax_xent_p.bind(x, target, ignore, axis=axis)  # type: ignore[no-any-return]
        except IndexError as error:
            raise _located(op, target, error) from None
    if weight is None and not label_smoothing:
        loss = _picked(op, _cross_entropy_p, x, target, ignore, axis=axis)[0]
        if reduction == "mean":
            return _mean_counted_p.bind(loss, target, ignore)  # type: ignore[no-any-return]
        return reduced(loss, reduction)  # type: ignore[no-any-return]
    weight = _class_weight(op, x, weight, classes)
    loss, own, *_ = _picked(
        op, _cross_entropy_weighted_p, x, target, ignore, weight, float(label_smoothing), axis=axis
    )
    return _averaged(loss, own, reduction)  # type: ignore[no-any-return]


def _soft(x: Any, target: Any, weight: Any, reduction: str, smoothing: float) -> Tensor:
    need(
        x.ndim and target.shape == x.shape,
        "cross_entropy",
        input=x,
        target=target,
        want="probabilities of the input's shape, or integer class indices",
        fix="target.astype(int)",
    )
    axis = 0 if x.ndim == 1 else 1
    weight = _class_weight("cross_entropy", x, weight, x.shape[axis])
    loss = _cross_entropy_soft_p.bind(
        x, target, weight, float(smoothing), axis=(axis,), shape=x.shape
    )[0]
    return reduced(loss, reduction)  # type: ignore[no-any-return]


@operation(oracle=cases.nll_loss, samples=cases.nll_samples)
def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """-weight[target] input[target] for log-probabilities, the classes on axis 1 (0 of a vector).

    target: integer class indices; "mean" divides by the sum of the targets' weights. Raises
    `ShapeError`, and `IndexError` naming a label out of range.
    """
    x = operand(input, (), "nll_loss")
    target = operand(target, (), "nll_loss", x)
    ignore = _constant(ignore_index, x)
    if weight is None and reduction == "mean" and _fit(x, target):
        loss = _picked("nll_loss", _nll_plain_p, x, target, ignore, axis=1)
        return _mean_counted_p.bind(loss, target, ignore)  # type: ignore[no-any-return]
    check_reduction("nll_loss", reduction)
    target, axis, classes = _classes("nll_loss", x, target)
    if weight is None:
        loss = _picked("nll_loss", _nll_plain_p, x, target, ignore, axis=axis)
        if reduction == "mean":
            return _mean_counted_p.bind(loss, target, ignore)  # type: ignore[no-any-return]
        return reduced(loss, reduction)  # type: ignore[no-any-return]
    weight = _class_weight("nll_loss", x, weight, classes)
    loss, own = _picked("nll_loss", _nll_p, x, target, ignore, weight, axis=axis)
    return _averaged(loss, own, reduction)  # type: ignore[no-any-return]


@operation(oracle=cases.multi_margin_loss, samples=cases.margin_samples)
def multi_margin_loss(
    input: Any,
    target: Any,
    p: int = 1,
    margin: float = 1.0,
    weight: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """The multiclass hinge (SVM) loss: Σ over c ≠ y of max(0, margin - x_y + x_c)^p / C per row.

    input (N, C) or (C,), target (N,) or () class indices, p 1 or 2; weight (C,) multiplies a row
    by its target's. It is divided by C as in PyTorch. Derivative 0 where the margin is just met.
    Raises `ShapeError`, and `IndexError` naming a label out of range.

    >>> multi_margin_loss([3.0, 5.0], 0)
    tensor(1.5)
    """
    op = "multi_margin_loss"
    check_reduction(op, reduction)
    x = operand(input, (), op)
    need(x.ndim in (1, 2), op, input=x, want="(N, C) or (C,)", fix="x.reshape(-1, C)")
    need(p in (1, 2), op, p=p, want="1 or 2", fix="p=1")
    target, axis, classes = _classes(op, x, target)
    weight = _class_weight(op, x, weight, classes)
    loss = _picked(op, _margin_p[p], x, target, float(margin), weight, axis=axis)
    return reduced(loss, reduction)  # type: ignore[no-any-return]
