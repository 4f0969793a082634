"""The functions of functions that autograd offers, all made of its vjp and jvp."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad import Tensor
from tensorgrad.compat.autograd import core
from tensorgrad.compat.autograd.values import mapped, settled
from tensorgrad.compat.autograd.vspaces import vspace
from tensorgrad.compat.autograd.wrap_util import unary_to_nary

Function = Callable[..., Any]


@unary_to_nary
def make_vjp(fun: Function, x: Any) -> Any:
    """(vjp, fun(x)), where vjp(g) is g times the Jacobian of fun at x."""
    return core.make_vjp(fun, x)


@unary_to_nary
def make_jvp(fun: Function, x: Any) -> Any:
    """v -> (fun(x), the Jacobian of fun at x times v), forward mode."""
    return core.make_jvp(fun, x)


@unary_to_nary
def make_jvp_reversemode(fun: Function, x: Any) -> Any:
    """v -> the Jacobian of fun at x times v, by two reverse passes: the vjp of a vjp."""
    start = vspace(core.make_vjp(fun, x)[1]).zeros()

    def jvp(v: Any) -> Any:
        return core.make_vjp(lambda g: core.make_vjp(fun, x)[0](g), start)[0](v)

    return jvp


def _pulled(op: str, fun: Function, x: Any) -> tuple[Any, Any]:
    """(value, gradient) of a function of one real value; else `TypeError`."""
    vjp, y = core.make_vjp(fun, x)
    space = vspace(y)
    if space.size != 1:
        raise TypeError(
            f"{op}: got a function with value {space}, expected one real number from it; try "
            "jacobian, elementwise_grad or holomorphic_grad"
        )
    return y, vjp(space.ones())


@unary_to_nary
def grad(fun: Function, x: Any) -> Any:
    """The gradient of a real function of one value, in the containers of its argument.

    Of a complex x = a + ib it is ∂f/∂a - i ∂f/∂b. Raises `TypeError` for other values of f.
    """
    return _pulled("grad", fun, x)[1]


@unary_to_nary
def value_and_grad(fun: Function, x: Any) -> Any:
    """(value, gradient), as `scipy.optimize.minimize(..., jac=True)` takes it."""
    return _pulled("value_and_grad", fun, x)


@unary_to_nary
def elementwise_grad(fun: Function, x: Any) -> Any:
    """The sum of each column of the Jacobian: its diagonal where the function is elementwise."""
    vjp, y = core.make_vjp(fun, x)
    space = vspace(y)
    if space.iscomplex:
        raise TypeError(
            "elementwise_grad: got a function with complex values, expected real ones; try "
            "holomorphic_grad, or elementwise_grad of its real part"
        )
    return vjp(space.ones())


@unary_to_nary
def deriv(fun: Function, x: Any) -> Any:
    """The derivative along the direction of ones, by forward mode (1 + i in a complex x)."""
    return core.make_jvp(fun, x)(vspace(x).ones())[1]


@unary_to_nary
def jacobian(fun: Function, x: Any) -> Any:
    """The Jacobian, of the shape of the value followed by that of the argument.

    Raises `TypeError` for containers, `ValueError` for complex values.
    """
    columns = vspace(x)
    return core.jacobian(lambda x: _array_value(fun(x), columns), x)


def _array_value(y: Any, columns: Any) -> Any:
    """A value that has a Jacobian by an argument of the space `columns`."""
    rows = vspace(y)
    if not hasattr(rows, "dtype") or not hasattr(columns, "dtype"):
        raise TypeError(
            f"jacobian: got {columns} and value {rows}, expected arrays; try misc.flatten"
        )
    if rows.iscomplex:
        raise ValueError(
            "jacobian: got a function with complex values, expected real ones; try the jacobian "
            "of its real and of its imaginary part"
        )
    return y


@unary_to_nary
def holomorphic_grad(fun: Function, x: Any) -> Any:
    """f'(x) of a holomorphic f, summed over its values."""
    if not vspace(x).iscomplex:
        warnings.warn("Input to holomorphic_grad is not complex", stacklevel=4)
    return grad(lambda z: np.real(fun(z)))(x)


