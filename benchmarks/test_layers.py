"""Layers around the products: pooling, resampling, distances and losses, in float32.

Forwards and backwards into every floating argument; the bytes are those of the arguments, of the
result and of both cotangents, each moved once. The goal is PyTorch's time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import tensorgrad as tg
from benchmarks.peers import raced
from benchmarks.race import Race, ahead, importable

F = tg.nn.functional


class Case(NamedTuple):
    """call(functions of the library, constants as its arrays, *arguments), and shapes of both."""

    call: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    constants: Callable[[np.random.Generator], list[Any]] = lambda rng: []


IMAGES, PICTURES = (32, 64, 28, 28), (8, 3, 64, 64)


def labels(rng: np.random.Generator) -> list[Any]:
    return [rng.integers(0, 1000, 256)]


def shares(rng: np.random.Generator) -> list[Any]:
    return [rng.dirichlet(np.ones(1000), 256).astype(np.float32)]


def bags(rng: np.random.Generator) -> list[Any]:
    return [rng.integers(0, 1000, (64, 20))]


def sampled(mode: str, shape: tuple[int, ...] = PICTURES) -> Case:
    places = (shape[0], 64, 64, 2)
    return Case(
        lambda f, c, x, g: f.grid_sample(x, 0.5 * g, mode=mode, align_corners=False),
        (shape, places),
    )


def pooled(name: str, *options: Any, shape: tuple[int, ...] = IMAGES) -> Case:
    return Case(lambda f, c, x: getattr(f, name)(x, *options), (shape,))


def resized(mode: str, size: int, shape: tuple[int, ...] = PICTURES) -> Case:
    return Case(lambda f, c, x: f.interpolate(x, size=size, mode=mode), (shape,))


def between(p: float, *shapes: tuple[int, ...]) -> Case:
    return Case(lambda f, c, x, y: f.cdist(x, y, p), shapes)


CASES = {
    "grid_sample bilinear": sampled("bilinear"),
    "grid_sample bilinear, 64 channels": sampled("bilinear", (8, 64, 32, 32)),
    "grid_sample bicubic": sampled("bicubic"),
    "cdist 256x256x64": between(2.0, (256, 64), (256, 64)),
    "cdist 256x256x64, p = 1": between(1.0, (256, 64), (256, 64)),
    "cdist 256x256x64, p = inf": between(float("inf"), (256, 64), (256, 64)),
    "cdist 20x20x64": between(2.0, (20, 64), (20, 64)),
    "cdist 512x512x512": between(2.0, (512, 512), (512, 512)),
    "pdist 256x64": Case(lambda f, c, x: f.pdist(x), ((256, 64),)),
    "adaptive_avg_pool2d to 1": pooled("adaptive_avg_pool2d", 1),
    "adaptive_avg_pool2d to 5": pooled("adaptive_avg_pool2d", 5),
    "adaptive_max_pool2d to 1": pooled("adaptive_max_pool2d", 1),
    "adaptive_max_pool2d to 5": pooled("adaptive_max_pool2d", 5),
    "max_pool2d 2x2": pooled("max_pool2d", 2),
    "max_pool2d 3x3 stride 2": pooled("max_pool2d", 3, 2, 1),
    "avg_pool2d 2x2": pooled("avg_pool2d", 2),
    "avg_pool2d 3x3 stride 2": pooled("avg_pool2d", 3, 2, 1),
    "interpolate nearest to 128": resized("nearest", 128),
    "interpolate bilinear to 128": resized("bilinear", 128),
    "interpolate bilinear to 48": resized("bilinear", 48),
    "interpolate bicubic to 128": resized("bicubic", 128),
    "pixel_shuffle 2": pooled("pixel_shuffle", 2),
    "unfold 3x3": Case(lambda f, c, x: f.unfold(x, 3, padding=1), ((8, 16, 28, 28),)),
    "fold 3x3": Case(lambda f, c, x: f.fold(x, (28, 28), 3, padding=1), ((8, 144, 784),)),
    "embedding_bag 64x20x128": Case(
        lambda f, c, w: f.embedding_bag(c[0], w, mode="mean"), ((1000, 128),), bags
    ),
    "nll_loss 256x1000": Case(lambda f, c, x: f.nll_loss(x, c[0]), ((256, 1000),), labels),
    "cross_entropy 256x1000": Case(
        lambda f, c, x: f.cross_entropy(x, c[0]), ((256, 1000),), labels
    ),
    "cross_entropy 256x1000, shares": Case(
        lambda f, c, x: f.cross_entropy(x, c[0]), ((256, 1000),), shares
    ),
}


def with_torch(case: Case, constants: list[Any]) -> Any:
    if not importable("torch"):
        return None
    import torch

    class Functions:
        """Theirs, of both namespaces."""

        def __getattr__(self, name: str) -> Any:
            return getattr(torch.nn.functional, name, None) or getattr(torch, name)

    given, functions = [torch.from_numpy(c) for c in constants], Functions()
    return lambda *args: case.call(functions, given, *args)


@pytest.mark.parametrize("name", CASES)
def test_layer(race: Race, name: str) -> None:
    case, rng = CASES[name], np.random.default_rng(0)
    arrays = [rng.standard_normal(s, dtype=np.float32) for s in case.shapes]
    constants = case.constants(rng)

    def mine(*args: Any) -> Any:
        return case.call(F, constants, *args)

    y = mine(*arrays)
    ct = rng.standard_normal(y.shape, dtype=np.float32) if y.ndim else None
    run, others = raced(mine, (with_torch(case, constants), None), arrays, ct, tolerance=1e-4)
    moved = 2.0 * (sum(a.nbytes for a in arrays) + 4 * y.size)
    race(name, run, others, moved=moved, goal=ahead(1.0, "torch"))
