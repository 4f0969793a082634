"""A training step of 784-128-10 on 64 pictures with Adam: op by op, compiled, and as one graph.

Steps follow each other without a wait, and the host's clock tells what one takes. Losses are
compared after the steps that a capture runs to warm up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import gpu_peers as peers
from benchmarks.gpu_bench import Bench, Part
from benchmarks.gpu_time import Side, ours_on_the_host, wall
from benchmarks.nets import LR, Weights, initial, named

SIZES, BATCH = (784, 128, 10), 64
WARM, COMPARED = 2, 5
"""Steps of a warm-up, and losses compared after them."""

LIMIT = 35e-6
"""Seconds that a captured step may take."""

Step = Callable[[], Any]


def _data(bench: Bench) -> tuple[Weights, Any, Any]:
    sizes = (24, 16, 10) if bench.tiny else SIZES
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH, sizes[0])).astype(np.float32)
    return initial(sizes), x, rng.integers(0, sizes[-1], BATCH)


def _losses(step: Step, done: int = 0) -> Callable[[], list[Any]]:
    """The losses of some steps, after so many more that all have warmed up."""

    def values() -> list[Any]:
        for _ in range(WARM - done):
            step()
        return [np.array([_number(step()) for _ in range(COMPARED)])]

    return values


def _number(loss: Any) -> float:
    return float(loss.item())


def our_step(bench: Bench) -> tuple[Any, tuple[Any, Any]]:
    """Our step as a function of a batch, and that batch on the GPU."""
    import tensorgrad as tg

    weights, x, labels = _data(bench)
    layers: list[Any] = []
    with tg.device("cuda"):
        for weight, _ in weights:
            layers += [tg.nn.Linear(weight.shape[1], weight.shape[0]), tg.nn.ReLU()]
        net = tg.nn.Sequential(*layers[:-1])
    for name, param in net.named_parameters():
        param.data[...] = tg.tensor(named(weights)[name], device="cuda").data
    optimizer = tg.optim.Adam(net.parameters(), lr=LR)

    def step(x: Any, labels: Any) -> Any:
        optimizer.zero_grad()
        loss = tg.cross_entropy(net(x), labels)
        loss.backward()
        optimizer.step()
        return loss

    return step, (tg.tensor(x, device="cuda"), tg.tensor(labels, device="cuda"))


def _eager(bench: Bench) -> Side:
    step, batch = our_step(bench)

    def run() -> Any:
        return step(*batch)

    return Side(run, ours_on_the_host(), _losses(run))


def _captured(bench: Bench) -> Side:
    import tensorgrad as tg

    step, batch = our_step(bench)
    captured = tg.cuda.capture(step, batch)

    def run() -> Any:
        return captured(*batch)

    return Side(run, ours_on_the_host(), _losses(run, WARM))


# -- PyTorch -------------------------------------------------------------------------------------


def _torch_net(bench: Bench, **options: Any) -> tuple[Any, Any, Any, Any, Any]:
    t = peers.torch()
    t.set_float32_matmul_precision("highest")
    device = "cuda" if t.cuda.is_available() else "cpu"
    weights, x, labels = _data(bench)
    layers: list[Any] = []
    for weight, _ in weights:
        layers += [t.nn.Linear(weight.shape[1], weight.shape[0]), t.nn.ReLU()]
    net = t.nn.Sequential(*layers[:-1])
    net.load_state_dict({name: t.tensor(array) for name, array in named(weights).items()})
    net.to(device)
    optimizer = t.optim.Adam(net.parameters(), lr=LR, fused=True, **options)
    return t, net, optimizer, t.tensor(x, device=device), t.tensor(labels, device=device)


def _torch(bench: Bench, mode: str | None = "eager") -> Callable[[], Side | None]:
    """PyTorch's step; the network and its loss under torch.compile unless `mode` is eager."""

    def make() -> Side | None:
        if peers.torch() is None:
            return None
        t, net, optimizer, x, labels = _torch_net(bench)
        cross_entropy = t.nn.functional.cross_entropy

        def loss_of(x: Any, labels: Any) -> Any:
            return cross_entropy(net(x), labels)

        call = loss_of if mode == "eager" else peers.compiled(bench, loss_of, mode)

        def run() -> Any:
            if mode == "reduce-overhead":
                t.compiler.cudagraph_mark_step_begin()
            optimizer.zero_grad(set_to_none=True)
            loss = call(x, labels)
            loss.backward()
            optimizer.step()
            return loss.detach()

        return Side(run, peers.torch_on_the_host(), _losses(run))

    return make


