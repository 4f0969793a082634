"""Optimizers that PyTorch lacks, against the formulas of their papers written out in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import nn, optim

Array = Any
SHAPES = ((4, 3), (5,), (2, 2, 2))


def lion(lr: float, betas: tuple[float, float], weight_decay: float) -> Callable[..., Array]:
    def step(t: int, w: Array, g: Array, s: dict[str, Array]) -> Array:
        m = s.get("m", np.zeros_like(w))
        c = betas[0] * m + (1 - betas[0]) * g
        s["m"] = betas[1] * m + (1 - betas[1]) * g
        return w - lr * (np.sign(c) + weight_decay * w)

    return step


def lars(lr: float, momentum: float, weight_decay: float, trust: float) -> Callable[..., Array]:
    def step(t: int, w: Array, g: Array, s: dict[str, Array]) -> Array:
        weight = np.linalg.norm(w)
        below = np.linalg.norm(g) + weight_decay * weight
        local = trust * weight / below if weight and below else 1.0
        s["v"] = momentum * s.get("v", 0.0) + lr * local * (g + weight_decay * w)
        return w - s["v"]

    return step


def lamb(
    lr: float, betas: tuple[float, float], eps: float, weight_decay: float
) -> Callable[..., Array]:
    def step(t: int, w: Array, g: Array, s: dict[str, Array]) -> Array:
        s["m"] = betas[0] * s.get("m", 0.0) + (1 - betas[0]) * g
        s["v"] = betas[1] * s.get("v", 0.0) + (1 - betas[1]) * g * g
        m, v = s["m"] / (1 - betas[0] ** t), s["v"] / (1 - betas[1] ** t)
        r = m / (np.sqrt(v) + eps) + weight_decay * w
        weight, update = np.linalg.norm(w), np.linalg.norm(r)
        return w - lr * (weight / update if weight and update else 1.0) * r

    return step


CASES: dict[str, tuple[Any, Any]] = {
    "Lion": (lambda p: optim.Lion(p), lion(1e-4, (0.9, 0.99), 0.0)),
    "Lion decay": (
        lambda p: optim.Lion(p, 0.01, (0.8, 0.7), weight_decay=0.5),
        lion(0.01, (0.8, 0.7), 0.5),
    ),
    "LARS": (lambda p: optim.LARS(p), lars(0.1, 0.9, 0.0, 1e-3)),
    "LARS decay": (lambda p: optim.LARS(p, 0.5, 0.8, 0.1, 0.02), lars(0.5, 0.8, 0.1, 0.02)),
    "LAMB": (lambda p: optim.LAMB(p), lamb(1e-3, (0.9, 0.999), 1e-6, 0.0)),
    "LAMB decay": (
        lambda p: optim.LAMB(p, 0.02, (0.8, 0.95), 1e-4, weight_decay=0.1),
        lamb(0.02, (0.8, 0.95), 1e-4, 0.1),
    ),
}


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["descent", "ascent"])
@pytest.mark.parametrize("name", CASES)
def test_as_the_paper(name: str, sign: float, rng: np.random.Generator) -> None:
    """A parameter that begins at zero, and a gradient that is zero in some steps."""
    make, rule = CASES[name]
    want = [rng.standard_normal(shape) for shape in SHAPES]
    want[1] *= 0
    params = [nn.Parameter(w.copy()) for w in want]
    opt, states = make(params), [{} for _ in want]
    opt.param_groups[0]["maximize"] = sign < 0
    for t in range(1, 51):
        for k, p in enumerate(params):
            g = rng.standard_normal(p.shape) * (t % 7 != 1 or k != 2)
            p.grad = tg.tensor(sign * g)
            want[k] = rule(t, want[k], g, states[k])
        opt.step()
    for p, w in zip(params, want):
        np.testing.assert_allclose(p.detach().numpy(), w, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["LARS", "LAMB"])
def test_complex_parameters_are_pairs(name: str, rng: np.random.Generator) -> None:
    start = rng.standard_normal((3, 2)) + 1j * rng.standard_normal((3, 2))
    p, q = nn.Parameter(start.copy()), nn.Parameter(start.copy().view("f8"))
    a, b = getattr(optim, name)([p], 0.1), getattr(optim, name)([q], 0.1)
    for _ in range(5):
        g = rng.standard_normal((3, 2)) + 1j * rng.standard_normal((3, 2))
        p.grad, q.grad = tg.tensor(g), tg.tensor(g.view("f8"))
        a.step()
        b.step()
    found, want = p.detach().numpy().view("f8"), q.detach().numpy()
    np.testing.assert_allclose(found, want, rtol=1e-13, atol=1e-14)  # a step may end near 0


def test_muon_makes_orthogonal(rng: np.random.Generator) -> None:
    """After enough of the steps that converge every singular value is 1."""
    from tensorgrad.optim.muon import orthogonal

    for shape in ((5, 3), (3, 5)):
        x = tg.tensor(rng.standard_normal((2, *shape)))
        u, _, v = np.linalg.svd(x.numpy(), full_matrices=False)
        found = orthogonal(x, (1.875, -1.25, 0.375), 40, 1e-7)
        np.testing.assert_allclose(found.numpy(), u @ v, atol=1e-9)


def test_what_does_not_fit() -> None:
    with pytest.raises(tg.ShapeError, match=r"Muon: got a parameter of shape \(2,\), expected mat"):
        optim.Muon([nn.Parameter([1.0, 2.0])])
    for kind in (optim.Muon, optim.Adafactor):
        with pytest.raises(tg.DTypeError, match=r"got a parameter of complex128, expected real"):
            kind([nn.Parameter(np.ones((2, 2), complex))])
    with pytest.raises(ValueError, match="Muon: got adjust_lr_fn='x', expected None or one of"):
        optim.Muon([nn.Parameter(np.ones((2, 2)))], adjust_lr_fn="x")
