"""Solutions of equations as differentiable functions: root, fixed_point, custom_root."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad import _config
from tensorgrad._errors import need
from tensorgrad.backend import base
from tensorgrad.core.primitive import operand
from tensorgrad.core.tensor import Tensor, make
from tensorgrad.transforms.implicit import Linear, implicit, values
from tensorgrad.transforms.loops import while_loop
from tensorgrad.transforms.tree import flatten
from tensorgrad.transforms.vector import Layout, source_of

Vector = Callable[[Tensor], Tensor]
"""A function of the unknowns as one vector of constants."""

HALVINGS = 30
SUFFICIENT = 1e-4
"""Armijo's rule: a Newton step is halved until |f| falls by this part of what it promises."""


def root(
    f: Callable[..., Any],
    x0: Any,
    *args: Any,
    method: str = "newton",
    tol: float | None = None,
    max_steps: int = 100,
    linear_solve: Linear | None = None,
) -> Any:
    """x with f(x, *args) = 0, found from x0; differentiable in args and in what f captured.

    x may be a nested container; f returns one number per unknown. The derivative, of every order,
    follows from the implicit function theorem: no step of the search is kept, and x0 has none.
    `method`: "newton" (with halved steps; works under vmap), or one of `scipy.optimize.root`.
    `tol`: the largest |f| allowed, by default eps**0.65. `linear_solve(product, b)` solves the
    linear systems of the derivative: product is v -> A v on NumPy vectors. Raises RuntimeError if
    no root is found, `GradientError` where the Jacobian is singular.

    >>> import tensorgrad as tg
    >>> round(tg.grad(lambda a: tg.root(lambda x, a: x * x - a, 1.0, a))(4.0), 12)
    0.25
    """
    layout = Layout(x0, "root")
    limit = float(np.finfo(layout.dtype).eps) ** 0.65 if tol is None else tol

    def search(residual: Vector, start: Tensor) -> Tensor:
        if method != "newton":
            return _scipy(residual, start, method, tol)
        return _newton(residual, start, limit, max_steps)

    return _solved(f, layout, search, linear_solve, x0, args)


def fixed_point(
    f: Callable[..., Any],
    x0: Any,
    *params: Any,
    tol: float | None = None,
    max_steps: int = 1000,
    linear_solve: Linear | None = None,
) -> Any:
    """x with x = f(x, *params), by repeating f from x0; differentiable in params.

    Ends when |f(x) - x| <= tol (1 + |x|) in the largest element; `tol` is eps**0.75 by default.
    Derivatives as in `root`. Raises RuntimeError after `max_steps` steps.

    >>> import numpy as np, tensorgrad as tg
    >>> round(tg.fixed_point(lambda x, a: np.cos(a * x), 1.0, 1.0), 9)
    0.739085133
    """
    layout = Layout(x0, "fixed_point")
    limit = float(np.finfo(layout.dtype).eps) ** 0.75 if tol is None else tol

    def near(rest: Tensor, x: Tensor) -> Any:
        return _size(rest) <= limit * (1.0 + _size(x))

    def search(residual: Vector, start: Tensor) -> Tensor:
        def rest(x: Tensor) -> Tensor:
            return residual(x).detach()

        state = (start, rest(start), 0)
        x, left, _ = while_loop(
            lambda s: ~near(s[1], s[0]) & (s[2] < max_steps),
            lambda s: (s[0] + s[1], rest(s[0] + s[1]), s[2] + 1),
            state,
        )
        _ended("fixed_point", near(left, x), left, max_steps)
        return x  # type: ignore[no-any-return]

    def difference(x: Any, *given: Any) -> Any:
        image, _ = flatten(f(x, *given))
        before, rebuild = flatten(x)
        return rebuild([operand(a) - operand(b) for a, b in zip(image, before)])

    return _solved(difference, layout, search, linear_solve, x0, params)


