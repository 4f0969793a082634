"""Gradients against central differences along random directions, for tests of user operations."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from tensorgrad.compat.autograd.core import make_jvp, make_vjp
from tensorgrad.compat.autograd.vspaces import vspace
from tensorgrad.compat.autograd.wrap_util import get_name, unary_to_nary

TOL = 1e-6
RTOL = 1e-6
EPS = 1e-6

Function = Callable[..., Any]


def scalar_close(a: Any, b: Any) -> bool:
    """Whether two numbers agree within `TOL`, or `RTOL` of their sum."""
    return bool(abs(a - b) < TOL or abs(a - b) / abs(a + b) < RTOL)


def make_numerical_jvp(f: Function, x: Any) -> Function:
    """v -> (f(x + v ε/2) - f(x - v ε/2)) / ε."""
    xs, ys = vspace(x), vspace(f(x))

    def jvp(v: Any) -> Any:
        above = f(xs.add(x, xs.scalar_mul(v, EPS / 2)))
        below = f(xs.add(x, xs.scalar_mul(v, -EPS / 2)))
        return ys.scalar_mul(ys.add(above, ys.scalar_mul(below, -1.0)), 1.0 / EPS)

    return jvp


def check_vjp(f: Function, x: Any) -> None:
    """Raise `AssertionError` unless f's vjp agrees with differences in random directions."""
    vjp, y = make_vjp(f, x)
    xs, ys = vspace(x), vspace(y)
    v, w = xs.randn(), ys.randn()
    pulled = xs.covector(vjp(ys.covector(w)))
    assert vspace(pulled) == xs, (
        f"check_vjp: got a cotangent in {vspace(pulled)}, expected {xs}; try a cotangent of the "
        "argument's shape and dtype"
    )
    exact = xs.inner_prod(v, pulled)
    numeric = ys.inner_prod(w, make_numerical_jvp(f, x)(v))
    assert scalar_close(numeric, exact), (
        f"check_vjp: got {exact} from the vjp of {get_name(f)} at {x}, expected {numeric} as "
        "differences have it; try comparing its rule argument by argument"
    )


def check_jvp(f: Function, x: Any) -> None:
    """Raise `AssertionError` unless f's jvp agrees with differences in a random direction."""
    v = vspace(x).randn()
    check_equivalent(make_jvp(f, x)(v)[1], make_numerical_jvp(f, x)(v))


def check_equivalent(x: Any, y: Any) -> None:
    """Raise `AssertionError` unless two values are of one space and close in it."""
    xs, ys = vspace(x), vspace(y)
    assert xs == ys, f"check: got values in {xs} and {ys}, expected one space; try astype"
    v = xs.randn()
    assert scalar_close(xs.inner_prod(x, v), xs.inner_prod(y, v)), (
        f"check: got {x}, expected {y}; try comparing the rule with the function"
    )


@unary_to_nary
def check_grads(f: Function, x: Any, modes: Sequence[str] = ("fwd", "rev"), order: int = 2) -> None:
    """Raise `AssertionError` unless derivatives up to `order` agree with differences."""
    assert all(mode in ("fwd", "rev") for mode in modes), (
        f'check_grads: got modes={modes}, expected "fwd" and "rev"; try modes=["rev"]'
    )
    checks: dict[str, tuple[Function, Function, Any]] = {
        "fwd": (check_jvp, lambda x, v: make_jvp(f, x)(v)[1], x),
        "rev": (check_vjp, lambda x, v: make_vjp(f, x)[0](v), None),
    }
    for mode in modes:
        check, derivative, like = checks[mode]
        check(f, x)
        if order > 1:
            v = vspace(f(x) if like is None else like).randn()
            derivative.__name__ = f"{mode}_{get_name(f)}"
            check_grads(derivative, (0, 1), modes=modes, order=order - 1)(x, v)


def combo_check(fun: Function, *options: Any, **named: Any) -> Function:
    """A check of the gradients of fun for every combination of the given arguments."""

    @functools.wraps(fun)
    def check(*args: Any, **kwargs: Any) -> None:
        for chosen in product(*args):
            for values in product(*kwargs.values()):
                check_grads(fun, *options, **named)(*chosen, **dict(zip(kwargs, values)))

    return check
