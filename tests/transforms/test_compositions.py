"""Every order of transforms: routes to one derivative agree, and with central differences.

The function is written plainly, as a checkpoint, with its own backward rule and with its own
forward rule; each stands inside every composition, alone and reading a captured parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.core.tensor import Tensor

Array = np.ndarray[Any, Any]
Function = Callable[..., Any]
KINDS = ("plain", "checkpoint", "custom_vjp", "custom_jvp")
STEP = 1e-5


def plain(x: Any, w: Any) -> Any:
    return np.sin(x * w) * x


def by_vjp() -> Function:
    f = tg.custom_vjp(lambda x, w: plain(x, w))

    def backward(kept: Any, ct: Any) -> Any:
        x, w = kept
        c = np.cos(x * w)
        return ct * (np.sin(x * w) + x * w * c), ct * x * x * c

    f.defvjp(lambda x, w: (plain(x, w), (x, w)), backward)
    return f


def by_jvp() -> Function:
    f = tg.custom_jvp(lambda x, w: plain(x, w))

    def rule(at: Any, along: Any) -> Any:
        (x, w), (t, u) = at, along
        c = np.cos(x * w)
        return plain(x, w), t * (np.sin(x * w) + x * w * c) + u * x * x * c

    f.defjvp(rule)
    return f


def element(kind: str) -> Function:
    """sin(x w) x, element by element."""
    made = {"plain": lambda: plain, "checkpoint": lambda: tg.checkpoint(plain)}
    return (made | {"custom_vjp": by_vjp, "custom_jvp": by_jvp})[kind]()


def scalar(kind: str) -> Function:
    """Σ sin(x w) x + (Σ x)³ / 7, whose Hessian has no zeros."""
    f = element(kind)
    return lambda x, w: np.sum(f(x, w)) + np.sum(x) ** 3 / 7


def differences(f: Function, x: Array, order: int) -> Array:
    """The gradient (order 1) or the Hessian of a function of plain arrays."""
    if order == 2:
        rows = [
            (differences(f, x + STEP * e, 1) - differences(f, x - STEP * e, 1)) / (2 * STEP)
            for e in np.eye(x.size)
        ]
        return np.array(rows)
    return np.array([(f(x + STEP * e) - f(x - STEP * e)) / (2 * STEP) for e in np.eye(x.size)])


def gradients(f: Function, x: Array) -> dict[str, Any]:
    """Routes to the gradient of a scalar function."""
    eye = np.eye(x.size)
    return {
        "grad": tg.grad(f)(x),
        "vjp": tg.vjp(f, x)[1](1.0)[0],
        "jvp": np.array([tg.jvp(f, (x,), (e,))[1] for e in eye]),
        "vmap(jvp)": tg.vmap(lambda e: tg.jvp(f, (x,), (e,))[1])(eye),
        "jacobian forward": tg.jacobian(f, mode="forward")(x),
        "jacobian reverse": tg.jacobian(f, mode="reverse")(x),
        "vmap(grad)": tg.vmap(tg.grad(f))(x[None])[0],
        "grad(vmap)": tg.grad(lambda v: tg.vmap(f)(v[None]).sum())(x),
        "grad(checkpoint)": tg.grad(tg.checkpoint(f))(x),
        "jacobian(vmap)": tg.jacobian(tg.vmap(f), mode="reverse")(x[None])[0, 0],
        "forward(vmap)": tg.jacobian(tg.vmap(f), mode="forward")(x[None])[0, 0],
        "vmap(vmap(grad))": tg.vmap(tg.vmap(tg.grad(f)))(x[None, None])[0, 0],
    }


def hessians(f: Function, x: Array) -> dict[str, Any]:
    """Routes to the Hessian of a scalar function."""
    eye = np.eye(x.size)
    g = tg.grad(f)
    pull = tg.vjp(g, x)[1]
    along = lambda v, e: tg.jvp(f, (v,), (e,))[1]  # noqa: E731
    return {
        "hessian": tg.hessian(f)(x),
        "jvp(grad)": np.array([tg.jvp(g, (x,), (e,))[1] for e in eye]),
        "grad(jvp)": np.array([tg.grad(lambda v, e=e: along(v, e))(x) for e in eye]),
        "grad(grad)": np.array([tg.grad(lambda v, e=e: g(v) @ e)(x) for e in eye]),
        "jvp(jvp)": np.array(
            [[tg.jvp(lambda v, e=e: along(v, e), (x,), (d,))[1] for d in eye] for e in eye]
        ),
        "hvp": tg.vmap(lambda e: tg.hvp(f, x, e))(eye),
        "vmap(pull)": tg.vmap(lambda e: pull(e)[0])(eye),
        "vmap(grad(jvp))": tg.vmap(lambda e: tg.grad(lambda v: along(v, e))(x))(eye),
        "hessian(vmap)": tg.hessian(tg.vmap(f))(x[None])[0, 0, :, 0, :],
        "vmap(hessian)": tg.vmap(tg.hessian(f))(x[None])[0],
        "reverse(reverse)": tg.jacobian(tg.jacobian(f, mode="reverse"), mode="reverse")(x),
        "reverse(forward)": tg.jacobian(tg.jacobian(f, mode="forward"), mode="reverse")(x),
        "forward(forward)": tg.jacobian(tg.jacobian(f, mode="forward"), mode="forward")(x),
        "hessian(checkpoint)": tg.hessian(tg.checkpoint(f))(x),
        "grad(vmap(grad))": tg.jacobian(lambda v: tg.vmap(g)(v[None])[0], mode="reverse")(x),
    }


def agree(routes: dict[str, Any], want: Array, estimate: Array, close: float) -> None:
    np.testing.assert_allclose(want, estimate, rtol=close, atol=close)
    for name, found in routes.items():
        np.testing.assert_allclose(found, want, rtol=1e-11, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_routes_to_a_derivative_agree(kind: str, rng: np.random.Generator) -> None:
    x, w = rng.uniform(0.5, 1.5, 3), rng.uniform(0.5, 1.5, 3)
    f = scalar(kind)
    bare = lambda v: float(np.sum(np.sin(v * w) * v) + np.sum(v) ** 3 / 7)  # noqa: E731
    of_x = lambda v: f(v, w)  # noqa: E731
    exact = tg.grad(lambda v: scalar("plain")(v, w))
    agree(gradients(of_x, x), exact(x), differences(bare, x, 1), 1e-7)
    agree(hessians(of_x, x), tg.hessian(lambda v: scalar("plain")(v, w))(x),
          differences(bare, x, 2), 1e-4)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_third_derivatives_agree(kind: str, rng: np.random.Generator) -> None:
    x, w = rng.uniform(0.5, 1.5, 2), rng.uniform(0.5, 1.5, 2)
    want = tg.jacobian(tg.hessian(lambda v: scalar("plain")(v, w)))(x)
    f = lambda v: scalar(kind)(v, w)  # noqa: E731
    eye = np.eye(2)
    routes = {
        "jacobian(hessian)": tg.jacobian(tg.hessian(f))(x),
        "hessian(grad)": tg.hessian(tg.grad(f))(x),
        "hessian(jvp)": np.array(
            [tg.hessian(lambda v, e=e: tg.jvp(f, (v,), (e,))[1])(x) for e in eye]
        ),
        "jvp(hessian)": np.array([tg.jvp(tg.hessian(f), (x,), (e,))[1] for e in eye]),
        "vmap(hvp(jvp))": tg.vmap(
            lambda e: tg.vmap(lambda d: tg.hvp(lambda v: tg.jvp(f, (v,), (e,))[1], x, d))(eye)
        )(eye),
    }
    for name, found in routes.items():
        np.testing.assert_allclose(found, want, rtol=1e-10, atol=1e-10, err_msg=name)


THROUGH: dict[str, Callable[[Function, Array], Any]] = {
    "call": lambda f, x: np.sum(f(x)),
    "grad": lambda f, x: np.sum(tg.grad(f)(x) ** 2),
    "vjp": lambda f, x: np.sum(tg.vjp(f, x)[1](2.0)[0] ** 2) + tg.vjp(f, x)[0],
    "jvp": lambda f, x: tg.jvp(f, (x,), (x,))[1] + tg.jvp(f, (x,), (x,))[0],
    "jacobian": lambda f, x: np.sum(tg.jacobian(f, mode="forward")(x) ** 2),
    "jacobian reverse": lambda f, x: np.sum(tg.jacobian(f, mode="reverse")(x) ** 2),
    "hessian": lambda f, x: np.sum(tg.hessian(f)(x) ** 2),
    "hvp": lambda f, x: np.sum(tg.hvp(f, x, x) ** 2),
    "ggnvp": lambda f, x: np.sum(tg.ggnvp(lambda v: f(v) * v, lambda y: np.sum(y**4), x, x)),
    "elementwise_grad": lambda f, x: np.sum(tg.elementwise_grad(lambda v: f(v) * v)(x) ** 2),
    "vmap": lambda f, x: np.sum(tg.vmap(f)(np.stack([x, 2 * x])) ** 2),
    "vmap(grad)": lambda f, x: np.sum(tg.vmap(tg.grad(f))(np.stack([x, 2 * x])) ** 2),
    "vmap(hvp)": lambda f, x: np.sum(tg.vmap(lambda v: tg.hvp(f, v, v))(np.stack([x, 2 * x]))),
    "checkpoint": lambda f, x: tg.checkpoint(f)(x),
    "checkpoint(grad)": lambda f, x: np.sum(tg.checkpoint(tg.grad(f))(x) ** 2),
}
"""Numbers made of a function through every transform."""


@pytest.mark.parametrize("name", THROUGH)
@pytest.mark.parametrize("kind", KINDS)
def test_a_captured_parameter_keeps_its_gradient(
    kind: str, name: str, rng: np.random.Generator
) -> None:
    x, w = rng.uniform(0.5, 1.5, 2), rng.uniform(0.5, 1.5, 2)
    through = THROUGH[name]

    def capturing(w: Any) -> Function:
        return {
            "plain": lambda: lambda x: scalar("plain")(x, w),
            "checkpoint": lambda: tg.checkpoint(lambda x: scalar("plain")(x, w)),
            "custom_vjp": lambda: ruled_vjp(w),
            "custom_jvp": lambda: ruled_jvp(w),
        }[kind]()

    value = lambda w: through(capturing(w), x)  # noqa: E731
    leaf = Tensor(w, requires_grad=True)
    value(leaf).backward()
    plainly = lambda w: through(lambda v: scalar("plain")(v, w), x)  # noqa: E731
    want = tg.grad(plainly)(w)
    np.testing.assert_allclose(leaf.grad.numpy(), want, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(tg.grad(value)(w), want, rtol=1e-10, atol=1e-10)
    moved = [tg.jvp(plainly, (w,), (e,))[1] for e in np.eye(2)]
    np.testing.assert_allclose(moved, want, rtol=1e-10, atol=1e-10)


def ruled_vjp(w: Any) -> Function:
    """scalar of x with a backward rule; w is captured, by the function and by its rule."""
    f = tg.custom_vjp(lambda x: scalar("plain")(x, w))

    def backward(x: Any, ct: Any) -> Any:
        return (ct * (np.sin(x * w) + x * w * np.cos(x * w) + 3 / 7 * np.sum(x) ** 2),)

    f.defvjp(lambda x: (scalar("plain")(x, w), x), backward)
    return f


def ruled_jvp(w: Any) -> Function:
    f = tg.custom_jvp(lambda x: scalar("plain")(x, w))

    def rule(at: Any, along: Any) -> Any:
        (x,), (t,) = at, along
        slope = np.sin(x * w) + x * w * np.cos(x * w) + 3 / 7 * np.sum(x) ** 2
        return f(x), np.sum(slope * t)

    f.defjvp(rule)
    return f


@pytest.mark.parametrize("made", ["custom_vjp", "custom_jvp", "checkpoint"])
def test_what_was_captured_may_be_behind_the_argument_too(
    made: str, rng: np.random.Generator
) -> None:
    w = rng.uniform(0.5, 1.5, 2)

    def through(w: Any) -> Any:
        f = tg.checkpoint(lambda z: scalar("plain")(z, w))
        found = {"custom_vjp": ruled_vjp, "custom_jvp": ruled_jvp}.get(made, lambda w: f)(w)
        return found(w * w)

    def plainly(w: Any) -> Any:
        return scalar("plain")(w * w, w)

    leaf = Tensor(w, requires_grad=True)
    through(leaf).backward()
    np.testing.assert_allclose(leaf.grad.numpy(), tg.grad(plainly)(w), rtol=1e-10)
    np.testing.assert_allclose(tg.grad(through)(w), tg.grad(plainly)(w), rtol=1e-10)
    np.testing.assert_allclose(tg.jacobian(tg.grad(through), mode="reverse")(w),
                               tg.hessian(plainly)(w), rtol=1e-9, atol=1e-10)  # fmt: skip
