"""Nonlinear data for lessons: points of the plane, in [-1, 1] up to noise.

Each function draws `n` points; `noise` is the standard deviation of what is added to them after
they got their target. The names are those of the TensorFlow Playground (Smilkov et al.,
Direct-Manipulation Visualization of Deep Networks, 2017, arXiv:1708.03788).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad._errors import need
from tensorgrad.data.dataset import Array, Dataset

Rng = np.random.Generator | int
_FEATURES = ("x1", "x2")


def gauss(n: int = 500, noise: float = 0.1, rng: Rng = 0) -> Dataset:
    """Two round clouds about (1/2, 1/2) and (-1/2, -1/2); a straight line separates them."""
    draw, y = _start(n, rng)
    x = draw.normal(0.0, 0.15, (n, 2)) + np.where(y == 1, 0.5, -0.5)[:, None]
    return _points("gauss", x, y, noise, draw)


def circle(n: int = 500, noise: float = 0.05, rng: Rng = 0) -> Dataset:
    """A disc of radius 1/2 inside a ring from 0.7 to 1; squared features separate them."""
    draw, y = _start(n, rng)
    inner, outer = np.where(y == 1, 0.0, 0.7), np.where(y == 1, 0.5, 1.0)
    # the root makes the density equal over each area
    radius = np.sqrt(inner**2 + draw.random(n) * (outer**2 - inner**2))
    angle = draw.uniform(0.0, 2 * np.pi, n)
    return _points("circle", _polar(radius, angle), y, noise, draw)


def xor(n: int = 500, noise: float = 0.05, rng: Rng = 0) -> Dataset:
    """Four squares, the class is 1 where x1 and x2 have one sign; x1 * x2 separates them."""
    draw, y = _start(n, rng)
    size, sign = draw.uniform(0.06, 1.0, (n, 2)), draw.choice([-1.0, 1.0], n)
    x = size * np.stack([sign, np.where(y == 1, sign, -sign)], 1)
    return _points("xor", x, y, noise, draw)


def spiral(n: int = 500, noise: float = 0.02, rng: Rng = 0) -> Dataset:
    """Two arms of 1.75 turns, half a turn apart; a network needs depth for them."""
    draw, y = _start(n, rng)
    along = draw.random(n)
    angle = 1.75 * 2 * np.pi * along + np.where(y == 1, 0.0, np.pi)
    return _points("spiral", _polar(along, angle), y, noise, draw)


def plane(n: int = 500, noise: float = 0.05, rng: Rng = 0) -> Dataset:
    """Regression on (x1 + x2) / 2, which a linear model fits."""
    draw, _ = _start(n, rng)
    x = draw.uniform(-1.0, 1.0, (n, 2))
    return _points("plane", x, x.sum(1) / 2, noise, draw)


def multi_gauss(n: int = 500, noise: float = 0.05, rng: Rng = 0) -> Dataset:
    """Regression on six bumps of alternating sign, three in each of two rows."""
    draw, _ = _start(n, rng)
    x = draw.uniform(-1.0, 1.0, (n, 2))
    y = np.zeros(n)
    for k, (c1, c2) in enumerate((a, b) for b in (-0.45, 0.45) for a in (-0.7, 0.0, 0.7)):
        squared = (x[:, 0] - c1) ** 2 + (x[:, 1] - c2) ** 2
        y += (-1) ** k * np.exp(-squared / (2 * 0.17**2))
    return _points("multi-gauss", x, y, noise, draw)


TOYS: dict[str, Callable[..., Dataset]] = {
    "gauss": gauss,
    "circle": circle,
    "xor": xor,
    "spiral": spiral,
    "plane": plane,
    "multi-gauss": multi_gauss,
}


def _start(n: int, rng: Rng) -> tuple[np.random.Generator, Array]:
    """The generator, and labels of which half are 1, in random order."""
    need(n >= 2, "toys", n=n, want="two points or more", fix="n=500")
    draw = np.random.default_rng(rng)
    return draw, draw.permutation(np.arange(n) % 2)


def _polar(radius: Array, angle: Array) -> Any:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)


def _points(name: str, x: Array, y: Array, noise: float, draw: np.random.Generator) -> Dataset:
    need(noise >= 0, name, noise=noise, want="noise >= 0", fix="noise=0.0")
    x = x + noise * draw.normal(size=x.shape)
    if y.dtype.kind == "i":
        return Dataset(x, y, "classification", ("0", "1"), _FEATURES, name)
    return Dataset(x, y, "regression", None, _FEATURES, name)
