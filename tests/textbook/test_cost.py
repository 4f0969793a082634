"""Why reverse mode: n parameters and one loss cost forward mode n passes and reverse mode one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg


class Counted:
    """A function that counts how often it is run."""

    def __init__(self, f: Callable[..., Any]) -> None:
        self.f, self.passes = f, 0

    def __call__(self, *args: Any) -> Any:
        self.passes += 1
        return self.f(*args)


def deep(parameters: Any) -> Any:
    """tanh layers of width 3, one after the other; the parameters in one flat vector."""
    layers = parameters.reshape(-1, 3, 3)
    h = np.array([0.5, -1.0, 2.0])
    for k in range(layers.shape[0]):
        h = np.tanh(h @ layers[k])
    return np.sum(h * h)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_passes(depth: int, rng: np.random.Generator) -> None:
    at = rng.normal(0, 0.8, 9 * depth)
    reverse, forward = Counted(deep), Counted(deep)
    gradient = tg.grad(reverse)(at)
    columns = [tg.jvp(forward, (at,), (e,))[1] for e in np.eye(at.size)]
    assert reverse.passes == 1
    assert forward.passes == at.size == 9 * depth
    np.testing.assert_allclose(gradient, columns, rtol=0, atol=1e-13)


def test_forward_mode_wins_for_one_input_and_many_outputs(rng: np.random.Generator) -> None:
    w = rng.standard_normal(40)
    f = Counted(lambda x: np.sin(x * w))
    _, slopes = tg.jvp(f, (0.3,), (1.0,))
    assert f.passes == 1
    np.testing.assert_allclose(slopes, w * np.cos(0.3 * w), rtol=0, atol=1e-14)
    _, pull = tg.vjp(f, 0.3)
    rows = [pull(e)[0] for e in np.eye(40)]
    np.testing.assert_allclose(rows, slopes, rtol=0, atol=1e-14)
