"""One classifier, linear layers with ReLU between, trained with Adam: ours, PyTorch's, JAX's.

Each maker takes the same initial weights [(weight (out, in), bias (out,)), ...] and returns a
function `step(x, labels) -> loss` of arrays prepared by that library's `place`. Peers run at their
documented best: PyTorch with Adam(fused=True) and zero_grad(set_to_none=True), JAX as one jitted
function whose state is donated and whose result is waited for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

import tensorgrad as tg
from benchmarks.race import importable

LR = 1e-3
Array = np.ndarray[Any, Any]
Weights = list[tuple[Array, Array]]
Step = Callable[[Any, Any], Any]


class Net(NamedTuple):
    """A network in training: arrays in, one step, and its gradients if it shows them."""

    place: Callable[[Array], Any]
    step: Step
    gradients: Callable[[], list[Array]] | None


def initial(sizes: Sequence[int], seed: int = 0) -> Weights:
    """Weights and biases uniform in ±1/√fan_in, float32."""
    rng = np.random.default_rng(seed)
    return [
        (
            rng.uniform(-1, 1, (o, i)).astype(np.float32) / np.float32(np.sqrt(i)),
            rng.uniform(-1, 1, o).astype(np.float32) / np.float32(np.sqrt(i)),
        )
        for i, o in pairwise(sizes)
    ]


def named(weights: Weights) -> dict[str, Array]:
    """The weights under the keys of a state_dict of linear layers with ReLU between."""
    return {
        f"{2 * k}.{name}": array
        for k, pair in enumerate(weights)
        for name, array in zip(("weight", "bias"), pair)
    }


def ours(weights: Weights) -> Net:
    layers: list[Any] = []
    for weight, _ in weights:
        layers += [tg.nn.Linear(weight.shape[1], weight.shape[0], dtype=np.float32), tg.nn.ReLU()]
    net = tg.nn.Sequential(*layers[:-1])
    net.load_state_dict(named(weights))
    optimizer = tg.optim.Adam(net.parameters(), lr=LR)

    def step(x: Any, labels: Any) -> Any:
        optimizer.zero_grad()
        loss = tg.cross_entropy(net(x), labels)
        loss.backward()
        optimizer.step()
        return loss

    return Net(tg.Tensor, step, lambda: [p.grad.numpy().copy() for p in net.parameters()])


def with_torch(weights: Weights) -> Net | None:
    if not importable("torch"):
        return None
    import torch

    torch.set_num_threads(1)
    layers: list[Any] = []
    for weight, _ in weights:
        layers += [torch.nn.Linear(weight.shape[1], weight.shape[0]), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers[:-1])
    net.load_state_dict({name: torch.tensor(array) for name, array in named(weights).items()})
    optimizer = torch.optim.Adam(net.parameters(), lr=LR, fused=True)
    cross_entropy = torch.nn.functional.cross_entropy

    def step(x: Any, labels: Any) -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = cross_entropy(net(x), labels)
        loss.backward()
        optimizer.step()
        return loss

    return Net(torch.from_numpy, step, lambda: [p.grad.numpy().copy() for p in net.parameters()])


def with_jax(weights: Weights) -> Net | None:
    if not importable("jax"):
        return None
    import jax
    import jax.numpy as jnp

    def loss_of(params: Any, x: Any, labels: Any) -> Any:
        for k, (weight, bias) in enumerate(params):
            x = (jnp.maximum(x, 0) if k else x) @ weight.T + bias
        log_p = jax.nn.log_softmax(x)
        return -jnp.take_along_axis(log_p, labels[:, None], axis=1).mean()

    def update(state: Any, x: Any, labels: Any) -> Any:
        params, first, second, t = state
        loss, grads = jax.value_and_grad(loss_of)(params, x, labels)
        t = t + 1
        tree = jax.tree_util.tree_map
        first = tree(lambda m, g: 0.9 * m + 0.1 * g, first, grads)
        second = tree(lambda v, g: 0.999 * v + 0.001 * g * g, second, grads)
        # 1 - beta**t, which would lose digits in float32 as it is written.
        c1, c2 = (-jnp.expm1(t * math.log(beta)) for beta in (0.9, 0.999))
        rate, root = LR / c1, jnp.sqrt(c2)
        params = tree(
            lambda p, m, v: p - rate * m / (jnp.sqrt(v) / root + 1e-8), params, first, second
        )
        return (params, first, second, t), loss

    jitted = jax.jit(update, donate_argnums=0)
    params = jax.tree_util.tree_map(jnp.array, weights)
    zeros = [jax.tree_util.tree_map(jnp.zeros_like, params) for _ in range(2)]
    state = [(params, *zeros, jnp.zeros(()))]

    def step(x: Any, labels: Any) -> Any:
        state[0], loss = jitted(state[0], x, labels)
        return loss.block_until_ready()

    return Net(jnp.asarray, step, None)


def _factors(sizes: Sequence[int], batch: int, turned: bool) -> list[tuple[Array, Array]]:
    """The factors of one step's products; `turned`: weights lie in memory as (in, out).

    A layer multiplies three times: forward, for the weight, and (but for the first) for its input.
    """
    rng = np.random.default_rng(0)
    pairs: list[tuple[Array, Array]] = []
    for k, (i, o) in enumerate(pairwise(sizes)):
        x = rng.standard_normal((batch, i), dtype=np.float32)
        ct = rng.standard_normal((batch, o), dtype=np.float32)
        memory = rng.standard_normal((i, o) if turned else (o, i), dtype=np.float32)
        weight = memory.T if turned else memory
        pairs += [(x, weight.T), (x.T, ct) if turned else (ct.T, x)]
        pairs += [(ct, weight)] if k else []
    return pairs


def products(
    sizes: Sequence[int], batch: int, *, turned: bool = False
) -> tuple[Callable[[], None], int]:
    """The bare matrix products of one step into arrays that stand ready, and their flops.

    `turned`: the weights lie in memory as (in, out), since OpenBLAS is slow at x @ W.T.
    """
    pairs = _factors(sizes, batch, turned)
    jobs = [(a, b, np.empty((a.shape[0], b.shape[1]), a.dtype)) for a, b in pairs]

    def run() -> None:
        for a, b, out in jobs:
            np.matmul(a, b, out)

    return run, sum(2 * a.shape[0] * a.shape[1] * b.shape[1] for a, b in pairs)


def products_with_torch(sizes: Sequence[int], batch: int) -> Callable[[], None] | None:
    """The same products by torch.mm."""
    if not importable("torch"):
        return None
    import torch

    torch.set_num_threads(1)
    jobs = [
        (torch.from_numpy(a), torch.from_numpy(b), torch.empty(a.shape[0], b.shape[1]))
        for a, b in _factors(sizes, batch, False)
    ]

    def run() -> None:
        for a, b, out in jobs:
            torch.mm(a, b, out=out)

    return run


def agree(mine: Net, theirs: Net | None, x: Array, labels: Array, steps: int = 5) -> None:
    """The losses of some steps and the gradients of the first equal the other network's.

    To float32's rounding, which grows through the layers: losses to 1e-5 of themselves, gradients
    to 1e-5 of the largest.
    """
    if theirs is None:
        return
    for k in range(steps):
        loss, other = (net.step(net.place(x), net.place(labels)).item() for net in (mine, theirs))
        assert abs(loss - other) <= 1e-5 * abs(other), f"step {k}: loss {loss}, expected {other}"
        if k == 0 and mine.gradients and theirs.gradients:
            for a, b in zip(mine.gradients(), theirs.gradients(), strict=True):
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())
