"""Descent: the valley x²/10 + sin x step by step, and a line fitted until the gradient is gone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg

STEPS = {
    1: -7.915547895,
    2: -7.257693114,
    8: -6.166115285,
    9: -6.070088113,
    10: -5.975433297,
    32: -1.308716762,
    33: -1.307655287,
    34: -1.307088763,
}
LAST_SLOPE = -0.00075602
GLOBAL, LOCAL = -1.30644, 3.83747


def valley(x: Any) -> Any:
    return x**2 / 10 + np.sin(x)


def descend(x: float, rate: float, steps: int, momentum: float = 0.0) -> list[float]:
    path, velocity, slope = [x], 0.0, tg.grad(valley)
    for _ in range(steps):
        velocity = momentum * velocity - rate * slope(x)
        x = x + velocity
        path.append(x)
    return path


def by_functions() -> list[float]:
    return descend(-9.0, 0.4, 34)


def by_the_tape() -> list[float]:
    x = tg.Tensor(-9.0, requires_grad=True)
    path = [-9.0]
    for _ in range(34):
        x.grad = None
        valley(x).backward()
        x = tg.Tensor(x.detach() - 0.4 * x.grad, requires_grad=True)
        path.append(x.item())
    return path


def by_the_optimizer() -> list[float]:
    x = tg.nn.Parameter(np.array(-9.0))
    optimizer = tg.optim.SGD([x], lr=0.4)
    path = [-9.0]
    for _ in range(34):
        optimizer.zero_grad()
        valley(x).backward()
        optimizer.step()
        path.append(x.item())
    return path


@pytest.mark.parametrize("way", [by_functions, by_the_tape, by_the_optimizer])
def test_every_printed_step(way: Any) -> None:
    path = way()
    assert {k: path[k] for k in STEPS} == pytest.approx(STEPS, abs=6e-10, rel=0)
    assert tg.grad(valley)(path[34]) == pytest.approx(LAST_SLOPE, abs=6e-9, rel=0)


def test_from_the_right_it_stops_in_the_local_minimum() -> None:
    end = descend(9.0, 0.4, 100)[-1]
    assert end == pytest.approx(LOCAL, abs=1e-5, rel=0)
    assert tg.grad(valley)(end) == pytest.approx(0, abs=1e-9)
    assert tg.grad(tg.grad(valley))(end) > 0


def test_too_large_a_step_diverges() -> None:
    path = np.abs(descend(-9.0, 12.0, 40))
    assert path[-1] > 1e6
    assert (path[-5:] > 2 * path[-10:-5]).all()


def test_momentum_crosses_the_small_valley() -> None:
    path = descend(9.0, 0.4, 200, momentum=0.8)
    assert path[-1] == pytest.approx(GLOBAL, abs=1e-5, rel=0)
    assert valley(path[-1]) < valley(LOCAL)


def test_momentum_of_the_optimizer_takes_the_same_path() -> None:
    x = tg.nn.Parameter(np.array(9.0))
    optimizer = tg.optim.Momentum([x], lr=0.4, momentum=0.8)
    for expected in descend(9.0, 0.4, 40, momentum=0.8)[1:]:
        optimizer.zero_grad()
        valley(x).backward()
        optimizer.step()
        assert x.item() == pytest.approx(expected, rel=1e-10)


def test_a_line_fitted_until_the_gradient_is_gone(rng: np.random.Generator) -> None:
    x = np.arange(1.0, 21.0)
    k, b = rng.uniform(-2, 2), rng.uniform(-5, 5)
    y = k * x + b + rng.normal(0, 0.5, x.size)
    columns = np.column_stack([x, np.ones(x.size)])
    gradient = tg.grad(lambda theta: np.sum((columns @ theta - y) ** 2) / (2 * x.size))
    theta = np.zeros(2)
    for _ in range(20_000):
        slope = gradient(theta)
        if (np.abs(slope) < 1e-5).all():
            break
        theta = theta - 0.01 * slope
    else:
        pytest.fail(f"gradient {slope} after 20,000 steps")
    best = np.linalg.lstsq(columns, y, rcond=None)[0]
    np.testing.assert_allclose(theta, best, rtol=0, atol=1e-3)
