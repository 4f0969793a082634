"""grad, value_and_grad, vjp and jvp as functions over containers, numbers and NumPy arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.optimize

import tensorgrad as tg
from tensorgrad.core.tape import Leaf, reachable
from tensorgrad.core.tensor import Tensor


@dataclass
class Line:
    slope: Any
    offset: Any


class Pair(NamedTuple):
    a: Any
    b: Any


def test_containers_keep_their_shape(rng: np.random.Generator) -> None:
    x = rng.standard_normal(5)
    tree = {
        "line": Line(rng.standard_normal(), [rng.standard_normal(5)]),
        "pair": Pair(rng.standard_normal(5), (2.0,)),
    }

    def f(t: Any) -> Any:
        y = t["line"].slope * x + t["line"].offset[0]
        return np.sum(y * t["pair"].a) * t["pair"].b[0]

    g = tg.grad(f)(tree)
    assert isinstance(g["line"], Line)
    assert isinstance(g["pair"], Pair)
    np.testing.assert_allclose(g["line"].slope, 2 * np.sum(x * tree["pair"].a))
    np.testing.assert_allclose(g["line"].offset[0], 2 * tree["pair"].a)
    assert isinstance(g["pair"].b[0], float)


def test_results_are_of_the_callers_kind() -> None:
    assert type(tg.grad(lambda x: x * x)(3.0)) is float
    assert type(tg.grad(lambda x: np.sum(x * x))(np.ones(2))) is np.ndarray
    assert type(tg.grad(lambda x: np.sum(x * x))(Tensor(np.ones(2)))) is Tensor


def test_an_ignored_argument_has_zeros() -> None:
    a, b = tg.grad(lambda x, y: x * 2.0, argnums=(0, 1))(1.0, np.ones(3))
    assert a == 2.0
    np.testing.assert_array_equal(b, np.zeros(3))
    assert tg.grad(lambda x: 1.0)(2.0) == 0.0


def test_argnums_aux_and_options() -> None:
    def f(x: Any, y: Any, *, power: int) -> Any:
        z = x * y**power
        return z, {"z": z, "tag": 7}

    (value, aux), gradient = tg.value_and_grad(f, argnums=1, has_aux=True)(2.0, 3.0, power=2)
    assert (value, gradient, aux["tag"]) == (18.0, 12.0, 7)
    assert (aux["z"].node, aux["z"].item()) == (None, 18.0)
    gradient, _ = tg.grad(f, argnums=(0, 1), has_aux=True)(2.0, 3.0, power=2)
    assert gradient == (9.0, 12.0)
    with pytest.raises(tg.GradientError, match="argnums=2 for 1 positional"):
        tg.grad(lambda x: x, argnums=2)(1.0)


def test_refusals_name_what_was_got() -> None:
    with pytest.raises(tg.DTypeError) as caught:
        tg.grad(lambda x: x * 2)(3)
    assert str(caught.value) == (
        "grad: got argument=3, expected floating-point arrays or numbers where a derivative is "
        "taken; try x.astype(float), or argnums without it"
    )
    with pytest.raises(tg.GradientError, match="expected one real number from the function"):
        tg.grad(lambda x: x * 2.0)(np.ones(3))


def test_vjp_is_the_adjoint_and_may_be_called_again(rng: np.random.Generator) -> None:
    x, w = rng.standard_normal((3, 4)), rng.standard_normal((4, 2))
    y, pull = tg.vjp(np.matmul, x, w)
    np.testing.assert_allclose(y, x @ w)
    for _ in range(2):
        ct = rng.standard_normal((3, 2))
        gx, gw = pull(ct)
        np.testing.assert_allclose(gx, ct @ w.T)
        np.testing.assert_allclose(gw, x.T @ ct)


def test_jvp_of_containers(rng: np.random.Generator) -> None:
    x, t = rng.standard_normal(3), rng.standard_normal(3)
    _, move = tg.jvp(lambda d: {"s": np.sum(d["x"] ** 2), "c": 1.0}, ({"x": x},), ({"x": t},))
    np.testing.assert_allclose(move["s"], 2 * x @ t)
    assert move["c"] == 0.0
    with pytest.raises(tg.ShapeError, match="expected equal shapes"):
        tg.jvp(np.sin, (x,), (1.0,))


def test_scipy_minimises_with_value_and_grad_as_it_is() -> None:
    def rosenbrock(x: Any) -> Any:
        return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    found = scipy.optimize.minimize(
        tg.value_and_grad(rosenbrock), np.zeros(4), jac=True, method="BFGS"
    )
    np.testing.assert_allclose(found.x, np.ones(4), atol=1e-5)


def test_gradients_are_off_every_tape_at_top_level() -> None:
    g = tg.grad(lambda x: np.sum(x**3))(Tensor(np.ones(2)))
    assert g.node is None
    with tg.no_grad():
        h = tg.grad(lambda x: np.sum(x**3))(Tensor(np.ones(2), requires_grad=True))
    assert h.node is None


def test_an_auxiliary_result_stays_on_an_outer_tape() -> None:
    w = Tensor(2.0, requires_grad=True)
    (value, aux), _ = tg.value_and_grad(lambda x: (x * w, x * x * w), has_aux=True)(3.0)
    assert value.item() == 6.0
    aux.backward()
    assert w.grad.item() == 9.0


def test_a_complex_result_has_no_gradient() -> None:
    with pytest.raises(
        tg.GradientError, match=r"grad: got value=complex128\(\).*try \.real or abs"
    ):
        tg.grad(lambda v: v * 1j)(1.0)


def test_a_pull_of_a_recorded_cotangent_hangs_on_that_alone() -> None:
    """The primals are constants there: a backward goes past them, and the next pull finds all."""
    x, w = np.linspace(-1.0, 1.0, 4), np.eye(4) * 2.0
    _, pull = tg.vjp(lambda v: np.tanh(np.tanh(v @ w) * v), x)
    expected = pull(np.ones(4))[0]
    for _ in range(2):
        ct = Tensor(np.ones(4), requires_grad=True)
        (g,) = pull(ct)
        np.testing.assert_allclose(g.detach().numpy(), expected)
        found = reachable([g.node], lambda _: False)
        assert [n for n in found if type(n) is Leaf] == [ct.node]
        (g * g).sum().backward()
        jacobian = tg.jacobian(lambda c: pull(c)[0])(np.ones(4))
        np.testing.assert_allclose(ct.grad.numpy(), 2 * jacobian.T @ expected)


def test_a_freed_graph_is_an_error_and_no_gradient_of_zero() -> None:
    w = Tensor(np.full(3, 0.5), requires_grad=True)
    freed = "backward: got a graph whose values were freed"
    y, pull = tg.vjp(lambda v: np.tanh(v * w), np.ones(3))
    y.sum().backward()
    with pytest.raises(tg.GradientError, match=freed):
        pull(np.ones(3))
    _, pull = tg.vjp(lambda v: np.tanh(v * w), np.ones(3))
    pull(np.ones(3))[0].sum().backward()
    with pytest.raises(tg.GradientError, match=freed):
        pull(np.ones(3))

    def walks_itself(v: Any) -> Any:
        u = np.tanh(v)
        u.sum().backward()
        return (u * u).sum()

    with pytest.raises(tg.GradientError, match=freed):
        tg.grad(walks_itself)(np.ones(3))
    z = np.tanh(w)
    z.sum().backward()  # older than the call: a constant of it
    g = tg.grad(lambda v: (v * z).sum())(np.ones(3))
    np.testing.assert_array_equal(g.detach().numpy(), z.detach().numpy())
