"""Averages of a network's weights over its training: stochastic weight averaging, and moving ones.

>>> import tensorgrad as tg
>>> net = tg.nn.Linear(2, 1)
>>> average = AveragedModel(net, avg_fn=get_ema_avg_fn(0.9))
>>> average.update_parameters(net)
>>> int(average.n_averaged.item())
1
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any

import tensorgrad as tg
from tensorgrad.optim.lr_scheduler.base import LRScheduler, for_each, need
from tensorgrad.optim.memory import WRITES, bounds, write
from tensorgrad.optim.optimizer import Optimizer

Average = Callable[[Any, Any, Any], Any]
Averages = Callable[[list[Any], list[Any], Any], None]


@tg.fuse
def _towards(average: Any, value: Any, share: Any) -> Any:
    return average + share * (value - average)


def get_swa_avg_fn() -> Average:
    """The mean of all so far: a + (w - a) / (n + 1)."""
    return lambda average, value, count: _towards(average, value, 1 / (count + 1))


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """An exponential moving average: decay · a + (1 - decay) · w."""
    need("get_ema_avg_fn", 0 <= decay <= 1, f"decay={decay}", "0 <= decay <= 1", "decay=0.999")
    return lambda average, value, count: _towards(average, value, 1 - decay)


def get_swa_multi_avg_fn() -> Averages:
    """As `get_swa_avg_fn`, for lists of tensors, in place."""
    return lambda averages, values, count: _move(averages, values, 1 / (float(count) + 1))


def get_ema_multi_avg_fn(decay: float = 0.999) -> Averages:
    """As `get_ema_avg_fn`, for lists of tensors, in place."""
    get_ema_avg_fn(decay)  # which checks it
    return lambda averages, values, count: _move(averages, values, 1 - decay)


def _move(averages: list[Any], values: list[Any], share: float) -> None:
    """average ← average + share (value - average); whole numbers are cut."""
    kinds = {(average.dtype, average.device) for average in averages}
    parts = {
        (dtype, device): tg.tensor(
            share, dtype=tg.dtypes.compute(tg.dtypes.real(dtype)), device=device
        ).data
        for dtype, device in kinds
        if tg.dtypes.is_inexact(dtype)
    }
    towards: Any = _towards
    for average, value in zip(averages, values, strict=True):
        array, dtype = average.data, average.dtype
        part = parts.get((dtype, average.device))
        if part is None:
            write(array, _towards(average, value, share).astype(dtype).data)
            continue
        WRITES.note(array, bounds(array))
        given = value if value.dtype == dtype else value.astype(dtype)
        towards.kernel(array, given.data, part, out=(array,))


def _each(rule: Average) -> Averages:
    """A function of one tensor for lists of them."""

    def update(averages: list[Any], values: list[Any], count: Any) -> None:
        for average, value in zip(averages, values, strict=True):
            found = tg.asarray(rule(average, value, count))
            write(average.data, found.astype(average.dtype).data)

    return update


class AveragedModel(tg.nn.Module):
    """A copy of a network whose weights `update_parameters(model)` moves to an average.

    avg_fn(average, value, n_averaged) gives the new average; multi_avg_fn(averages, values,
    n_averaged) moves lists of one dtype and device in place; without either it is the mean of all
    so far. The first update copies the weights. Buffers are copied, or averaged too with
    `use_buffers`; call `update_bn` at the end where statistics of batches are among them. Izmailov
    et al., "Averaging weights leads to wider optima and better generalization", 2018; Polyak,
    Juditsky 1992.
    """

    n_averaged: tg.Tensor

    def __init__(
        self,
        model: tg.nn.Module,
        device: str | None = None,
        avg_fn: Average | None = None,
        multi_avg_fn: Averages | None = None,
        use_buffers: bool = False,
    ) -> None:
        """Raises `ValueError` for both `avg_fn` and `multi_avg_fn`."""
        one = avg_fn is None or multi_avg_fn is None
        need("AveragedModel", one, "avg_fn and multi_avg_fn", "one of them", "avg_fn=None")
        if not isinstance(model, tg.nn.Module):
            raise TypeError(
                f"AveragedModel: got {type(model).__name__}, expected a module; try the network"
            )
        super().__init__()
        module = copy.deepcopy(model)
        self.module = module if device is None else module.to(device=device)
        self.register_buffer("n_averaged", tg.tensor(0, dtype="int64"))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def update_parameters(self, model: tg.nn.Module) -> None:
        """Take the weights of a network of the same shape into the average."""
        ours, theirs = dict(_state(self.module)), dict(_state(model))
        if {n: v.shape for n, (v, _) in ours.items()} != {
            n: v.shape for n, (v, _) in theirs.items()
        }:
            raise tg.ShapeError(
                "update_parameters: got a model of other weights, expected those that are "
                "averaged; try the model that AveragedModel was made of"
            )
        count = int(self.n_averaged.item())
        kinds: dict[tuple[Any, str], tuple[list[Any], list[Any]]] = {}
        for name, (average, is_param) in ours.items():
            value = theirs[name][0].detach()
            value = value if value.device == average.device else value.to(average.device)
            if count and (is_param or self.use_buffers):
                averages, values = kinds.setdefault((average.dtype, average.device), ([], []))
                averages.append(average.detach())
                values.append(value)
            else:
                write(average.data, value.astype(average.dtype).data)
        move = self.multi_avg_fn or get_swa_multi_avg_fn()
        if self.avg_fn is not None:
            move = _each(self.avg_fn)
        for averages, values in kinds.values():
            move(averages, values, count)
        self.n_averaged = self.n_averaged + 1


def _state(model: tg.nn.Module) -> Iterable[tuple[str, tuple[tg.Tensor, bool]]]:
    """Parameters and buffers by name, and whether each is a parameter."""
    yield from ((name, (value, True)) for name, value in model.named_parameters())
    yield from ((name, (value, False)) for name, value in model.named_buffers())


def update_bn(loader: Iterable[Any], model: tg.nn.Module, device: str | None = None) -> None:
    """Find the running means and variances of the batch norms anew, over the inputs of a loader.

    Each batch counts alike. A tuple or list stands for its first element.
    """
    modules: Iterable[Any] = model.modules()
    found = [module for module in modules if hasattr(module, "reset_running_stats")]
    if not found:
        return
    kept = [(module, module.momentum) for module in found]
    training = model.training
    model.train()
    try:
        for module, _ in kept:
            module.reset_running_stats()
            module.momentum = None
        with tg.no_grad():
            for batch in loader:
                given = batch[0] if isinstance(batch, list | tuple) else batch
                model(given if device is None else given.to(device))
    finally:
        for module, momentum in kept:
            module.momentum = momentum
        model.train(training)


class SWALR(LRScheduler):
    """From the present rates to `swa_lr` in `anneal_epochs` steps, and there they stay."""

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | list[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        known, got = anneal_strategy in _WAYS, f"anneal_strategy={anneal_strategy!r}"
        need("SWALR", known, got, "'cos' or 'linear'", "anneal_strategy='cos'")
        got = f"anneal_epochs={anneal_epochs}"
        need("SWALR", anneal_epochs >= 0, got, "anneal_epochs >= 0", "anneal_epochs=10")
        rates = for_each("SWALR", "swa_lr", optimizer, swa_lr)
        for group, rate in zip(optimizer.param_groups, rates):
            group["swa_lr"] = rate
        self.anneal_epochs, self.anneal_strategy = anneal_epochs, anneal_strategy
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        way, length = _WAYS[self.anneal_strategy], self.anneal_epochs
        step = self.last_epoch if length else max(1, self.last_epoch)
        before, now = (way(min(1.0, max(0.0, at / max(1, length)))) for at in (step - 1, step))
        found = []
        for group in self._groups():
            end, rate = group["swa_lr"], group["lr"]
            start = end if before == 1 else (rate - before * end) / (1 - before)
            found.append(end * now + start * (1 - now))
        return found


_WAYS: dict[str, Callable[[float], float]] = {
    "cos": lambda at: (1 - math.cos(math.pi * at)) / 2,
    "linear": lambda at: at,
}
