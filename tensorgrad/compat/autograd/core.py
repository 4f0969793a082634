"""vjp and jvp of functions of one argument, in autograd's conventions.

tensorgrad's cotangents are adjoint under Re Σ conj(a)·b; autograd's are not conjugated. So
autograd's vjp of g is the conjugate of tensorgrad's vjp of the conjugate of g.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad import GradientError, InPlaceError, NotDifferentiable
from tensorgrad.compat.autograd.values import (
    argument,
    conj,
    is_complex,
    mapped,
    moving,
    settled,
    tensors,
)
from tensorgrad.compat.autograd.vspaces import VSpace, vspace
from tensorgrad.core.tape import INSIDE


class NoDerivativeError(NotDifferentiable, NotImplementedError):
    """A function without a derivative, under the type that autograd raises for it."""


class WriteError(InPlaceError, TypeError):
    """A write into a recorded tensor, under the type that autograd raises for it."""


class TapeError(GradientError, TypeError):
    """A number asked of a recorded tensor, under the type that autograd raises for it."""


_TRANSLATED = {
    NotDifferentiable: NoDerivativeError,
    InPlaceError: WriteError,
    GradientError: TapeError,
}


@contextmanager
def translated() -> Iterator[None]:
    """Errors of tensorgrad under the types that autograd raises."""
    try:
        yield
    except tuple(_TRANSLATED) as error:
        theirs = _TRANSLATED.get(type(error))
        if theirs is None:
            raise
        raise theirs(str(error)) from error


def _watched(fun: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """fun, with autograd's warning where its result does not depend on its argument."""

    def run(x: Any) -> Any:
        with translated():
            y = fun(x)
        if not any(map(moving, tensors(y))):
            warnings.warn("Output seems independent of input.", stacklevel=_outside())
        return y

    return run


def _outside() -> int:
    """How many frames above its caller the user's code is, as `warnings` counts."""
    frame, level = sys._getframe(1), 1
    while INSIDE[frame.f_code.co_filename] and frame.f_back is not None:
        frame, level = frame.f_back, level + 1
    return level


def make_vjp(fun: Callable[[Any], Any], x: Any) -> tuple[Callable[[Any], Any], Any]:
    """(vjp, fun(x)): vjp(g) is g times the Jacobian of fun at x, and may be called again.

    x may be a nested container. Raises `TypeError` for an x that is not floating point.
    """
    y, pull = tg.vjp(_watched(fun), mapped(argument, x))

    def vjp(g: Any) -> Any:
        with translated():
            (found,) = pull(mapped(conj, g))
        return mapped(lambda x: settled(conj(x)), found)

    return vjp, mapped(settled, y)


def make_jvp(fun: Callable[[Any], Any], x: Any) -> Callable[[Any], tuple[Any, Any]]:
    """v -> (fun(x), the Jacobian of fun at x times v), in one pass forward."""
    x = mapped(argument, x)

    def jvp(v: Any) -> tuple[Any, Any]:
        with translated():
            value, tangent = tg.jvp(_watched(fun), (x,), (v,))
        return mapped(settled, value), mapped(settled, tangent)

    return jvp


def jacobian(fun: Callable[[Any], Any], x: Any) -> Any:
    """The Jacobian of a real function of an array, all its rows in one backward pass.

    Of a complex x a row is the conjugate of tensorgrad's gradient. Raises `TypeError` for an x
    that is not floating point.
    """
    x = mapped(argument, x)
    watched = _watched(fun)
    if is_complex(x):
        y, pull = tg.vjp(watched, x)
        with translated():
            basis = np.eye(y.size, dtype=vspace(y).dtype).reshape(y.size, *y.shape)
            rows = tg.vmap(lambda ct: pull(ct)[0])(basis)
        return settled(conj(rows.reshape(*y.shape, *np.shape(x))))
    with translated():
        return settled(tg.jacobian(watched, mode="reverse")(x))


__all__ = [
    "NoDerivativeError",
    "TapeError",
    "VSpace",
    "WriteError",
    "jacobian",
    "make_jvp",
    "make_vjp",
    "translated",
    "vspace",
]