def _torch_graph(bench: Bench) -> Callable[[], Side | None]:
    """The whole step as one CUDA graph, inputs copied into place before each replay."""

    def make() -> Side | None:
        found = peers.torch()
        if found is None or not found.cuda.is_available():
            return None
        t, net, optimizer, x, labels = _torch_net(bench, capturable=True)
        own, target = x.clone(), labels.clone()

        def step() -> Any:
            optimizer.zero_grad(set_to_none=True)
            loss = t.nn.functional.cross_entropy(net(own), target)
            loss.backward()
            optimizer.step()
            return loss

        side = t.cuda.Stream()
        side.wait_stream(t.cuda.current_stream())
        with t.cuda.stream(side):
            for _ in range(WARM):
                step()
        t.cuda.current_stream().wait_stream(side)
        graph = t.cuda.CUDAGraph()
        optimizer.zero_grad(set_to_none=True)
        with t.cuda.graph(graph):
            loss = step()

        def run() -> Any:
            own.copy_(x)
            target.copy_(labels)
            graph.replay()
            return loss

        return Side(run, peers.torch_on_the_host(), _losses(run, WARM))

    return make


# -- JAX -----------------------------------------------------------------------------------------


def _jax(bench: Bench) -> Callable[[], Side | None]:
    """One jitted function whose state is donated."""

    def make() -> Side | None:
        j = peers.jax()
        if j is None:
            return None
        weights, x, labels = _data(bench)
        jnp, tree = j.numpy, j.tree_util.tree_map

        def loss_of(params: Any, x: Any, labels: Any) -> Any:
            for k, (weight, bias) in enumerate(params):
                x = (jnp.maximum(x, 0) if k else x) @ weight.T + bias
            log_p = j.nn.log_softmax(x)
            return -jnp.take_along_axis(log_p, labels[:, None], axis=1).mean()

        def update(state: Any, x: Any, labels: Any) -> Any:
            params, first, second, t = state
            loss, grads = j.value_and_grad(loss_of)(params, x, labels)
            t = t + 1
            first = tree(lambda m, g: 0.9 * m + 0.1 * g, first, grads)
            second = tree(lambda v, g: 0.999 * v + 0.001 * g * g, second, grads)
            # 1 - beta**t, which would lose digits in float32 as it is written.
            c1, c2 = (-jnp.expm1(t * math.log(beta)) for beta in (0.9, 0.999))
            params = tree(
                lambda p, m, v: p - LR / c1 * m / (jnp.sqrt(v / c2) + 1e-8), params, first, second
            )
            return (params, first, second, t), loss

        jitted = j.jit(update, donate_argnums=0)
        params = tree(jnp.array, weights)
        zeros = [tree(jnp.zeros_like, params) for _ in range(2)]
        state = [(params, *zeros, jnp.zeros(()))]
        batch = jnp.asarray(x), jnp.asarray(labels)

        def step() -> Any:
            state[0], loss = jitted(state[0], *batch)
            return loss

        run = peers.within(step, peers.PRECISIONS[False][1])
        return Side(run, wall(j.block_until_ready), _losses(run))

    return make


# -- the cases -----------------------------------------------------------------------------------


def _part(name: str, limit: float | None = None) -> Part:
    return Part(name, best=0.97, limit=limit, tolerance=1e-3)


def eager(bench: Bench) -> None:
    """Op by op, and the kernels that one step launches."""
    from tensorgrad.backend.cuda.module import launches

    step, batch = our_step(bench)
    for _ in range(2):
        step(*batch)
    before = dict(launches)
    step(*batch)
    one = {name: n - before.get(name, 0) for name, n in launches.items()}
    one = {name: n for name, n in one.items() if n}
    bench.facts["launches per MLP step"] = sum(one.values())
    names = ", ".join(f"{name} {n}" for name, n in sorted(one.items()))
    others = {"torch": _torch(bench), "compile": _torch(bench, None), "jax": _jax(bench)}
    bench.contest(
        _part("MLP step 64x784-128-10, eager"),
        lambda: _eager(bench),
        others,
        note=lambda: f"{sum(one.values())} launches a step: {names}",
    )


def captured(bench: Bench) -> None:
    """As one graph, beside what the peers have of that kind."""
    others = {
        "CUDA graph": _torch_graph(bench),
        "reduce-overhead": _torch(bench, "reduce-overhead"),
        "jax": _jax(bench),
    }
    part = _part("MLP step 64x784-128-10, captured", LIMIT)
    bench.contest(part, lambda: _captured(bench), others)


CASES = {"step, eager": eager, "step, captured": captured}