def custom_root(
    f: Callable[..., Any], solve: Callable[..., Any], linear_solve: Linear | None = None
) -> Callable[..., Any]:
    """A function (x0, *args) -> x with f(x, *args) = 0, where the user's own `solve` finds x.

    `solve(g, x0)` returns x; g(x) is f(x, *args) with args as constants, and no step of it is kept.
    Derivatives, of every order, in args and in what f captured, as in `root`.

    >>> import scipy.optimize, tensorgrad as tg
    >>> cbrt = tg.custom_root(lambda x, a: x**3 - a, scipy.optimize.newton)
    >>> round(tg.grad(lambda a: cbrt(1.0, a))(8.0), 9)
    0.083333333
    """

    @functools.wraps(f)
    def run(x0: Any, *args: Any) -> Any:
        return _solved(f, Layout(x0, "custom_root"), None, linear_solve, x0, args, solve)

    return run


def _solved(
    f: Callable[..., Any],
    layout: Layout,
    search: Callable[[Vector, Tensor], Tensor] | None,
    linear: Linear | None,
    x0: Any,
    args: tuple[Any, ...],
    solve: Callable[..., Any] | None = None,
) -> Any:
    """The solution as a function of args, by a search over vectors or a solver of the user's."""
    leaves, rebuild = flatten(args)
    inputs = [operand(p) for p in leaves]

    def residual(x: Tensor, given: list[Tensor]) -> Tensor:
        return layout.pack(f(layout.unpack(x), *rebuild(given)))

    with _config.no_grad():
        fixed = [p.detach() for p in inputs]
        start = layout.pack(x0).detach()
        if search is not None:
            x = search(lambda v: residual(v, fixed), start)
        elif solve is not None:
            constants = rebuild(
                [p if isinstance(given, Tensor) else given for p, given in zip(fixed, leaves)]
            )
            begin = layout.as_source(layout.unpack(start), source_of(layout.leaves))
            x = layout.pack(solve(lambda v: f(v, *constants), begin))
    found = implicit(residual, x.detach(), inputs, linear)
    return layout.as_source(layout.unpack(found), source_of([*layout.leaves, *leaves]))


# -- searches ------------------------------------------------------------------------------------


def _newton(residual: Vector, start: Tensor, tol: float, max_steps: int) -> Tensor:
    """Newton's method, steps halved until |f| falls."""

    def rest(v: Tensor) -> Tensor:
        return residual(v).detach()

    def better(s: Any) -> Any:
        x, step, norm, scale, tries = s
        reached = (rest(x + scale * step) ** 2).sum()
        falls = reached <= (1.0 - 2.0 * SUFFICIENT * scale) * norm
        return ~falls & (tries < HALVINGS)

    def move(s: Any) -> Any:
        x, left, count = s
        step = values(lambda v, _: residual(v), x, [], -left, None, False)
        norm = (left**2).sum()
        state = (x, step, norm, norm * 0.0 + 1.0, 0)
        scale = while_loop(better, lambda s: (*s[:3], s[3] * 0.5, s[4] + 1), state)[3]
        x = x + scale * step
        return x, rest(x), count + 1

    x, left, _ = while_loop(
        lambda s: ~(_size(s[1]) <= tol) & (s[2] < max_steps), move, (start, rest(start), 0)
    )
    _ended("root", _size(left) <= tol, left, max_steps)
    return x  # type: ignore[no-any-return]


def _scipy(residual: Vector, start: Tensor, method: str, tol: float | None) -> Tensor:
    from scipy import optimize  # late: for import time

    home = base.of(start.value())

    def values_of(v: Any) -> Any:
        return residual(make(home.asarray(np.asarray(v, start.dtype)))).detach().numpy()

    found = optimize.root(values_of, start.numpy(), method=method, tol=tol)
    need(
        found.success,
        "root",
        method=method,
        message=found.message,
        want="a root near the starting point",
        fix="another starting point, or a larger tol",
        error=RuntimeError,
    )
    return make(home.asarray(np.asarray(found.x, start.dtype).reshape(start.shape)))


def _size(x: Tensor) -> Any:
    """The largest |element|; NaN if there is one."""
    return abs(x).max() if x.size else (x * 0.0).sum()


def _ended(op: str, reached: Any, left: Tensor, steps: int) -> None:
    array = base.of(reached.value()).to_numpy(reached.value())
    size = base.of(left.value()).to_numpy(left.value())
    need(
        array.all(),
        op,
        error=RuntimeError,
        residual=float(abs(size).max(initial=0.0)),
        want=f"convergence within {steps} steps",
        fix="another starting point, a larger tol, or more max_steps",
    )
