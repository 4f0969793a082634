"""Batch and instance normalisation: the statistics of a channel, of a batch or of one image.

>>> batch_norm([[1.0], [3.0]], None, None, training=True, eps=0.0)
tensor([[-1.],
        [ 1.]])
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np  # oracles only

from tensorgrad import _config, dtypes, shapes
from tensorgrad._errors import DTypeError, GradientError, need
from tensorgrad.backend import base
from tensorgrad.core.formula import Elementwise, Reduce
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import operation
from tensorgrad.core.tape import WRITES
from tensorgrad.core.tensor import Tensor
from tensorgrad.expr import ELEMENT, ROW, Formula, call, ncols, rsum
from tensorgrad.expr import input as variable
from tensorgrad.ops.create import ones, zeros
from tensorgrad.ops.shape import astype

Names = tuple[str, ...]
"""Which of weight and bias there are, in this order; one of "mean" for given statistics."""

# -- formulas: a channel is a row, all that is normalised together its columns ------------------


def scaled(y: Any, names: Names, values: Any) -> Any:
    """y weight + bias, with those of the two that there are."""
    for name, value in zip(names, values):
        y = y * value if name == "weight" else y + value
    return y


def _rows(*names: str) -> dict[str, tuple[str, int]]:
    return {"x": ("f", ELEMENT), **dict.fromkeys(names, ("f", ROW))}


@lru_cache(maxsize=64)
def by_statistics(eps: float, names: Names) -> Reduce:
    """y, mean and biased variance of the rows; eps a constant, which no 16-bit operand rounds."""

    def formula(x: Any, *affine: Any) -> Any:
        # Mean and variance are outputs so that backward reads them instead of reducing again.
        mean = rsum(x) / ncols()
        d = x - mean
        var = rsum(d * d) / ncols()
        return scaled(d * (1 / call("sqrt", var + eps)), names, affine), mean, var

    return Reduce.trace("batch_norm", formula, _rows(*names), 3)


@lru_cache(maxsize=64)
def _by_given(eps: float, names: Names) -> Reduce:
    def formula(x: Any, mean: Any, var: Any, *affine: Any) -> Any:
        return scaled((x - mean) * (1 / call("sqrt", var + eps)), names, affine)

    return Reduce.trace("batch_norm_fixed", formula, _rows("mean", "var", *names))


@lru_cache(maxsize=4)
def affine(names: Names) -> Reduce:
    """y weight + bias, a value for each row."""
    return Reduce.trace("channel_affine", lambda x, *v: scaled(x, names, v), _rows(*names))


# -- arguments ---------------------------------------------------------------------------------


def images(op: str, input: Any, least: int) -> Tensor:
    """The input as a tensor (N, C, ...) of `least` axes or more."""
    x = operand(input, (), op)
    need(
        dtypes.is_inexact(x.dtype) and x.dtype.kind != "c",
        op,
        input=x,
        want="real floats",
        fix="x.real" if x.dtype.kind == "c" else 'x.astype("float32")',
        error=DTypeError,
    )
    axes = "(N, C)" if least == 2 else "(N, C, L)"
    need(x.ndim >= least, op, input=x, want=f"axes {axes} or more", fix="x[None]")
    return x


def per_channel(op: str, x: Tensor, **given: Any) -> dict[str, Tensor]:
    """What is not None among values for each channel, as tensors (C,); raises for another shape."""
    found = {}
    for name, value in given.items():
        if value is not None:
            found[name] = one = operand(value, (x,), op)
            if one.shape != x.shape[1:2]:
                _misfit(op, x, name, one)
    return found


def _misfit(op: str, x: Tensor, name: str, value: Tensor) -> None:
    got: dict[str, Any] = {"input": x, name: value}
    want = f"a value for each of the {x.shape[1]} channels on axis 1 of input"
    fix = f"{name} of shape {x.shape[1:2]}, or np.moveaxis(input, -1, 1) where channels are last"
    need(False, op, want=want, fix=fix, **got)


def non_negative(op: str, eps: float) -> float:
    """eps as a float; raises where it is below 0."""
    need(eps >= 0, op, eps=eps, want="eps >= 0", fix="1e-5", error=ValueError)
    return float(eps)


def _statistics(op: str, x: Tensor, mean: Any, var: Any, needed: bool, own: str) -> list[Tensor]:
    """The running statistics: both, or none where they are not needed."""
    found = list(per_channel(op, x, running_mean=mean, running_var=var).values())
    if len(found) == 1 or (needed and not found):
        want = "both of them" if found else f"both of them without {own}"
        need(False, op, running_mean=mean, running_var=var, want=want, fix=own, error=ValueError)
    return found


# -- running statistics ------------------------------------------------------------------------


def _moved(mean: Any, var: Any, new_mean: Any, new_var: Any, share: Any, unbiased: Any) -> Any:
    kept = 1 - share
    return share * new_mean + kept * mean, share * (new_var * unbiased) + kept * var


_averages = Elementwise(
    "running_averages",
    lambda: Formula.trace(
        "running_averages",
        _moved,
        [
            variable(name, "f")
            for name in ("mean", "var", "new_mean", "new_var", "share", "unbiased")
        ],
    ),
    nin=6,
    nout=2,
)


def _announce(kept: list[Tensor]) -> None:
    """Note the writes to come, before the operation is recorded, which saves none of these.

    Noted after it they would make backward look for each value that the operation did save.
    """
    for running in kept:
        if not running.level:
            WRITES.note(running.data, base.bounds(running.data))


def _follow(
    op: str, kept: list[Tensor], found: tuple[Tensor, Tensor], momentum: Any, unbiased: float
) -> None:
    """running = momentum found + (1 - momentum) running, in their memory and off the tape."""
    mean, var = kept
    new_mean, new_var = found[0].detach(), found[1].detach()
    plain = not (mean.level or var.level or mean.node or var.node or new_mean.level)
    same = mean.dtype == var.dtype == new_mean.dtype
    if not plain or not same or isinstance(momentum, Tensor):
        _follow_on_tensors(op, kept, (new_mean, new_var), momentum, unbiased)
        return
    arrays, constant = (mean.data, var.data), base.of(mean.data).constant
    numbers = (constant(momentum, mean.dtype), constant(unbiased, mean.dtype))
    new = (new_mean.data, new_var.data)
    _averages.kernels[type(mean.data)](*arrays, *new, *numbers, out=arrays)


def _follow_on_tensors(
    op: str, kept: list[Tensor], found: tuple[Tensor, Tensor], momentum: Any, unbiased: float
) -> None:
    """The same for a momentum on the device, other dtypes, and running statistics in a vmap."""
    least = min(t.level for t in kept)
    need(max(t.level for t in found) <= least, op, running_mean=kept[0], level=found[0].level,
         want="one statistic to keep, where vmap has one for each member of its batch",
         fix="running_mean=None and running_var=None inside vmap, or evaluation",
         error=GradientError)  # fmt: skip
    with _config.setting(_config.recording, False):
        for running, new, scale in zip(kept, found, (1.0, unbiased)):
            share = astype(operand(momentum, (running,), op), running.dtype, copy=False)
            value = astype(new, running.dtype, copy=False) * scale
            running[...] = share * value + (1 - share) * running


# -- the operations ----------------------------------------------------------------------------


def _batch_oracle(
    x: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    axis = (0, *range(2, x.ndim))
    shape = (-1, *(1,) * (x.ndim - 2))
    mean, var = running_mean, running_var
    if training:
        mean, var = x.mean(axis), x.var(axis)
    y = (x - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + eps)
    y = y if weight is None else y * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)


def _layouts(r: Any) -> Any:
    yield r.normal(3, 4)
    yield r.normal(2, 3, 4)
    yield r.normal(2, 2, 3, 2)
    yield r.normal(1, 2, 2, 1, 3)
    yield r.normal(4, 3).T
    yield r.normal(4, 3, 6)[::2, :, ::-2]
    yield np.broadcast_to(r.normal(3, 1), (3, 2))
    yield np.moveaxis(r.normal(2, 3, 2), -1, 1)


def _batch_samples(r: Any) -> Any:
    for x in _layouts(r):
        c = x.shape[1]
        yield (x, None, None, r.normal(c), r.normal(c)), {"training": True, "eps": 0.1}
    yield (r.normal(3, 2), None, None), {"training": True}
    yield (r.normal(3, 2, 2), None, None, None, r.normal(2)), {"training": True, "eps": 0.1}
    for shape in ((3, 2), (2, 3, 2), (0, 2, 3)):
        c = shape[1]
        kept = (r.normal(c), r.uniform(0.5, 2, c))
        yield (r.normal(*shape), *kept, r.normal(c), r.normal(c)), {}
    yield (r.normal(2, 3), r.normal(3), r.uniform(0.5, 2, 3)), {"eps": 0.0}


def _standard(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean 0 and variance 1 of each channel."""
    like = {"dtype": x.dtype, "device": x.device}
    return zeros((x.shape[1],), **like), ones((x.shape[1],), **like)


