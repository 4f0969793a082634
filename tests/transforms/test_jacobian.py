"""jacobian and hessian: shapes, structures, modes, complex numbers; products with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.optimize

import tensorgrad as tg
from tensorgrad.core.tensor import Tensor


@dataclass
class Line:
    slope: Any
    offset: Any


class Pair(NamedTuple):
    a: Any
    b: Any


MODES = ("forward", "reverse", None)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("chunk", [None, 1, 2, 5])
def test_shapes_are_result_then_argument(
    mode: str | None, chunk: int | None, rng: np.random.Generator
) -> None:
    a, x = rng.standard_normal((2, 3, 4)), rng.standard_normal((4, 2))
    found = tg.jacobian(lambda x: a @ x, mode=mode, chunk_size=chunk)(x)
    assert type(found) is np.ndarray
    want = np.einsum("bij,kl->bikjl", a, np.eye(2))
    np.testing.assert_allclose(found, want, rtol=1e-14)
    few = tg.jacobian(lambda x: np.sum(x, axis=0), mode=mode, chunk_size=chunk)(x)
    np.testing.assert_array_equal(few, np.einsum("jk,i->jik", np.eye(2), np.ones(4)))


@pytest.mark.parametrize("mode", MODES)
def test_structures_of_results_and_arguments(mode: str | None, rng: np.random.Generator) -> None:
    x = rng.standard_normal(3)
    line = Line(2.0, rng.standard_normal(3))

    def f(line: Line, pair: Pair, *, power: int) -> Any:
        y = line.slope * x + line.offset
        return {"y": y**power, "s": (np.sum(y) * pair.b,)}, {"power": power, "y": y}

    found, aux = tg.jacobian(f, argnums=(0, -1), has_aux=True, mode=mode)(
        line, Pair(1.0, 3.0), power=2
    )
    assert isinstance(found["y"][0], Line)
    assert isinstance(found["y"][1], Pair)
    y = 2 * x + line.offset
    np.testing.assert_allclose(found["y"][0].slope, 2 * y * x)
    np.testing.assert_allclose(found["y"][0].offset, np.diag(2 * y))
    np.testing.assert_allclose(found["s"][0][0].offset, np.full(3, 3.0))
    np.testing.assert_allclose(found["s"][0][1].b, np.sum(y))
    np.testing.assert_array_equal(found["y"][1].a, np.zeros(3))
    assert type(found["s"][0][1].b) is float
    assert aux["power"] == 2
    np.testing.assert_allclose(aux["y"].numpy(), y)


def test_the_mode_with_fewer_vectors_is_taken(rng: np.random.Generator) -> None:
    runs: list[str] = []

    def f(x: Any) -> Any:
        runs.append("forward" if isinstance(x, Tensor) and x.level else "reverse")
        return np.outer(x, x)

    tg.jacobian(f)(rng.standard_normal(3))
    assert runs == ["reverse", "forward"]  # the results are counted on the tape first
    runs.clear()
    tg.jacobian(lambda x: np.sum(f(x), axis=0)[:2])(rng.standard_normal(3))
    assert runs == ["reverse"]
    runs.clear()
    tg.jacobian(f)(np.ones(1))
    assert runs == ["forward"]


@pytest.mark.parametrize("mode", MODES)
def test_complex_functions(mode: str | None, rng: np.random.Generator) -> None:
    z = rng.standard_normal(3) + 1j * rng.standard_normal(3)
    x = rng.standard_normal(3)
    np.testing.assert_allclose(tg.jacobian(lambda z: z**3, mode=mode)(z), np.diag(3 * z**2))
    np.testing.assert_allclose(
        tg.jacobian(lambda x: np.exp(1j * x), mode=mode)(x), np.diag(1j * np.exp(1j * x))
    )
    for f in (np.conj, np.abs, lambda z: z + z.conj(), lambda z: np.sum(np.abs(z) ** 2)):
        with pytest.raises(tg.NotDifferentiable, match=r"jacobian: got .* not holomorphic"):
            tg.jacobian(f, mode=mode)(z)


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_nothing_to_differentiate(mode: str) -> None:
    assert tg.jacobian(lambda x: x * 2, mode=mode)(np.ones(0)).shape == (0, 0)
    assert tg.jacobian(lambda x: np.ones((0, 2)) * x, mode=mode)(np.ones(2)).shape == (0, 2, 2)
    np.testing.assert_array_equal(tg.jacobian(lambda x: 5.0, mode=mode)(np.ones(2)), np.zeros(2))


def test_refusals() -> None:
    with pytest.raises(ValueError, match="jacobian: got mode='back', expected \"forward\""):
        tg.jacobian(np.sin, mode="back")
    with pytest.raises(ValueError, match="jacobian: got chunk_size=0"):
        tg.jacobian(np.sin, chunk_size=0)
    with pytest.raises(tg.DTypeError, match="jacobian: got result=int64"):
        tg.jacobian(lambda x: np.argmax(x))(np.ones(3))
    for mode in MODES:
        with pytest.raises(tg.DTypeError, match="jacobian: got argument=int64"):
            tg.jacobian(lambda x: x * 2.0, mode=mode)(np.arange(3))
    with pytest.raises(tg.GradientError, match="jacobian: got argnums=1 for 1 positional"):
        tg.jacobian(np.sin, argnums=1)(1.0)
    with pytest.raises(TypeError, match=r"jacobian: got Tensor from the function, expected \(val"):
        tg.jacobian(np.sin, has_aux=True)(np.ones(2))


def test_hessians_of_several_arguments_and_values(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal(3), rng.standard_normal(2)
    f = lambda x, y: np.sum(np.outer(x**2, y**3))  # noqa: E731
    (xx, xy), (yx, yy) = tg.hessian(f, argnums=(0, 1))(x, y)
    np.testing.assert_allclose(xx, np.diag(np.full(3, 2 * np.sum(y**3))))
    np.testing.assert_allclose(xy, np.outer(2 * x, 3 * y**2))
    np.testing.assert_allclose(yx, xy.T)
    np.testing.assert_allclose(yy, np.diag(6 * y * np.sum(x**2)), atol=1e-14)
    several, aux = tg.hessian(lambda x: (x**3, 7), has_aux=True)(x)
    assert (several.shape, aux) == ((3, 3, 3), 7)
    np.testing.assert_allclose(np.einsum("iii->i", several), 6 * x)
    assert tg.hessian(lambda x: x**3)(2.0) == 12.0


def test_products_with_second_derivatives(rng: np.random.Generator) -> None:
    x, v = rng.standard_normal(4), rng.standard_normal(4)
    a = rng.standard_normal((3, 4))
    f = lambda x: np.sum(np.sin(a @ x))  # noqa: E731
    np.testing.assert_allclose(tg.hvp(f, x, v), tg.hessian(f)(x) @ v)
    both = tg.hvp(lambda x, y: np.sum(x**2 * y), (x, 3.0), (v, 1.0))
    np.testing.assert_allclose(both[0], 6 * v + 2 * x)
    np.testing.assert_allclose(both[1], 2 * x @ v)
    inner = lambda x: np.tanh(a @ x)  # noqa: E731
    loss = lambda y: np.sum(y**4)  # noqa: E731
    j = tg.jacobian(inner)(x)
    np.testing.assert_allclose(
        tg.ggnvp(inner, loss, x, v), j.T @ (12 * np.tanh(a @ x) ** 2 * (j @ v))
    )
    alone = tg.ggnvp(
        lambda d: {"y": inner(d["x"])}, lambda y: loss(y["y"]), ({"x": x},), ({"x": v},)
    )
    np.testing.assert_allclose(alone[0]["x"], tg.ggnvp(inner, loss, x, v))
    with pytest.raises(tg.ShapeError, match="hvp: got 2 primals and tangents"):
        tg.hvp(lambda x, y: x * y, (1.0, 2.0), 1.0)
    found = scipy.optimize.minimize(
        lambda x: np.sum((x - 1) ** 4) + np.sum(x**2), np.zeros(3), method="Newton-CG",
        jac=tg.grad(lambda x: np.sum((x - 1) ** 4) + np.sum(x**2)),
        hessp=lambda x, p: tg.hvp(lambda x: np.sum((x - 1) ** 4) + np.sum(x**2), x, p),
    )  # fmt: skip
    np.testing.assert_allclose(4 * (found.x - 1) ** 3 + 2 * found.x, 0, atol=1e-4)


def test_elementwise_grad(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((2, 1)), rng.standard_normal(3)
    third = tg.elementwise_grad(tg.elementwise_grad(tg.elementwise_grad(np.sin)))
    np.testing.assert_allclose(third(x), -np.cos(x))
    dx, dy = tg.elementwise_grad(np.multiply, argnums=(0, 1))(x, y)
    np.testing.assert_allclose(dx, np.full((2, 1), np.sum(y)))
    np.testing.assert_allclose(dy, np.full(3, np.sum(x)))
    z = x + 1j
    np.testing.assert_allclose(tg.elementwise_grad(lambda z: z**2)(z), 2 * z)
    assert tg.elementwise_grad(lambda x: x**2)(3.0) == 6.0
    with pytest.raises(tg.ShapeError, match=r"elementwise_grad: got argument=.*try tg.grad"):
        tg.elementwise_grad(np.sum)(y)


def test_stop_gradient_of_containers(rng: np.random.Generator) -> None:
    x = rng.standard_normal(3)

    def f(d: Any) -> Any:
        still = tg.stop_gradient(d)
        return np.sum(d["x"] * still["x"]) + still["p"].a * d["p"].a

    found = tg.grad(f)({"x": x, "p": Pair(3.0, 4.0)})
    np.testing.assert_array_equal(found["x"], x)
    assert found["p"] == Pair(3.0, 0.0)
    assert tg.jvp(lambda x: tg.stop_gradient(x) * x, (3.0,), (1.0,)) == (9.0, 3.0)
    np.testing.assert_array_equal(tg.vmap(tg.grad(lambda v: v * tg.stop_gradient(v)))(x), x)
    assert tg.stop_gradient({"a": x})["a"] is x
