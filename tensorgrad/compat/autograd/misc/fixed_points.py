"""Fixed points x = f(a)(x), with gradients by the implicit function theorem."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tensorgrad.compat.autograd.core import make_vjp
from tensorgrad.compat.autograd.primitives import defvjp, primitive
from tensorgrad.compat.autograd.vspaces import vspace

Function = Callable[..., Any]


@primitive
def fixed_point(f: Function, a: Any, x0: Any, distance: Function, tol: float) -> Any:
    """The x with f(a)(x) = x: iterated from x0 until distance(new, old) <= tol.

    f takes the parameter a and returns the function that is iterated. Differentiable in a.
    """
    step = f(a)
    x, before = step(x0), x0
    while distance(x, before) > tol:
        x, before = step(x), x
    return x


def _adjoint_step(given: Any) -> Function:
    """u -> u ∂f/∂x + ct, whose fixed point is ct (1 - ∂f/∂x)⁻¹."""
    f, a, x, ct = given
    vjp, _ = make_vjp(f(a), x)
    space = vspace(x)
    return lambda u: space.add(vjp(u), ct)


def _vjp(x: Any, f: Function, a: Any, x0: Any, distance: Function, tol: float) -> Function:
    vjp, _ = make_vjp(lambda b: f(b)(x), a)

    def pull(ct: Any) -> Any:
        def step(given: Any) -> Function:
            return _adjoint_step((f, *given))

        return vjp(fixed_point(step, (a, x, ct), vspace(x0).zeros(), distance, tol))

    return pull


defvjp(fixed_point, None, _vjp, None)
