"""SciPy's solvers with tensorgrad's derivatives, as their documentation passes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg

pytest.importorskip("scipy")
from scipy import integrate, optimize


def rosen(x: Any) -> Any:
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def system(x: Any) -> Any:
    return np.stack([x[0] + 0.5 * (x[0] - x[1]) ** 3 - 1.0, 0.5 * (x[1] - x[0]) ** 3 + x[1]])


START = np.array([1.3, 0.7, 0.8, 1.9, 1.2])
HESSIANS: dict[str, dict[str, Any]] = {
    "none": {},
    "matrix": {"hess": tg.hessian(rosen)},
    "product": {"hessp": lambda x, p: tg.hvp(rosen, x, p)},
}


@pytest.mark.parametrize(
    ("method", "hessian"),
    [("BFGS", "none"), ("L-BFGS-B", "none"), ("CG", "none"), ("TNC", "none"), ("SLSQP", "none"),
     ("Newton-CG", "none"), ("Newton-CG", "matrix"), ("Newton-CG", "product"),
     ("trust-ncg", "matrix"), ("trust-ncg", "product"), ("trust-krylov", "product"),
     ("trust-exact", "matrix"), ("trust-constr", "product")],
)  # fmt: skip
def test_minimize(method: str, hessian: str) -> None:
    found = optimize.minimize(
        tg.value_and_grad(rosen), START, jac=True, method=method, **HESSIANS[hessian]
    )
    np.testing.assert_allclose(found.x, np.ones(5), atol=1e-3)


def test_derivatives_are_those_of_scipy() -> None:
    np.testing.assert_allclose(tg.hessian(rosen)(START), optimize.rosen_hess(START))
    p = np.arange(5.0)
    np.testing.assert_allclose(tg.hvp(rosen, START, p), optimize.rosen_hess_prod(START, p))
    np.testing.assert_allclose(tg.grad(rosen)(START), optimize.rosen_der(START))


def test_minimize_with_options_arguments_and_constraints(rng: np.random.Generator) -> None:
    target = rng.standard_normal(3)

    def distance(x: Any, target: Any) -> Any:
        return np.sum((x - target) ** 2)

    constraint = {
        "type": "eq",
        "fun": lambda x: np.sum(x) - 1.0,
        "jac": tg.grad(lambda x: np.sum(x) - 1.0),
    }
    found = optimize.minimize(
        tg.value_and_grad(distance), np.zeros(3), args=(target,), jac=True, constraints=constraint
    )
    np.testing.assert_allclose(found.x, target - (target.sum() - 1) / 3, atol=1e-3)
    nonlinear = optimize.NonlinearConstraint(
        lambda x: x @ x, 1.0, 1.0, jac=tg.grad(lambda x: x @ x),
        hess=lambda x, v: v[0] * tg.hessian(lambda x: x @ x)(x),
    )  # fmt: skip
    found = optimize.minimize(
        tg.value_and_grad(distance), np.ones(3), args=(target,), jac=True, method="trust-constr",
        hess=tg.hessian(distance), constraints=nonlinear,
    )  # fmt: skip
    np.testing.assert_allclose(found.x, target / np.linalg.norm(target), atol=1e-4)
    bound = optimize.minimize(
        tg.value_and_grad(rosen), np.zeros(2), jac=True, bounds=[(0, 0.5)] * 2, method="L-BFGS-B"
    )
    np.testing.assert_allclose(bound.x, [0.5, 0.25], atol=1e-5)


@pytest.mark.parametrize("method", ["hybr", "lm"])
def test_root(method: str) -> None:
    found = optimize.root(system, [0.0, 0.0], jac=tg.jacobian(system), method=method)
    assert found.success
    np.testing.assert_allclose(system(found.x), 0.0, atol=1e-10)
    both = lambda x: (system(x), tg.jacobian(system)(x))  # noqa: E731
    again = optimize.root(both, [0.0, 0.0], jac=True, method=method)
    np.testing.assert_allclose(again.x, found.x, atol=1e-9)


def test_scalar_root() -> None:
    f = lambda x: x**3 - 2.0  # noqa: E731
    found = optimize.root_scalar(f, x0=1.0, fprime=tg.grad(f), fprime2=tg.grad(tg.grad(f)))
    assert found.root == pytest.approx(2 ** (1 / 3))


@pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
def test_least_squares(method: str, rng: np.random.Generator) -> None:
    t = np.linspace(0, 2, 30)
    true = np.array([2.0, 1.3, 0.5])

    def model(p: Any) -> Any:
        return p[0] * np.exp(-p[1] * t) + p[2]

    data = model(true)
    residuals = lambda p: model(p) - data  # noqa: E731
    found = optimize.least_squares(
        residuals, np.ones(3), jac=tg.jacobian(residuals), method=method, xtol=1e-12
    )
    np.testing.assert_allclose(found.x, true, rtol=1e-6)
    curve = lambda t, a, b, c: a * np.exp(-b * t) + c  # noqa: E731
    by_columns = tg.jacobian(curve, (1, 2, 3), mode="forward")
    fitted, _ = optimize.curve_fit(
        curve, t, data, [1.0, 1.0, 1.0], jac=lambda *a: np.stack(by_columns(*a), axis=-1)
    )
    np.testing.assert_allclose(fitted, true, rtol=1e-6)


@pytest.mark.parametrize("method", ["Radau", "BDF", "LSODA"])
def test_solve_ivp(method: str) -> None:
    def robertson(t: float, y: Any) -> Any:
        a, b, c = -0.04 * y[0], 1e4 * y[1] * y[2], 3e7 * y[1] ** 2
        return np.stack([a + b, -a - b - c, c])

    found = integrate.solve_ivp(
        robertson, (0, 40), [1.0, 0.0, 0.0], method=method, jac=tg.jacobian(robertson, 1),
        rtol=1e-6, atol=1e-10,
    )  # fmt: skip
    assert found.success
    np.testing.assert_allclose(found.y[:, -1], [0.7158, 9.185e-6, 0.2842], rtol=1e-3)


def test_the_objective_of_a_network(rng: np.random.Generator) -> None:
    """Flat parameters of a model, as L-BFGS wants them."""
    x = rng.standard_normal((40, 2))
    y = np.tanh(x @ [1.0, -2.0])

    def loss(flat: Any) -> Any:
        hidden = np.tanh(x @ flat[:8].reshape(2, 4) + flat[8:12])
        return np.mean((hidden @ flat[12:16] + flat[16] - y) ** 2)

    start = rng.standard_normal(17) * 0.5
    found = optimize.minimize(tg.value_and_grad(loss), start, jac=True, method="L-BFGS-B")
    assert found.fun < 0.05 * loss(start)
    assert optimize.check_grad(loss, tg.grad(loss), start) < 1e-5
