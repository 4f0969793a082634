"""`odeint` with gradients in the start, the times and the parameters, by the adjoint equation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.integrate

from tensorgrad.compat.autograd.core import make_vjp
from tensorgrad.compat.autograd.misc.flatten import flatten
from tensorgrad.compat.autograd.primitives import defvjp_argnums, primitive

Function = Callable[..., Any]


@primitive
def _odeint(func: Function, y0: Any, t: Any, args: tuple[Any, ...], **options: Any) -> Any:
    return scipy.integrate.odeint(func, y0, t, args, **options)


def odeint(
    func: Function, y0: Any, t: Any, args: Any = (), *, tfirst: bool = False, **options: Any
) -> Any:
    """y at the times t, (T, D), of dy/dt = func(y, t, *args) with y = y0 at t[0].

    Options are those of `scipy.integrate.odeint` that leave its result an array. The gradient
    solves λ' = -λ ∂f/∂y backward from one time to the one before (Pontryagin), with the parameters'
    integral beside it, to the same tolerances.
    """
    right = (lambda y, t, *p: func(t, y, *p)) if tfirst else func
    return _odeint(right, y0, t, args if isinstance(args, tuple) else (args,), **options)


def _vjps(
    argnums: Sequence[int], ys: Any, args: Sequence[Any], options: dict[str, Any]
) -> Function:
    func, _, t, params = args
    flat, unflatten = flatten(params)
    size = ys.shape[1]

    def backward(state: Any, time: Any, flat: Any) -> Any:
        """d/dt of (y, λ, the parameters' gradient so far)."""

        def right(given: Any) -> Any:
            y, p = given
            return func(y, time, *unflatten(p))

        vjp, slope = make_vjp(right, (state[:size], flat))
        rate, gradient = vjp(-state[size : 2 * size])
        return np.concatenate([slope, rate, gradient])

    def pull(g: Any) -> list[Any]:
        adjoint, gradient, moved = g[-1], np.zeros(len(flat)), []
        for k in range(len(t) - 1, 0, -1):
            moved.append(np.dot(np.stack(func(ys[k], t[k], *params)), g[k]))
            state = np.concatenate([ys[k], adjoint, gradient])
            times = np.stack([t[k], t[k - 1]])
            end = _odeint(backward, state, times, (flat,), **options)[1]
            adjoint, gradient = end[size : 2 * size] + g[k - 1], end[2 * size :]
        start = np.stack(func(ys[0], t[0], *params))
        moved.append(-np.dot(start, adjoint - g[0]))
        found = {1: adjoint, 2: np.stack(moved[::-1]), 3: unflatten(gradient)}
        return [found[k] for k in argnums]

    return pull


defvjp_argnums(_odeint, _vjps)
