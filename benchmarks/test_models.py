"""A training step of whole networks: forward, cross-entropy, backward and Adam, in float32.

From the same weights and on the same batch; the first losses are compared before the clock starts.
PyTorch runs eagerly with `fused=True` and gradients set to None, JAX as one jitted function whose
state is donated and which is waited for. The networks are those of `tensorgrad.models`, their twins
stand in `tests/torch_models.py` and `jax_models.py`.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import tensorgrad as tg
from benchmarks.race import Race, importable
from tensorgrad import models

LR, TOKENS = 1e-3, 256
Array = np.ndarray[Any, Any]
Step = Callable[[], Any]


class Case(NamedTuple):
    """The network, its twins of PyTorch and of JAX, the shape of its inputs and its classes."""

    ours: Callable[[], Any]
    torch: Callable[[Any], Any]
    jax: Callable[[Any], Any]
    shape: tuple[int, ...]
    classes: int = 10


def lenet(batch: int) -> Case:
    return Case(models.LeNet, lambda t: t.LeNet(), lambda j: j.lenet, (batch, 1, 28, 28))


CASES = {
    "LeNet @ 32": lenet(32),
    "LeNet @ 128": lenet(128),
    "transformer 4x128 @ 8x128": Case(
        lambda: models.GPT2(TOKENS, 128, 128, 4, 4, dropout=0.0),
        lambda t: t.GPT2(TOKENS, 128, 128, 4, 4),
        lambda j: j.gpt2(4, 4),
        (8, 128),
        TOKENS,
    ),
    "LSTM 2x128 @ 16x64": Case(
        lambda: models.LSTMLanguageModel(TOKENS),
        lambda t: t.LSTMLanguageModel(TOKENS, 128, 128, 2),
        lambda j: j.lstm(2),
        (16, 64),
        TOKENS,
    ),
    "ResNet-18 @ 8x3x64x64": Case(
        lambda: models.resnet18(10),
        lambda t: t.ResNet("basic", [2, 2, 2, 2], 10, 64),
        lambda j: j.resnet18,
        (8, 3, 64, 64),
    ),
}


def batch(case: Case) -> tuple[Array, Array]:
    """Inputs and classes, one for each image or each token."""
    rng = np.random.default_rng(0)
    if len(case.shape) == 2:
        text = rng.integers(0, case.classes, case.shape)
        return text, rng.integers(0, case.classes, text.size)
    x = rng.standard_normal(case.shape, dtype=np.float32)
    return x, rng.integers(0, case.classes, len(x))


def trained(net: Any, optimizer: Any, cross_entropy: Any, x: Any, labels: Any) -> Step:
    """A step of a library that records."""

    def step() -> Any:
        optimizer.zero_grad()
        logits = net(x)
        logits = logits[0] if isinstance(logits, tuple) else logits
        loss = cross_entropy(logits.reshape(-1, logits.shape[-1]), labels)
        loss.backward()
        optimizer.step()
        return loss

    return step


def ours(net: Any, x: Array, labels: Array) -> Step:
    optimizer = tg.optim.Adam(net.parameters(), lr=LR)
    return trained(net, optimizer, tg.cross_entropy, tg.tensor(x), tg.tensor(labels))


def with_torch(case: Case, weights: dict[str, Array], x: Array, labels: Array) -> Step | None:
    if not importable("torch"):
        return None
    import torch

    torch.set_num_threads(1)
    net = case.torch(importlib.import_module("torch_models"))
    net.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
    optimizer = torch.optim.Adam(net.parameters(), lr=LR, fused=True)
    given = (torch.tensor(x), torch.tensor(labels))
    return trained(net, optimizer, torch.nn.functional.cross_entropy, *given)


def with_jax(case: Case, weights: dict[str, Array], x: Array, labels: Array) -> Step | None:
    if not importable("jax"):
        return None
    import jax
    import jax.numpy as jnp

    forward = case.jax(importlib.import_module("benchmarks.jax_models"))
    tree = jax.tree_util.tree_map

    def loss_of(params: Any, buffers: Any, x: Any, labels: Any) -> Any:
        logits, buffers = forward(params, buffers, x)
        log_p = jax.nn.log_softmax(logits.reshape(-1, logits.shape[-1]))
        return -jnp.take_along_axis(log_p, labels[:, None], axis=1).mean(), buffers

    def update(state: Any, x: Any, labels: Any) -> Any:
        params, buffers, first, second, t = state
        value = jax.value_and_grad(loss_of, has_aux=True)
        (loss, buffers), grads = value(params, buffers, x, labels)
        t = t + 1
        first = tree(lambda m, g: 0.9 * m + 0.1 * g, first, grads)
        second = tree(lambda v, g: 0.999 * v + 0.001 * g * g, second, grads)
        # 1 - beta**t, which would lose digits in float32 as it is written.
        c1, c2 = (-jnp.expm1(t * math.log(beta)) for beta in (0.9, 0.999))
        rate, root = LR / c1, jnp.sqrt(c2)
        params = tree(
            lambda p, m, v: p - rate * m / (jnp.sqrt(v) / root + 1e-8), params, first, second
        )
        return (params, buffers, first, second, t), loss

    jitted = jax.jit(update, donate_argnums=0)
    running = [name for name in weights if "running_" in name]
    apart = ("num_batches_tracked", "lm_head.weight")  # a count, and a name of the tied table
    named = {name: jnp.array(a) for name, a in weights.items() if not name.endswith(apart)}
    buffers = {name: named.pop(name) for name in running}
    zeros = [tree(jnp.zeros_like, named) for _ in range(2)]
    state = [(named, buffers, *zeros, jnp.zeros(()))]
    placed = (jnp.asarray(x), jnp.asarray(labels))

    def step() -> Any:
        state[0], loss = jitted(state[0], *placed)
        return loss.block_until_ready()

    return step


@pytest.mark.parametrize("name", CASES)
def test_step(race: Race, name: str) -> None:
    case = CASES[name]
    x, labels = batch(case)
    tg.manual_seed(0)
    net = case.ours()
    weights = {key: value.numpy().copy() for key, value in net.state_dict().items()}
    run = ours(net, x, labels)
    peers = {
        "torch": with_torch(case, weights, x, labels),
        "jax": with_jax(case, weights, x, labels),
    }
    first = [run().item() for _ in range(3)]
    for peer in peers.values():
        if peer is not None:
            # Three steps: what rounding makes of them grows through some twenty layers.
            theirs = [peer().item() for _ in range(3)]
            np.testing.assert_allclose(first, theirs, rtol=0, atol=1e-3 * first[0])
    race(f"step {name}", run, peers)