@unary_to_nary
def hessian(fun: Function, x: Any) -> Any:
    """The Hessian: the Jacobian of the Jacobian."""
    return jacobian(jacobian(fun))(x)


@unary_to_nary
def make_hvp(fun: Function, x: Any) -> Any:
    """(v -> the Hessian of fun at x times v, the gradient at x)."""
    return core.make_vjp(grad(fun), x)


def grad_named(fun: Function, argname: str) -> Function:
    """The gradient in the argument of this name, which is passed by position."""
    names = list(inspect.signature(fun).parameters)
    return grad(fun, names.index(argname))  # type: ignore[no-any-return]


def hessian_tensor_product(fun: Function, argnum: int = 0) -> Function:
    """(*args, tensor) -> the Hessian in one argument, contracted with a tensor of its shape."""
    gradient = grad(fun, argnum)

    def dotted(*args: Any, **kwargs: Any) -> Any:
        *given, tensor = args
        return np.tensordot(gradient(*given, **kwargs), tensor, np.ndim(tensor))

    return grad(dotted, argnum)  # type: ignore[no-any-return]


def tensor_jacobian_product(fun: Function, argnum: int = 0) -> Function:
    """(*args, tensor) -> a tensor contracted with the Jacobian over all axes of the tensor."""

    def dotted(*args: Any, **kwargs: Any) -> Any:
        *given, tensor = args
        return np.tensordot(tensor, fun(*given, **kwargs), np.ndim(tensor))

    return jacobian(dotted, argnum)  # type: ignore[no-any-return]


hessian_vector_product = hessian_tensor_product
vector_jacobian_product = tensor_jacobian_product


def _half_squares(y: Any) -> Any:
    return 0.5 * np.sum(y**2, axis=-1)


def make_ggnvp(f: Function, g: Function = _half_squares, f_argnum: int = 0) -> Function:
    """(*args) -> (v -> Jᵀ H J v), the product with the generalised Gauss-Newton matrix.

    J is the Jacobian of f, H the Hessian of g at f's value (Schraudolph, 2002).
    """

    @unary_to_nary
    def _make_ggnvp(f: Function, x: Any) -> Function:
        vjp, y = core.make_vjp(f, x)
        hvp, _ = core.make_vjp(grad(g), y)
        jvp = core.make_jvp(f, x)
        return lambda v: vjp(hvp(jvp(v)[1]))

    return _make_ggnvp(f, f_argnum)  # type: ignore[no-any-return]


@unary_to_nary
def grad_and_aux(fun: Function, x: Any) -> Any:
    """(the gradient of the first result, the second result), of a function that returns two."""
    kept = []

    def first(x: Any) -> Any:
        y, aux = fun(x)
        kept.append(aux)
        return y

    gradient = _pulled("grad_and_aux", first, x)[1]
    return gradient, mapped(_off, kept[0])


def _off(x: Any) -> Any:
    """An auxiliary result: a tensor without its tape, as NumPy's if it is on the CPU."""
    return settled(x.detach()) if isinstance(x, Tensor) else x


def multigrad_dict(fun: Function) -> Function:
    """The gradients in all arguments at once, as a dict by their names, defaults included.

    Arguments beyond the named ones stand under the names of *args and **kwargs.
    """
    signature = inspect.signature(fun)

    @functools.wraps(fun)
    def gradients(*args: Any, **kwargs: Any) -> dict[str, Any]:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()

        def called(given: dict[str, Any]) -> Any:
            for name, value in given.items():
                bound.arguments[name] = value
            return fun(*bound.args, **bound.kwargs)

        asked = dict(bound.arguments)
        found = grad(called)(asked)
        return {name: found[name] for name in asked}

    return gradients


def checkpoint(fun: Function) -> Function:
    """fun with nothing saved but its arguments: the backward pass runs it again."""
    return tg.checkpoint(fun)
