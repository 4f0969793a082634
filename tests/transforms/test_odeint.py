"""odeint: closed forms, SciPy's solver, and derivatives in the start, the times and parameters."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
import scipy.integrate

import tensorgrad as tg
from tensorgrad.core.tensor import Tensor
from tensorgrad.testing import check_grad

TIGHT = {"rtol": 1e-11, "atol": 1e-12}
both = pytest.mark.parametrize("gradient", ["direct", "adjoint"])


def flow(y: Any, t: Any, w: Any) -> Any:
    return np.tanh(w @ y) + np.sin(2.0 * t) * y[::-1]


@pytest.fixture
def problem(rng: np.random.Generator) -> tuple[Any, Any, Any]:
    times = np.cumsum(rng.uniform(0.2, 0.5, 4)) - 0.5
    return rng.standard_normal(3), times, 0.7 * rng.standard_normal((3, 3))


def test_it_is_scipys_solution(problem: Any) -> None:
    y0, times, w = problem
    for order in (1, -1):
        ts = times[::order]
        exact = scipy.integrate.solve_ivp(
            lambda t, y: flow(y, t, w), (ts[0], ts[-1]), y0, "DOP853", ts, rtol=1e-12, atol=1e-13
        ).y.T
        found = tg.odeint(flow, y0, ts, w, **TIGHT)
        assert type(found) is np.ndarray
        np.testing.assert_array_equal(found[0], y0)
        np.testing.assert_allclose(found, exact, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(tg.odeint(flow, y0, ts, w), exact, rtol=1e-6, atol=1e-6)


def test_outputs_between_steps_are_as_exact_as_steps() -> None:
    times = np.linspace(0.0, 6.0, 301)
    found = tg.odeint(lambda y, t: {"x": y["v"], "v": -y["x"]}, {"x": 0.0, "v": 1.0}, times)
    np.testing.assert_allclose(found["x"], np.sin(times), atol=1e-6)
    np.testing.assert_allclose(found["v"], np.cos(times), atol=1e-6)


def test_complex_states(rng: np.random.Generator) -> None:
    w = rng.uniform(1.0, 2.0)
    found = tg.odeint(lambda y, t: 1j * w * y, 1.0 + 0.0j, np.array([0.0, 1.5]), **TIGHT)
    np.testing.assert_allclose(found[1], np.exp(1.5j * w), rtol=1e-9)


def test_single_precision() -> None:
    y0, times = np.ones(2, np.float32), np.array([0.0, 1.0], np.float32)
    found = tg.odeint(lambda y, t: -y, y0, times)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[1], np.exp(-1.0), rtol=1e-5)


@both
def test_derivatives_by_differences(problem: Any, gradient: str, rng: np.random.Generator) -> None:
    def f(y: Any, t: Any, w: Any) -> Any:
        return tg.odeint(flow, y, t, w, gradient=gradient, **TIGHT)

    def capturing(y: Any, t: Any, w: Any) -> Any:
        return tg.odeint(lambda y, t: flow(y, t, w), y, t, gradient=gradient, **TIGHT)

    check_grad(f, problem, rng=rng)
    weights = rng.standard_normal((4, 3))
    given = tg.grad(lambda *p: np.sum(weights * f(*p)), (0, 1, 2))(*problem)
    captured = tg.grad(lambda *p: np.sum(weights * capturing(*p)), (0, 1, 2))(*problem)
    for a, b in zip(given, captured):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@both
def test_every_order_of_a_closed_form(gradient: str, rng: np.random.Generator) -> None:
    start, end, rate, y0 = 0.3, 1.1, rng.uniform(0.5, 1.5), rng.uniform(1.0, 2.0)

    def f(y0: Any, a: Any, b: Any, rate: Any) -> Any:
        times = np.stack([a, b])
        return tg.odeint(lambda y, t, r: -r * t * y, y0, times, rate, gradient=gradient,
                         rtol=1e-9, atol=1e-10)[1]  # fmt: skip

    def exact(y0: Any, a: Any, b: Any, rate: Any) -> Any:
        return y0 * np.exp(-rate * (b * b - a * a) / 2)

    point, every = (y0, start, end, rate), (0, 1, 2, 3)
    np.testing.assert_allclose(
        tg.grad(f, every)(*point), tg.grad(exact, every)(*point), rtol=1e-6, atol=1e-8
    )
    for k in every:
        np.testing.assert_allclose(
            tg.grad(lambda *p, k=k: tg.grad(f, k)(*p), every)(*point),
            tg.grad(lambda *p, k=k: tg.grad(exact, k)(*p), every)(*point),
            rtol=1e-5,
            atol=1e-7,
        )


@both
def test_forward_mode_and_batches(problem: Any, gradient: str, rng: np.random.Generator) -> None:
    _, times, w = problem
    moves = [rng.standard_normal(np.shape(p)) for p in problem]
    batch = rng.standard_normal((3, 3))

    def f(y: Any, t: Any = times, w: Any = w) -> Any:
        return np.sum(np.sin(tg.odeint(flow, y, t, w, gradient=gradient, **TIGHT)))

    found = tg.grad(f, (0, 1, 2))(*problem)
    along = sum(np.sum(g * v) for g, v in zip(found, moves))
    np.testing.assert_allclose(tg.jvp(f, problem, moves)[1], along, rtol=1e-7)
    slope = tg.grad(lambda y: f(y))
    each = [slope(y) for y in batch]
    np.testing.assert_allclose(tg.vmap(slope)(batch), each, rtol=1e-7, atol=1e-8)
    outer = tg.grad(lambda b: np.sum(tg.vmap(lambda y: f(y))(b)))(batch)
    np.testing.assert_allclose(outer, each, rtol=1e-7, atol=1e-8)


@both
def test_a_captured_parameter_has_a_gradient(gradient: str) -> None:
    rate = Tensor(0.7, requires_grad=True)
    late = Tensor(2.0, requires_grad=True)

    def f(y: Any, t: Any) -> Any:
        return -rate * y if t < 0.5 else -late * y

    y = tg.odeint(f, 1.0, np.array([0.0, 0.5]), gradient=gradient, **TIGHT)[1]
    y = tg.odeint(f, y, np.array([0.5, 1.0]), gradient=gradient, **TIGHT)[1]
    y.backward()
    assert rate.grad is not None
    assert late.grad is not None
    np.testing.assert_allclose(late.grad.item(), -0.5 * np.exp(-0.35 - 1.0), rtol=1e-7)
    np.testing.assert_allclose(rate.grad.item(), -0.5 * np.exp(-0.35 - 1.0), rtol=1e-7)


@pytest.mark.cpu_only("tracemalloc sees memory of the host")
def test_the_adjoint_keeps_no_steps() -> None:
    y0 = np.linspace(1.0, 2.0, 20_000)
    peaks = {}
    for gradient in ("direct", "adjoint"):
        x = Tensor(y0, requires_grad=True)
        peaks[gradient] = []
        for end in (2.0, 12.0):
            tracemalloc.start()
            y = tg.odeint(lambda y, t: np.cos(3 * t) * y, x, np.array([0.0, end]),
                          gradient=gradient, rtol=1e-6, atol=1e-6)  # fmt: skip
            y[1].sum().backward()
            peaks[gradient].append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks["adjoint"][1] < 1.5 * peaks["adjoint"][0]
    assert peaks["direct"][1] < 4 * peaks["direct"][0]


def test_refusals() -> None:
    def grow(y: Any, t: Any) -> Any:
        return y * y

    with pytest.raises(RuntimeError, match="expected steps above"):
        tg.odeint(grow, 1.0, np.array([0.0, 2.0]))
    with pytest.raises(ValueError, match="all increase or all decrease"):
        tg.odeint(grow, 1.0, np.array([0.0, 1.0, 0.5]))
    with pytest.raises(ValueError, match="expected 'direct' or 'adjoint'"):
        tg.odeint(grow, 1.0, np.array([0.0, 0.5]), gradient="both")
    with pytest.raises(ValueError, match="the same times for every example"):
        tg.vmap(lambda t: tg.odeint(grow, 1.0, t))(np.array([[0.0, 0.5], [0.0, 0.6]]))
    with pytest.raises(tg.ShapeError, match="one array per array of the state"):
        tg.odeint(lambda y, t: [y[0], y[1]], np.ones(2), np.array([0.0, 0.5]))
    w = Tensor(1j, requires_grad=True)
    with pytest.raises(tg.DTypeError, match="try gradient='direct'"):
        tg.odeint(lambda y, t: (w * y).real, 1.0, np.array([0.0, 0.5]), gradient="adjoint")
