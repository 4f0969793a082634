"""Transforms of functions: whole derivatives, gradients per example, recurrences, checkpoints.

jacobian       tanh(A x) x at 100 elements, against torch.func.jacrev and jacfwd
hessian        a function of 50 parameters, against torch.func.hessian
per example    gradients of a small network for each of 1,000 examples, against the same by hand
forward mode   value and tangent of a function of one array, against the function alone
recurrence     the gradient of 200 steps of a scalar map, against HIPS autograd and PyTorch eager
checkpoint     a chain of 64 layers: time against the chain without, and the memory of both
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from benchmarks.race import Race, Row, ahead, best, importable, near

RNG = np.random.default_rng(0)
A, X = RNG.standard_normal((100, 100)), RNG.standard_normal(100)
B, Z = RNG.standard_normal((50, 50)), RNG.standard_normal(50)
STEPS, LAYERS, WIDTH, ROWS = 200, 64, 64, 512


TORCH = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
"""What PyTorch itself warns of when torch.func is first used."""


def torch_alone() -> Any:
    """PyTorch on one thread; None where it is not installed."""
    if not importable("torch"):
        return None
    import torch

    torch.set_num_threads(1)
    return torch


@TORCH
def test_jacobian(race: Race) -> None:
    torch, ours = torch_alone(), tg.jacobian(lambda x: np.tanh(A @ x) * x)
    peers = None
    if torch is not None:
        a, x = torch.from_numpy(A), torch.from_numpy(X)
        f = lambda x: torch.tanh(a @ x) * x  # noqa: E731
        ways = [torch.func.jacrev(f), torch.func.jacfwd(f)]
        np.testing.assert_allclose(ours(X), ways[0](x).numpy(), rtol=1e-9, atol=1e-12)
        peers = [lambda way=way: way(x) for way in ways]
    race("jacobian, 100x100", lambda: ours(X), {"torch": peers}, goal=best(1))


@TORCH
def test_hessian(race: Race) -> None:
    torch = torch_alone()
    ours = tg.hessian(lambda x: np.sum(np.sin(B @ x) ** 2) + np.sum(x**4))
    peer = None
    if torch is not None:
        b, z = torch.from_numpy(B), torch.from_numpy(Z)
        whole = torch.func.hessian(lambda x: torch.sum(torch.sin(b @ x) ** 2) + torch.sum(x**4))
        np.testing.assert_allclose(ours(Z), whole(z).numpy(), rtol=1e-9, atol=1e-9)
        peer = lambda: whole(z)  # noqa: E731
    race("hessian, 50 parameters", lambda: ours(Z), {"torch": peer}, goal=best(1))


def test_gradients_per_example(race: Race) -> None:
    shapes = ((16, 32), (32,), (32, 4), (4,))
    weights = [RNG.standard_normal(shape) * 0.2 for shape in shapes]
    x, y = RNG.standard_normal((1000, 16)), RNG.standard_normal((1000, 4))

    def loss(weights: Any, x: Any, y: Any) -> Any:
        w, b, v, c = weights
        return np.sum((np.tanh(x @ w + b) @ v + c - y) ** 2)

    def by_hand() -> list[Any]:
        w, b, v, c = weights
        h = np.tanh(x @ w + b)
        d = 2 * (h @ v + c - y)
        e = (d @ v.T) * (1 - h * h)
        return [x[:, :, None] * e[:, None, :], e, h[:, :, None] * d[:, None, :], d]

    ours = tg.vmap(tg.grad(loss), in_axes=(None, 0, 0))
    for mine, theirs in zip(ours(weights, x, y), by_hand(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)
    race("vmap(grad), 1000 examples", lambda: ours(weights, x, y), {},
         beside={"by hand": by_hand}, goal=near(1.5, "by hand"))  # fmt: skip


@pytest.mark.parametrize("size", [1, 1000, 100_000])
def test_forward_mode(race: Race, size: int) -> None:
    x, t = RNG.standard_normal(size), RNG.standard_normal(size)
    f = lambda x: np.sum(np.sin(x) * np.exp(x) + x**2)  # noqa: E731
    at = tg.Tensor(x)
    race(f"jvp, {size} elements", lambda: tg.jvp(f, (x,), (t,)), {},
         beside={"function": lambda: f(at)}, goal=near(3, "function"))  # fmt: skip


def recurrence(sin: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def run(x: Any) -> Any:
        y = x
        for _ in range(STEPS):
            y = y * x + 0.5 * sin(y)
        return y

    return run


def test_recurrence(race: Race) -> None:
    torch, ours = torch_alone(), tg.grad(recurrence(np.sin))
    peers: dict[str, Any] = {"torch": None, "autograd": None}
    if torch is not None:
        steps, x = recurrence(torch.sin), torch.tensor(0.9, dtype=torch.float64, requires_grad=True)

        def run() -> Any:
            x.grad = None
            steps(x).backward()
            return x.grad

        np.testing.assert_allclose(ours(0.9), run().item(), rtol=1e-12)
        peers["torch"] = run
    if importable("autograd"):
        import autograd
        import autograd.numpy

        theirs = autograd.grad(recurrence(autograd.numpy.sin))
        np.testing.assert_allclose(ours(0.9), theirs(0.9), rtol=1e-12)
        peers["autograd"] = lambda: theirs(0.9)
    race("gradient of 200 scalar steps", lambda: ours(0.9), peers, units=STEPS,
         goal=(ahead(1, "torch"), ahead(3, "autograd")))  # fmt: skip


def test_checkpoints(race: Race) -> None:
    """Checkpoints every eighth layer, the chain being 64 products and sigmoids of a gate."""
    weights = [RNG.standard_normal((WIDTH, WIDTH)) / 8 for _ in range(LAYERS)]
    x = RNG.standard_normal((ROWS, WIDTH))

    def layers(h: Any, chosen: Any) -> Any:
        for w in chosen:
            h = np.tanh(h @ w) * h
        return h

    def whole(weights: Any) -> Any:
        return np.sum(layers(tg.Tensor(x), weights))

    part = tg.checkpoint(layers)

    def parts(weights: Any) -> Any:
        h = tg.Tensor(x)
        for k in range(0, LAYERS, 8):
            h = part(h, weights[k : k + 8])
        return np.sum(h)

    plain, checked = tg.grad(whole), tg.grad(parts)
    for mine, theirs in zip(checked(weights), plain(weights), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)
    share = peak(lambda: checked(weights)) / peak(lambda: plain(weights))

    def note(row: Row) -> str:
        return f"memory {share:.0%} of the plain chain's: {'met' if share <= 0.25 else 'missed'}"

    race("checkpoints, 64 layers", lambda: checked(weights), {},
         beside={"plain": lambda: plain(weights)}, goal=near(1.4, "plain"), note=note)  # fmt: skip


def peak(run: Callable[[], Any]) -> int:
    """The most bytes that a run holds beyond its start."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
