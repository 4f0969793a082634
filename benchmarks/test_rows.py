"""Reductions over the rows of a matrix and over its columns: forward and backward, float32.

The floor counts the large arrays alone: a forward that reduces reads x and writes next to nothing,
the backward of a normalisation reads x and the cotangent and writes the gradient. JAX may do both
in one sweep, which then beats the floor of two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from benchmarks import peers
from benchmarks.floor import floor
from benchmarks.race import Goal, Race, Run, ahead

SMALL_EPS = 1e-5
Function = Callable[..., Any]


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


# -- losses --------------------------------------------------------------------------------------


def entropies(labels: Any) -> tuple[Function, Function, Function]:
    """Softmax cross-entropy with those labels, its mean over rows: ours, PyTorch's, JAX's."""

    def with_torch(x: Any) -> Any:
        import torch

        return torch.nn.functional.cross_entropy(x, torch.from_numpy(labels))

    def with_jax(x: Any) -> Any:
        import jax
        import jax.numpy as jnp

        picked = jnp.take_along_axis(x, labels.astype(np.int32)[:, None], axis=1)[:, 0]
        return (jax.nn.logsumexp(x, axis=1) - picked).mean()

    return lambda x: tg.cross_entropy(x, labels), with_torch, with_jax


def entered(rows: int, classes: int) -> tuple[str, Run, dict[str, Run | None]]:
    x, labels = normal(rows, classes), np.random.default_rng(1).integers(0, classes, rows)
    mine, torch, jax = entropies(labels)
    return f"cross-entropy {rows}x{classes}, f + b", *peers.raced(mine, (torch, jax), [x])


def test_cross_entropy(race: Race) -> None:
    bare, goal = floor(4096 * 1000, "x >", "x > dx"), ahead(1.8, "torch")
    race(*entered(4096, 1000), floor=bare.runs, moved=bare.moved, goal=goal)


def test_small_cross_entropy(race: Race) -> None:
    """Next to no work: what the calls cost."""
    race(*entered(64, 10), moved=12 * 64 * 10)


# -- softmax and normalisation --------------------------------------------------------------------


def torch_norm(name: str, eps: float) -> Function:
    def f(x: Any, *affine: Any) -> Any:
        import torch

        return getattr(torch.nn.functional, name)(x, x.shape[1:], *affine, eps=eps)

    return f


def jax_layer_norm(x: Any, weight: Any, bias: Any) -> Any:
    import jax

    d = x - x.mean(axis=1, keepdims=True)
    return d * jax.lax.rsqrt((d * d).mean(axis=1, keepdims=True) + SMALL_EPS) * weight + bias


def jax_rms_norm(x: Any, weight: Any) -> Any:
    import jax

    return x * jax.lax.rsqrt((x * x).mean(axis=1, keepdims=True) + SMALL_EPS) * weight


def torch_along(name: str) -> Function:
    def f(x: Any) -> Any:
        import torch

        return getattr(torch, name)(x, dim=1)

    return f


def jax_along(name: str) -> Function:
    def f(x: Any) -> Any:
        import jax

        return getattr(jax.nn, name)(x, axis=1)

    return f


def layer_norm(x: Any, weight: Any, bias: Any) -> Any:
    return tg.layer_norm(x, x.shape[1:], weight, bias, SMALL_EPS)


def rms_norm(x: Any, weight: Any) -> Any:
    return tg.rms_norm(x, x.shape[1:], weight, SMALL_EPS)


WHOLE: dict[str, tuple[Function, Function, Function, int, int, tuple[Goal, ...]]] = {
    "softmax": (tg.softmax, torch_along("softmax"), jax_along("softmax"), 1000, 0, ()),
    "log-softmax": (
        tg.log_softmax,
        torch_along("log_softmax"),
        jax_along("log_softmax"),
        1000,
        0,
        (),
    ),
    "layer norm": (
        layer_norm,
        torch_norm("layer_norm", SMALL_EPS),
        jax_layer_norm,
        768,
        2,
        (ahead(1.1, "torch"),),
    ),
    "RMS norm": (rms_norm, torch_norm("rms_norm", SMALL_EPS), jax_rms_norm, 768, 1, ()),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole(race: Race, name: str) -> None:
    """Results as large as x; weight and bias, where there are any, want gradients too."""
    mine, torch, jax, columns, affine, goals = WHOLE[name]
    arrays = [normal(4096, columns), *[normal(columns, seed=k + 1) for k in range(affine)]]
    ct = normal(4096, columns, seed=9)
    run, others = peers.raced(mine, (torch, jax), arrays, ct, tolerance=4e-6)
    bare = floor(4096 * columns, "x > y", "y ct > dx" if "softmax" in name else "x ct > dx")
    name = f"{name} 4096x{columns}, f + b"
    race(name, run, others, floor=bare.runs, moved=bare.moved, goal=goals)


# -- reductions ------------------------------------------------------------------------------------


def reductions(name: str, axis: int) -> tuple[Function, Function, Function]:
    def with_torch(x: Any) -> Any:
        import torch

        options = {"correction": 0} if name in ("var", "std") else {}
        return getattr(torch, {"max": "amax"}.get(name, name))(x, dim=axis, **options)

    def with_jax(x: Any) -> Any:
        import jax
        import jax.numpy as jnp

        return getattr(jax.nn if name == "logsumexp" else jnp, name)(x, axis=axis)

    return lambda x: getattr(tg, name)(x, axis=axis), with_torch, with_jax


BACKWARD = {"sum": "> dx", "mean": "> dx"}  # the gradient of the others reads x again


@pytest.mark.parametrize("axis", [1, 0])
@pytest.mark.parametrize("name", ["sum", "mean", "max", "var", "std", "logsumexp"])
def test_reduction(race: Race, name: str, axis: int) -> None:
    mine, torch, jax = reductions(name, axis)
    x, ct = normal(4096, 768), normal((4096, 768)[1 - axis], seed=1)
    run, others = peers.raced(mine, (torch, jax), [x], ct, tolerance=1e-5)
    bare = floor(x.size, "x >", BACKWARD.get(name, "x > dx"))
    race(f"{name} 4096x768, axis {axis}, f + b", run, others, floor=bare.runs, moved=bare.moved)
