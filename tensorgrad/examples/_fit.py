"""What the examples on data share: training by batches, outputs in evaluation, accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.data import Batches

Array = np.ndarray[Any, Any]

LINEAR_EPOCHS = 40


def on(array: Any, device: str) -> Any:
    """An array as a tensor of a device."""
    return tg.Tensor(array) if device == "cpu" else tg.tensor(array, device=device)


def fit(
    net: Any,
    loss: Callable[..., Any],
    arrays: Sequence[Array],
    optimizer: Any,
    epochs: int,
    batch_size: int = 32,
    schedule: Any = None,
    change: Callable[[Array], Array] | None = None,
    device: str = "cpu",
) -> list[float]:
    """Train on `arrays`, inputs first; the mean of loss(net(x), *targets) over each epoch.

    `schedule` maps a step to a factor of the rate, `change` is applied to each batch of inputs. The
    order of the rows is the same in every run.
    """
    batches = Batches(arrays, batch_size, rng=0)
    scheduler = schedule and tg.optim.Scheduler(optimizer, schedule)
    net.train()
    means = []
    for _ in range(epochs):
        total: Any = 0.0
        for x, *targets in batches:
            optimizer.zero_grad()
            out = net(on(change(x) if change else x, device))
            value = loss(out, *(on(target, device) for target in targets))
            value.backward()
            optimizer.step()
            if scheduler:
                scheduler.step()
            total = total + value.detach() * len(x)
        means.append(float(total) / batches.rows)
    return means


def outputs(net: Any, x: Array, device: str = "cpu", rows: int = 512) -> Array:
    """net(x) in evaluation, unrecorded, as NumPy's array."""
    net.eval()
    with tg.no_grad():
        parts = [net(on(x[k : k + rows], device)).numpy() for k in range(0, len(x), rows)]
    return np.concatenate(parts)


def accuracy(net: Any, x: Array, labels: Array, device: str = "cpu") -> float:
    """The part of the rows whose largest output is at their label."""
    return float((outputs(net, x, device).argmax(1) == labels).mean())


def steps(arrays: Sequence[Array], epochs: int, batch_size: int) -> int:
    """How many steps `fit` takes."""
    return epochs * -(-len(arrays[0]) // batch_size)


def linear(x: Array, y: Array, loss: Callable[..., Any], outputs: int, device: str = "cpu") -> Any:
    """A linear model, fitted by Adam along a falling cosine."""
    net = nn.Linear(x.shape[1], outputs).to(device)
    optimizer = tg.optim.Adam(net.parameters(), lr=0.03)
    cosine = tg.optim.Cosine(steps((x,), LINEAR_EPOCHS, 64))
    fit(net, loss, (x, y), optimizer, LINEAR_EPOCHS, 64, cosine, device=device)
    return net
