"""One update of all parameters, their gradients standing ready, in float32.

Adam reads the parameter, its gradient and two averages and writes all but the gradient: 7 numbers
moved for each parameter, momentum 5; clipping by the global norm reads the gradients once more
(PyTorch writes them too). PyTorch runs its optimizers with fused=True and clips with foreach=True,
JAX one jitted function whose state is donated. The floor is what these bytes take by themselves.
The small case is what a step costs beyond its arithmetic.

`test_every` is each optimizer over 200 parameters of 1,000 elements, beside PyTorch's default, a
loop over the parameters, and against its fused step where it has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from benchmarks.floor import floor
from benchmarks.race import Race, Run, ahead, importable, near

SIZE = 10_000_000
SHAPES: dict[str, list[tuple[int, ...]]] = {
    "1 tensor": [(SIZE,)],
    "100 tensors": [(100, 1000)] * 100,
    "200 tensors": [(1000,)] * 200,
    "200 matrices": [(40, 25)] * 200,
    "6 tensors": [(64, 64), (64,), (64, 64), (64,), (10, 64), (10,)],
}
LIMIT, LR = 1.0, 1e-3
Arrays = list[np.ndarray[Any, Any]]
KINDS: dict[str, tuple[str, tuple[str, dict[str, Any]], str]] = {
    "Adam": ("Adam", ("Adam", {}), "p g m v > p m v"),
    "AdamW": ("AdamW", ("AdamW", {}), "p g m v > p m v"),
    "momentum": ("Momentum", ("SGD", {"momentum": 0.9}), "p g m > p m"),
}


def drawn(shapes: Sequence[tuple[int, ...]]) -> tuple[Arrays, Arrays]:
    """Parameters and gradients."""
    rng = np.random.default_rng(0)
    first, second = ([rng.standard_normal(s, dtype=np.float32) for s in shapes] for _ in range(2))
    return first, second


def ours(
    kind: str,
    params: Arrays,
    grads: Arrays,
    limit: float | None,
    options: dict[str, Any] | None = None,
) -> tuple[Run, Any]:
    made = [tg.nn.Parameter(p.copy()) for p in params]
    optimizer = getattr(tg.optim, kind)(made, lr=LR, max_grad_norm=limit, **(options or {}))
    for p, g in zip(made, grads):
        p.grad = tg.Tensor(g)
    optimizer.step()  # which takes the gradients into its bucket
    for p in made:
        p.grad = tg.Tensor(p.node.into)  # as backward leaves them
    return optimizer.step, made


def with_torch(
    kind: str,
    options: dict[str, Any],
    params: Arrays,
    grads: Arrays,
    limit: float | None,
    fused: bool = True,
) -> tuple[Run | None, Any]:
    if not importable("torch"):
        return None, None
    import torch

    torch.set_num_threads(1)
    made = [torch.from_numpy(p.copy()).requires_grad_() for p in params]
    optimizer = getattr(torch.optim, kind)(
        made, lr=LR, **options, **({"fused": True} if fused else {})
    )
    for p, g in zip(made, grads):
        p.grad = torch.from_numpy(g.copy())

    def run() -> None:
        if limit is not None:
            torch.nn.utils.clip_grad_norm_(made, limit, foreach=True)
        optimizer.step()

    run()
    return run, made


def adam_with_jax(params: Arrays, grads: Arrays, limit: float | None) -> Run | None:
    if not importable("jax"):
        return None
    import jax
    import jax.numpy as jnp

    def update(state: Any, grads: Any, step: Any) -> Any:
        if limit is not None:
            norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in grads))
            scale = jnp.minimum(limit / (norm + 1e-6), 1.0)
            grads = [g * scale for g in grads]
        c1, c2 = 1 - 0.9**step, 1 - 0.999**step
        new = []
        for (p, m, v), g in zip(state, grads):
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            new.append((p - LR * (m / c1) / (jnp.sqrt(v / c2) + 1e-8), m, v))
        return new

    jitted = jax.jit(update, donate_argnums=0)
    placed = [jnp.asarray(g) for g in grads]
    state = [[(jnp.array(p), jnp.zeros(p.shape), jnp.zeros(p.shape)) for p in params]]
    count = [0]

    def run() -> None:
        count[0] += 1
        state[0] = jax.block_until_ready(jitted(state[0], placed, np.float32(count[0])))

    return run


def compete(race: Race, case: str, kind: str, shapes: str, limit: float | None, jax: bool) -> None:
    name, (peer, options), passes = KINDS[kind]
    params, grads = drawn(SHAPES[shapes])
    run, mine = ours(name, params, grads, limit)
    other, theirs = with_torch(peer, options, params, grads, limit)
    if other is not None:
        run()
        other()
        for p, q in zip(mine, theirs):
            np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), atol=1e-6, rtol=1e-6)
    peers: dict[str, Run | None] = {"torch": other}
    if jax:
        peers["jax"] = adam_with_jax(params, grads, limit)
    size = -(-sum(p.size for p in params) // 128) * 128
    bare = floor(size, *(["g >"] if limit is not None else []), passes)
    race(case, run, peers, floor=bare.runs, moved=bare.moved, goal=ahead(1.0, "torch"))


@pytest.mark.parametrize("shapes", ["1 tensor", "100 tensors"])
@pytest.mark.parametrize("kind", KINDS)
def test_large(race: Race, kind: str, shapes: str) -> None:
    compete(race, f"{kind}, 10M in {shapes}", kind, shapes, None, jax=kind == "Adam")


@pytest.mark.parametrize("shapes", ["1 tensor", "100 tensors"])
def test_clipped(race: Race, shapes: str) -> None:
    compete(race, f"Adam clipped, 10M in {shapes}", "Adam", shapes, LIMIT, jax=True)


@pytest.mark.parametrize("limit", [None, LIMIT], ids=["plain", "clipped"])
def test_small(race: Race, limit: float | None) -> None:
    name = "Adam" if limit is None else "Adam clipped"
    compete(race, f"{name}, 9,930 in 6 tensors", "Adam", "6 tensors", limit, jax=True)


EVERY: dict[str, tuple[str, dict[str, Any], int]] = {  # class, options, states
    "SGD": ("SGD", {}, 0),
    "SGD momentum": ("SGD", {"momentum": 0.9}, 1),
    "SGD nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}, 1),
    "ASGD": ("ASGD", {}, 1),
    "Adagrad": ("Adagrad", {}, 1),
    "RMSprop": ("RMSprop", {}, 1),
    "RMSprop centered": ("RMSprop", {"momentum": 0.9, "centered": True}, 3),
    "Adadelta": ("Adadelta", {}, 2),
    "Adam": ("Adam", {}, 2),
    "Adam amsgrad": ("Adam", {"amsgrad": True}, 3),
    "AdamW": ("AdamW", {}, 2),
    "Adamax": ("Adamax", {}, 2),
    "NAdam": ("NAdam", {}, 2),
    "RAdam": ("RAdam", {}, 2),
    "Rprop": ("Rprop", {}, 2),
    "Lion": ("Lion", {}, 1),
    "LARS": ("LARS", {}, 1),
    "LAMB": ("LAMB", {}, 2),
    "Adafactor": ("Adafactor", {}, 0),
    "Muon": ("Muon", {}, 1),
}
FUSED = ("SGD", "Adagrad", "Adam", "AdamW")
ABSENT = ("Lion", "LARS", "LAMB")  # from PyTorch
MATRICES = ("Adafactor", "Muon")


@pytest.mark.parametrize("name", EVERY)
def test_every(race: Race, name: str) -> None:
    kind, options, states = EVERY[name]
    params, grads = drawn(SHAPES["200 matrices" if kind in MATRICES else "200 tensors"])
    run, _ = ours(kind, params, grads, None, options)
    peers: dict[str, Run | None] = {}
    beside: dict[str, Run | None] = {}
    goals = []
    if kind not in ABSENT:
        beside["torch loop"], _ = with_torch(kind, options, params, grads, None, fused=False)
        goals.append(near(0.2, "torch loop"))
    if kind in FUSED:
        peers["torch"], _ = with_torch(kind, options, params, grads, None)
        goals.append(ahead(1.5, "torch"))
    held = " ".join("abc"[:states])
    bare = floor(200 * 1024, f"p g {held} > p {held}")
    case = f"{name}, 200 of 1,000"
    race(case, run, peers, floor=bare.runs, moved=bare.moved, beside=beside, goal=goals)
