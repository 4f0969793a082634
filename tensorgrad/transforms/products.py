"""Derivatives met through products, and the derivative that is nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from tensorgrad import shapes
from tensorgrad._errors import ShapeError, need
from tensorgrad.backend import base
from tensorgrad.core.primitive import operand
from tensorgrad.core.tensor import Tensor, make
from tensorgrad.transforms.forward import jvp
from tensorgrad.transforms.reverse import Argnums, Call, grad, like, vjp
from tensorgrad.transforms.tree import flatten, map_leaves


def hvp(f: Callable[..., Any], primals: Any, tangents: Any) -> Any:
    """The Hessian of a scalar f times a direction: d/dε ∇f(x + ε v) at 0, the Hessian never made.

    `primals` is the tuple of f's arguments, or one argument alone; `tangents` and the product have
    its structure and shapes. Costs about twice the gradient. Raises as `grad` and `jvp` do.

    >>> import numpy as np
    >>> hvp(lambda x: np.sum(x ** 3), np.array([1.0, 2.0]), np.array([1.0, 0.0]))
    array([6., 0.])
    """
    at, along = _tuples(primals, tangents, "hvp")
    moved = jvp(grad(f, range(len(at))), at, along)[1]
    return moved if isinstance(primals, tuple) else moved[0]


def ggnvp(f: Callable[..., Any], loss: Callable[..., Any], primals: Any, tangents: Any) -> Any:
    """The Gauss-Newton matrix of loss(f(x)) times a direction: Jᵀ H J v.

    J is the derivative of f, H the Hessian of the scalar `loss` at f(x); for a convex loss the
    matrix is positive semidefinite (Schraudolph, 2002). `primals` is the tuple of f's arguments, or
    one argument alone; `tangents` and the product have its structure and shapes.

    >>> import numpy as np
    >>> half = lambda y: np.sum(y ** 2) / 2
    >>> ggnvp(lambda x: x ** 2, half, np.array([1.0, 2.0]), np.array([1.0, 1.0]))
    array([ 4., 16.])
    """
    at, along = _tuples(primals, tangents, "ggnvp")
    y, pull = vjp(f, *at)
    moved = jvp(f, at, along)[1]
    found = pull(hvp(loss, (y,), (moved,))[0])
    return found if isinstance(primals, tuple) else found[0]


def _tuples(primals: Any, tangents: Any, op: str) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Arguments and directions as tuples."""
    if not isinstance(primals, tuple):
        return (primals,), (tangents,)
    if not isinstance(tangents, tuple | list) or len(tangents) != len(primals):
        raise ShapeError(
            f"{op}: got {len(primals)} primals and tangents that are no tuple of as many, expected "
            "a tangent per primal; try zeros where an argument stands still"
        )
    return primals, tuple(tangents)


def elementwise_grad(f: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """The derivative of a function that works element by element: f'(x), of x's shape.

    It is the gradient of f's sum: where x was broadcast, the sum over what it was broadcast to. Of
    a holomorphic f it is f'. Raises `ShapeError` for a result that x does not broadcast to.

    >>> import numpy as np
    >>> elementwise_grad(np.tanh)(np.array([0.0, 1.0]))
    array([1.        , 0.41997434])
    """

    @functools.wraps(f)
    def run(*args: Any, **options: Any) -> Any:
        call = Call(f, args, options, argnums, "elementwise_grad")
        leaves, _ = flatten(call.result)
        outputs = [operand(y) for y in leaves]
        for x in call.aliases:
            for y in outputs:
                need(
                    shapes.broadcast(x.shape, y.shape, op="elementwise_grad") == y.shape,
                    "elementwise_grad",
                    argument=x,
                    result=y,
                    want="a result that the argument broadcasts to, element by element",
                    fix="tg.grad, or tg.jacobian",
                )
        ones = [make(base.of(y.value()).full(y.shape, 1, y.dtype)) for y in outputs]
        found = call.cotangents(outputs, ones)
        return call.shaped(
            [like(g.conj() if g.dtype.kind == "c" else g, x) for g, x in zip(found, call.sources)]
        )

    return run


def stop_gradient(value: Any) -> Any:
    """The same value, or container of them, as a constant of every derivative.

    >>> from tensorgrad import grad
    >>> grad(lambda x: x * stop_gradient(x))(3.0)
    3.0
    """
    return map_leaves(lambda x: x.detach() if isinstance(x, Tensor) else x, value)
