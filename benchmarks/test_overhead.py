"""What a call costs: adds of 64 float32 numbers, where the work itself is next to nothing.

forward            a chain of 100 recorded adds, h = h + y, per add
forward, backward  the same chain and its backward from a cotangent, per add
one add            one add forward and backward, with all that a call of backward costs

The floor is `np.add` on the same arrays. PyTorch runs eagerly, HIPS autograd through
`make_vjp`. JAX has no tape to record on: its figures are a jitted add called from Python (which
records nothing), and a jitted function that returns value and cotangents of one add.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tensorgrad as tg
from benchmarks.race import Race, importable, within

SIZE, LENGTH = 64, 100
MOVED = 3 * 4 * SIZE  # bytes of one add: two inputs, one output

X = np.random.default_rng(0).standard_normal(SIZE, dtype=np.float32)
Y = np.random.default_rng(1).standard_normal(SIZE, dtype=np.float32)
CT = np.ones(SIZE, np.float32)

Chain = Callable[[Any, Any], Any]


def chain_of(length: int) -> Chain:
    def chain(x: Any, y: Any) -> Any:
        for _ in range(length):
            x = x + y
        return x

    return chain


def numpy_adds(length: int) -> Callable[[], Any]:
    def run() -> None:
        h = X
        for _ in range(length):
            h = np.add(h, Y)

    return run


def ours(length: int, backward: bool) -> Callable[[], Any]:
    chain, ct = chain_of(length), tg.Tensor(CT)
    x, y = tg.Tensor(X, requires_grad=True), tg.Tensor(Y, requires_grad=True)

    def run() -> Any:
        out = chain(x, y)
        if backward:
            x.grad = y.grad = None
            out.backward(ct)
        return x, y

    return run


def with_torch(length: int, backward: bool) -> Callable[[], Any] | None:
    if not importable("torch"):
        return None
    import torch

    torch.set_num_threads(1)
    chain, ct = chain_of(length), torch.from_numpy(CT)
    x, y = (torch.from_numpy(v).requires_grad_() for v in (X, Y))

    def run() -> Any:
        out = chain(x, y)
        if backward:
            x.grad = y.grad = None
            out.backward(ct)
        return x, y

    return run


def with_autograd(length: int, backward: bool) -> Callable[[], Any] | None:
    if not importable("autograd"):
        return None
    from autograd import make_vjp

    chain = chain_of(length)
    make = make_vjp(lambda both: chain(*both))

    def run() -> Any:
        pull, _ = make((X, Y))
        return pull(CT) if backward else pull

    return run


def with_jax(backward: bool) -> Callable[[], Any] | None:
    if not importable("jax"):
        return None
    import jax

    x, y, ct = (jax.numpy.asarray(v) for v in (X, Y, CT))

    def both(x: Any, y: Any, ct: Any) -> Any:
        value, pull = jax.vjp(chain_of(1), x, y)
        return value, pull(ct)

    forward, whole = jax.jit(chain_of(1)), jax.jit(both)

    def add() -> Any:
        return forward(x, y).block_until_ready()

    def add_and_pull() -> Any:
        return jax.block_until_ready(whole(x, y, ct))

    return add_and_pull if backward else add


def test_forward(race: Race) -> None:
    race(
        "add, 64 f4, forward",
        ours(LENGTH, False),
        {
            "torch": with_torch(LENGTH, False),
            "jax": _repeated(with_jax(False)),
            "autograd": with_autograd(LENGTH, False),
        },
        floor=numpy_adds(LENGTH),
        units=LENGTH,
        moved=MOVED,
        goal=within(2e-6),
    )


def test_forward_and_backward(race: Race) -> None:
    mine, theirs = ours(LENGTH, True), with_torch(LENGTH, True)
    race(
        "add, 64 f4, forward, backward",
        mine,
        {"torch": theirs, "autograd": with_autograd(LENGTH, True)},
        floor=numpy_adds(LENGTH),
        units=LENGTH,
        moved=2 * MOVED,
    )
    _agree(mine, theirs)


def test_one_add(race: Race) -> None:
    mine, theirs = ours(1, True), with_torch(1, True)
    race(
        "one add, 64 f4, and backward",
        mine,
        {"torch": theirs, "jax": with_jax(True), "autograd": with_autograd(1, True)},
        floor=numpy_adds(1),
        moved=2 * MOVED,
    )
    _agree(mine, theirs)


def _repeated(run: Callable[[], Any] | None) -> Callable[[], Any] | None:
    """LENGTH calls of a function, so that its unit is one call too."""
    if run is None:
        return None

    def repeated() -> None:
        for _ in range(LENGTH):
            run()

    return repeated


def _agree(mine: Callable[[], Any], theirs: Callable[[], Any] | None) -> None:
    if theirs is not None:
        for a, b in zip(mine(), theirs()):
            np.testing.assert_array_equal(a.grad.numpy(), b.grad.numpy())
