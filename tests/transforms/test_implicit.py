"""root, fixed_point, custom_root: implicit functions against closed forms and differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.optimize

import tensorgrad as tg
from tensorgrad.core.tensor import Tensor
from tensorgrad.testing import check_grad
from tensorgrad.transforms import implicit


@pytest.fixture
def system(rng: np.random.Generator) -> tuple[Any, Any]:
    return 0.3 * rng.standard_normal((4, 4)) + 2 * np.eye(4), rng.standard_normal(4)


def explicit(a: Any, b: Any, **options: Any) -> Any:
    return tg.root(lambda x, a, b: a @ x + 0.1 * x**3 - b, np.zeros(4), a, b, **options)


def capturing(a: Any, b: Any) -> Any:
    return tg.root(lambda x: a @ x + 0.1 * x**3 - b, 0 * b)


def test_root_of_a_number() -> None:
    def sqrt(a: Any) -> Any:
        return tg.root(lambda x, a: x * x - a, 1.0, a)

    assert type(sqrt(4.0)) is float
    np.testing.assert_allclose(sqrt(4.0), 2.0)
    np.testing.assert_allclose(tg.grad(sqrt)(4.0), 0.25)
    np.testing.assert_allclose(tg.grad(tg.grad(sqrt))(4.0), -1 / 32)
    np.testing.assert_allclose(tg.grad(tg.grad(tg.grad(sqrt)))(4.0), 3 / 256)


@pytest.mark.parametrize("f", [explicit, capturing])
def test_root_has_derivatives_of_every_order(f: Any, system: Any, rng: np.random.Generator) -> None:
    check_grad(f, system, order=3, rng=rng)


@pytest.mark.parametrize("f", [explicit, capturing])
def test_second_derivatives_agree_in_every_composition(
    f: Any, system: Any, rng: np.random.Generator
) -> None:
    a, b = system
    v = rng.standard_normal(4)

    def g(b: Any) -> Any:
        return np.sum(np.sin(f(a, b)))

    step = 1e-6
    expected = (tg.grad(g)(b + step * v) - tg.grad(g)(b - step * v)) / (2 * step)
    mapped = tg.vmap(tg.grad(g))
    found = [
        tg.jvp(tg.grad(g), (b,), (v,))[1],
        tg.grad(lambda b: np.sum(tg.grad(g)(b) * v))(b),
        tg.grad(lambda b: tg.jvp(g, (b,), (v,))[1])(b),
        tg.jvp(lambda b: tg.jvp(g, (b,), (v,))[1], (b,), (v,))[1],
        tg.jvp(lambda b: mapped(np.stack([b, b]))[0], (b,), (v,))[1],
        tg.grad(lambda b: np.sum(mapped(np.stack([b, b]))[0] * v))(b),
        tg.vmap(lambda b: tg.jvp(tg.grad(g), (b,), (v,))[1])(np.stack([b, b]))[1],
    ]
    for k, h in enumerate(found):
        np.testing.assert_allclose(h, expected @ v if k == 3 else expected, rtol=1e-6, atol=1e-8)
        other = found[0] @ v if k == 3 else found[0]
        np.testing.assert_allclose(h, other, rtol=1e-9, atol=1e-12)


def test_vmap_solves_each_example(system: Any, rng: np.random.Generator) -> None:
    a, _ = system
    batch = 5 * rng.standard_normal((3, 4))
    each = [explicit(a, b) for b in batch]
    np.testing.assert_allclose(tg.vmap(lambda b: explicit(a, b))(batch), each, rtol=1e-8)
    outer = tg.grad(lambda x: np.sum(tg.vmap(lambda b: explicit(a, b))(x) ** 2))(batch)
    np.testing.assert_allclose(
        outer, [tg.grad(lambda b: np.sum(explicit(a, b) ** 2))(b) for b in batch], rtol=1e-7
    )


def test_linear_solvers_agree(
    system: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = system
    v = rng.standard_normal(4)
    seen = []

    def dense(product: Any, b: Any) -> Any:
        seen.append(b.shape)
        return np.linalg.solve(np.stack([product(e) for e in np.eye(4)], 1), b)

    def g(b: Any, **options: Any) -> Any:
        return np.sum(explicit(a, b, **options) ** 2)

    expected = tg.grad(g)(b)
    own = tg.grad(lambda b: g(b, linear_solve=dense))(b)
    assert seen == [(4,)]
    np.testing.assert_allclose(own, expected, rtol=1e-9)
    check_grad(lambda a, b: explicit(a, b, linear_solve=dense), [a, b], order=2, rng=rng)
    monkeypatch.setattr(implicit, "DENSE", 0)
    np.testing.assert_allclose(tg.grad(g)(b), expected, rtol=1e-8)
    np.testing.assert_allclose(tg.jvp(g, (b,), (v,))[1], expected @ v, rtol=1e-8)
    check_grad(explicit, [a, b], order=2, rng=rng)


def test_many_unknowns_go_through_gmres(rng: np.random.Generator) -> None:
    n = implicit.DENSE + 100
    c = rng.standard_normal(n)

    def f(x: Any, c: Any) -> Any:
        return 3 * x - np.concatenate([x[1:], x[:1]]) + 0.2 * np.sin(x) - c

    x = tg.root(f, np.zeros(n), c)
    np.testing.assert_allclose(f(x, c), np.zeros(n), atol=1e-9)
    check_grad(lambda c: tg.root(f, np.zeros(n), c), [c], rng=rng)


def test_scipys_methods(system: Any, rng: np.random.Generator) -> None:
    np.testing.assert_allclose(
        explicit(*system, method="hybr"), explicit(*system), rtol=1e-6, atol=1e-8
    )
    with pytest.raises(RuntimeError, match="expected a root near the starting point"):
        tg.root(lambda x: x * x + 1.0, np.ones(1), method="hybr")


def test_a_captured_parameter_has_a_gradient() -> None:
    w = Tensor(9.0, requires_grad=True)
    x = tg.root(lambda x: x * x - w, 1.0)
    x.backward()
    assert w.grad is not None
    np.testing.assert_allclose(w.grad.item(), 1 / 6)


def test_fixed_point(rng: np.random.Generator) -> None:
    a = rng.uniform(0.2, 0.8, 3)

    def f(a: Any) -> Any:
        return tg.fixed_point(lambda x, a: np.cos(a * x), np.ones(3), a)

    x = f(a)
    np.testing.assert_allclose(x, np.cos(a * x), rtol=1e-11)
    slope = tg.grad(lambda a: np.sum(f(a)))(a)
    np.testing.assert_allclose(slope, -np.sin(a * x) * x / (1 + a * np.sin(a * x)), rtol=1e-9)
    check_grad(f, [a], order=2, rng=rng)
    with pytest.raises(RuntimeError, match="convergence within 50 steps"):
        tg.fixed_point(lambda x: 2.0 * x + 1.0, 1.0, max_steps=50)


def test_custom_root_takes_any_solver(rng: np.random.Generator) -> None:
    target = rng.uniform(2.0, 30.0)
    cbrt = tg.custom_root(lambda x, a: x**3 - a, lambda g, x0: scipy.optimize.brentq(g, 0.0, 50.0))
    np.testing.assert_allclose(cbrt(1.0, target), np.cbrt(target), rtol=1e-9)
    slope = target ** (-2 / 3) / 3
    np.testing.assert_allclose(tg.grad(lambda a: cbrt(1.0, a))(target), slope, rtol=1e-8)


def test_nested_and_complex_unknowns() -> None:
    def equations(x: Any, a: Any) -> Any:
        return {"u": x["u"] ** 3 - a, "z": x["z"] ** 2 - 1j * a * x["u"]}

    def f(a: Any) -> Any:
        found = tg.root(equations, {"u": 1.0, "z": 1.0 + 1.0j}, a)
        return found["u"] + np.real(found["z"]) * np.imag(found["z"])

    a = 2.0
    np.testing.assert_allclose(f(a), np.cbrt(a) + a ** (4 / 3) / 2)
    slope = a ** (-2 / 3) / 3 + 2 / 3 * np.cbrt(a)
    np.testing.assert_allclose(tg.grad(f)(a), slope)


def test_refusals() -> None:
    with pytest.raises(tg.GradientError, match="Jacobian is singular"):
        tg.root(lambda x: np.stack([x[0] + x[1], x[0] + x[1] - 1]), np.ones(2))
    with pytest.raises(RuntimeError, match="convergence within 100 steps"):
        tg.root(lambda x: x * x + 1.0, 0.7)
    with pytest.raises(tg.ShapeError, match="one array per array of the state"):
        tg.root(lambda x: x[:1], np.ones(2))
    with pytest.raises(tg.DTypeError, match="floating-point"):
        tg.root(lambda x: x, 1)
