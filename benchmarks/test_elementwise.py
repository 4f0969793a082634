"""Elementwise functions of 4M float32 numbers: forward, and forward and backward.

Forward reads x and writes y; backward reads x and the cotangent and writes the gradient. The floor
is the quicker of stores that go around the caches and of plain ones, which fetch what they are to
overwrite and stand beside it: the goals name those. Where a function is dear, arithmetic and not
memory sets the pace: then no floor is in reach of one core, and the peers are the measure. The last
row is what fresh memory costs an output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from benchmarks import peers
from benchmarks.floor import floor
from benchmarks.race import Goal, Race, ahead, best, importable, near

SIZE = 2**22
F = tg.nn.functional


def torch_gelu(approximate: str) -> Callable[[Any], Any]:
    def gelu(x: Any) -> Any:
        import torch

        return torch.nn.functional.gelu(x, approximate=approximate)

    return gelu


def torch_of(name: str) -> Callable[[Any], Any]:
    def f(x: Any) -> Any:
        import torch

        home: Any = torch if hasattr(torch, name) else torch.nn.functional
        return getattr(home, name)(x)

    return f


def jax_of(name: str, **options: Any) -> Callable[[Any], Any]:
    def f(x: Any) -> Any:
        import jax

        return getattr(jax.nn, name)(x, **options)

    return f


PLAIN = "plain"
CLOSE = (near(1.15, PLAIN), best(0.97))
CASES: dict[str, tuple[Any, Any, Any, tuple[Goal, ...]]] = {
    "relu": (F.relu, torch_of("relu"), jax_of("relu"), ()),
    "sigmoid": (F.sigmoid, torch_of("sigmoid"), jax_of("sigmoid"), ()),
    "tanh": (F.tanh, torch_of("tanh"), jax_of("tanh"), CLOSE),
    "SiLU": (F.silu, torch_of("silu"), jax_of("silu"), CLOSE),
    "GELU, tanh": (
        lambda x: F.gelu(x, "tanh"),
        torch_gelu("tanh"),
        jax_of("gelu", approximate=True),
        (*CLOSE, ahead(2.5, "torch")),
    ),
    "GELU, erf": (
        F.gelu,
        torch_gelu("none"),
        jax_of("gelu", approximate=False),
        (*CLOSE, ahead(3, "jax")),
    ),
}


def numbers(rng: np.random.Generator) -> Any:
    return rng.standard_normal(SIZE, dtype=np.float32)


@pytest.mark.parametrize("name", CASES)
def test_forward(race: Race, name: str) -> None:
    mine, torch, jax, _ = CASES[name]
    x = numbers(np.random.default_rng(0))
    run, others = peers.raced(mine, (torch, jax), [x], backward=False)
    bare = floor(SIZE, "x > y")
    beside = {PLAIN: bare.plain}
    race(f"{name}, forward", run, others, floor=bare.runs, beside=beside, moved=bare.moved)


@pytest.mark.parametrize("name", CASES)
def test_forward_and_backward(race: Race, name: str) -> None:
    mine, torch, jax, goals = CASES[name]
    rng = np.random.default_rng(0)
    run, others = peers.raced(mine, (torch, jax), [numbers(rng)], numbers(rng))
    bare = floor(SIZE, "x > y", "x ct > dx")
    race(
        f"{name}, f + b",
        run,
        others,
        floor=bare.runs,
        beside={PLAIN: bare.plain},
        moved=bare.moved,
        goal=goals,
    )


def chain(np: Any) -> Callable[[Any, Any], Any]:
    """Seventeen steps in the functions of NumPy, or of what has their names."""

    def f(x: Any, y: Any) -> Any:
        r = np.sqrt(x * x + y * y + 1)
        s = np.tanh(x - y) / r
        return np.log1p(s * s) + np.exp(-r) * s - np.abs(x) * y

    return f


def torch_chain(x: Any, y: Any) -> Any:
    import torch

    return chain(torch)(x, y)


def jax_chain(x: Any, y: Any) -> Any:
    import jax.numpy

    return chain(jax.numpy)(x, y)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "op by op"])
def test_chain(race: Race, fused: bool) -> None:
    """A user's formula: one kernel under `tg.fuse`, and the same steps recorded one by one."""
    rng = np.random.default_rng(0)
    f = chain(np)
    run, others = peers.raced(
        tg.fuse(f) if fused else f,
        (torch_chain, jax_chain),
        [numbers(rng), numbers(rng)],
        numbers(rng),
        tolerance=2e-6,
    )
    bare = floor(SIZE, "x y > z", "x y ct > dx dy")
    name = f"chain of 17, {'fused' if fused else 'op by op'}, f + b"
    race(name, run, others, floor=bare.runs, moved=bare.moved)


def test_fresh_memory(race: Race) -> None:
    """A copy into a new array beside the same copy into one that stands ready."""
    x = numbers(np.random.default_rng(0))
    others: dict[str, Any] = {"torch": None}
    if importable("torch"):
        import torch

        others = {"torch": torch.from_numpy(x).clone}
    bare = floor(SIZE, "x > y")
    race("copy to fresh memory, NumPy", x.copy, others, floor=bare.runs, moved=bare.moved)
