"""`fuse`: a user's elementwise function as one operation with derivatives of every order."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from tensorgrad.core.formula import Elementwise
from tensorgrad.expr import Formula, show
from tensorgrad.expr import input as variable


def fuse(f: Callable[..., Any]) -> Callable[..., Any]:
    """One operation from a function of scalars written with operators and elementwise functions.

    The function is traced once, on variables that stand for one element each; it may return a
    tuple. A Python `if` on a variable raises `TypeError` and shows the `where` form. Inside one
    formula the derivative of a select is a select of derivatives, so a fused
    `where(x > 0, sqrt(x), 0)` has gradient 0 at 0 where the same steps one by one have nan.

    >>> import numpy as np, tensorgrad as tg
    >>> swish = tg.fuse(lambda x: x * tg.sigmoid(x))
    >>> float(swish(0.0))
    0.0
    """
    names = list(inspect.signature(f).parameters)
    name = getattr(f, "__name__", "fused")
    name = name if name.isidentifier() else "fused"
    op = Elementwise(name, Formula.trace(name, f, [variable(n) for n in names]))
    op.fn = f
    call: Any = op.bind
    call.__name__ = call.__qualname__ = name
    call.__doc__ = f.__doc__
    call.kernel = lambda *arrays, out=None: op.kernels[type(arrays[0])](*arrays, out=out)
    call.formula = lambda: show(op.formula)
    return call  # type: ignore[no-any-return]