@operation(oracle=_batch_oracle, samples=_batch_samples, namespace="nn")
def batch_norm(
    input: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: Any = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """(input - mean) / sqrt(var + eps) weight + bias, of each channel (axis 1) of (N, C, ...).

    In training mean and biased variance are the batch's, and running_mean and running_var, unless
    None, are written to: momentum times the new one (the unbiased variance) plus (1 - momentum)
    times the old. Otherwise they are the statistics. Ioffe, Szegedy, "Batch normalization", 2015.
    Raises `ShapeError` for other channels, `ValueError` for one value per channel in training.

    >>> batch_norm([[1.0], [3.0]], None, None, training=True, eps=0.0)
    tensor([[-1.],
            [ 1.]])
    """
    op = "batch_norm"
    x, eps = images(op, input, 2), non_negative(op, eps)
    kept = _statistics(op, x, running_mean, running_var, not training, "training=True")
    parts = per_channel(op, x, weight=weight, bias=bias)
    names, view = tuple(parts), {"axis": (0, *range(2, x.ndim)), "shape": x.shape}
    if not training:
        return _by_given(eps, names).bind(x, *kept, *parts.values(), **view)  # type: ignore[no-any-return]
    count = x.shape[0] * shapes.size(x.shape[2:])
    if not count:  # no statistics to follow, and nothing that they would change
        return _by_given(eps, names).bind(x, *kept or _standard(x), *parts.values(), **view)  # type: ignore[no-any-return]
    need(count > 1, op, input=x, want="more than one value per channel in training",
         fix="a larger batch, or training=False (module.eval())", error=ValueError)  # fmt: skip
    _announce(kept)
    y, mean, var = by_statistics(eps, names).bind(x, *parts.values(), **view)
    if kept:
        _follow(op, kept, (mean, var), momentum, count / (count - 1))
    return y  # type: ignore[no-any-return]


def _instance_oracle(
    x: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None,
    bias: Any = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    if not use_input_stats:
        return _batch_oracle(x, running_mean, running_var, weight, bias, eps=eps)
    axis = tuple(range(2, x.ndim))
    y = (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + eps)
    one = np.ones(x.shape[1])
    return _batch_oracle(y, 0 * one, one, weight, bias, eps=0.0)


def _instance_samples(r: Any) -> Any:
    for x in _layouts(r):
        x, c = (x if x.ndim > 2 else x[None]), x.shape[1] if x.ndim > 2 else x.shape[0]
        yield (x, None, None, r.normal(c), r.normal(c)), {"eps": 0.1}
    yield (r.normal(2, 2, 3),), {}
    yield (r.normal(0, 2, 3), None, None, r.normal(2)), {"eps": 0.1}
    kept = (r.normal(2), r.uniform(0.5, 2, 2))
    yield (r.normal(2, 2, 3), *kept, None, r.normal(2)), {"use_input_stats": False}


@operation(oracle=_instance_oracle, samples=_instance_samples, namespace="nn")
def instance_norm(
    input: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None,
    bias: Any = None, use_input_stats: bool = True, momentum: Any = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """(input - mean) / sqrt(var + eps) weight + bias, of each channel of each image of (N, C, ...).

    With use_input_stats mean and biased variance are the image's own, and running statistics,
    unless None, follow their means over the batch as in `batch_norm`; without, they are what is
    used. Ulyanov, Vedaldi, Lempitsky, "Instance normalization", 2016. Raises `ShapeError` for other
    channels, `ValueError` for images of one value.

    >>> instance_norm([[[1.0, 3.0]]], eps=0.0)
    tensor([[[-1.,  1.]]])
    """
    op = "instance_norm"
    x, eps = images(op, input, 3), non_negative(op, eps)
    own = "use_input_stats=True"
    kept = _statistics(op, x, running_mean, running_var, not use_input_stats, own)
    if not use_input_stats:
        return batch_norm(x, *kept, weight, bias, False, momentum, eps)  # type: ignore[no-any-return]
    parts = per_channel(op, x, weight=weight, bias=bias)
    count = shapes.size(x.shape[2:])
    need(count > 1, op, input=x, want="more than one value per channel of an image",
         fix="larger images, or use_input_stats=False", error=ValueError)  # fmt: skip
    rows = [v.broadcast_to(x.shape[:2]) for v in parts.values()]
    _announce(kept)
    y, mean, var = by_statistics(eps, tuple(parts)).bind(
        x, *rows, axis=tuple(range(2, x.ndim)), shape=x.shape
    )
    if kept:
        means = mean.detach().mean(axis=0), var.detach().mean(axis=0)
        _follow(op, kept, means, momentum, count / (count - 1))
    return y  # type: ignore[no-any-return]
