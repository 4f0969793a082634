"""Every pair of transforms, in both orders, on a function that captures a parameter.

A transform here makes of a function f(vector) -> number another one. What `outer` makes of
`inner(f)` is held to what plain calculus makes of it: differences, loops and iterations over the
values of `inner(f)` alone. Then the pair is differentiated by its argument and by the captured
parameter, in reverse and forward mode, against differences again, and mapped over a batch: so each
pair also stands inside `grad`, `jvp` and `vmap`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.core.tensor import Tensor

Array = np.ndarray[Any, Any]
Function = Callable[[Any], Any]

C = np.array([0.7, -0.4])
"""The direction in which vectors are looked at, and things move."""

TIMES = np.array([0.0, 0.3])


class Pair(NamedTuple):
    """A transform, and what it means for a function of numbers."""

    made: Callable[[Function], Function]
    meant: Callable[[Function], Function]


# -- what transforms mean ----------------------------------------------------------------------


def slope(f: Function, x: Array, along: Array, step: float = 2e-3) -> Any:
    """The derivative of f along a direction, by central differences of the sixth order."""
    weights = ((1, 45), (2, -9), (3, 1))
    odd = [w * (f(x + k * step * along) - f(x - k * step * along)) for k, w in weights]
    return sum(odd) / (60 * step)


def gradient(f: Function, x: Array, step: float = 2e-3) -> Array:
    return np.array([slope(f, x, e, step) for e in np.eye(x.size)])


def curvature(f: Function, x: Array) -> Any:
    """The second derivative along C."""
    return slope(lambda v: slope(f, v, C, 2e-2), x, C, 2e-2)


def settled(g: Callable[[Array], Array], z: Array) -> Array:
    """The fixed point of a contraction."""
    for _ in range(60):
        z = g(z)
    return z


def flowed(f: Function, y: Array, steps: int = 24) -> Array:
    """dy/dt = f(y) y over `TIMES`, by Runge's and Kutta's method."""
    h = (TIMES[1] - TIMES[0]) / steps
    g = lambda y: f(y) * y  # noqa: E731
    for _ in range(steps):
        a = g(y)
        b = g(y + h / 2 * a)
        c = g(y + h / 2 * b)
        y = y + h / 6 * (a + 2 * b + 2 * c + g(y + h * c))
    return y


# -- transforms of functions from vectors to numbers -------------------------------------------


def by_vjp(f: Function) -> Function:
    g = tg.custom_vjp(f)
    g.defvjp(lambda x: (f(x), x), lambda x, ct: (ct * tg.grad(f)(x),))
    return g  # type: ignore[no-any-return]


def by_jvp(f: Function) -> Function:
    g = tg.custom_jvp(f)
    g.defjvp(lambda at, along: tg.jvp(f, at, along))
    return g  # type: ignore[no-any-return]


def both(f: Function) -> Function:
    def run(x: Any) -> Any:
        value, g = tg.value_and_grad(f)(x)
        return value * (g @ C)

    return run


def pulled(f: Function) -> Function:
    def run(x: Any) -> Any:
        value, pull = tg.vjp(f, x)
        return value + pull(1.5)[0] @ C

    return run


def pushed(f: Function) -> Function:
    def run(x: Any) -> Any:
        value, moved = tg.jvp(f, (x,), (C,))
        return value + 1.5 * moved

    return run


def bend(t: Any) -> Any:
    return t + 0.1 * np.sin(t) * t


bent = tg.fuse(bend)


def scanned(f: Function) -> Function:
    def run(x: Any) -> Any:
        def step(state: Any, k: Any) -> Any:
            state = state + 0.03 * k * f(state) * state
            return state, f(state)

        state, seen = tg.scan(step, x, np.array([1.0, 2.0, 3.0]))
        return np.sum(seen) + state @ C

    return run


def scanned_plainly(f: Function) -> Function:
    def run(x: Any) -> Any:
        seen = 0.0
        for k in (1.0, 2.0, 3.0):
            x = x + 0.03 * k * f(x) * x
            seen = seen + f(x)
        return seen + x @ C

    return run


PAIRS = {
    "grad": Pair(lambda f: lambda x: tg.grad(f)(x) @ C, lambda f: lambda x: gradient(f, x) @ C),
    "value_and_grad": Pair(both, lambda f: lambda x: f(x) * (gradient(f, x) @ C)),
    "vjp": Pair(pulled, lambda f: lambda x: f(x) + 1.5 * gradient(f, x) @ C),
    "jvp": Pair(pushed, lambda f: lambda x: f(x) + 1.5 * slope(f, x, C)),
    "jacobian": Pair(
        lambda f: lambda x: C @ tg.jacobian(lambda v: f(v) * v)(x) @ C,
        lambda f: lambda x: C @ slope(lambda v: f(v) * v, x, C),
    ),
    "hessian": Pair(
        lambda f: lambda x: C @ tg.hessian(f)(x) @ C, lambda f: lambda x: curvature(f, x)
    ),
    "hvp": Pair(lambda f: lambda x: tg.hvp(f, x, C) @ C, lambda f: lambda x: curvature(f, x)),
    "vmap": Pair(
        lambda f: lambda x: tg.vmap(f)(np.stack([x, 0.5 * x])) @ C,
        lambda f: lambda x: f(x) * C[0] + f(0.5 * x) * C[1],
    ),
    "checkpoint": Pair(tg.checkpoint, lambda f: f),
    "custom_vjp": Pair(by_vjp, lambda f: f),
    "custom_jvp": Pair(by_jvp, lambda f: f),
    "fuse": Pair(
        lambda f: lambda x: bent(f(bent(x))),
        lambda f: lambda x: bend(f(bend(x))),
    ),
    "scan": Pair(scanned, scanned_plainly),
    "root": Pair(
        lambda f: lambda x: tg.root(lambda z: 3 * z + np.sin(z) * f(x) - x, 0 * x) @ C,
        lambda f: lambda x: settled(lambda z: (x - np.sin(z) * f(x)) / 3, x) @ C,
    ),
    "fixed_point": Pair(
        lambda f: lambda x: tg.fixed_point(lambda z: 0.2 * np.sin(z) + f(x) * x, 0 * x) @ C,
        lambda f: lambda x: settled(lambda z: 0.2 * np.sin(z) + f(x) * x, x) @ C,
    ),
    "odeint": Pair(
        lambda f: lambda x: tg.odeint(lambda y, t: f(y) * y, x, TIMES)[-1] @ C,
        lambda f: lambda x: flowed(f, x) @ C,
    ),
}


def base(w: Any) -> Function:
    """A function of a vector that captures w."""
    return lambda x: 0.3 * np.sum(np.sin(x * w)) + 0.1 * np.sum(x) ** 2 * w[0]


SLOW = ("jacobian", "hessian", "hvp", "scan", "root", "fixed_point", "odeint")
RULED = ("custom_vjp", "custom_jvp")


def sampled(outer: str, inner: str) -> bool:
    """Whether a pair is tested by default: those that take long stand beside one other each."""
    if outer in SLOW:
        return inner == "fuse"
    return inner not in SLOW or outer == "checkpoint"


@pytest.mark.parametrize("inner", PAIRS)
@pytest.mark.parametrize("outer", PAIRS)
def test_pair(
    outer: str, inner: str, rng: np.random.Generator, pytestconfig: pytest.Config
) -> None:
    if not sampled(outer, inner) and not pytestconfig.getoption("full"):
        pytest.skip("pairs that take long: --full")
    x, w = rng.uniform(0.4, 1.0, 2), rng.uniform(0.4, 1.0, 2)

    def made(x: Any, w: Any) -> Any:
        return PAIRS[outer].made(PAIRS[inner].made(base(w)))(x)

    def close(found: Any, want: Any, what: str) -> None:
        np.testing.assert_allclose(found, want, rtol=1e-6, atol=1e-6, err_msg=what)

    close(made(x, w), PAIRS[outer].meant(PAIRS[inner].made(base(w)))(x), "value")
    close(tg.grad(made)(x, w), gradient(lambda v: made(v, w), x, 5e-3), "grad")
    close(tg.vmap(lambda v: made(v, w))(np.stack([x, 0.9 * x])),
          [made(x, w), made(0.9 * x, w)], "vmap")  # fmt: skip
    by_w = gradient(lambda v: made(x, v), w, 5e-3)
    leaf = Tensor(w, requires_grad=True)
    made(x, leaf).backward()
    assert leaf.grad is not None
    close(leaf.grad.numpy(), by_w, "captured, reverse")
    moved = forward(lambda v: made(x, v), w, refusing=outer in RULED or inner in RULED)
    if moved is not None:
        close(moved, by_w @ C, "captured, forward")


def forward(f: Function, w: Array, refusing: bool) -> Any:
    """The derivative along C; None where a custom rule, which would not see it, refuses it."""
    try:
        return tg.jvp(f, (w,), (C,))[1]
    except tg.GradientError as error:
        if not refusing or "that is no argument of it" not in str(error):
            raise
        return None
