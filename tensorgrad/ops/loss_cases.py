"""Oracles and sample inputs of the losses; for tests only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def reduced(loss: Any, reduction: str) -> Any:
    reduce: Any = {"none": np.positive, "sum": np.sum, "mean": np.mean}[reduction]
    return reduce(loss)


def _log_softmax(x: Any, axis: int) -> Any:
    s = x - x.max(axis, keepdims=True)
    return s - np.log(np.exp(s).sum(axis, keepdims=True))


def cross_entropy(
    x: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    axis = 0 if x.ndim == 1 else 1
    logp = np.moveaxis(_log_softmax(x, axis), axis, -1)
    classes = x.shape[axis]
    w = np.ones(classes) if weight is None else weight
    if target.dtype.kind == "f":
        t, counts = np.moveaxis(target, axis, -1), None
    else:
        keep = target != ignore_index
        picked = np.where(keep, target, 0)
        t, counts = np.eye(classes)[picked] * keep[..., None], w[picked] * keep
    share = t * (1 - label_smoothing)
    if counts is None:
        share = share + label_smoothing / classes
    else:
        share = share + label_smoothing / classes * (target != ignore_index)[..., None]
    loss = -(share * w * logp).sum(-1)
    if reduction == "mean" and counts is not None:
        return loss.sum() / counts.sum()
    return reduced(loss, reduction)


def nll_loss(
    x: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
) -> Any:
    axis = 0 if x.ndim == 1 else 1
    w = np.ones(x.shape[axis]) if weight is None else weight
    keep = target != ignore_index
    picked = np.where(keep, target, 0)
    own = w[picked] * keep
    taken = np.take_along_axis(np.moveaxis(x, axis, -1), picked[..., None], -1)[..., 0]
    loss = -taken * own
    return loss.sum() / own.sum() if reduction == "mean" else reduced(loss, reduction)


def multi_margin_loss(
    x: Any,
    target: Any,
    p: int = 1,
    margin: float = 1.0,
    weight: Any = None,
    reduction: str = "mean",
) -> Any:
    classes = x.shape[-1]
    w = np.ones(classes) if weight is None else weight
    own = np.take_along_axis(x, target[..., None], -1)
    hinge = np.maximum(0, margin - own + x) ** p * (1 - np.eye(classes)[target])
    return reduced(hinge.sum(-1) * w[target] / classes, reduction)


def mse_loss(x: Any, t: Any, reduction: str = "mean") -> Any:
    return reduced((x - t) ** 2, reduction)


def l1_loss(x: Any, t: Any, reduction: str = "mean") -> Any:
    return reduced(np.abs(x - t), reduction)


def huber_loss(x: Any, t: Any, reduction: str = "mean", delta: float = 1.0) -> Any:
    z = np.abs(x - t)
    return reduced(np.where(z <= delta, z * z / 2, delta * z - delta**2 / 2), reduction)


def smooth_l1_loss(x: Any, t: Any, reduction: str = "mean", beta: float = 1.0) -> Any:
    return huber_loss(x, t, reduction, beta) / beta if beta else l1_loss(x, t, reduction)


def binary_cross_entropy(p: Any, t: Any, weight: Any = None, reduction: str = "mean") -> Any:
    with np.errstate(divide="ignore"):
        one, zero = np.maximum(np.log(p), -100), np.maximum(np.log(1 - p), -100)
    return reduced(-(t * one + (1 - t) * zero) * (1 if weight is None else weight), reduction)


def binary_with_logits(
    x: Any, t: Any, weight: Any = None, reduction: str = "mean", pos_weight: Any = None
) -> Any:
    positive = 1 if pos_weight is None else pos_weight
    loss = positive * t * np.logaddexp(0, -x) + (1 - t) * np.logaddexp(0, x)
    return reduced(loss * (1 if weight is None else weight), reduction)


def hinge_embedding_loss(x: Any, t: Any, margin: float = 1.0, reduction: str = "mean") -> Any:
    return reduced(np.where(t == 1, x, np.maximum(0, margin - x)), reduction)


# -- samples -----------------------------------------------------------------------------------


def turn(k: int, x: Any) -> str:
    """The k-th reduction in turn; a sum where there is nothing to average."""
    return ("mean", "sum", "none")[k % 3] if x.size else "sum"


def _class_inputs(r: Any) -> Any:
    """(input, labels) in the layouts of classification."""
    for shape in ((4,), (3, 4), (1, 3), (3, 1), (2, 4, 3), (2, 3, 2, 2)):
        axis = 0 if len(shape) == 1 else 1
        rows = shape[:axis] + shape[axis + 1 :]
        yield r.normal(*shape), r.integers(0, shape[axis], *rows)
    yield r.normal(4, 3).T, r.integers(0, 4, 3)
    yield r.normal(6, 4)[::2, ::-1], r.integers(0, 4, 6)[::2]
    yield np.broadcast_to(r.normal(1, 4), (3, 4)), r.integers(0, 4, 3)


def cross_entropy_samples(r: Any) -> Any:
    for k, (x, labels) in enumerate(_class_inputs(r)):
        yield (x, labels), {"reduction": turn(k, x)}
    x, labels = r.normal(5, 4), r.integers(0, 4, 5)
    weight = r.uniform(0.5, 2, 4)
    labels[1] = 2
    yield (x, labels), {}
    yield (x, labels, weight), {}
    yield (x, labels), {"ignore_index": 2, "reduction": "none"}
    yield (x, np.where(np.arange(5) == 0, -100, labels), weight), {"label_smoothing": 0.2}
    yield (x, labels), {"label_smoothing": 0.1, "reduction": "sum"}
    yield (x, r.uniform(0, 1, 5, 4)), {}
    yield (x, r.uniform(0, 1, 5, 4), weight), {"label_smoothing": 0.1, "reduction": "none"}
    yield (r.normal(2, 4, 3), r.uniform(0, 1, 2, 4, 3)), {}
    yield (r.normal(4), r.uniform(0, 1, 4)), {}
    yield (r.normal(0, 4), r.integers(0, 4, 0)), {"reduction": "sum"}
    yield (x + 500, labels), {}


def nll_samples(r: Any) -> Any:
    for k, (x, labels) in enumerate(_class_inputs(r)):
        yield (x, labels), {"reduction": turn(k, x)}
    x, labels = r.normal(5, 4), r.integers(0, 4, 5)
    yield (x, np.where(np.arange(5) == 0, -1, labels), r.uniform(0.5, 2, 4)), {"ignore_index": -1}


def margin_samples(r: Any) -> Any:
    for k, shape in enumerate(((4,), (3, 4), (1, 3), (3, 1), (5, 2), (2, 6), (0, 3), (6, 3))):
        x, labels = r.apart(*shape, gap=0.37), r.integers(0, shape[-1], *shape[:-1])
        yield (x, labels), {"p": 1 + k % 2, "reduction": turn(k, x)}
    x, labels = r.apart(3, 4, gap=0.37), r.integers(0, 4, 3)
    yield (x, labels), {"margin": 0.55, "weight": r.uniform(0.5, 2, 4)}
    yield (r.apart(4, 3, gap=0.37).T, labels), {}


def pairs(**options: tuple[float, ...]) -> Callable[[Any], Any]:
    """Samples of two arrays of one shape, the differences away from the kinks at 0 and 1."""

    def samples(r: Any) -> Any:
        name, values = next(iter(options.items()), ("", ()))
        for k, t in enumerate(r.layouts(r.normal)):
            # Whole and half steps would meet delta; these differences are 0.3 + k / 4 and more.
            z = (r.integers(0, 8, *t.shape) / 4 + 0.3) * np.where(r.bools(*t.shape), 1, -1)
            more = {name: values[k % len(values)]} if values else {}
            yield (np.asarray(t + z), t), {"reduction": turn(k, t), **more}

    return samples


def probabilities(r: Any) -> Any:
    for k, p in enumerate(r.layouts(lambda *s: r.uniform(0.05, 0.95, *s))):
        yield (p, r.uniform(0, 1, *p.shape)), {"reduction": turn(k, p)}
    yield (r.uniform(0.1, 0.9, 3, 4), r.uniform(0, 1, 3, 4), r.uniform(0.5, 2, 4)), {}


def logits(r: Any) -> Any:
    for k, x in enumerate(r.layouts(r.normal)):
        yield (x, r.uniform(0, 1, *x.shape)), {"reduction": turn(k, x)}
    x, t = r.normal(3, 4), r.uniform(0, 1, 3, 4)
    yield (x, t, r.uniform(0.5, 2, 4)), {}
    yield (x, t), {"pos_weight": r.uniform(0.5, 2, 4)}
    yield (60 * x, t), {"pos_weight": r.uniform(0.5, 2, 4), "reduction": "none"}


def signs(r: Any) -> Any:
    for k, x in enumerate(r.layouts(lambda *s: r.apart(*s, gap=0.37))):
        t = 2 * r.integers(0, 2, *x.shape) - 1
        yield (x, t), {"reduction": turn(k, x), "margin": (1.02, 0.55)[k % 2]}
