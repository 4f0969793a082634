"""`check_grad` and `check_grads`: the derivatives that tensorgrad makes, held to differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgrad._errors import DTypeError, need
from tensorgrad.testing.elements import TINY, Compared, compare
from tensorgrad.testing.problem import FORWARD, REVERSE, Problem

STEPS = {1: 1e-6, 2: 1e-6, 3: 1e-6}
TOLERANCES = {1: 1e-7, 2: 1e-6, 3: 1e-5}
"""Per order: the relative step of the central difference, and the relative error allowed.

A central difference in float64 errs by h² f''' / 6 + eps |f| / h: about 1e-10 at h = 1e-6 for
values of order 1; an order more amplifies by the size of the derivatives, not by the step.
"""
COMPLEX_TOLERANCE = 1e-11
LIMIT = 500  # elements of an argument among which the worst one is looked for


def check_grad(
    f: Callable[..., Any],
    arguments: Sequence[Any],
    *,
    order: int = 1,
    rng: np.random.Generator | None = None,
    full: bool = False,
    method: str = "difference",
) -> None:
    """Check the derivatives of `f` by backward, orders 1 to `order`; see `check_grads`.

    >>> import numpy as np, tensorgrad as tg
    >>> check_grad(lambda x, w: np.tanh(x @ w), (np.ones((2, 3)), np.ones((3, 2))), order=2)
    """
    _check("check_grad", f, arguments, order, (REVERSE,), full, method, rng)


def check_grads(
    f: Callable[..., Any],
    args: Sequence[Any],
    *,
    order: int = 2,
    modes: Sequence[str] | str = (REVERSE, FORWARD),
    full: bool = False,
    method: str = "difference",
    rng: np.random.Generator | None = None,
) -> None:
    """Check the derivatives of `f` at `args`, orders 1 to `order` (at most 3), by each of `modes`.

    Every floating argument (float64 or complex128, arrays, tensors, numbers, and those in nested
    containers) moves along a random direction of its own, results are weighted at random. The
    derivative of order k must equal the central difference of the one of order k - 1, relative to
    the size of the values, within 1e-7, 1e-6, 1e-5: no accuracy is lost by nesting differences.
    "reverse" differentiates what backward recorded, "forward" nests jvp.

    full: hold every element of the Jacobian (order 1) and of the gradient of the directional
        derivative (orders above) to its difference: two evaluations of f an element
    method: "difference", or "complex": order 1 by f'(x) = Im f(x + ih) / h, h = 1e-30, which
        subtracts nothing and is exact to 1e-11 where f is analytic in real arguments

    Raises `AssertionError` that names the order, the mode, the argument, the size of the error and
    the worst element; `DTypeError` for single precision, for complex steps of what is not analytic,
    and where no argument or no result is of floating point.

    >>> import numpy as np
    >>> check_grads(lambda x: np.sin(x) * x, (np.array([0.5, 2.0]),), order=3, full=True)
    >>> check_grads(lambda x: np.exp(x) / x, (np.array([0.5, 2.0]),), method="complex")
    """
    chosen = (modes,) if isinstance(modes, str) else tuple(modes)
    _check("check_grads", f, args, order, chosen, full, method, rng)


def _check(
    op: str, f: Any, arguments: Sequence[Any], order: int, modes: tuple[str, ...],
    full: bool, method: str, rng: np.random.Generator | None,
) -> None:  # fmt: skip
    known = (REVERSE, FORWARD)
    need(modes and all(mode in known for mode in modes), op, modes=modes, error=ValueError,
         want="some of 'reverse' and 'forward'", fix="modes=('reverse',)")  # fmt: skip
    need(order in STEPS, op, order=order, want="1, 2 or 3", fix="order=1", error=ValueError)
    need(method in ("difference", "complex"), op, method=method, error=ValueError,
         want="'difference' or 'complex'", fix="method='difference'")  # fmt: skip
    need(isinstance(arguments, tuple | list), op, args=arguments, error=TypeError,
         want="a tuple with an entry per argument of the function", fix="(x,)")  # fmt: skip
    problem = Problem(f, arguments, rng or np.random.default_rng())
    problem.need(op)
    for k in problem.where:
        _suited(op, problem, k, method)
    for mode in modes:
        for k in range(1, order + 1):
            by = method if k == 1 else "difference"
            if full:
                _full(op, problem, mode, k, by)
            else:
                _along(op, problem, mode, k, by)


def _suited(op: str, problem: Problem, k: int, method: str) -> None:
    """Refuse arguments in which a difference has no digits, or a complex step no meaning."""
    dtype, name = problem.fixed[k].dtype, problem.names[k]
    want = "float64" if method == "complex" else "float64 or complex128"
    if dtype.name not in want.split(" or "):
        fix = "method='difference'" if dtype.name == "complex128" else "x.astype(float)"
        raise DTypeError(f"{op}: got {name} of {dtype.name}, expected {want}; try {fix}")


def _along(op: str, problem: Problem, mode: str, order: int, method: str) -> None:
    """One order along the directions."""
    exact = problem.derivative(problem.at(0.0), order, mode)
    if method == "complex":
        value = np.asarray(problem.scalar(problem.leaves(problem.at(1j * TINY))).detach().numpy())
        estimate, size, allowed = (
            float(value.imag) / TINY,
            abs(float(value.real)),
            COMPLEX_TOLERANCE,
        )
    else:
        step, allowed = STEPS[order], TOLERANCES[order]
        above = problem.derivative(problem.at(step), order - 1, mode)
        below = problem.derivative(problem.at(-step), order - 1, mode)
        estimate, size = (above - below) / (2 * step), abs(above)
    scale = max(abs(exact), abs(estimate), size)
    error = abs(exact - estimate)
    if error <= allowed * scale:
        return
    if error <= allowed:  # of small values: a difference of rounding errors, unless it has digits
        if method == "complex":
            _along(op, problem, mode, order, "difference")
            return
        if not _firm(problem, mode, order, exact, estimate):
            return
    if method == "complex":
        _along(op, problem, mode, order, "difference")  # which raises if the derivative is wrong
        _not_analytic(op)
    worst = max(compare(problem, mode, order, limit=LIMIT), key=lambda c: (c.wrong > 0, c.error))
    raise AssertionError(
        f"{op}: order {order}, {mode}: got {exact!r}, expected {estimate!r} (central difference "
        f"of order {order - 1}), error {error / scale:.1e} over {allowed:.0e}; {worst}; shapes "
        f"{[problem.fixed[i].shape for i in problem.where]}"
    )


def _firm(problem: Problem, mode: str, order: int, exact: float, estimate: float) -> bool:
    """Whether differences of other steps agree with an estimate that is far from the exact value.

    The steps have no common measure, so that rounding errors, whole numbers of ulps over the step,
    cannot agree by chance; but for 0.
    """
    if not estimate or abs(exact - estimate) <= 1e-3 * abs(estimate):
        return False
    for factor in (np.pi, np.e**2):
        step = STEPS[order] * factor
        above = problem.derivative(problem.at(step), order - 1, mode)
        below = problem.derivative(problem.at(-step), order - 1, mode)
        if abs((above - below) / (2 * step) - estimate) > 1e-4 * abs(estimate):
            return False
    return True


def _full(op: str, problem: Problem, mode: str, order: int, method: str) -> None:
    """One order, element by element."""
    wrong: list[Compared] = [
        c for c in compare(problem, mode, order, full=True, method=method) if c.wrong
    ]
    if not wrong:
        return
    if method == "complex":
        _full(op, problem, mode, order, "difference")
        _not_analytic(op)
    raise AssertionError(
        f"{op}: order {order}, {mode}: got {'; '.join(map(str, wrong))} (central difference of "
        f"order {order - 1})"
    )


def _not_analytic(op: str) -> None:
    raise DTypeError(
        f"{op}: got a function whose complex step is not its derivative, while its central "
        "difference is; expected an analytic one (no abs, conj, real, comparison or rounding of "
        "what depends on the arguments); try method='difference'"
    )
